"""Derivations: from the mean weights at the end of an epoch to a discrete cell. None of them can fail."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Derivation
from raynas.spaces import skeletons
from raynas.spaces.derive import Rows, derive, derive_above, genotype_in, selected
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space

_Lists = list[list[float]]
_Rated = list[tuple[float, Choice, bool]]


@dataclass(frozen=True)
class Strongest(Derivation):
    """DARTS' rule: as many edges per node as the space keeps, each with its heaviest operation (`derive`).

    With edge normalisation the weights already are products with the edges' shares; after pruning only what
    is alive has weight, so this also reads a search that has decided everything.
    """

    use: ClassVar[str] = "strongest"

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Derive the heaviest operations and edges."""
        return derive(space, weights)


@dataclass(frozen=True)
class EveryEdge(Derivation):
    """The heaviest operation of every edge; an edge whose heaviest is one never to be chosen disappears.

    SNAS' released cells and all most probable architectures are read so. A node all of whose edges would
    disappear keeps its best one. Where rows of α are not edges, the space's own rule applies.
    """

    use: ClassVar[str] = "every-edge"

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Take the argmax of each row, the excluded operations included."""
        if not skeletons.of(space).edgewise:
            return derive(space, weights)
        cells: dict[str, list[Choice]] = {
            cell.kind: _every(space, cell, _lists(weights[cell.kind])) for cell in space.cells
        }
        return genotype_in(space, cells)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """The draws must not have chosen edges already."""
        if method.sampler.keeps_edges:
            yield f"{method.sampler.use} has already chosen the edges: derive by strongest"


def _every(space: Space, cell: Cell, table: _Lists) -> list[Choice]:
    choices: list[Choice] = []
    for node in space.targets:
        rated = _rated(space, cell, table, node)
        kept = [choice for weight, choice, leads in rated if leads]
        best = [choice for _, choice, _ in sorted(rated, key=lambda each: -each[0])[:1]]
        choices += kept or best
    return choices


def _rated(space: Space, cell: Cell, table: _Lists, node: int) -> _Rated:
    """Rate a node's edges: the heaviest operation that may be chosen, and whether it is heaviest of all."""
    rated = []
    for edge, row in zip(cell.edges, table, strict=True):
        allowed = [(w, op) for w, op in zip(row, edge.ops, strict=False) if op not in space.exclude]
        if edge.target == node and allowed:
            weight, op = max(allowed, key=lambda pair: pair[0])
            first = max(range(len(edge.ops)), key=lambda column: row[column])
            choice = Choice(op, edge.source, edge.target)
            rated.append((weight, choice, edge.ops[first] == op and weight > 0))
    return rated


@dataclass(frozen=True)
class Threshold(Derivation):
    """What weighs at least ``above``, and anything, at most ``most`` edges a node (FairDARTS: 0.85 and 2).

    In the code of Chu et al. 2020 a node without such an edge is not part of the cell, of its output, or of
    what later nodes read. A cell of an edge skeleton has all its nodes, so here such a node keeps its best
    edge, however light: where that happens the cell is not the one the code derives, but a wider one with
    more operations. `notes` counts those nodes, and every epoch's report carries the number as
    ``nodes_below``: at 0 the cell is the code's. It is not 0 in short searches. A sigmoid reaches 0.85 at
    α = 1.73, which takes Adam 580 steps at FairDARTS' rate even if all of them agree.

    ``most: null`` keeps all (DSO-NAS, with ``above`` 0).
    """

    use: ClassVar[str] = "threshold"
    version: ClassVar[int] = 2
    above: Annotated[float, Field(ge=0)] = 0.85
    most: Annotated[int, Field(ge=1)] | None = 2

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Keep, on each edge, its heaviest operation."""
        if not skeletons.of(space).edgewise:
            return derive_above(space, weights, self.above, self.most)
        cells: dict[str, list[Choice]] = {}
        for kind, rated in self._nodes(space, weights):
            best = [choice for _, choice, _ in rated[:1]]
            cells.setdefault(kind, []).extend(self._passing(rated) or best)
        return genotype_in(space, cells)

    def notes(self, space: Space, weights: Mapping[str, Rows]) -> Mapping[str, float]:
        """Return how many nodes have no edge that passes, of all kinds of cell."""
        if not skeletons.of(space).edgewise:
            return {}
        below = [not self._passing(rated) for _, rated in self._nodes(space, weights)]
        return {"nodes_below": float(sum(below))}

    def _nodes(self, space: Space, weights: Mapping[str, Rows]) -> Iterator[tuple[str, _Rated]]:
        """Yield each node's kind of cell and edges, heaviest first."""
        for cell in space.cells:
            table = _lists(weights[cell.kind])
            for node in space.targets:
                yield cell.kind, sorted(_rated(space, cell, table, node), key=lambda each: -each[0])

    def _passing(self, rated: _Rated) -> list[Choice]:
        return [choice for weight, choice, _ in rated if weight >= self.above and weight > 0][: self.most]

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Weights of a row must be able to pass together."""
        if self.above >= 0.5 and method.relaxation.sums_to_one:
            yield "at most one weight of a row that sums to 1 is above ½: take another derivation"


@dataclass(frozen=True)
class FewSkips(Derivation):
    """P-DARTS: DARTS' rule, but a normal cell has at most ``most`` skips (Chen et al. 2019, section 3.3).

    While there are more, the chosen skip with the smallest weight is set to 0 and the cell derived again.
    Where nothing else can be chosen, skips remain.
    """

    use: ClassVar[str] = "few-skips"
    most: Annotated[int, Field(ge=0)] = 2

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Derive, take a skip away, derive again."""
        tables = {name: _lists(rows) for name, rows in weights.items()}
        tables = {name: [list(row) for row in rows] for name, rows in tables.items()}
        while True:
            genotype = derive(space, tables)
            skips = sum(is_skip(choice.op) for choice in genotype.cell("normal"))
            chosen = [
                (tables["normal"][row][column], row, column)
                for row, column in selected(space, genotype).get("normal", [])
                if is_skip(space.cell("normal").edges[row].ops[column])
            ]
            removable = [each for each in chosen if each[0] > 0]
            if skips <= self.most or not removable:
                return genotype
            _, row, column = min(removable)
            tables["normal"][row][column] = 0.0

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It needs skips on edges of normal cells."""
        if space is None:
            return
        if no_skips(space):
            yield f"skips are counted, but the space has none ({space.name})"
        if not (skeletons.of(space).edgewise and "normal" in space.kinds):
            yield (
                "few-skips takes skips off the edges of normal cells, but the space has no such edges "
                f"({space.name})"
            )


def is_skip(op: str) -> bool:
    """Tell whether an operation is a skip connection."""
    return OPERATIONS[op].family == "skip"


def no_skips(space: Space) -> bool:
    """Tell whether no edge of a space may be a skip connection."""
    return not any(is_skip(op) for cell in space.cells for edge in cell.edges for op in edge.ops)


def _lists(rows: Rows) -> _Lists:
    table: _Lists = rows.tolist() if hasattr(rows, "tolist") else list(rows)  # type: ignore[arg-type]
    return table
