"""Reading weights row by row, as skeletons do to derive a cell."""

from collections.abc import Iterable, Sequence

from raynas.spaces.graph import Group
from raynas.spaces.skeletons.base import WeightLists
from raynas.spaces.space import Space


def heaviest(weights: Sequence[float], ops: Sequence[str], space: Space) -> tuple[float, str]:
    """Return the heaviest operation that may be chosen, with its weight; the first of equals."""
    rated = zip(weights, ops, strict=True)
    return max((pair for pair in rated if pair[1] not in space.exclude), key=lambda pair: pair[0])


def by_row(groups: Iterable[Group], tables: WeightLists) -> dict[str, list[float]]:
    """Return weights by the names of their rows, of all groups."""
    return {
        row.name: values
        for group in groups
        for row, values in zip(group.rows, tables[group.name], strict=True)
    }
