"""The argument CELL, the same for every verb that takes a cell: what it may be, and finding it."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from raynas.cli import complete
from raynas.disk import expanded
from raynas.errors import RaynasError, nearest, short

if TYPE_CHECKING:
    from raynas.spaces.genotype import Genotype

CellArgument = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A genotype.json; a file that has a cell's text, as a log or a genotypes.py (FILE:NAME is one "
        "of several); the text itself; `-` for standard input; a sweep (its best cell); or a name of `raynas "
        "ls cells`. A sweep of that name goes first.",
        autocompletion=complete.CELLS,
    ),
]

MOST_FILE = 32 * 2**20
"""Bytes of the largest file that is looked through for cells; a log of 1,000 epochs has some 2 MB."""


class FoundCell(NamedTuple):
    """A cell, and the folder its drawings go to if no other is asked for."""

    genotype: "Genotype"
    place: Path


def find_cell(cell: str, runs: Path) -> FoundCell:
    """Return the cell that a `CellArgument` means.

    In order: standard input, a file, a file and a name, a text, a sweep, a published cell. Raises
    `RaynasError`; of a name that is neither of the last two the nearest of both is told.
    """
    name: str | None
    head, _, name = cell.partition(":")
    if head == "-":
        return FoundCell(_read(_standard_input(), "-", name or None), Path())
    if path := _file(cell):
        return FoundCell(_load(path, cell, None), path.parent)
    head, colon, name = cell.rpartition(":")
    if colon and (path := _file(head)):
        return FoundCell(_load(path, head, name or None), path.parent)
    if _is_text(cell):
        return FoundCell(_read(cell, None, None), Path())
    if Path(cell).suffix in {".json", ".txt", ".py", ".log"}:
        raise RaynasError(
            f"no file {short(cell)!r}",
            expected="a genotype.json, a file with a cell's text, the text itself, or a name",
        )
    return _by_name(cell, runs)


def named(cell: str) -> str:
    """Return how a next command names the cell again: as it was, unless that was a text or standard input."""
    return "CELL" if (_is_text(cell) and not _file(cell)) or cell.partition(":")[0] == "-" else cell


def _file(name: str) -> Path | None:
    """Return the path of a file; None for a name that is none, or could be none (texts are long)."""
    with suppress(OSError, ValueError, RuntimeError):
        path = expanded(name)
        if path.exists() and not path.is_dir():
            return path
    return None


def _is_text(cell: str) -> bool:
    """Tell whether an argument is the text of a cell rather than a sweep's name."""
    from raynas.spaces.skeletons import found_in

    words = cell.split()
    return len(words) > 1 or any(mark in cell for mark in "|({[\n") or bool(found_in(cell))


def _load(path: Path, given: str, name: str | None) -> "Genotype":
    from raynas.disk import read_bounded
    from raynas.spaces.genotype import FORMAT
    from raynas.spaces.reading import load_genotype

    try:
        data = read_bounded(path, MOST_FILE)
    except OSError as error:
        raise RaynasError(f"cannot read the file: {error.strerror}", got=given) from None
    except ValueError as error:
        raise RaynasError(f"cannot look for cells in the file: {error}", got=given) from None
    text = _decoded(data)
    if name is None and path.suffix == ".json" and (f'"{FORMAT}"' in text or "normal" not in text):
        return load_genotype(path)
    return _read(text, given, name)


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MOST_FILE + 1)
    if len(data) > MOST_FILE:
        raise RaynasError("too much on standard input", expected=f"at most {MOST_FILE:,} bytes")
    return _decoded(data)


def _decoded(data: bytes) -> str:
    """Return a text, without a byte order mark; Windows writes UTF-16 with one."""
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def _read(text: str, file: str | None, name: str | None) -> "Genotype":
    """Parse a cell; what is wrong with a file's is told with its name, and how to name one of several."""
    from raynas.spaces.reading import genotype_from_text
    from raynas.spaces.texts.snippet import SeveralCells

    try:
        return genotype_from_text(text, name=name)
    except SeveralCells as error:
        step = f"name it, as {shlex.quote(f'{file}:{error.first}')}" if file else "give one of them alone"
        what, next_step = error.what, step
        got, expected, near = error.got, error.expected, error.near
    except RaynasError as error:
        what, next_step = error.what, error.next_step or ""
        got, expected, near = error.got, error.expected, error.near
    raise RaynasError(
        f"{file}: {what}" if file and file != "-" else what,
        got=got,
        expected=expected,
        near=near,
        next_step=next_step or None,
    )


def _by_name(cell: str, runs: Path) -> FoundCell:
    from raynas.spaces.library import names
    from raynas.spaces.literature import load_cell
    from raynas.sweep.cells import winner_of
    from raynas.sweep.folder import SweepFolder

    published = names("cells")
    try:
        folder = SweepFolder.find(runs, cell)
    except RaynasError as error:
        if cell in published:
            return FoundCell(load_cell(cell).genotype, Path())
        if any(SweepFolder(place).exists for place in (runs / cell, expanded(cell))):
            raise  # of a kind that finds no cell
        known = [path.parent.name for path in runs.glob("*/sweep.json")]
        raise RaynasError(
            f"{error.what}, and no published cell of that name",
            expected=error.expected,
            near=nearest(cell, [*known, *published]),
            next_step="raynas ls cells, or raynas ls sweeps",
        ) from None
    return FoundCell(winner_of(folder), folder.best)
