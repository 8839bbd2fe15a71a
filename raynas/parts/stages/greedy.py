"""SGAS: edges are decided one after the other, and what is decided is frozen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Histories, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.parts.relaxations import masked_softmax
from raynas.parts.stages.base import strongest, without_excluded
from raynas.spaces import skeletons
from raynas.spaces.space import Space

ROUND_OFF = 1e-6


@dataclass(frozen=True)
class Greedy(Stages):
    """SGAS: one edge after the other is decided, the most important and most certain first (Li et al. 2020).

    Importance is the mass of operations that may be chosen, certainty one less the entropy of their shares
    over its maximum, and with ``criterion`` 2 stability, the mean overlap of these shares with those of the
    ``memory`` epochs before the one just ended, counts as well: each scaled to [0, 1] over all edges of a
    cell, decided ones included, and multiplied. Once a node has as many decided edges as it keeps, its others
    die. Decisions are spread evenly between the shares ``first`` and ``last`` of the search (with 50 epochs
    and 8 decisions: after epochs 9, 14, … 44).

    Unlike the authors' code, a criterion that is the same for all edges decides nothing (there the first edge
    wins), the batch stays as it is (there it grows by 8 with each decision, which memory then allows), and
    `AllDecided` ends the search with the last decision (there weights train on to epoch 50, the cell stays).
    """

    use: ClassVar[str] = "greedy"
    version: ClassVar[int] = 2
    criterion: Literal[1, 2] = 1
    first: Annotated[float, Field(ge=0, le=1)] = 0.18
    last: Annotated[float, Field(ge=0, le=1)] = 0.88
    memory: Annotated[int, Field(ge=1)] = 4

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Take the decisions due by now, in every lane and cell."""
        alive = {name: mask.clone() for name, mask in policy.alive.items()}
        with torch.no_grad():
            logits = policy.layout.tables(policy.logits(policy.alphas))
        for name, nodes in policy.layout.nodes.items():
            if nodes is None:
                continue
            keep = {node: policy.space.kept(policy.space.cell(name), node) for node in nodes}
            due = self._due(policy.progress.epoch - 1, policy.progress.epochs, sum(keep.values()))
            weights = masked_softmax(logits[name].cpu(), policy.layout.alive[name])
            for lane, mask in enumerate(alive[name]):
                rows = _Rows(
                    weights[lane], without_excluded(policy, name, policy.layout.alive[name]), nodes, keep
                )
                before = histories[lane][-self.memory - 1 : -1]  # the newest report is of α as it is now
                past = [torch.tensor(_padded(report.weights[name], mask)) for report in before]
                stability = rows.stability(past, mask) if self.criterion == 2 else None
                for _ in range(due - rows.decided(mask)):
                    if not rows.decide(mask, stability):
                        break
        return alive

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It decides edges, by the softmax of their logits."""
        if not method.relaxation.softmax:
            yield "greedy decides by the softmax of the logits: it needs the relaxation softmax"
        if space is not None and not skeletons.of(space).edgewise:
            yield f"greedy decides one edge after the other, but here rows of α are not edges ({space.name})"

    def _due(self, finished: int, epochs: int, decisions: int) -> int:
        """Return how many decisions are due once epoch ``finished`` is over."""
        last = max(min(round(self.last * epochs), epochs - 2), 0)
        first = min(round(self.first * epochs), last)
        if finished < first:
            return 0
        if finished >= last:
            return decisions
        return 1 + (finished - first) * (decisions - 1) // (last - first)


@dataclass(frozen=True)
class _Rows:
    """One cell of one lane in the eyes of `Greedy`: undecided weights, what may be chosen, the graph."""

    weights: Tensor
    allowed: Tensor
    nodes: tuple[int, ...]
    keep: Mapping[int, int]

    def decided(self, alive: Tensor) -> int:
        return int((alive.sum(-1) == 1).sum())

    def decide(self, alive: Tensor, stability: Tensor | None) -> bool:
        """Decide one more edge in place; returns False when none is open."""
        open_rows = alive.sum(-1) > 1
        if not bool(open_rows.any()):
            return False
        importance = self.weights.masked_fill(~self.allowed, 0.0).sum(-1)
        most = self.allowed.sum(-1).clamp_min(2).to(importance).log()
        certainty = 1 - torch.special.entr(self._shares(self.weights)).sum(-1) / most
        scores = _scaled(importance) * _scaled(certainty)
        if stability is not None:
            scores = scores * _scaled(stability)
        row = int(scores.masked_fill(~open_rows, -1.0).argmax())
        alive[row] = strongest(self.weights[row], alive[row] & self.allowed[row], 1)
        node = self.nodes[row]
        mates = torch.tensor([target == node for target in self.nodes])
        if int((mates & (alive.sum(-1) == 1)).sum()) >= self.keep[node]:
            alive[mates & (alive.sum(-1) > 1)] = False
        return True

    def stability(self, past: Sequence[Tensor], alive: Tensor) -> Tensor:
        """Return each row's mean histogram intersection of its shares with past ones; 1 without a past.

        A row that had been decided by then reports its decision; its frozen weights are what it is compared
        with.
        """
        if not past:
            return torch.ones_like(self.weights[:, 0])
        overlaps = []
        for before in past:
            settled = ((before > 0).sum(-1, keepdim=True) < 2) & (alive.sum(-1, keepdim=True) < 2)
            known = torch.where(settled, self.weights, before.to(self.weights))
            overlaps.append(torch.minimum(self._shares(self.weights), self._shares(known)).sum(-1))
        return torch.stack(overlaps).mean(0)

    def _shares(self, weights: Tensor) -> Tensor:
        """Return what each operation that may be chosen has of the mass of all of them."""
        mass = weights.masked_fill(~self.allowed, 0.0)
        return mass / mass.sum(-1, keepdim=True).clamp_min(torch.finfo(mass.dtype).tiny)


def _scaled(values: Tensor) -> Tensor:
    """Stretch values to [0, 1]; differences that are round-off count as none."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if float(high - low) > ROUND_OFF else torch.ones_like(values)


def _padded(rows: Sequence[Sequence[float]], like: Tensor) -> list[list[float]]:
    return [[*row, *[0.0] * (like.shape[-1] - len(row))] for row in rows]
