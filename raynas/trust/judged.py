"""A sweep's finished searches beside the truth about their cells, and beside random cells.

The truth of a cell is its error in [0, 1] on images that no search has seen: from the sweep's table of
trained accuracies, or from trainings of its cells in the sweep's folder (`raynas retrain`), the mean over
their seeds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.sweep.folder import SweepFolder, TrainSweep
from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Criterion
from raynas.sweep.select import value_of
from raynas.sweep.short_results import SHORT
from raynas.tables.table import Yardstick


@dataclass(frozen=True)
class Truth:
    """What is known of cells: ``errors`` in [0, 1] by trial, and ``source``, where they come from.

    ``yardstick`` is the column of the table, None where the cells were trained here: ``networks`` then has
    the error of every network that was, random ones too.
    """

    source: str
    errors: Mapping[str, float]
    yardstick: Yardstick | None = None
    networks: Mapping[str, float] = field(default_factory=dict)


def truths_of(
    folder: SweepFolder, records: Sequence[TrialRecord], yardstick: Yardstick | None
) -> list[Truth]:
    """Return every truth there is about a sweep's cells, that of its table first."""
    finished = [record for record in records if record.status == "finished" and record.deciding]
    found = []
    if yardstick is not None:
        looked = {each.id: yardstick.error(each.deciding.genotype) for each in finished if each.deciding}
        errors = {trial: error for trial, error in looked.items() if error is not None}
        found.append(Truth(f"{yardstick.column} of {yardstick.table.name}", errors, yardstick))
    for name in folder.trained():
        if name == SHORT:
            continue  # a rule, and no truth
        with suppress(RaynasError):  # its own section of the report says what is wrong with it
            found += _trained(TrainSweep(folder.trained_path(name)), finished)
    return [truth for truth in found if truth.errors]


def scores_of(
    records: Iterable[TrialRecord], rule: Criterion, judge: Yardstick | None = None
) -> dict[str, float]:
    """Return what a rule ranks by, by trial; without those that it cannot rank."""
    values = ((record.id, value_of(record, rule, judge)) for record in records)
    return {trial: value for trial, value in values if value is not None}


def _trained(folder: TrainSweep, records: Sequence[TrialRecord]) -> Iterator[Truth]:
    """Yield a truth for each setting in which cells were trained: one protocol, one column."""
    sweep = folder.sweep()
    tested: dict[str, dict[str, list[float]]] = {}
    for record in folder.records():
        if record.tested is not None and record.tested.test_accuracy is not None:
            protocol = record.config.model_dump_json(exclude={"seed", "cell"})
            cell = _network(sweep.cells[record.config.cell])
            tested.setdefault(protocol, {}).setdefault(cell, []).append(1 - record.tested.test_accuracy)
    for place, by_cell in enumerate(tested.values(), start=1):
        which = f", setting {place}" if len(tested) > 1 else ""
        cells = {each.id: _network(each.deciding.genotype) for each in records if each.deciding}
        errors = {trial: fmean(by_cell[cell]) for trial, cell in cells.items() if cell in by_cell}
        known = {cell: fmean(values) for cell, values in by_cell.items()}
        yield Truth(f"trained by {folder.name}{which}", errors, networks=known)


def _network(genotype: Genotype) -> str:
    return skeletons.canonical(genotype)
