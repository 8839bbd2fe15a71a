"""The cell that a training names: one of the literature, a file's, a text, or a sweep's winner."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from raynas.disk import expanded
from raynas.errors import RaynasError, nearest, quoted
from raynas.spaces import library
from raynas.spaces.cell_files import cell_file, cell_in_file, cell_in_text, is_cell_text
from raynas.spaces.genotype import Genotype
from raynas.spaces.literature import load_cell
from raynas.spaces.skeletons import found_in
from raynas.sweep.file.trainable import trained_data
from raynas.sweep.folder import SweepFolder, trains
from raynas.sweep.record import TrialRecord
from raynas.sweep.select import judge_of, rank


def cell_of(given: str, runs: Path = Path("runs")) -> tuple[str, Genotype]:
    """Return the cell that ``given`` names, and what a configuration calls it wherever it is resumed.

    In order: a file (a cell's YAML, a genotype.json, or any text that holds one cell; FILE:NAME is one of
    several), a sweep of searches by
    its folder or its name under ``runs``, a name on the shelf of cells, a cell's text. Raises `RaynasError`
    with the nearest.
    """
    if file := cell_file(given):
        called = ":".join([str(file.path.absolute()), *([file.name] if file.name else [])])
        return called, cell_in_file(file)
    folder = _sweep(given, runs)
    if folder is not None and not (trains(folder) and given in library.names("cells")):
        return str(folder.path), winner_of(folder)
    if given in library.names("cells"):
        return given, load_cell(given).genotype
    if is_cell_text(given):
        return given, cell_in_text(given)
    sweeps = [path.parent.name for path in runs.glob("*/sweep.json")]
    raise RaynasError(
        f"no cell {quoted(given)}",
        expected="a cell's name, a file, a text such as Genotype(normal=[...]), or a sweep's folder",
        near=nearest(given, [*library.names("cells"), *sweeps]),
        next_step="raynas ls cells, raynas ls sweeps",
    )


def winner_of(folder: SweepFolder) -> Genotype:
    """Return the cell of a sweep's winner; raises `RaynasError` where it has none."""
    [best, *_] = best_of(folder, 1)
    if best.deciding is None:
        raise _no_best(folder)
    return best.deciding.genotype


def best_of(folder: SweepFolder, top: int) -> list[TrialRecord]:
    """Return the ``top`` best of a sweep's searches, best first; raises `RaynasError` where none finished."""
    sweep = SweepFolder.find(folder.path.parent, folder.name).sweep()
    selection = rank(folder.records(), sweep.select, judge_of(sweep.select, folder.lookups))
    if not selection.ranking:
        finished = any(record.status == "finished" for record in folder.records())
        why = selection.reasons[0] if finished else "no trial finished"
        raise _no_best(folder, why, selection.over_budget)
    return [ranked.trial for ranked in selection.ranking[:top]]


def _no_best(folder: SweepFolder, why: str = "no trial finished", over_budget: str = "") -> RaynasError:
    if over_budget:
        return RaynasError(
            f"the sweep {folder.name!r} has no best cell within its budget",
            got=over_budget,
            expected="networks within `select: {where: …}` of its file",
            next_step=f"raynas select {folder.typed}; a sweep with a larger budget, or a space of smaller "
            "operations",
        )
    return RaynasError(
        f"the sweep {folder.name!r} has no best cell: {why}",
        next_step=f"raynas status {folder.typed}",
    )


def searched_data(folder: SweepFolder, record: TrialRecord) -> dict[str, Any]:
    """Return the data that a search ran on, from where they are here, as a training of its cell takes it."""
    return trained_data(folder.places.of(record.config.data))


def cell_label(given: str) -> str:
    """Return a short name of a cell as configurations call it: its name, its file's, or of a text a hash."""
    if given in library.names("cells"):
        return given
    file, _, name = given.rpartition(":")
    if file and name.isidentifier() and not found_in(given):
        return name  # one of several in a file
    path = Path(given)
    if found_in(given) or "\n" in given:
        return f"cell-{hashlib.sha256(given.encode()).hexdigest()[:8]}"
    if path.name == "genotype.json":
        path = path.parent.parent if path.parent.name == "best" else path.parent
    return path.name if path.is_dir() else path.stem


def sweep_behind(given: str, runs: Path) -> SweepFolder | None:
    """Return the folder of the searches whose winner a cell is; None where it stands for itself."""
    folder = None if cell_file(given) else _sweep(given, runs)
    return None if folder is None or trains(folder) else folder


def _sweep(given: str, runs: Path) -> SweepFolder | None:
    for place in (runs / given, Path(given)):
        with suppress(OSError, ValueError, RuntimeError):
            if (folder := SweepFolder(expanded(place).absolute())).exists:
                return folder
    return None
