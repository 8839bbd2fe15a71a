"""Pareto fronts: what nothing else is better than in every respect at once."""

from collections.abc import Sequence

import numpy as np


def front(points: Sequence[Sequence[float]]) -> list[bool]:
    """Tell of each point, a number for each objective, lowest best, whether none dominates it.

    One dominates another where it is nowhere worse and somewhere better, so that equal points are on the
    front together. Points with a number that is not finite are not on it. Raises `ValueError` for points of
    unequal length.
    """
    found = [all(map(np.isfinite, point)) for point in points]
    if len({len(point) for point in points}) > 1:
        raise ValueError("every point has a number for each objective")
    known = [place for place, finite in enumerate(found) if finite]
    values = np.array([points[place] for place in known], dtype=np.float64)
    for place, own in zip(known, values, strict=True):
        found[place] = not ((values <= own).all(1) & (values < own).any(1)).any()
    return found
