"""What the short trainings of cells came to, put into the records of the searches that found them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.sweep.record import T, TrainRecord, TrialRecord

SHORT = "short"
"""The name of the sweep of short trainings, in the folder of the searches."""


def network(record: TrialRecord) -> str:
    """Return what cells of one network share; raises `ValueError` for a search without one."""
    if record.deciding is None:
        raise ValueError(f"{record.id} has no cell")
    return skeletons.canonical(record.deciding.genotype)


def short_errors(cells: Mapping[str, Genotype], records: Iterable[TrainRecord]) -> dict[str, float]:
    """Return the error on the images held out by network, of the trainings that have ended."""
    found: dict[str, list[float]] = {}
    for record in records:
        last = record.newest
        if record.status == "finished" and last is not None and last.valid_accuracy is not None:
            cell = skeletons.canonical(cells[record.config.cell])
            found.setdefault(cell, []).append(1 - last.valid_accuracy)
    return {cell: fmean(errors) for cell, errors in found.items()}


def with_short(records: Iterable[T], errors: Mapping[str, float]) -> list[T]:
    """Return records of searches with what the short trainings of their cells came to; others as they are."""
    return [_with(record, errors) for record in records]


def _with(record: T, errors: Mapping[str, float]) -> T:
    if not isinstance(record, TrialRecord) or record.status != "finished" or record.deciding is None:
        return record
    return replace(record, short=errors.get(network(record)))
