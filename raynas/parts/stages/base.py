"""Stage controllers: what changes between epochs. They take operations away and lay out the search in stages.

Taking away is all they do to a policy: they return what stays alive. So lanes may differ and remain in one
pack. Methods differ in when they look, at what, and in what they call weak.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Histories, Stage, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Candidate = TypeVar("Candidate")


def side_by_side(
    candidates: Mapping[int, Sequence[Candidate]],
    measure: Callable[[Mapping[int, Candidate]], Sequence[Tensor]],
) -> dict[int, list[tuple[float, ...]]]:
    """Measure the candidates of every lane: each lane's first in one go, then each lane's second, and so on.

    ``measure`` takes one candidate for some of the lanes and returns tensors [lanes].
    """
    found: dict[int, list[tuple[float, ...]]] = {lane: [] for lane in candidates}
    for place in range(max((len(each) for each in candidates.values()), default=0)):
        chosen = {lane: each[place] for lane, each in candidates.items() if place < len(each)}
        measured = measure(chosen)
        for lane in chosen:
            found[lane].append(tuple(float(values[lane]) for values in measured))
    return found


def strongest(weights: Tensor, alive: Tensor, keep: int) -> Tensor:
    """Keep the ``keep`` heaviest alive options of each row [..., options]; ties go to the lowest index."""
    order = weights.masked_fill(~alive, -float("inf")).argsort(dim=-1, descending=True, stable=True)
    kept = torch.zeros_like(alive).scatter(-1, order[..., :keep], True)
    return kept & alive


def present(policy: PolicyView) -> Tables:
    """Return the relaxed weights as they are now, on the CPU."""
    with torch.no_grad():
        tables = policy.relax(policy.logits(policy.alphas))
    return {name: weights.cpu() for name, weights in tables.items()}


def incoming(policy: PolicyView, name: str, alive: Tensor, node: int) -> list[int]:
    """Return the rows of a node's live edges; ``alive`` is one lane's [rows, options]."""
    nodes = policy.layout.nodes[name] or ()
    return [row for row, target in enumerate(nodes) if target == node and bool(alive[row].any())]


def crowded(policy: PolicyView, name: str, alive: Tensor) -> list[int]:
    """Return the nodes of a cell that have more live edges than they keep, by a mask [rows, options]."""
    nodes = policy.layout.nodes[name]
    if nodes is None:
        return []
    cell = policy.space.cell(name)
    kept = {node: policy.space.kept(cell, node) for node in nodes}
    return [node for node in kept if len(incoming(policy, name, alive, node)) > kept[node]]


def without_excluded(policy: PolicyView, name: str, alive: Tensor, also: Sequence[str] = ()) -> Tensor:
    """Take away [..., rows, options] what may never be chosen, from rows that have something else.

    ``also`` names what a method never chooses.
    """
    options = policy.layout.options[name]
    width, excluded = alive.shape[-1], {*policy.space.exclude, *also}
    allowed = torch.tensor(
        [[c < len(row) and row[c] not in excluded for c in range(width)] for row in options]
    )
    left = alive & allowed
    return torch.where(left.any(-1, keepdim=True), left, alive)


def no_edges(space: Space | None) -> Iterator[str]:
    """Yield why a stage that prunes edges has nothing to prune in a space, if it has not."""
    if space is not None and not skeletons.of(space).edgewise:
        yield (f"this stage takes operations of edges away, but here rows of α are not edges ({space.name})")


class Afterwards(Stages):
    """A stage that chooses the cell in one more epoch, after the search, in which nothing trains."""

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Add the epoch in which it chooses."""
        return Stage(epochs), Stage(1, rate=0.0)


@dataclass(frozen=True)
class DropWeak(Stages):
    """ASAP: before every epoch what weighs less than ``share`` of a uniform weight dies (Noy et al. 2020).

    The threshold is share/number of operations of the edge; its heaviest operation never dies.
    """

    use: ClassVar[str] = "drop-weak"
    compares: ClassVar[bool] = True
    share: Annotated[float, Field(gt=0, lt=1)] = 0.4

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Prune by the weights at this epoch's temperature."""
        weights = present(policy)
        alive = {}
        for name, mask in policy.alive.items():
            options = policy.layout.masks[name].sum(-1, keepdim=True)
            heavy = mask & (weights[name] >= self.share / options)
            alive[name] = torch.where(heavy.any(-1, keepdim=True), heavy, strongest(weights[name], mask, 1))
        return alive


@dataclass(frozen=True)
class DropZeros(Stages):
    """DSO-NAS: what weighs exactly 0 when one of every ``every`` epochs begins is gone for good.

    Epochs are counted from the end of the warm-up; between two looks a 0 may grow again. Source: the code of
    Zhang et al. 2020, which rebuilds its network so. It also takes away what then reads nothing or is read by
    nothing; here that is left until the derivation, as it adds nothing to what the network gives.
    """

    use: ClassVar[str] = "drop-zeros"
    every: Annotated[int, Field(ge=1)] = 5

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Prune, possibly all options of a row."""
        searched = policy.progress.epoch - policy.progress.warmup
        if searched <= 0 or searched % self.every:
            return None
        return {name: policy.alive[name] & (weights > 0) for name, weights in present(policy).items()}

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It waits for zeros."""
        if not method.relaxation.zeros:
            yield (
                "drop-zeros waits for weights of exactly 0: take a relaxation that has some, scales or "
                "relu-share"
            )


@dataclass(frozen=True)
class FixEarly(Stages):
    """DSNAS: an edge is fixed once its heaviest operation leads the second by ``margin`` (Hu et al. 2020)."""

    use: ClassVar[str] = "fix-early"
    compares: ClassVar[bool] = True
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.3

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Look at every edge that is still open."""
        weights = present(policy)
        alive = {}
        for name, mask in policy.alive.items():
            best = weights[name].topk(min(2, mask.shape[-1]), dim=-1).values
            lead = best[..., :1] - best[..., 1:].sum(-1, keepdim=True)
            alive[name] = torch.where(lead >= self.margin, strongest(weights[name], mask, 1), mask)
        return alive
