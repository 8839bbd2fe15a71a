"""Random cells as files, to be trained beside those that searches found: one control for one recipe."""

from collections.abc import Mapping
from pathlib import Path

from raynas.spaces import skeletons
from raynas.spaces.draw import draw_cells
from raynas.spaces.genotype import Genotype
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import TrialRecord

CONTROL = "control"
"""The folder in a sweep's that holds its random cells."""


def drawn_for(folder: SweepFolder, record: TrialRecord) -> list[Genotype]:
    """Return the random cells that are trained beside a search's: of its space, those that it judged itself.

    Empty where the sweep trains none.
    """
    control = folder.sweep().control
    if control.by != "training":
        return []
    space = folder.trial(record.id).space()
    return draw_cells(space, control.random, f"control/{record.config.data.split_seed}")


def with_random(folder: SweepFolder, record: TrialRecord, cells: Mapping[str, str]) -> list[str]:
    """Return files of cells, ``cells`` by network, and of the random ones that are other networks.

    Those are written, as ``control/random-N/genotype.json`` in the sweep's folder.
    """
    found = dict(cells)
    for number, cell in enumerate(drawn_for(folder, record)):
        if (network := skeletons.canonical(cell)) not in found:
            path = folder.path / CONTROL / f"random-{number}" / "genotype.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            cell.save(path)
            found[network] = str(path)
    return list(found.values())


def is_random(cell: str) -> bool:
    """Tell whether a cell that a training names is one of these files."""
    path = Path(cell)
    own = path.parent.parent.name == CONTROL and path.parent.name.startswith("random-")
    return own and path.name == "genotype.json"
