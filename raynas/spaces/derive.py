"""Deriving the discrete cell from architecture weights, and finding a cell's choices among them again."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice, Group
from raynas.spaces.space import Space


class Array(Protocol):
    """Anything with `tolist`: a tensor or an array."""

    def tolist(self) -> Any:
        """Return nested lists of plain floats."""


Rows = Sequence[Sequence[float]] | Array


def derive(space: Space, weights: Mapping[str, Rows]) -> Genotype:
    """Choose what weighs most, as the space's skeleton has it.

    ``weights`` maps each group of α to [rows, options] in the space's order: for most spaces a kind of cell
    to its edges and their operations. Columns beyond a row's own options are padding and ignored. Operations
    in ``space.exclude`` are never chosen; ties go to the lowest index. Raises `RaynasError` on a missing
    group, a wrong shape or a NaN.
    """
    return genotype_in(space, skeletons.of(space).derive(space, _tables(space, weights)))


def derive_above(
    space: Space, weights: Mapping[str, Rows], least: float, most: int | None = None
) -> Genotype:
    """Choose what weighs at least ``least``, and anything, at most ``most`` a node, as the skeleton has it.

    ``weights`` are those of `derive`, and so are the errors.
    """
    return genotype_in(space, skeletons.of(space).above(space, _tables(space, weights), least, most))


def genotype_in(space: Space, cells: Mapping[str, Iterable[Choice]]) -> Genotype:
    """Return the genotype that consists of these choices, by kind of cell, of a space.

    Raises `RaynasError` for what no search of the space may derive.
    """
    genotype = skeletons.checked(Genotype.of(space.name, space.nodes, cells, space.skeleton, space.trunk))
    if wrong := "; ".join(skeletons.of(space).unsearchable(space, genotype)):
        raise RaynasError(f"no search of {space.name} derives this cell", got=wrong)
    return genotype


def _tables(space: Space, weights: Mapping[str, Rows]) -> dict[str, list[list[float]]]:
    tables = {}
    for group in skeletons.groups(space):
        if group.name not in weights:
            raise RaynasError(f"no weights for the {group.title}", got=", ".join(weights) or "nothing")
        tables[group.name] = _rows(group, weights[group.name])
    return tables


def selected(space: Space, genotype: Genotype) -> dict[str, list[tuple[int, int]]]:
    """Return the (row, option) entries of each group of α that a genotype of the space has chosen."""
    skeleton = skeletons.of(space)
    groups = skeleton.groups(space)
    entries: dict[str, list[tuple[int, int]]] = {group.name: [] for group in groups}
    rows = {(g.name, row.name): (i, row.options) for g in groups for i, row in enumerate(g.rows)}
    for group, name, option in skeleton.decisions(space, genotype):
        if (group, name) in rows:
            row, options = rows[group, name]
            entries[group].append((row, options.index(option)))
    return entries


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
