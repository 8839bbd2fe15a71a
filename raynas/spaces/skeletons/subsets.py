"""Subsets of a size, each as likely as the product of its members' weights: counted and drawn exactly.

A node that keeps ``size`` of its edges, with one of ``weight`` operations on each, has as many forms as such
products add up to. All is done in whole numbers, so that no rounding favours a cell.
"""

import random
from collections.abc import Sequence


def count_subsets(weights: Sequence[int], size: int) -> int:
    """Return the sum, over all subsets of ``size`` of the weights, of the product of their weights.

    With weights of 1 that is a binomial coefficient. Takes some len(weights) · size multiplications.
    """
    return _tails(weights, size)[0][size]


def draw_subset(weights: Sequence[int], size: int, source: random.Random) -> list[int]:
    """Return the places of ``size`` weights, ascending, with a chance in proportion to their product.

    Raises `ValueError` where there is no such subset.
    """
    tails = _tails(weights, size)
    if tails[0][size] == 0:
        raise ValueError(f"there is no subset of {size} of {len(weights)} weights")
    chosen: list[int] = []
    for place, weight in enumerate(weights):
        left = size - len(chosen)
        with_it = weight * tails[place + 1][left - 1] if left else 0
        if source.randrange(tails[place][left]) < with_it:
            chosen.append(place)
    return chosen


def _tails(weights: Sequence[int], size: int) -> list[list[int]]:
    """Return [place][k]: the sum over subsets of k of the weights from ``place`` on."""
    tails = [[1] + [0] * size]
    for weight in reversed(weights):
        after = tails[-1]
        tails.append([1] + [after[k] + weight * after[k - 1] for k in range(1, size + 1)])
    return tails[::-1]
