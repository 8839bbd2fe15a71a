"""Tables of trained accuracies: what each of them can do, and reading one column of it as a yardstick."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raynas.errors import RaynasError, quoted, unknown
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space

COLUMN = re.compile(r"(?P<data>.+)_(?P<part>test|val|valid|train)(?:_(?P<epochs>\d+))?")
"""How a column of accuracies is called: data set, part of it, and for how many epochs was trained."""

_TEST, _VALIDATION = ("test",), ("val", "valid")


@dataclass(frozen=True)
class TableEntry:
    """What a table says of one cell.

    ``accuracies`` in [0, 1] by column; a column without a value for this cell is left out. ``parameters``
    and ``flops`` in the table's own units, None where it has none; ``seconds`` is a training's time.
    """

    accuracies: Mapping[str, float]
    parameters: float | None = None
    flops: float | None = None
    seconds: float | None = None


class AccuracyTable(Protocol):
    """A table of trained accuracies.

    ``name`` is the file's, ``columns`` are the names of its accuracies (as `COLUMN`), ``best`` holds the
    largest accuracy of each, in [0, 1]; a column whose best nobody knows is left out. ``predicts`` says that
    its accuracies are a model's predictions: a surrogate.
    """

    @property
    def name(self) -> str: ...

    @property
    def columns(self) -> Sequence[str]: ...

    @property
    def best(self) -> Mapping[str, float]: ...

    @property
    def predicts(self) -> bool: ...

    def best_in(self, space: Space) -> Mapping[str, float]:
        """Return, as ``best``, the largest accuracies among the cells that a space can express."""
        ...

    def look_up(self, genotype: Genotype) -> TableEntry | None:
        """Return what the table says of a cell, None where it does not hold it."""
        ...

    def misfit(self, space: Space) -> str | None:
        """Say why the table cannot hold the cells of a space; None when it can."""
        ...


def column_of(columns: Sequence[str], data: str) -> str:
    """Return the column that ``data`` asks for: a column by name, or a data set's test accuracies.

    A data set stands for its column of the part ``test`` that was trained longest, or for its validation
    accuracies where the table has no test accuracies of it. Raises `RaynasError` with the nearest name.
    """
    if data in columns:
        return data
    found = _of_data(columns, data, _TEST) or _of_data(columns, data, _VALIDATION)
    if found:
        return max(found, key=_epochs)
    names = {match["data"] for column in columns if (match := COLUMN.fullmatch(column))}
    raise unknown("data set or column of the table", data, {*columns, *names})


def validation_of(columns: Sequence[str], column: str) -> str | None:
    """Return the validation accuracies beside a column: of its data set, as long trained, or else longest."""
    match = COLUMN.fullmatch(column)
    found = _of_data(columns, match["data"], _VALIDATION) if match else []
    return max(found, key=lambda each: (_epochs(each) == _epochs(column), _epochs(each)), default=None)


def _of_data(columns: Sequence[str], data: str, parts: Sequence[str]) -> list[str]:
    matches = (match for column in columns if (match := COLUMN.fullmatch(column)))
    return [match[0] for match in matches if match["data"] == data and match["part"] in parts]


def _epochs(column: str) -> int:
    match = COLUMN.fullmatch(column)
    return int(match["epochs"] or 0) if match else 0


@dataclass(frozen=True)
class Yardstick:
    """One column of a table, to judge cells by.

    ``best`` is the largest accuracy in it, None where nobody knows it; ``bests`` are the largest ones among
    the cells that a space can express, by the space's name.
    """

    table: AccuracyTable
    column: str
    best: float | None
    bests: Mapping[str, float]

    @classmethod
    def of(cls, table: AccuracyTable, data: str, spaces: Iterable[Space] = ()) -> "Yardstick":
        """Choose the column as `column_of` does; raises `RaynasError` for one that the table lacks.

        Cells of ``spaces`` have their regret to the best of their own space, others to the whole column's.
        """
        column = column_of(table.columns, data)
        found = {space.name: table.best_in(space).get(column) for space in spaces}
        bests = {name: best for name, best in found.items() if best is not None}
        return cls(table, column, table.best.get(column), bests)

    def accuracy(self, genotype: Genotype) -> float | None:
        """Return the accuracy of a cell in [0, 1], None where the table has none."""
        entry = self.table.look_up(genotype)
        return None if entry is None else entry.accuracies.get(self.column)

    def error(self, genotype: Genotype) -> float | None:
        """Return 1 less the accuracy of a cell, None as `accuracy`."""
        accuracy = self.accuracy(genotype)
        return None if accuracy is None else 1 - accuracy

    def seconds(self, genotype: Genotype) -> float | None:
        """Return how long training the cell takes, None where the table does not say."""
        entry = self.table.look_up(genotype)
        return None if entry is None else entry.seconds

    def regret(self, genotype: Genotype) -> float | None:
        """Return how far a cell's accuracy stays below the best of its space, in [0, 1]; None as `accuracy`.

        None as well where nobody knows the best, as with a surrogate.
        """
        accuracy, best = self.accuracy(genotype), self.bests.get(genotype.space, self.best)
        return None if accuracy is None or best is None else best - accuracy

    def judge(self) -> "Yardstick":
        """Return the yardstick that may select: validation accuracies, or this one where there are none."""
        column = validation_of(self.table.columns, self.column) or self.column
        return Yardstick(self.table, column, self.table.best.get(column), {})

    @property
    def tests(self) -> bool:
        """Whether these are accuracies on the test set."""
        match = COLUMN.fullmatch(self.column)
        return match is not None and match["part"] in _TEST


def missing(path: object) -> RaynasError:
    """Build the error for a table whose file is not there."""
    return RaynasError(
        "no such table",
        got=path,
        expected="a .csv or .parquet file of trained accuracies, or the folder of a surrogate of "
        "NAS-Bench-301 (docs/spaces.md, Tables)",
        next_step="put the file there, or name another; raynas downloads none",
    )


def without_table(method: object) -> RaynasError:
    """Build the error for proposals that nothing judges."""
    return RaynasError(
        f"{quoted(method)} proposes cells, and a table has to judge them",
        got="no benchmark",
        expected="`benchmark: {table: FILE, data: NAME}` in the trial file",
        next_step="docs/spaces.md says which tables there are (Tables)",
    )


def without_times(judge: str) -> RaynasError:
    """Build the error for a budget in seconds where nobody knows how long trainings take."""
    return RaynasError(
        "a budget in simulated seconds needs a table that has the times of its trainings",
        got=f"{judge}, which has none",
        expected="proposals without `seconds`",
        next_step="leave `seconds` out, and say the budget as `evaluations`",
    )
