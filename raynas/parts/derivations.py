"""Derivations: from the mean weights at the end of an epoch to a discrete cell. None of them can fail."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field

from raynas.spaces import skeletons
from raynas.spaces.derive import Rows, derive, derive_above, genotype_in, selected
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space

Table = list[list[float]]
Rated = list[tuple[float, Choice, bool]]


class Derivation(Protocol):
    """Turns weights, a [rows, options] table for each group of α, into a genotype of the space.

    A derivation may have ``notes(space, weights)`` as well: numbers by name that each epoch's report carries.
    """

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype: ...


@dataclass(frozen=True)
class Strongest:
    """DARTS' rule: as many edges a node as the space keeps, each with its heaviest operation (see `derive`).

    With edge normalisation the weights already are products with the edges' shares; after pruning only what
    is alive has weight, so this also reads a search that has decided everything.
    """

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Derive by magnitude."""
        return derive(space, weights)


@dataclass(frozen=True)
class EveryEdge:
    """The heaviest operation of every edge; an edge whose heaviest is one never to be chosen disappears.

    SNAS' released cells and all most probable architectures are read so. A node all of whose edges would
    disappear keeps its best one. Where rows of α are no edges, the space's own rule stands.
    """

    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """Take the argmax of each row, the excluded operations included."""
        if not skeletons.of(space).edgewise:
            return derive(space, weights)
        cells: dict[str, list[Choice]] = {
            cell.kind: _every(space, cell, _lists(weights[cell.kind])) for cell in space.cells
        }
        return genotype_in(space, cells)


def _every(space: Space, cell: Cell, table: Table) -> list[Choice]:
    choices: list[Choice] = []
    for node in space.targets:
        rated = _rated(space, cell, table, node)
        kept = [choice for weight, choice, leads in rated if leads]
        best = [choice for _, choice, _ in sorted(rated, key=lambda each: -each[0])[:1]]
        choices += kept or best
    return choices


def _rated(space: Space, cell: Cell, table: Table, node: int) -> Rated:
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
class Threshold:
    """What weighs at least ``above``, and anything, at most ``most`` edges a node (FairDARTS: 0.85 and 2).

    In the code of Chu et al. 2020 a node without such an edge is no part of the cell, of its output, or of
    what later nodes read. A cell of an edge skeleton has all its nodes, so here such a node keeps its best
    edge, however light: where that happens the cell is not the one the code derives, but a wider one with
    more operations. `notes` counts those nodes, and every epoch's report carries the number as
    ``nodes_below``: at 0 the cell is the code's. It is not 0 in short searches. A sigmoid reaches 0.85 at
    α = 1.73, which takes Adam 580 steps at FairDARTS' rate even if all of them agree.

    ``most: null`` keeps all (DSO-NAS, with ``above`` 0).
    """

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

    def _nodes(self, space: Space, weights: Mapping[str, Rows]) -> Iterator[tuple[str, Rated]]:
        """Yield each node's kind of cell and edges, heaviest first."""
        for cell in space.cells:
            table = _lists(weights[cell.kind])
            for node in space.targets:
                yield cell.kind, sorted(_rated(space, cell, table, node), key=lambda each: -each[0])

    def _passing(self, rated: Rated) -> list[Choice]:
        return [choice for weight, choice, _ in rated if weight >= self.above and weight > 0][: self.most]


@dataclass(frozen=True)
class FewSkips:
    """P-DARTS: DARTS' rule, but a normal cell has at most ``most`` skips (Chen et al. 2019, section 3.3).

    While there are more, the chosen skip with the smallest weight is set to 0 and the cell derived again.
    Where nothing else can be chosen, skips remain.
    """

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


def is_skip(op: str) -> bool:
    """Tell whether an operation is a skip connection."""
    return OPERATIONS[op].family == "skip"


def _lists(rows: Rows) -> Table:
    table: Table = rows.tolist() if hasattr(rows, "tolist") else list(rows)  # type: ignore[arg-type]
    return table
