"""Tables kept in one file, CSV or Parquet: a row for every cell, a column for every kind of accuracy."""

import csv
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from raynas.errors import RaynasError, short
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons import SKELETONS
from raynas.spaces.space import Space
from raynas.spaces.texts import nasbench201
from raynas.tables.table import COLUMN, TableEntry, missing
from raynas.tables.within import expressible

SIZES = ("parameters", "flops")


@dataclass(frozen=True)
class FileTable:
    """A table that is held in memory: ``rows`` by the text that names their cell.

    ``skeleton`` is that of its cells; ``nodes`` and ``operations`` are those that NAS-Bench-201's text
    forms in it show (0 and empty in a table by hash).
    """

    path: Path
    skeleton: str
    columns: tuple[str, ...]
    best: Mapping[str, float]
    rows: Mapping[str, TableEntry]
    nodes: int
    operations: frozenset[str]
    predicts: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def look_up(self, genotype: Genotype) -> TableEntry | None:
        """Return what the table says of a cell, None where it does not hold it."""
        if genotype.skeleton != self.skeleton:
            return None
        return self.rows.get(skeletons.of(genotype).table_name(genotype))

    def best_in(self, space: Space) -> dict[str, float]:
        """Return the largest accuracies among the cells that a space can express, by column."""
        holds = expressible(space)
        return _best([entry for name, entry in self.rows.items() if holds(name)], self.columns)

    def misfit(self, space: Space) -> str | None:
        """Say why the table cannot hold the cells of a space; None when it can."""
        if space.skeleton != self.skeleton:
            return (
                f"{self.name} holds {SKELETONS[self.skeleton].benchmark}'s cells (skeleton {self.skeleton}); "
                f"those of {space.name} are of the skeleton {space.skeleton}"
            )
        if not self.nodes:
            return None
        if space.nodes != self.nodes:
            return f"{self.name} holds cells of {self.nodes} nodes; those of {space.name} have {space.nodes}"
        used = {op for cell in space.cells for edge in cell.edges for op in edge.ops} - set(space.exclude)
        if foreign := used - self.operations:
            return f"{self.name} holds no cell with {', '.join(sorted(foreign))}, as {space.name} has"
        return None


def open_file(path: Path) -> FileTable:
    """Read a table from a ``.csv`` or ``.parquet`` file.

    Raises `RaynasError` for a file that is missing, of another kind, or not as docs/spaces.md has it, with
    the row where that shows.
    """
    if path.is_dir() or path.name.endswith((".pickle.pbz2", ".tfrecord")):
        raise RaynasError(
            "official files are not read as they are",
            got=path,
            expected="a .csv or .parquet file, or the folder of a surrogate of NAS-Bench-301",
            next_step=f"raynas tabulate {shlex.quote(str(path))} table.csv, once",
        )
    if not path.is_file():
        raise missing(path)
    match path.suffix.lower():
        case ".csv":
            return _read_csv(path)
        case ".parquet":
            return _read_parquet(path)
    raise RaynasError("not a table that raynas reads", got=path, expected="a .csv or .parquet file")


