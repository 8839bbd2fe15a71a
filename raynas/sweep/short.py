"""Short trainings: the cells of all finished searches, each network once, a few epochs from scratch.

They choose among searches, so they never see a test image: what is held out is the third part that the
searches left alone (`data.select`), or, where there is none, as much of the images that they learned from.
"""

from typing import Any

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.sweep.cells import searched_data
from raynas.sweep.control import with_random
from raynas.sweep.folder import SweepFolder, TrainSweep
from raynas.sweep.sections import SHORT_EPOCHS, Select
from raynas.sweep.short_results import SHORT, network

SEED = 0
"""Of every short training: all cells begin from like draws, and see the images in one order."""

HELD_OUT = 0.1
"""The share of the images that is held out where the searches held none out."""


def short_folder(folder: SweepFolder) -> TrainSweep:
    """Return the folder of a sweep's short trainings, which need not exist."""
    return TrainSweep(folder.trained_path(SHORT))


def untrained(folder: SweepFolder, trained: TrainSweep) -> list[str]:
    """Return the finished searches whose cells the short trainings lack, because they ended later."""
    known = {skeletons.canonical(cell) for cell in trained.sweep().cells.values()}
    finished = [each for each in folder.records() if each.status == "finished" and each.deciding]
    return [each.id for each in finished if network(each) not in known]


def short_content(folder: SweepFolder, select: Select, track: Any) -> dict[str, Any]:
    """Return what the file of the short trainings would say.

    Raises `RaynasError` where no search has finished, or where they learned from several data sets.
    """
    finished = [each for each in folder.records() if each.status == "finished" and each.deciding]
    data = [searched_data(folder, record) for record in finished]
    if not finished:
        raise RaynasError(
            f"no search of {folder.name!r} has finished, so there is no cell to train",
            next_step=f"raynas status {folder.typed}",
        )
    if any(each != data[0] for each in data):
        raise RaynasError("short trainings compare cells on one data set; these searches had several")
    cells: dict[str, str] = {}
    for record in finished:
        cells.setdefault(network(record), str(folder.trial(record.id).path / "genotype.json"))
    searched = finished[0].config.data
    held_out: dict[str, Any] = {"valid": 0.0, "select": searched.select or HELD_OUT}
    # Which images are held out, and which are there at all where data.limit is set, follows from the seed.
    held_out |= {"split_seed": searched.split_seed} if searched.split_seed else {}
    return {
        "name": SHORT,
        "train": select.recipe or "quick",
        "data": data[0] | held_out,
        "epochs": select.epochs or SHORT_EPOCHS,
        "track": track,
        "grid": {"cell": with_random(folder, finished[0], cells), "seed": [SEED]},
    }
