"""Deriving the discrete cell from architecture weights, and finding a cell's choices among them again."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from raynas.core.genotype import Choice, Genotype
from raynas.core.space import Cell, Group, Space
from raynas.errors import RaynasError


class Array(Protocol):
    """Anything with `tolist`: a tensor or an array."""

    def tolist(self) -> Any:
        """Return nested lists of plain floats."""


Rows = Sequence[Sequence[float]] | Array
Tables = Mapping[str, list[list[float]]]


def derive(space: Space, weights: Mapping[str, Rows]) -> Genotype:
    """Keep, per node, the incoming edges whose best allowed operation weighs most (``space.kept`` of them).

    ``weights`` maps each group of α to [rows, options] in the space's order: for most spaces a kind of cell
    to its edges and their operations. Columns beyond a row's own options are padding and ignored. In a cell
    of choice blocks a block takes its heaviest operation and its heaviest parents. Operations in
    ``space.exclude`` are never chosen; ties go to the lowest index, between edges and between operations.
    Raises `RaynasError` on a missing group, a wrong shape or a NaN.
    Source: Liu et al. 2019, section 2.4; Zela, Siems, Hutter 2020, section 3.
    """
    tables = {}
    for group in space.groups:
        if group.name not in weights:
            raise RaynasError(f"no weights for the {group.title}", got=", ".join(weights) or "nothing")
        tables[group.name] = _rows(group, weights[group.name])
    choose = _edges if space.form.chooses == "edge" else _blocks
    chosen = {str(cell.kind): list(choose(space, cell, tables)) for cell in space.cells}
    return Genotype.of(space.name, space.nodes, chosen, space.skeleton)


def selected(space: Space, genotype: Genotype) -> dict[str, list[tuple[int, int]]]:
    """Return the (row, option) entries of each group of α that a genotype of the space has chosen."""
    entries: dict[str, list[tuple[int, int]]] = {group.name: [] for group in space.groups}
    rows = {(g.name, row.name): (i, row.options) for g in space.groups for i, row in enumerate(g.rows)}
    for cell in space.cells:
        for choice in genotype.cell(cell.kind):
            for group, name, option in _decided(space, cell.kind, choice):
                if (group, name) in rows:
                    row, options = rows[group, name]
                    entries[group].append((row, options.index(option)))
    return entries


def _decided(space: Space, kind: str, choice: Choice) -> list[tuple[str, str, str]]:
    """Return the groups, rows and options that make a choice; a row α does not have is no choice."""
    if space.form.chooses == "edge":
        return [(kind, f"edge {choice.source}->{choice.target}", choice.op)]
    parent = str(choice.source)
    if choice.target == space.targets[-1]:
        return [("output", "output: parents", parent)]
    block = f"block {choice.target}"
    return [("operations", f"{block}: operation", choice.op), ("inputs", f"{block}: parents", parent)]


def _edges(space: Space, cell: Cell, tables: Tables) -> Iterator[Choice]:
    best: dict[int, list[tuple[float, Choice]]] = {target: [] for target in space.targets}
    for edge, row in zip(cell.edges, tables[cell.kind], strict=True):
        if set(edge.ops) - set(space.exclude):
            weight, op = _heaviest(row, edge.ops, space)
            best[edge.target].append((weight, Choice(op, edge.source, edge.target)))
    for target, rated in best.items():
        # `sorted` keeps the order of equals: ties go to the lowest index.
        kept = sorted(rated, key=lambda pair: -pair[0])[: space.kept(cell, target)]
        yield from (choice for _, choice in kept)


def _blocks(space: Space, cell: Cell, tables: Tables) -> Iterator[Choice]:
    weights = {
        row.name: values
        for group in space.groups
        for row, values in zip(group.rows, tables[group.name], strict=True)
    }
    for target in space.targets:
        edges = cell.into(target)
        place = "output" if target == space.targets[-1] else f"block {target}"
        _, op = _heaviest(weights.get(f"{place}: operation", [0.0]), edges[0].ops, space)
        parents = weights.get(f"{place}: parents", [0.0] * len(edges))
        heaviest = sorted(zip(parents, edges, strict=True), key=lambda pair: -pair[0])
        for _, edge in heaviest[: space.kept(cell, target)]:
            yield Choice(op, edge.source, target)


def _heaviest(weights: Sequence[float], ops: Sequence[str], space: Space) -> tuple[float, str]:
    """Return the heaviest allowed operation, the first of equals."""
    rated = zip(weights, ops, strict=True)
    return max((pair for pair in rated if pair[1] not in space.exclude), key=lambda pair: pair[0])


def _rows(group: Group, weights: Rows) -> list[list[float]]:
    """Return the weights as floats, one list a row, cut to the row's own options."""
    table = weights if isinstance(weights, Sequence) else weights.tolist()
    if len(table) != len(group.rows):
        raise RaynasError(
            f"weights of the {group.title} have the wrong shape",
            got=f"{len(table)} rows",
            expected=f"{len(group.rows)}, one per {group.rows[0].name.split()[0].rstrip(':')}",
        )
    rows = []
    for row, values in zip(group.rows, table, strict=True):
        numbers = [float(value) for value in values[: len(row.options)]]
        where = f"{row.name} of the {group.title}"
        if len(numbers) < len(row.options):
            raise RaynasError(
                f"too few weights on {where}",
                got=len(numbers),
                expected=f"{len(row.options)}: {', '.join(row.options)}",
            )
        if any(math.isnan(weight) for weight in numbers):
            raise RaynasError(f"a weight on {where} is NaN", got=numbers, expected="numbers")
        rows.append(numbers)
    return rows
