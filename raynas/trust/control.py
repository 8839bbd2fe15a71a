"""Random cells beside the chosen one: would one of them have done, and would the best of many?

Two controls that are never confused: *a* random cell, which a search must beat to have found anything, and
random *search*, the best of as many random cells as there were searches, which it must beat to have been
worth its cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, stdev
from typing import Any

from scipy.stats import binomtest

from raynas.spaces import skeletons
from raynas.spaces.draw import draw_cells
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space
from raynas.sweep.record import TrialRecord
from raynas.tables.table import Yardstick
from raynas.trust.curve import expected

LOOKED_UP = 1000
"""Random cells looked up in a table that measured them: a second's work, and a share sure to 1.6 points."""


@dataclass(frozen=True)
class RandomCells:
    """The chosen cell among random ones: ``how`` they were judged, ``chosen`` and ``values``, lowest best.

    ``errors`` says whether the numbers are errors in [0, 1] of trained networks; else they are losses in nats
    under inherited weights. ``search`` is the expected error of random search with ``budget`` cells, None
    where nothing but the truth itself could choose among them.
    """

    how: str
    chosen: float
    values: tuple[float, ...]
    errors: bool
    search: float | None = None
    budget: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "how": self.how,
            "chosen": self.chosen,
            "values": list(self.values),
            "place": self.place,
            "as_good": self.as_good,
            "interval": list(self.interval),
            "mean": self.mean,
            "sd": self.sd,
            "improvement": self.improvement,
            "random_search": self.search,
            "budget": self.budget,
        }

    @property
    def place(self) -> int:
        """The chosen cell's place among all of them, from 1 on; equal ones are before it."""
        return 1 + sum(value <= self.chosen for value in self.values)

    @property
    def as_good(self) -> float:
        """The share of random cells that are as good or better."""
        return (self.place - 1) / len(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of that share (Clopper & Pearson 1934)."""
        found = binomtest(self.place - 1, len(self.values)).proportion_ci()
        return float(found.low), float(found.high)

    @property
    def mean(self) -> float:
        """The mean of the random cells."""
        return fmean(self.values)

    @property
    def sd(self) -> float | None:
        """Their sample standard deviation; None for one."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def improvement(self) -> float | None:
        """How much more accurate than the mean random cell, relative to it (Yang et al. 2020, section 4).

        None for losses.
        """
        return (self.mean - self.chosen) / (1 - self.mean) if self.errors and self.mean < 1 else None


def looked_up(
    space: Space, cell: Genotype, yardstick: Yardstick, searches: int, least: int
) -> RandomCells | None:
    """Return a cell beside random ones of its space in a table; None where the table lacks it.

    Of cells that the table measured as many as ``searches``, but `LOOKED_UP` at least and ten times that at
    most; ``least`` where it predicts them, which takes time. Random search chooses, as a search may, by the
    table's validation accuracies of ``searches`` cells; nothing is said of it where they are fewer.
    """
    error = yardstick.error(cell)
    wanted = max(LOOKED_UP, min(searches, 10 * LOOKED_UP))
    count = least if yardstick.table.predicts else max(least, wanted)
    drawn = draw_cells(space, count, "control/table") if error is not None else []
    judge = yardstick.judge()
    known = [(judge.error(each), yardstick.error(each)) for each in drawn]
    pairs = [(score, truth) for score, truth in known if score is not None and truth is not None]
    if error is None or not pairs:
        return None
    scores, errors = zip(*pairs, strict=True)
    # Fewer cells than the searches judged say nothing of the random search that may judge as many.
    fair = judge.column != yardstick.column and searches <= len(pairs)
    searched = expected(scores, errors, searches) if fair else None
    how = f"looked up in {yardstick.column} of {yardstick.table.name}"
    return RandomCells(how, error, errors, errors=True, search=searched, budget=searches)


def trained(
    cell: Genotype, drawn: Sequence[Genotype], networks: Mapping[str, float], how: str
) -> RandomCells | None:
    """Return a cell beside random ones that were trained as it was: ``networks`` has the errors by network.

    None where it was not trained, or none of them. Those that were not trained to their end are counted in
    ``how``: a random cell that diverges is a bad one.
    """
    error = networks.get(skeletons.canonical(cell))
    values = [networks.get(skeletons.canonical(each)) for each in drawn]
    errors = tuple(value for value in values if value is not None)
    if error is None or not errors:
        return None
    lost = len(values) - len(errors)
    return RandomCells(how + (f" ({lost} more did not finish)" if lost else ""), error, errors, errors=True)


def inherited(record: TrialRecord) -> RandomCells | None:
    """Return a search's own cell beside random ones under its weights; None where it judged none."""
    judged = record.control
    if judged is None or judged.own is None or not isfinite(judged.own[0]) or not judged.losses:
        return None
    return RandomCells(f"with the weights of {record.id}", judged.own[0], judged.losses, errors=False)
