"""TE-NAS: prune a supernet that is never trained, by how well and how finely it could learn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Draw, Histories, Sample, Stage, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.errors import RaynasError
from raynas.parts.stages.base import crowded, incoming, no_edges, side_by_side, without_excluded
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Gone = tuple[str, int, int | None]
"""What is taken away: a group's row and option, or (None) its whole row."""

NEVER = ("none",)
"""What is not a candidate in any space: it adds neither to the kernel nor to the regions."""

DECIMALS = 3
"""To how many decimals relative changes are told apart."""


@dataclass(frozen=True)
class TrainingFree(Stages):
    """One epoch per round, in which every open edge loses the ``prunes`` operations that are missed least.

    Each operation is taken away in turn, and the rest of its row shares its weight. Operations are ranked by
    how much the condition number of the neural tangent kernel falls without them, on ``images`` images, and
    by how much the number of linear regions rises, of ``crops`` squares of 3×3 pixels: relative changes,
    rounded to three decimals and averaged over ``repeats`` draws of weights, images and squares; equal ones
    share a rank. Those with the best sum of ranks go. Once all edges are decided, one node after the other
    loses edges in the same way. `none` and what may never be chosen go first. Both are measured on networks
    of next to nothing, see `Sketches`, whatever supernet the search has; its weights stay as they were drawn.
    A search has as many epochs as there are rounds, and ``epochs`` is the most it may have.

    It runs alone (``solo``). Source: Chen, Gong, Wang 2021 and its code (1 per round on NAS-Bench-201, 3 in
    DARTS' space, with batches of 72 and 14 images). Unlike there, all candidates of a round are measured on
    the same draws, so that they differ in nothing else, and images come unaugmented from the validation half.
    """

    use: ClassVar[str] = "training-free"
    compares: ClassVar[bool] = True
    solo = True
    version: ClassVar[int] = 2
    prunes: Annotated[int, Field(ge=1)] = 1
    images: Annotated[int, Field(ge=2)] = 14
    crops: Annotated[int, Field(ge=2)] = 3000
    repeats: Annotated[int, Field(ge=1)] = 3

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Return an epoch for each round; raises `RaynasError` when there are more rounds than epochs."""
        # None of these is ever a candidate, so they take no round: NAS-Bench-201 has three rounds, for its
        # other four.
        never = {*space.exclude, *NEVER}
        most = max(len(set(row.options) - never) for group in skeletons.groups(space) for row in group.rows)
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

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Prune options round by round, then the edges of crowded nodes."""
        alive = {name: without_excluded(policy, name, mask, NEVER) for name, mask in policy.alive.items()}
        lanes = range(policy.lanes)
        before = {name: mask.clone() for name, mask in alive.items()}
        options = {lane: _options(alive, lane) for lane in lanes}
        if any(options.values()):
            self._round(policy, alive, options, looks, before)
            return alive
        for name, nodes in policy.layout.nodes.items():
            for node in dict.fromkeys(nodes or ()):
                edges = {lane: _edges(policy, alive, lane, name, node) for lane in lanes}
                self._round(policy, alive, edges, looks, before)
        return alive

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It prunes operations of edges by what images tell, and trains nothing."""
        if method.estimator is not None:
            yield "training-free pruning trains nothing: `estimator: null`"
        yield from no_edges(space)
        if space is not None and skeletons.of(space).texts:
            yield (
                "training-free pruning counts the linear regions of images, and this space reads texts "
                f"({space.name})"
            )

    def _round(
        self,
        policy: PolicyView,
        alive: Tables,
        candidates: Mapping[int, Sequence[Gone]],
        looks: Looks,
        before: Tables,
    ) -> None:
        """Rank the candidates of every lane and take the best of them away."""
        found: dict[int, list[list[tuple[float, float]]]] = {lane: [] for lane in candidates}
        for repeat in range(self.repeats):
            for lane, changes in self._changes(policy, alive, candidates, looks, repeat).items():
                found[lane].append(changes)
        for lane, repeats in found.items():
            means = [
                tuple(sum(each) / self.repeats for each in zip(*of_one, strict=True))
                for of_one in zip(*repeats, strict=True)
            ]
            for place in ranked(means):
                self._take(policy, alive, lane, candidates[lane][place], before)

    def _changes(
        self,
        policy: PolicyView,
        alive: Tables,
        candidates: Mapping[int, Sequence[Gone]],
        looks: Looks,
        repeat: int,
    ) -> dict[int, list[tuple[float, float]]]:
        """Return by how much condition number and regions fall without each candidate, to three decimals."""

        def measure(masks: Tables) -> Sequence[Tensor]:
            with torch.no_grad():
                return looks.trainability(_mixture(policy, masks), Sample(repeat, self.images, self.crops))

        def without(gone: Mapping[int, Gone]) -> Sequence[Tensor]:
            tables = {name: mask.clone() for name, mask in alive.items()}
            for lane, (name, row, option) in gone.items():
                tables[name][lane, row, slice(None) if option is None else option] = False
            return measure(tables)

        if not any(candidates.values()):
            return {lane: [] for lane in candidates}
        now = [values.tolist() for values in measure(alive)]
        return {
            lane: [(_fall(value[0], now[0][lane]), _fall(value[1], now[1][lane])) for value in values]
            for lane, values in side_by_side(candidates, without).items()
        }

    def _take(self, policy: PolicyView, alive: Tables, lane: int, gone: Gone, before: Tables) -> None:
        """Take something away unless its row or node has lost enough in this round."""
        name, row, option = gone
        mask = alive[name][lane]
        if option is None:
            if (policy.layout.nodes[name] or ())[row] in crowded(policy, name, mask):
                mask[row] = False
            return
        allowed = before[name][lane, row]
        if int(mask[row].sum()) > max(int(allowed.sum()) - self.prunes, 1):
            mask[row, option] = False


def _options(alive: Tables, lane: int) -> list[Gone]:
    """List every live option of every open row."""
    return [
        (name, row, option)
        for name, masks in alive.items()
        for row, mask in enumerate(masks[lane])
        if int(mask.sum()) > 1
        for option in mask.nonzero()[:, 0].tolist()
    ]


def _edges(policy: PolicyView, alive: Tables, lane: int, name: str, node: int) -> list[Gone]:
    """List the live edges of a node that has more than it keeps."""
    mask = alive[name][lane]
    return [
        (name, row, None) for row in incoming(policy, name, mask, node) if node in crowded(policy, name, mask)
    ]


def _mixture(policy: PolicyView, alive: Tables) -> Draw:
    """Return the weights of a policy as if just ``alive`` were left."""
    flat = policy.logits(policy.alphas)
    tables = policy.layout.tables(flat)
    device = flat.device
    weights = {name: policy.relaxation(logits, alive[name].to(device)) for name, logits in tables.items()}
    return policy.finish(Draw(weights, alive), flat)


def ranked(falls: Sequence[tuple[float, ...]]) -> list[int]:
    """Order candidates by the sum of two ranks: most fall of the condition number, least of the regions.

    Ranks are dense. What has equal sums goes by the first.
    """
    conditions, regions = zip(*falls, strict=True) if falls else ((), ())
    first = sorted(range(len(falls)), key=lambda place: significant(conditions[place]), reverse=True)
    second = sorted(range(len(falls)), key=lambda place: significant(regions[place]))
    ranks = [_dense(conditions, first), _dense(regions, second)]
    return sorted(first, key=lambda place: ranks[0][place] + ranks[1][place])


def _dense(values: Sequence[float], order: Sequence[int]) -> dict[int, int]:
    """Return each place's rank in this order: what equals the one before it shares its rank."""
    ranks: dict[int, int] = {}
    before = None
    for place in order:
        step = 0 if before is None or values[place] == values[before] else 1
        ranks[place] = step + (0 if before is None else ranks[before])
        before = place
    return ranks


def significant(value: float, digits: int = DECIMALS) -> float:
    """Round to so many significant digits, by which changes are put in order."""
    if value == 0 or math.isinf(value):
        return value
    size = abs(value) + 1e-8
    power = math.floor(math.log10(size)) + 1
    return math.copysign(round(size * 10.0**-power, digits) * 10.0**power, value)


def _fall(value: float, before: float) -> float:
    """Return the relative fall to three decimals; from infinity it is 1, to it −∞, and 0 within it."""
    if math.isinf(before):
        return 0.0 if math.isinf(value) else 1.0
    return -math.inf if math.isinf(value) else round((before - value) / before, DECIMALS)