def _read_csv(path: Path) -> FileTable:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            header = next(lines, [])
            return _table(path, header, _whole(lines, header, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RaynasError("the table cannot be read", got=f"{path}: {error}", expected="CSV, UTF-8") from None


def _whole(lines: Iterable[list[str]], header: Sequence[str], path: Path) -> Iterator[Sequence[str]]:
    for number, line in enumerate(lines, start=2):
        if len(line) == len(header):
            yield line
        elif line:
            raise RaynasError(
                f"line {number} of the table has {len(line)} fields",
                got=path,
                expected=f"{len(header)}, as the first line",
            )


def _read_parquet(path: Path) -> FileTable:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise RaynasError(
            "reading a Parquet file needs pyarrow", got=path, next_step="pip install 'raynas[parquet]'"
        ) from None
    try:
        found = parquet.read_table(path)
    except (OSError, ArrowException) as error:
        raise RaynasError("the table cannot be read", got=f"{path}: {error}", expected="Parquet") from None
    columns = [column.to_pylist() for column in found.columns]
    return _table(path, found.column_names, zip(*columns, strict=True))


def _table(path: Path, header: Sequence[str], lines: Iterable[Sequence[Any]]) -> FileTable:
    """Build the table; values are numbers, their texts, or nothing (None, empty)."""
    # What names the cell of a row, and the skeleton of such cells: `arch`, NAS-Bench-201's text form, or
    # `hash`, which NAS-Bench-101 gives a cell of choice blocks.
    skeletons = {skeleton.table_key: skeleton.name for skeleton in SKELETONS.values() if skeleton.table_key}
    keys = [name for name in header if name in skeletons]
    columns = tuple(name for name in header if COLUMN.fullmatch(name))
    if len(keys) != 1 or not columns or len(set(header)) != len(header):
        raise RaynasError(
            "the table's columns are not as they must be",
            got=f"{path}: {short(', '.join(header))}",
            expected="one of arch and hash, and accuracies named data_part_epochs, as cifar10_test_200; "
            "each once",
        )
    skeleton, key = skeletons[keys[0]], header.index(keys[0])
    places = {name: header.index(name) for name in (*columns, *SIZES) if name in header}
    raw: dict[str, dict[str, float]] = {}
    for number, line in enumerate(lines, start=2):
        name = str(line[key]).strip()
        if name in raw:
            raise RaynasError("the table has a cell twice", got=f"{path}, row {number}: {name}")
        raw[name] = {
            column: _number(value, f"{path}, row {number}, {column}")
            for column, place in places.items()
            if (value := line[place]) not in (None, "")
        }
    nodes, operations = _vocabulary(raw, path) if keys[0] == "arch" else (0, frozenset[str]())
    rows = _entries(raw, columns, path)
    best = _best(rows.values(), columns)
    return FileTable(path, skeleton, tuple(best), best, rows, nodes, operations)


def _number(value: object, place: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        raise RaynasError("not a number in the table", got=f"{place}: {short(repr(value))}") from None
    if not 0 <= number < float("inf"):
        raise RaynasError("an impossible number in the table", got=f"{place}: {value}", expected="0 or more")
    return number


def _entries(
    raw: Mapping[str, Mapping[str, float]], columns: Sequence[str], path: Path
) -> dict[str, TableEntry]:
    """Turn rows into entries; accuracies are percentages if any is above 1."""
    largest = max((row[column] for row in raw.values() for column in columns if column in row), default=None)
    if largest is None:
        raise RaynasError("the table has no accuracies", got=path)
    if largest > 100:
        raise RaynasError("an accuracy above 100 % in the table", got=f"{path}: {largest:g}")
    unit = 100.0 if largest > 1 else 1.0
    return {
        name: TableEntry(
            {column: row[column] / unit for column in columns if column in row},
            row.get("parameters"),
            row.get("flops"),
        )
        for name, row in raw.items()
    }


def _best(entries: Collection[TableEntry], columns: Sequence[str]) -> dict[str, float]:
    known = {column: [e.accuracies[column] for e in entries if column in e.accuracies] for column in columns}
    return {column: max(values) for column, values in known.items() if values}


def _vocabulary(names: Iterable[str], path: Path) -> tuple[int, frozenset[str]]:
    """Return the nodes of the cells, and every operation in them."""
    nodes: set[int] = set()
    operations: set[str] = set()
    for name in names:
        nodes.add(name.count("+") + 1)
        operations.update(re.findall(r"\|([^|~]+)~", name))
    if len(nodes) != 1 or not operations:
        first = next(iter(names), "no row")
        raise RaynasError(
            "not cells of one benchmark", got=f"{path}: {short(first)}", expected=nasbench201.NOTATION
        )
    return nodes.pop(), frozenset(operations)
