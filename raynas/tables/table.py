"""What every table of trained accuracies can do, and reading one column of it as a yardstick."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raynas.core.genotype import Genotype
from raynas.core.space import Space
from raynas.errors import RaynasError, unknown

COLUMN = re.compile(r"(?P<data>.+)_(?P<part>test|val|valid|train)(?:_(?P<epochs>\d+))?")
"""How a column of accuracies is called: data set, part of it, and for how many epochs was trained."""


@dataclass(frozen=True)
class Entry:
    """What a table says of one cell.

    ``accuracies`` in [0, 1] by column; a column without a value for this cell is left out. ``parameters``
    and ``flops`` in the table's own units, None where it has none.
    """

    accuracies: Mapping[str, float]
    parameters: float | None = None
    flops: float | None = None


class Table(Protocol):
    """A table of trained accuracies.

    ``name`` is the file's, ``columns`` are the names of its accuracies (as `COLUMN`), ``best`` holds the
    largest accuracy of each, in [0, 1].
    """

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def best(self) -> Mapping[str, float]: ...

    def look_up(self, genotype: Genotype) -> Entry | None:
        """Return what the table says of a cell, None where it does not hold it."""
        ...

    def misfit(self, space: Space) -> str | None:
        """Say why the table cannot hold the cells of a space; None when it can."""
        ...


def column_of(columns: Sequence[str], data: str) -> str:
    """Return the column that ``data`` asks for: a column by name, or a data set's test accuracies.

    A data set stands for its column of the part ``test`` that was trained longest. Raises `RaynasError`
    with the nearest name.
    """
    if data in columns:
        return data
    found = {column: match for column in columns if (match := COLUMN.fullmatch(column))}
    tests = [column for column, match in found.items() if match["data"] == data and match["part"] == "test"]
    if tests:
        return max(tests, key=lambda column: int(found[column]["epochs"] or 0))
    raise unknown("data set or column of the table", data, {*columns, *(m["data"] for m in found.values())})


@dataclass(frozen=True)
class Yardstick:
    """One column of a table, to judge cells by; ``best`` is the largest accuracy in it."""

    table: Table
    column: str
    best: float

    @classmethod
    def of(cls, table: Table, data: str) -> "Yardstick":
        """Choose the column as `column_of` does; raises `RaynasError` for one that the table lacks."""
        column = column_of(table.columns, data)
        return cls(table, column, table.best[column])

    def accuracy(self, genotype: Genotype) -> float | None:
        """Return the accuracy of a cell in [0, 1], None where the table has none."""
        entry = self.table.look_up(genotype)
        return None if entry is None else entry.accuracies.get(self.column)

    def regret(self, genotype: Genotype) -> float | None:
        """Return how far a cell's accuracy stays below the best, in [0, 1]; None as `accuracy`."""
        accuracy = self.accuracy(genotype)
        return None if accuracy is None else self.best - accuracy


def missing(path: object) -> RaynasError:
    """Build the error for a table whose file is not there."""
    return RaynasError(
        "no such table",
        got=path,
        expected="a .csv or .parquet file of trained accuracies (docs/spaces.md, Tables)",
        next_step="put the file there, or name another; raynas downloads none",
    )
