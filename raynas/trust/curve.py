"""What running more searches buys: the true error of the chosen cell among n of them.

A sweep of N searches holds C(N, n) sub-sweeps of n. The choice of a rule in a sub-sweep is the search with
the lowest score, so the chance of each to be chosen is known exactly: no sampling is needed. Intervals are
over which N searches were run: 95 % percentile bootstrap.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

RESAMPLES = 1000
SEED = 0


@dataclass(frozen=True)
class Point:
    """The choice among ``size`` searches: its expected error, that number's interval over searches, and the
    error that it is below in 10 and in 90 % of the sub-sweeps."""

    size: int
    error: float
    interval: tuple[float, float]
    low: float
    high: float


def sizes(count: int) -> list[int]:
    """Return 1, 2, 4, … and the number of searches itself."""
    return [2**power for power in range(max(count - 1, 0).bit_length())] + [count] if count else []


def chances(scores: Sequence[float], size: int) -> list[float]:
    """Return each search's chance to be chosen in a sub-sweep of ``size`` drawn without replacement.

    The lowest score of a sub-sweep wins, and equal ones share. With r of N lower ones, that is
    C(N − r, size) less the same behind it, of C(N, size).
    """
    count = len(scores)
    total = math.comb(count, size)
    order = sorted(range(count), key=scores.__getitem__)
    found = [0.0] * count
    lower = 0
    for _, group in groupby(order, key=scores.__getitem__):
        members = list(group)
        wins = math.comb(count - lower, size) - math.comb(count - lower - len(members), size)
        for place in members:
            found[place] = wins / total / len(members)
        lower += len(members)
    return found


def expected(scores: Sequence[float], truths: Sequence[float], size: int) -> float:
    """Return the mean true error of the choice over all sub-sweeps of ``size``."""
    return math.fsum(p * truth for p, truth in zip(chances(scores, size), truths, strict=True))


def curve(scores: Sequence[float], truths: Sequence[float]) -> list[Point]:
    """Return a point for each of `sizes`; empty for no search."""
    return [_point(scores, truths, size) for size in sizes(len(scores))]


def _point(scores: Sequence[float], truths: Sequence[float], size: int) -> Point:
    found = chances(scores, size)
    order = np.argsort(truths, kind="stable")
    below = np.cumsum(np.asarray(found)[order])
    low, high = (
        float(np.asarray(truths)[order[min(int(np.searchsorted(below, share)), len(order) - 1)]])
        for share in (0.1, 0.9)
    )
    return Point(size, expected(scores, truths, size), _interval(scores, truths, size), low, high)


def _interval(scores: Sequence[float], truths: Sequence[float], size: int) -> tuple[float, float]:
    """Return the interval of `expected` when the searches had been others of the same kind."""
    rng = np.random.default_rng(SEED)
    rule, truth = np.asarray(scores, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    count = len(rule)
    order = np.argsort(rule, kind="stable")
    # Equal scores share what they win, so each may stand for their mean; with that, the order among them is
    # free, and the chance of the r-th lowest of a resample is the same whatever the scores are.
    _, group = np.unique(rule, return_inverse=True)
    truth = (np.bincount(group, truth) / np.bincount(group))[group]
    share = np.asarray(chances(range(count), size))
    draws = np.sort(rng.integers(0, count, (RESAMPLES, count)), axis=1)
    low, high = np.percentile(truth[order][draws] @ share, [2.5, 97.5])
    return float(low), float(high)
