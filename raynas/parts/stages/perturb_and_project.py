"""DARTS-PT: an operation is as strong as the supernet is bad without it (Wang et al. 2021)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Draw, Histories, Stage, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.parts.stages.base import crowded, incoming, side_by_side, without_excluded
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Off = tuple[int, int | None]
"""What is switched off: an option of a row, or (None) the whole row."""


@dataclass(frozen=True)
class PerturbAndProject(Stages):
    """Decide edge by edge, then node by node, by what the supernet loses when something is switched off.

    After the search, every ``interval`` epochs of fine tuning (at a tenth of the learning rate) a random open
    edge of each cell is decided, the reduction cell's after the normal cell's: each operation is switched off
    in turn, the others stay as they are, and the one whose absence hurts validation most is kept alone. Then
    the same for the nodes, in random order: the edge whose absence hurts least dies, until as many are left
    as the node keeps. ``criterion`` says what hurts: less accuracy, or more loss. Of equals the first
    operation is kept, and the last edge dies. Operations the space never chooses are not considered.

    An epoch of fine tuning follows the last decision. Where nodes keep all of their edges, the last interval
    is an epoch shorter: 25 epochs on NAS-Bench-201 (there after a search of 100, `epochs: 100`). The authors'
    code leaves a deleted edge switched on while it looks for the next one; here it is off.
    """

    use: ClassVar[str] = "perturb-and-project"
    version: ClassVar[int] = 2
    interval: Annotated[int, Field(ge=1)] = 5
    criterion: Literal["accuracy", "loss"] = "accuracy"
    rate: ClassVar[float] = 0.1

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Add fine tuning: an interval for every row and crowded node to decide, an epoch after the last."""
        events = rows = max(len(group.rows) for group in skeletons.groups(space))
        if skeletons.of(space).edgewise:
            full = [
                sum(len(cell.into(node)) > space.kept(cell, node) for node in space.targets)
                for cell in space.cells
            ]
            events = max(len(cell.edges) + nodes for cell, nodes in zip(space.cells, full, strict=True))
        tuning = self.interval * (events - 1)
        return Stage(epochs), Stage(max(tuning, events) if events == rows else tuning + 1, rate=self.rate)

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Decide a row of every group, or a node of every cell without open rows, in every lane."""
        progress = policy.progress
        last = progress.stage_epoch == progress.stage_epochs - 1
        if not progress.fine_tuning or (progress.stage_epoch % self.interval and not last):
            return None
        alive = dict(policy.alive)
        for name in policy.alive:
            with torch.no_grad(), policy.pruned(alive):
                mean = policy.mean(policy.logits(policy.alphas))
                decided = _Trial(policy, mean, looks, self.criterion).next(name)
            alive[name] = decided
        return alive

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """What it switches off must have been trained, and must not be stood in for."""
        if any(modifier.build().auxiliary for modifier in method.modifiers):
            yield (
                "perturb-and-project measures what each operation is worth: auxiliary skips stand in for them"
            )
        if not method.sampler.trains_all:
            yield "perturb-and-project switches single operations off: the search has to train all of them"

    def passes(self, space: Space) -> int:
        """Return how many passes over the validation half all decisions of a search take."""
        rows = [
            row.options for group in skeletons.groups(space) for row in group.rows if len(row.options) > 1
        ]
        allowed = [len(set(options) - set(space.exclude)) for options in rows]
        if not skeletons.of(space).edgewise:
            return sum(allowed)
        # Of n edges into a node that keeps k, one less is left each time: n + (n - 1) + … + (k + 1) passes.
        nodes = [
            sum(range(space.kept(cell, node) + 1, len(cell.into(node)) + 1))
            for cell in space.cells
            for node in space.targets
        ]
        return sum(allowed) + sum(nodes)


class _Trial:
    """One round of switching things off, for all lanes in lock step."""

    def __init__(self, policy: PolicyView, mean: Draw, looks: Looks, criterion: str) -> None:
        self._policy, self._mean, self._looks, self._criterion = policy, mean, looks, criterion

    def next(self, name: str) -> Tensor:
        """Return what is alive in a group after its next decision, [lanes, rows, options]."""
        alive = self._policy.alive[name].clone()
        rows: dict[int, int] = {}
        nodes: dict[int, int] = {}
        for lane, mask in enumerate(alive):
            open_rows = (mask.sum(-1) > 1).nonzero()[:, 0].tolist()
            if open_rows:
                rows[lane] = open_rows[self._pick(lane, len(open_rows))]
            elif full := crowded(self._policy, name, mask):
                nodes[lane] = full[self._pick(lane, len(full))]
        self._decide(name, alive, rows)
        self._thin_out(name, alive, nodes)
        return alive

    def _decide(self, name: str, alive: Tensor, rows: Mapping[int, int]) -> None:
        """Keep, of each lane's row, the option that hurts most when it is off."""
        allowed = without_excluded(self._policy, name, alive)
        candidates: dict[int, list[Off]] = {
            lane: [(row, option) for option in allowed[lane, row].nonzero()[:, 0].tolist()]
            for lane, row in rows.items()
        }
        for lane, hurts in self._hurts(name, alive, candidates).items():
            row, option = candidates[lane][hurts.index(max(hurts))]
            alive[lane, row] = False
            alive[lane, row, option] = True

    def _thin_out(self, name: str, alive: Tensor, nodes: Mapping[int, int]) -> None:
        """Delete, of each lane's node, the edges that hurt least when they are off."""
        while nodes:
            candidates: dict[int, list[Off]] = {
                lane: [(row, None) for row in incoming(self._policy, name, alive[lane], node)]
                for lane, node in nodes.items()
            }
            for lane, hurts in self._hurts(name, alive, candidates).items():
                row, _ = candidates[lane][len(hurts) - 1 - hurts[::-1].index(min(hurts))]
                alive[lane, row] = False
            nodes = {
                lane: node for lane, node in nodes.items() if node in crowded(self._policy, name, alive[lane])
            }

    def _hurts(self, name: str, alive: Tensor, candidates: Mapping[int, list[Off]]) -> dict[int, list[float]]:
        """Return, for each lane, what validation suffers without each of its candidates."""
        found = side_by_side(candidates, lambda off: self._looks.score(self._without(name, alive, off)))
        if self._criterion == "loss":
            return {lane: [loss for loss, _ in each] for lane, each in found.items()}
        return {lane: [-accuracy for _, accuracy in each] for lane, each in found.items()}

    def _without(self, name: str, alive: Tensor, off: Mapping[int, Off]) -> Draw:
        """Return the mean weights with rows that have died, and what is ``off`` in each lane, at 0."""
        weights = self._mean.weights[name].clone()
        live = alive.any(-1).to(weights)
        for lane, (row, option) in off.items():
            if option is None:
                live[lane, row] = 0
            else:
                weights[lane, row, option] = 0
        tables = {**self._mean.weights, name: weights * live.unsqueeze(-1)}
        if self._mean.carry is None:
            return self._mean._replace(weights=tables)
        carry = {**self._mean.carry, name: self._mean.carry[name] * live}
        return self._mean._replace(weights=tables, carry=carry)

    def _pick(self, lane: int, count: int) -> int:
        return int(torch.randint(count, (), generator=self._policy.dice.generators[lane]))
