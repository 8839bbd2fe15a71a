"""Differences of trained errors, paired by seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t

SURE = 0.95


@dataclass(frozen=True)
class Paired:
    """How much larger one cell's numbers are than another's over the ``seeds`` that both have.

    ``interval`` is the 95 % one of Student's t for the mean difference, which takes differences for normal;
    None for a single pair, of which nothing is known.
    """

    seeds: tuple[int, ...]
    mean: float
    interval: tuple[float, float] | None


def paired(values: Mapping[int, float], others: Mapping[int, float]) -> Paired | None:
    """Return ``values`` less ``others``, by seed; None where no seed has both as finite numbers."""
    both = sorted(
        seed for seed in values.keys() & others.keys() if math.isfinite(values[seed] - others[seed])
    )
    if not both:
        return None
    differences = [values[seed] - others[seed] for seed in both]
    mean, interval = fmean(differences), None
    if len(both) > 1:
        half = float(t.ppf((1 + SURE) / 2, len(both) - 1)) * stdev(differences) / math.sqrt(len(both))
        interval = (mean - half, mean + half)
    return Paired(tuple(both), mean, interval)
