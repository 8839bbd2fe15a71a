"""Stage controllers: what changes between epochs. They take operations away and lay out the search in stages.

Taking away is all they do to a policy: they return what stays alive. So lanes may differ and remain in one
pack. Methods differ in when they look, at what, and in what they call weak.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, Protocol, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.policy import Draw, Policy, Tables
from raynas.bilevel.records import EpochReport
from raynas.spaces.space import Space

Histories = Sequence[Sequence[EpochReport]]
"""Every lane's reports so far."""

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Stage:
    """A stretch of ``epochs`` epochs.

    ``build`` replaces what the supernet is built with (``cells``, ``partial``). ``start`` says what becomes
    of the stage before: ``keep`` goes on with it, ``fresh`` draws weights and α anew, ``widen`` lets a wider
    supernet take over the weights and goes on with α; what has died stays dead in all of them. With ``rate``
    the weights' learning rate is this share of the largest instead of annealed, and their momentum starts
    anew; with ``rate`` 0 the weights rest.
    """

    epochs: int
    build: Mapping[str, int] = field(default_factory=dict)
    start: Literal["keep", "fresh", "widen"] = "keep"
    rate: float | None = None


class Sample(NamedTuple):
    """What untrained networks are measured on: which draw of weights, how many images and crops."""

    repeat: int
    images: int
    crops: int


class Looks(Protocol):
    """What a stage controller may look at; none of it changes anything."""

    def score(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """Return each lane's loss and accuracy on the validation half under given weights, [lanes] each."""

    def trainability(self, draw: Draw, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return an untrained network's kernel condition number and linear regions, [lanes] each.

        What it is measured on is the same for all draws of an epoch and a sample.
        """

    def bends(self) -> Tensor:
        """Return the diagonal of the validation loss's Hessian in the logits, [lanes, numbers]."""


class Stages(Protocol):
    """Lays out a search and prunes it."""

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Return the stages of a search of ``epochs`` epochs in ``cells`` cells; they may add fine tuning."""

    def __call__(self, policy: Policy, histories: Histories, looks: Looks) -> Tables | None:
        """Return what stays alive [lanes, rows, options] from this epoch on; None: everything that is."""


class Controller:
    """Base of stage controllers: one stage."""

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Return a single stage."""
        return (Stage(epochs),)


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


def present(policy: Policy) -> Tables:
    """Return the relaxed weights as they are now, on the CPU."""
    with torch.no_grad():
        tables = policy.relax(policy.logits(policy.alphas))
    return {name: weights.cpu() for name, weights in tables.items()}


def incoming(policy: Policy, name: str, alive: Tensor, node: int) -> list[int]:
    """Return the rows of a node's live edges; ``alive`` is one lane's [rows, options]."""
    nodes = policy.layout.nodes[name] or ()
    return [row for row, target in enumerate(nodes) if target == node and bool(alive[row].any())]


def crowded(policy: Policy, name: str, alive: Tensor) -> list[int]:
    """Return the nodes of a cell that have more live edges than they keep."""
    nodes = policy.layout.nodes[name]
    if nodes is None:
        return []
    cell = policy.space.cell(name)
    kept = {node: policy.space.kept(cell, node) for node in nodes}
    return [node for node in kept if len(incoming(policy, name, alive, node)) > kept[node]]


def without_excluded(policy: Policy, name: str, alive: Tensor, also: Sequence[str] = ()) -> Tensor:
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


@dataclass(frozen=True)
class DropWeak(Controller):
    """ASAP: before every epoch what weighs less than ``share`` of a uniform weight dies (Noy et al. 2020).

    The threshold is share/number of operations of the edge; its heaviest operation never dies.
    """

    share: Annotated[float, Field(gt=0, lt=1)] = 0.4

    def __call__(self, policy: Policy, histories: Histories, looks: Looks) -> Tables | None:
        """Prune with this epoch's temperature."""
        weights = present(policy)
        alive = {}
        for name, mask in policy.alive.items():
            options = policy.layout.masks[name].sum(-1, keepdim=True)
            heavy = mask & (weights[name] >= self.share / options)
            alive[name] = torch.where(heavy.any(-1, keepdim=True), heavy, strongest(weights[name], mask, 1))
        return alive


@dataclass(frozen=True)
class DropZeros(Controller):
    """DSO-NAS: what weighs exactly 0 when one of every ``every`` epochs begins is gone for good.

    Epochs are counted from the end of the warm-up; between two looks a 0 may grow again. Source: the code of
    Zhang et al. 2020, which rebuilds its network so. It also takes away what then reads nothing or is read by
    nothing; here that is left until the derivation, as it adds nothing to what the network gives.
    """

    every: Annotated[int, Field(ge=1)] = 5

    def __call__(self, policy: Policy, histories: Histories, looks: Looks) -> Tables | None:
        """Prune, possibly all options of a row."""
        searched = policy.progress.epoch - policy.progress.warmup
        if searched <= 0 or searched % self.every:
            return None
        return {name: policy.alive[name] & (weights > 0) for name, weights in present(policy).items()}


@dataclass(frozen=True)
class FixEarly(Controller):
    """DSNAS: an edge is fixed once its heaviest operation leads the second by ``margin`` (Hu et al. 2020)."""

    margin: Annotated[float, Field(gt=0, lt=1)] = 0.3

    def __call__(self, policy: Policy, histories: Histories, looks: Looks) -> Tables | None:
        """Look at every edge that is still open."""
        weights = present(policy)
        alive = {}
        for name, mask in policy.alive.items():
            best = weights[name].topk(min(2, mask.shape[-1]), dim=-1).values
            lead = best[..., :1] - best[..., 1:].sum(-1, keepdim=True)
            alive[name] = torch.where(lead >= self.margin, strongest(weights[name], mask, 1), mask)
        return alive
