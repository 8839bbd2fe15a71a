"""TE-NAS: prune a supernet that is never trained, by how well and how finely it could learn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.core.policy import Draw, Policy, Tables
from raynas.core.space import Space
from raynas.errors import RaynasError
from raynas.parts.stages import (
    Histories,
    Looks,
    Stage,
    crowded,
    incoming,
    side_by_side,
    without_excluded,
)

Gone = tuple[str, int, int | None]
"""What is taken away: a group's row and option, or (None) its whole row."""


@dataclass(frozen=True)
class TrainingFree:
    """One epoch a round; in each round every open edge loses the ``prunes`` operations that are missed least.

    Each operation is taken away in turn, and the rest of its row shares its weight. Operations are ranked by
    how much the condition number of the neural tangent kernel falls without them and by how much the number
    of linear regions rises, on ``images`` of the validation half's probe; those with the best sum of ranks
    go. Once all edges are decided, nodes lose edges in the same way. Operations that may never be chosen go
    first. The weights stay as they were drawn; a search has as many epochs as there are rounds, and
    ``epochs`` is the most it may have.

    Regions are counted for one lane at a time, so it runs alone (``solo``). Source: Chen, Gong, Wang 2021 and
    its code (1 a round on NAS-Bench-201, 3 in DARTS' space, with batches of 72 and 14 images), which averages
    over several draws of the weights and counts regions on random inputs; here both are measured on the
    probe, with one draw.
    """

    solo: ClassVar[bool] = True
    prunes: Annotated[int, Field(ge=1)] = 1
    images: Annotated[int, Field(ge=2)] = 14

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Return an epoch for each round; raises `RaynasError` when there are more rounds than epochs."""
        most = max(len(set(row.options) - set(space.exclude)) for group in space.groups for row in group.rows)
        rounds = math.ceil((most - 1) / self.prunes)
        rounds = max(rounds + (space.keep != "all"), 1)
        if rounds > epochs:
            raise RaynasError(
                "training-free pruning takes an epoch for each of its rounds",
                got=f"epochs: {epochs}",
                expected=f"{rounds} or more with prunes: {self.prunes} in {space.name}",
                next_step="raise epochs, or prunes",
            )
        return (Stage(rounds, rate=0.0),)

    def __call__(self, policy: Policy, histories: Histories, looks: Looks) -> Tables | None:
        """Take one round."""
        alive = {name: without_excluded(policy, name, mask) for name, mask in policy.alive.items()}
        candidates = {lane: _candidates(policy, alive, lane) for lane in range(policy.lanes)}

        def without(gone: Mapping[int, Gone]) -> Sequence[Tensor]:
            tables = {name: mask.clone() for name, mask in alive.items()}
            for lane, (name, row, option) in gone.items():
                tables[name][lane, row, slice(None) if option is None else option] = False
            return looks.trainability(_mixture(policy, tables), self.images)

        with torch.no_grad():
            now = [each.tolist() for each in looks.trainability(_mixture(policy, alive), self.images)]
            measured = side_by_side(candidates, without)
        for lane, values in measured.items():
            ranks = _ranks(values, (now[0][lane], now[1][lane]))
            order = sorted(range(len(ranks)), key=lambda place: ranks[place])
            for place in order:
                self._take(policy, alive, lane, candidates[lane][place], policy.alive)
        return alive

    def _take(self, policy: Policy, alive: Tables, lane: int, gone: Gone, before: Tables) -> None:
        """Take something away unless its row or node has lost enough in this round."""
        name, row, option = gone
        mask = alive[name][lane]
        if option is None:
            if (policy.layout.nodes[name] or ())[row] in crowded(policy, name, mask):
                mask[row] = False
            return
        allowed = without_excluded(policy, name, before[name])[lane, row]
        if int(mask[row].sum()) > max(int(allowed.sum()) - self.prunes, 1):
            mask[row, option] = False


def _candidates(policy: Policy, alive: Tables, lane: int) -> list[Gone]:
    """List every live option of every open row; when all rows are decided, the edges of crowded nodes."""
    options: list[Gone] = [
        (name, row, option)
        for name, masks in alive.items()
        for row, mask in enumerate(masks[lane])
        if int(mask.sum()) > 1
        for option in mask.nonzero()[:, 0].tolist()
    ]
    return options or [
        (name, row, None)
        for name, masks in alive.items()
        for node in crowded(policy, name, masks[lane])
        for row in incoming(policy, name, masks[lane], node)
    ]


def _mixture(policy: Policy, alive: Tables) -> Draw:
    """Return the weights of a policy as if just ``alive`` were left."""
    flat = policy.logits(policy.alphas)
    tables = policy.layout.tables(flat)
    device = flat.device
    weights = {name: policy.relaxation(logits, alive[name].to(device)) for name, logits in tables.items()}
    return policy.finish(Draw(weights, alive), flat)


def _ranks(values: Sequence[tuple[float, ...]], now: tuple[float, float]) -> list[int]:
    """Add up the two ranks of each candidate: the smallest sum may go first, equals share a rank."""
    falls = [_change(condition, now[0]) for condition, _ in values]
    rises = [_change(regions, now[1]) for _, regions in values]
    return [
        sum(other < fall for other in falls) + sum(other > rise for other in rises)
        for fall, rise in zip(falls, rises, strict=True)
    ]


def _change(value: float, before: float) -> float:
    """Return the relative change; to or from infinity it is 1 or −1, and 0 when both are infinite."""
    if math.isinf(value) or math.isinf(before):
        return float(math.isinf(value)) - float(math.isinf(before))
    return (value - before) / before
