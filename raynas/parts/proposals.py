"""Proposals: which cell to look at next, given what the last ones came to; no weights are trained.

The searches before differentiable ones, and the controls. A proposer works on the cells themselves, not on a
supernet; what judges them (a table) is not its affair.
"""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raynas.bilevel.part import Composition
from raynas.bilevel.slots import CellProposer, Proposals
from raynas.spaces import skeletons
from raynas.spaces.derive import genotype_in
from raynas.spaces.draw import mutated, uniform_cell
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.space import Space

MOST_SUBSETS = 1000
"""Sets of edges that a node may choose from."""


class _Drawing:
    """What all proposers here have: a space, and a source of chance whose state can be kept."""

    def __init__(self, space: Space, seed: str) -> None:
        self.space, self.source = space, random.Random(seed)  # noqa: S311  (chance that repeats; no secret)

    def weights(self) -> dict[str, list[list[float]]]:
        """Return nothing: no row of α stands behind these proposals."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return the state of the source of chance."""
        return {"chance": self.source.getstate()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put the source of chance back."""
        version, numbers, spare = state["chance"]
        self.source.setstate((version, tuple(numbers), spare))


class _AtRandom(_Drawing):
    def propose(self) -> Genotype:
        return uniform_cell(self.space, self.source)

    def tell(self, cell: Genotype, accuracy: float) -> None:
        return None


@dataclass(frozen=True)
class UniformCells(Proposals):
    """Random search: uniformly drawn cells, of which the best is kept; the control of all others.

    Cells may come again, as in D-X-Y/AutoDL-Projects f46486e, exps/NAS-Bench-201-algos/R_EA.py and its like.
    """

    use: ClassVar[str] = "random-cells"

    def start(self, space: Space, seed: str) -> CellProposer:
        """Return a proposer that remembers nothing."""
        return _AtRandom(space, seed)


class _Evolving(_Drawing):
    def __init__(self, space: Space, seed: str, rule: "RegularisedEvolution") -> None:
        super().__init__(space, seed)
        self.rule = rule
        self.population: list[tuple[Genotype, float]] = []

    def propose(self) -> Genotype:
        if len(self.population) < self.rule.population:
            return uniform_cell(self.space, self.source)
        parent, _ = max(self._tournament(), key=lambda each: each[1])
        return mutated(self.space, parent, self.source)

    def tell(self, cell: Genotype, accuracy: float) -> None:
        self.population.append((cell, accuracy))
        del self.population[: -self.rule.population]

    def _tournament(self) -> list[tuple[Genotype, float]]:
        if self.rule.replacement:
            return self.source.choices(self.population, k=self.rule.tournament)
        return self.source.sample(self.population, self.rule.tournament)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "population": [[cell.to_json(), value] for cell, value in self.population]}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.population = [(genotype_from_json(cell), value) for cell, value in state["population"]]


@dataclass(frozen=True)
class RegularisedEvolution(Proposals):
    """Regularised evolution: the best of a small tournament has a mutated child, and the oldest dies.

    A ``population`` of uniformly drawn cells comes first, and counts. Then each child differs from its parent
    in one choice (see `raynas.spaces.draw.mutated`). Of ``tournament`` members, drawn with ``replacement`` or
    without, the best is the parent, of equals the one drawn first. Source: Real et al. 2019; the numbers are
    those of D-X-Y/AutoDL-Projects f46486e, exps/NAS-Bench-201-algos/R_EA.py (NAS-Bench-101's notebook has 50
    and 10, without replacement).
    """

    use: ClassVar[str] = "regularised-evolution"
    population: Annotated[int, Field(ge=1, le=100_000)] = 10
    tournament: Annotated[int, Field(ge=1, le=100_000)] = 3
    replacement: bool = True

    def start(self, space: Space, seed: str) -> CellProposer:
        """Return a proposer without a population."""
        return _Evolving(space, seed, self)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It must come to having children."""
        yield from super().misfits(method, space, values)
        if self.evaluations <= self.population:
            yield (
                f"{self.evaluations} evaluations are no more than the first population, {self.population}: "
                "nothing evolves; raise `evaluations`"
            )
        if not self.replacement and self.tournament > self.population:
            yield f"{self.tournament} different members of a population of {self.population} cannot be drawn"


class Factors:
    """A distribution over the cells of a space whose rows are edges: independent categoricals.

    For each node which of its edges it keeps (where there is a choice), for each edge which operation it has.
    The operations of edges that were not kept take no part in a cell's probability. ``logits`` [n] holds all
    factors one after another, ``spans`` where each begins and ends.
    """

    def __init__(self, space: Space, logits: NDArray[np.float64] | None = None) -> None:
        self.space = space
        self.spans: list[slice] = []
        self._sets: list[tuple[str, int, list[tuple[int, ...]], int | None]] = []
        self._ops: dict[tuple[str, int, int], tuple[int, tuple[str, ...]]] = {}
        for cell in space.cells:
            for node in space.targets:
                usable = space.usable(cell, node)
                kept = combinations([edge.source for edge in usable], space.kept(cell, node))
                sets = list(kept)
                self._sets.append((cell.kind, node, sets, self._span(len(sets)) if len(sets) > 1 else None))
                for edge in usable:
                    ops = space.allowed(edge)
                    self._ops[cell.kind, edge.source, node] = self._span(len(ops)), ops
        self.logits = np.zeros(self.spans[-1].stop) if logits is None else logits
        self._starts = [span.start for span in self.spans]
        self._sizes = [span.stop - span.start for span in self.spans]

    def _span(self, size: int) -> int:
        start = self.spans[-1].stop if self.spans else 0
        self.spans.append(slice(start, start + size))
        return len(self.spans) - 1

    def probabilities(self) -> NDArray[np.float64]:
        """Return the probabilities [n] of all factors, each of which sums to 1."""
        largest = np.maximum.reduceat(self.logits, self._starts)
        weights = np.exp(self.logits - np.repeat(largest, self._sizes))
        shares: NDArray[np.float64] = weights / np.repeat(np.add.reduceat(weights, self._starts), self._sizes)
        return shares

    def draw(self, source: random.Random) -> Genotype:
        """Return a cell."""
        every = self.probabilities().tolist()
        shares = [every[span] for span in self.spans]
        cells: dict[str, list[Choice]] = {cell.kind: [] for cell in self.space.cells}
        for kind, node, sets, factor in self._sets:
            for edge in sets[0 if factor is None else _drawn(shares[factor], source)]:
                place, ops = self._ops[kind, edge, node]
                cells[kind].append(Choice(ops[_drawn(shares[place], source)], edge, node))
        return genotype_in(self.space, cells)

    def chosen(self, cell: Genotype) -> dict[int, int]:
        """Return which option of which factors makes a cell."""
        found = {}
        for kind, node, sets, factor in self._sets:
            into = [choice for choice in cell.cell(kind) if choice.target == node]
            if factor is not None:
                found[factor] = sets.index(tuple(choice.source for choice in into))
            for choice in into:
                place, ops = self._ops[kind, choice.source, node]
                found[place] = ops.index(choice.op)
        return found

    def log_probability(self, cell: Genotype) -> float:
        """Return the logarithm of a cell's probability, in nats."""
        shares = self.probabilities()
        chosen = self.chosen(cell).items()
        return sum(math.log(shares[self.spans[factor].start + option]) for factor, option in chosen)

    def slope(self, cell: Genotype) -> NDArray[np.float64]:
        """Return the gradient [n] of a cell's log-probability in the logits."""
        shares, slope = self.probabilities(), np.zeros_like(self.logits)
        for factor, option in self.chosen(cell).items():
            span = self.spans[factor]
            slope[span] = -shares[span]
            slope[span.start + option] += 1
        return slope

    def tables(self) -> dict[str, list[list[float]]]:
        """Return the operations' probabilities by group of α, as reports have weights."""
        shares, tables = self.probabilities().tolist(), {}
        for cell in self.space.cells:
            rows = []
            for edge in cell.edges:
                place, ops = self._ops.get((cell.kind, edge.source, edge.target), (0, ()))
                known = dict(zip(ops, shares[self.spans[place]], strict=bool(ops)))
                rows.append([known.get(op, 0.0) for op in edge.ops])
            tables[cell.kind] = rows
        return tables


class _Learning(_Drawing):
    """REINFORCE at work: Adam on the logits (Kingma, Ba 2015: 0.9, 0.999, 1e-8), a baseline without bias."""

    def __init__(self, space: Space, seed: str, rule: "PolicyGradient") -> None:
        super().__init__(space, seed)
        self.rule, self.factors = rule, Factors(space)
        self.factors.logits[:] = [self.source.gauss(0, rule.spread) for _ in self.factors.logits]
        self.moments = np.zeros((2, len(self.factors.logits)))
        self.steps, self.sum, self.weight = 0, 0.0, 0.0

    def weights(self) -> dict[str, list[list[float]]]:
        return self.factors.tables()

    def propose(self) -> Genotype:
        return self.factors.draw(self.source)

    def tell(self, cell: Genotype, accuracy: float) -> None:
        self.sum = self.rule.memory * self.sum + (1 - self.rule.memory) * accuracy
        self.weight = self.rule.memory * self.weight + (1 - self.rule.memory)
        gradient = -(accuracy - self.sum / self.weight) * self.factors.slope(cell)
        self.steps += 1
        self.moments[0] += (gradient - self.moments[0]) * 0.1
        self.moments[1] += (gradient**2 - self.moments[1]) * 0.001
        first, second = self.moments[0] / (1 - 0.9**self.steps), self.moments[1] / (1 - 0.999**self.steps)
        self.factors.logits -= self.rule.rate * first / (np.sqrt(second) + 1e-8)

    def state(self) -> dict[str, Any]:
        return {
            **super().state(),
            "logits": self.factors.logits.tolist(),
            "moments": self.moments.tolist(),
            "baseline": [self.sum, self.weight],
            "steps": self.steps,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.factors.logits[:] = state["logits"]
        self.moments[:] = state["moments"]
        self.sum, self.weight = state["baseline"]
        self.steps = state["steps"]


@dataclass(frozen=True)
class PolicyGradient(Proposals):
    """REINFORCE: independent categoricals over edges follow (accuracy − baseline)·∇ log p, one cell a step.

    Williams 1992; as in D-X-Y/AutoDL-Projects f46486e, exps/NAS-Bench-201-algos/reinforce.py: logits start
    at ``spread``·N(0, 1) and move by Adam with ``rate`` (there 0.001; exps/NATS-algos/run-all.sh has 0.01);
    the baseline is a moving average with ``memory``, freed of its start's bias, which knows the accuracy
    before that is held against it. What counts is the best cell of all that were drawn, not the likeliest
    one. Where a node keeps some of its edges only, which of them is one categorical more (assumed: the source
    has no such space).
    """

    use: ClassVar[str] = "policy-gradient"
    rate: Annotated[float, Field(gt=0)] = 0.01
    memory: Annotated[float, Field(ge=0, lt=1)] = 0.9
    spread: Annotated[float, Field(ge=0)] = 1e-3

    def start(self, space: Space, seed: str) -> CellProposer:
        """Return a proposer with a nearly uniform policy."""
        return _Learning(space, seed, self)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Its categoricals are those of edges."""
        yield from super().misfits(method, space, values)
        if space is None:
            return
        if not skeletons.of(space).edgewise:
            yield (
                "policy-gradient draws edges and their operations, but here α decides other things "
                f"({space.name}): random-cells and regularised-evolution can search it"
            )
            return
        counts = [
            math.comb(len(space.usable(cell, node)), space.kept(cell, node))
            for cell in space.cells
            for node in space.targets
        ]
        if max(counts) > MOST_SUBSETS:
            yield f"policy-gradient: a node of {space.name} can keep {max(counts):,} sets of edges"


def _drawn(shares: list[float], source: random.Random) -> int:
    """Return the place of one of these probabilities, drawn by them."""
    left = source.random()
    for place, share in enumerate(shares):
        left -= share
        if left < 0:
            return place
    return len(shares) - 1  # rounding
