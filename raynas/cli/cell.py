"""The argument CELL, the same for every verb that takes a cell: what it may be, and finding it."""

import sys
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


class FoundCell(NamedTuple):
    """A cell, and the folder its drawings go to if no other is asked for."""

    genotype: "Genotype"
    place: Path


def find_cell(cell: str, runs: Path) -> FoundCell:
    """Return the cell that a `CellArgument` means.

    In order: standard input, a file, a file and a name, a text, a sweep, a published cell. Raises
    `RaynasError`; of a name that is neither of the last two the nearest of both is told.
    """
    from raynas.spaces.cell_files import cell_file, cell_in_file, cell_in_text, is_cell_text

    if piped(cell):
        return FoundCell(cell_from_pipe(cell), Path())
    if file := cell_file(cell):
        return FoundCell(cell_in_file(file), file.path.parent)
    if is_cell_text(cell):
        return FoundCell(cell_in_text(cell), Path())
    if Path(cell).suffix in {".json", ".txt", ".py", ".log"}:
        raise RaynasError(
            f"no file {short(cell)!r}",
            expected="a genotype.json, a file with a cell's text, the text itself, or a name",
        )
    return _by_name(cell, runs)


def named(cell: str) -> str:
    """Return how a next command names the cell again: as it was, unless that was a text or standard input."""
    from raynas.spaces.cell_files import cell_file, is_cell_text

    return "CELL" if piped(cell) or (is_cell_text(cell) and not cell_file(cell)) else cell


def piped(cell: str) -> bool:
    """Tell whether a cell comes from standard input: ``-``, or ``-:NAME`` for one of several."""
    return cell.partition(":")[0] == "-"


def cell_from_pipe(cell: str) -> "Genotype":
    """Read the cell of standard input that a `piped` argument means."""
    from raynas.spaces.cell_files import MOST_FILE, cell_in_text, decoded

    data = sys.stdin.buffer.read(MOST_FILE + 1)
    if len(data) > MOST_FILE:
        raise RaynasError("too much on standard input", expected=f"at most {MOST_FILE:,} bytes")
    return cell_in_text(decoded(data), "-", cell.partition(":")[2] or None)


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
