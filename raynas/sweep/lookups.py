"""What a sweep's cells were found to have in its table, kept in its folder: `table.json`.

A value that was looked up once is read from there ever after, so that the folder is enough wherever it goes;
the table itself is opened for a cell that is new.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from raynas.disk import expanded, read_json, set_aside, write_atomic
from raynas.errors import RaynasError, plural
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space
from raynas.sweep.sections import Benchmark
from raynas.tables.open import open_table
from raynas.tables.table import AccuracyTable, TableEntry, Yardstick

FORMAT = "raynas.table"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    accuracies: dict[str, float]
    parameters: float | None = None
    flops: float | None = None
    seconds: float | None = None


class _Kept(BaseModel):
    """The file: of the table its name, hash, columns and best accuracies, by space as well; of cells all."""

    model_config = ConfigDict(extra="ignore")

    format: str = FORMAT
    version: int = 1
    table: str
    hash: str
    predicts: bool
    columns: list[str]
    best: dict[str, float]
    bests: dict[str, dict[str, float]] = {}
    cells: dict[str, _Entry | None] = {}


class Lookups:
    """A sweep's table as far as it was looked up, in the file ``path``; threads may share it.

    ``benchmark`` names the table, by the place where this machine has it; ``typed`` is what commands name the
    sweep by.
    """

    def __init__(self, path: Path, benchmark: Benchmark, typed: str) -> None:
        self._path, self._benchmark, self._typed = path, benchmark, typed
        self._lock = threading.RLock()
        self._table: AccuracyTable | None = None
        self._new = False
        self._found: dict[Genotype, TableEntry | None] = {}
        self._unknown: set[Genotype] = set()
        self._trouble: RaynasError | None = None
        self.damage = ""
        self._kept = self._read()

    @property
    def quick(self) -> bool:
        """Whether a cell is looked up at once: in a file, not by a model."""
        return expanded(self._benchmark.table).is_file()

    @property
    def lacking(self) -> str:
        """Say of how many cells nothing is known, and why; empty where all is."""
        if not self._unknown or self._trouble is None:
            return ""
        why = " ".join(str(self._trouble).split())
        return f"{plural(len(self._unknown), 'cell')} could not be looked up: {why}"

    def open(self, spaces: Iterable[Space] = (), *, strict: bool = True) -> Yardstick:
        """Return the column that the sweep asks for; regret is to the best of the ``spaces``' own cells.

        Raises `RaynasError` as `Benchmark.open` when something is needed that was not looked up before. So
        does looking up a cell, if ``strict``; else it has no accuracy, and `lacking` says so.
        """
        return Yardstick.of(_Looked(self, strict), self._benchmark.data, spaces)

    def check(self) -> None:
        """Raise `RaynasError` unless the table is there, for the cells to come."""
        with self._lock:
            self._open()

    def look_up_all(self, genotypes: Iterable[Genotype]) -> None:
        """Look cells up for the file; those that cannot be are `lacking`."""
        for genotype in genotypes:
            self.look_up(genotype, strict=False)

    def look_up(self, genotype: Genotype, *, strict: bool) -> TableEntry | None:
        """Return what the table says of a cell, None where it does not hold it; see `open`."""
        with self._lock:
            if genotype not in self._found:
                key = _key(genotype)
                if self._kept is None or key not in self._kept.cells:
                    try:
                        found = self._open().look_up(genotype)
                    except RaynasError as error:
                        self._unknown.add(genotype)
                        self._trouble = error
                        if strict:
                            raise
                        return None
                    self.kept.cells[key] = None if found is None else _entry(found)
                    self._new = True
                entry = self.kept.cells[key]
                self._found[genotype] = None if entry is None else TableEntry(**dict(entry))
                self._unknown.discard(genotype)
            return self._found[genotype]

    def best_in(self, space: Space) -> Mapping[str, float]:
        """Return the best accuracies of a space's cells, by column."""
        with self._lock:
            if self._kept is None or space.name not in self._kept.bests:
                self.kept.bests[space.name] = dict(self._open().best_in(space))
                self._new = True
            return self.kept.bests[space.name]

    def save(self) -> None:
        """Write what was looked up since the last call, beside what another process has written meanwhile."""
        with self._lock:
            if not self._new or self._kept is None:
                return
            if (there := self._read()) is not None and there.hash == self._kept.hash:
                self._kept.cells = {**there.cells, **self._kept.cells}
                self._kept.bests = {**there.bests, **self._kept.bests}
            elif there is not None or self.damage:
                set_aside(self._path)
                self.damage = ""
            write_atomic(self._path, (self._kept.model_dump_json(indent=1) + "\n").encode())
            self._new = False

    @property
    def kept(self) -> _Kept:
        """What is known; opens the table where nothing is."""
        if self._kept is None:
            self._open()
        if self._kept is None:
            raise RuntimeError("an opened table is known")
        return self._kept

    def _open(self) -> AccuracyTable:
        if self._table is None:
            path = expanded(self._benchmark.table)
            if not path.exists() and self._kept is not None:
                raise RaynasError(
                    "no such table, and not all was looked up in it",
                    got=path,
                    expected=f"{self._kept.table}, for the cells that are new",
                    next_step=f"put it there, or name its place: raynas resume {self._typed} "
                    "benchmark.table=PLACE",
                )
            table = open_table(path)
            found = table_hash(path)
            if self._kept is None:
                self._kept = _Kept(
                    table=table.name,
                    hash=found,
                    predicts=table.predicts,
                    columns=list(table.columns),
                    best=dict(table.best),
                )
            elif self._kept.hash != found:
                raise RaynasError(
                    "the table is not the one in which the sweep's cells were looked up",
                    got=f"{path}, hash {found}",
                    expected=f"{self._kept.table}, hash {self._kept.hash}",
                    next_step=f"put that one back; or delete {self._path}, to look all up in the new one",
                )
            self._table = table
        return self._table

    def _read(self) -> _Kept | None:
        try:
            return _Kept.model_validate(read_json(self._path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            why = "not as raynas writes it" if isinstance(error, ValidationError) else f"{error}"[:120]
            self.damage = f"{self._path.name} cannot be read: {' '.join(why.split())}"
            return None


@dataclass(frozen=True)
class _Looked:
    """An `AccuracyTable` that reads what was looked up, and the table for the rest."""

    lookups: Lookups
    strict: bool

    @property
    def name(self) -> str:
        return self.lookups.kept.table

    @property
    def columns(self) -> Sequence[str]:
        return self.lookups.kept.columns

    @property
    def best(self) -> Mapping[str, float]:
        return self.lookups.kept.best

    @property
    def predicts(self) -> bool:
        return self.lookups.kept.predicts

    def best_in(self, space: Space) -> Mapping[str, float]:
        return self.lookups.best_in(space)

    def look_up(self, genotype: Genotype) -> TableEntry | None:
        return self.lookups.look_up(genotype, strict=self.strict)

    def misfit(self, space: Space) -> str | None:
        return None  # it fitted when the sweep was planned


def _entry(found: TableEntry) -> _Entry:
    return _Entry(
        accuracies=dict(found.accuracies),
        parameters=found.parameters,
        flops=found.flops,
        seconds=found.seconds,
    )


def _key(genotype: Genotype) -> str:
    """Return 20 hex digits of a cell: more than its digest has, as a sweep may look up 500,000."""
    return hashlib.sha256(json.dumps(genotype.to_json(), sort_keys=True).encode()).hexdigest()[:20]


def table_hash(path: Path) -> str:
    """Return a hash of a table's file; of a surrogate's folder, of the names and sizes in it."""
    digest = hashlib.sha256()
    if path.is_dir():
        for each in sorted(path.rglob("*")):
            digest.update(
                f"{each.relative_to(path)} {each.stat().st_size if each.is_file() else ''}\n".encode()
            )
    else:
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(2**20), b""):
                digest.update(piece)
    return digest.hexdigest()[:12]
