"""How far the order that a rule gives cells is that of their true errors: τ, ρ, precision at k, regret.

``scores`` are a rule's numbers, ``truths`` errors in [0, 1] of the same trials in the same order; of both the
lowest is the best, and all are finite. Intervals are 95 % percentile bootstrap ones over trials.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, kendalltau, spearmanr

from raynas.sweep.reasons import FEWEST_RANKED

Interval = tuple[float, float]

TIE = 0.001
"""Errors nearer than this, 0.1 points, are ties in the sparse form of Kendall's τ (Yu et al. 2020)."""

RESAMPLES = 1000
SEED = 0
"""Of the bootstrap: one report, one set of intervals."""

TOPS = (1, 3, 5)


@dataclass(frozen=True)
class Agreement:
    """One rule beside one truth over ``count`` trials.

    ``tau`` is Kendall's τ-b, ``sparse`` the same with truths rounded to `TIE`, ``rho`` Spearman's; None with
    fewer than `FEWEST_RANKED` trials, or where one side is constant. ``precision`` maps k to the share of the
    rule's first k that are among the truth's first k. ``regret`` is how much larger the error of the rule's
    choice is than the smallest, ``blind`` the same of a choice at random.
    """

    count: int
    tau: float | None
    tau_interval: Interval | None
    sparse: float | None
    rho: float | None
    precision: dict[int, float]
    regret: float
    blind: float


def agreement(scores: Sequence[float], truths: Sequence[float]) -> Agreement:
    """Hold a rule's scores against the truth; raises `ValueError` for none, unequal counts, or NaN."""
    rule, truth = _columns(scores, truths)
    ranked = len(rule) >= FEWEST_RANKED
    return Agreement(
        count=len(rule),
        tau=_tau(rule, truth) if ranked else None,
        tau_interval=_interval(_tau, rule, truth) if ranked else None,
        sparse=_tau(rule, np.round(truth / TIE)) if ranked else None,
        rho=_defined(spearmanr, rule, truth) if ranked else None,
        precision={k: precision_at(k, scores, truths) for k in TOPS if k < len(rule)},
        regret=error_of_choice(rule, truth) - float(truth.min()),
        blind=float(truth.mean() - truth.min()),
    )


def error_of_choice(
    scores: Sequence[float] | NDArray[np.float64], truths: Sequence[float] | NDArray[np.float64]
) -> float:
    """Return the truth of what a rule chooses; between equal scores, the mean."""
    rule, truth = _columns(scores, truths)
    return float(truth[rule == rule.min()].mean())


def precision_at(k: int, scores: Sequence[float], truths: Sequence[float]) -> float:
    """Return the expected share of a rule's first ``k`` that are among the truly first ``k``.

    Ties are broken at random on both sides: it is the mean over all ways to do so.
    """
    rule, truth = _columns(scores, truths)
    return float((_taken(rule, k) * _taken(truth, k)).sum() / k)


def _taken(values: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return each value's chance to be among the ``k`` smallest."""
    last = np.sort(values)[k - 1]
    below, equal = (values < last).astype(np.float64), (values == last).astype(np.float64)
    found: NDArray[np.float64] = below + equal * float((k - below.sum()) / equal.sum())
    return found


def _tau(rule: NDArray[np.float64], truth: NDArray[np.float64]) -> float | None:
    return _defined(kendalltau, rule, truth)


def _defined(
    statistic: Callable[..., object], rule: NDArray[np.float64], truth: NDArray[np.float64]
) -> float | None:
    """Return a rank correlation, None where one side is constant."""
    if min(np.ptp(rule), np.ptp(truth)) == 0:
        return None
    return float(statistic(rule, truth)[0])  # type: ignore[index]


def _interval(
    statistic: Callable[[NDArray[np.float64], NDArray[np.float64]], float | None],
    rule: NDArray[np.float64],
    truth: NDArray[np.float64],
) -> Interval | None:
    """Return the bootstrap interval over trials; resamples with one side constant say nothing."""

    def of(*columns: NDArray[np.float64]) -> float:
        value = statistic(*columns)
        return math.nan if value is None else value

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate resamples, which are left out below
        found = bootstrap(
            (rule, truth),
            of,
            paired=True,
            vectorized=False,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(SEED),
        ).bootstrap_distribution
    known = found[np.isfinite(found)]
    if len(known) < RESAMPLES / 2:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _columns(
    scores: Sequence[float] | NDArray[np.float64], truths: Sequence[float] | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rule, truth = np.asarray(scores, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    if len(rule) != len(truth) or not len(rule) or not (np.isfinite(rule).all() and np.isfinite(truth).all()):
        raise ValueError(f"as many finite scores as truths, at least one; got {len(rule)} and {len(truth)}")
    return rule, truth
