"""Rank agreement and the curve of sub-sweeps, against brute force and published pairs."""

import itertools
import random
from fractions import Fraction
from statistics import fmean

import pytest

from raynas.trust.agreement import agreement, precision_at
from raynas.trust.curve import chances, curve, expected, sizes

# Ten searches for each of SGAS' criteria: (validation error of the search, test error of the trained cell),
# in percent (lightaime/sgas 9cfff65, cnn/genotypes.py).
FIRST = [
    (16.94, 2.44), (17.33, 2.50), (17.90, 2.39), (17.90, 2.63), (17.99, 2.78),
    (18.43, 2.68), (18.72, 2.51), (19.82, 2.61), (19.93, 3.18), (21.53, 2.87),
]  # fmt: skip
SECOND = [
    (16.48, 2.57), (17.26, 2.60), (17.31, 2.44), (17.47, 2.49), (17.53, 2.52),
    (17.98, 3.12), (18.28, 2.58), (18.28, 2.85), (19.48, 2.85), (19.98, 2.66),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "tau", "rho", "regret", "blind"),
    [(FIRST, 0.54, 0.73, 0.05, 0.27), (SECOND, 0.39, 0.58, 0.13, 0.23)],
)
def test_the_searches_of_sgas_are_judged_as_scipy_judges_them(pairs, tau, rho, regret, blind):
    found = agreement([valid for valid, _ in pairs], [test / 100 for _, test in pairs])
    assert (round(found.tau, 2), round(found.rho, 2)) == (tau, rho)
    assert (round(100 * found.regret, 2), round(100 * found.blind, 2)) == (regret, blind)
    low, high = found.tau_interval
    assert -1 <= low < found.tau < high <= 1


def test_errors_less_than_a_tenth_of_a_point_apart_are_ties_of_the_sparse_form():
    truths = [0.0600, 0.0602, 0.0604, 0.0800]
    found = agreement([3, 2, 1, 4], truths)
    assert found.tau == pytest.approx((3 - 3) / 6)
    # Three are tied, three pairs are in order: τ-b = 3 / √(6 · 3).
    assert found.sparse == pytest.approx(3 / (6 * 3) ** 0.5)


def test_precision_shares_ties_over_all_orders():
    scores, truths = [1, 1, 1, 2, 0], [0.3, 0.1, 0.2, 0.2, 0.5]

    def orders(values):
        for tiebreak in itertools.permutations(range(5)):
            yield sorted(range(5), key=lambda place: (values[place], tiebreak[place]))[:3]

    pairs = itertools.product(orders(scores), orders(truths))
    brute = fmean(len(set(rule) & set(truth)) / 3 for rule, truth in pairs)
    assert precision_at(3, scores, truths) == pytest.approx(brute)


def test_too_few_or_constant_trials_have_no_correlation_but_a_regret():
    few = agreement([1, 2, 3], [0.1, 0.2, 0.3])
    assert (few.tau, few.rho, few.regret) == (None, None, 0)
    flat = agreement([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert (flat.tau, flat.sparse, flat.tau_interval) == (None, None, None)
    assert flat.regret == pytest.approx(flat.blind) == pytest.approx(0.15)
    for scores, truths in (([], []), ([1.0], [float("nan")]), ([1.0, 2.0], [0.1])):
        with pytest.raises(ValueError, match="as many finite scores"):
            agreement(scores, truths)


@pytest.mark.parametrize("scores", [[4, 1, 3, 2, 5, 6], [1, 1, 2, 2, 2, 3]])
def test_the_curve_is_the_mean_over_all_sub_sweeps(scores):
    truths = [0.3, 0.1, 0.4, 0.15, 0.9, 0.2]
    for size in range(1, 7):
        found, total = [Fraction(0)] * 6, 0
        for members in itertools.combinations(range(6), size):
            lowest = min(scores[place] for place in members)
            best = [place for place in members if scores[place] == lowest]
            for place in best:
                found[place] += Fraction(1, len(best))
            total += 1
        assert chances(scores, size) == pytest.approx([float(each / total) for each in found])
        mean = sum(each / total * Fraction(truth) for each, truth in zip(found, truths, strict=True))
        assert expected(scores, truths, size) == pytest.approx(float(mean))


def test_a_curve_begins_at_the_mean_and_ends_at_the_choice():
    source = random.Random(0)
    truths = [source.random() for _ in range(16)]
    points = curve([source.random() for _ in range(16)], truths)
    assert [point.size for point in points] == sizes(16) == [1, 2, 4, 8, 16]
    assert points[0].error == pytest.approx(fmean(truths))
    assert points[-1].low == points[-1].error == points[-1].high
    best = curve(truths, truths)
    assert [point.error for point in best] == sorted((point.error for point in best), reverse=True)
    assert best[-1].error == min(truths)
    assert all(point.interval[0] <= point.error <= point.interval[1] for point in points[:-1])
    assert [sizes(count) for count in (0, 1, 6)] == [[], [1], [1, 2, 4, 6]]
    assert curve([0.5], [0.2])[0].error == 0.2
