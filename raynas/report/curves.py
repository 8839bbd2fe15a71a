"""What a plot over epochs draws, as plain data: curves, bands that sum curves up, and the frame of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """One search's values over epochs; ``colour`` names an entry of the palette or is a hex colour.

    ``dashes`` is the line's place in `raynas.report.figures.MARKS`, which begins again at its end. ``end``
    marks the last point: ``chosen`` with a ring, ``stopped`` with a cross.
    """

    epochs: tuple[int, ...]
    values: tuple[float, ...]
    colour: str
    dashes: int = 0
    end: str = ""


@dataclass(frozen=True)
class Band:
    """Many searches' values over epochs: the median, of counts the mean, and the middle 80 % of them."""

    epochs: tuple[int, ...]
    low: tuple[float, ...]
    middle: tuple[float, ...]
    high: tuple[float, ...]
    colour: str
    dashes: int = 0

    @classmethod
    def of(cls, curves: Sequence[Curve], *, counts: bool = False) -> "Band":
        """Sum up curves of one colour; an epoch counts those that reached it."""
        middle = np.mean if counts else np.median
        by_epoch: dict[int, list[float]] = {}
        for curve in curves:
            for epoch, value in zip(curve.epochs, curve.values, strict=True):
                by_epoch.setdefault(epoch, []).append(value)
        epochs = tuple(sorted(by_epoch))
        low, high = np.array([np.percentile(by_epoch[epoch], (10, 90)) for epoch in epochs]).T.tolist()
        line = [float(middle(by_epoch[epoch])) for epoch in epochs]
        return cls(epochs, tuple(low), tuple(line), tuple(high), curves[0].colour, curves[0].dashes)


@dataclass(frozen=True)
class Frame:
    """The axes that all panels of one measure share: ranges of epoch and value, and the value's scale."""

    epochs: tuple[float, float]
    values: tuple[float, float]
    log: bool = False

    @classmethod
    def around(
        cls, curves: Sequence[Curve], bands: Sequence[Band] = (), *, from_zero: bool = False
    ) -> "Frame":
        """Return a frame that holds all of it; logarithmic when positive values span over two decades."""
        values = [value for curve in curves for value in curve.values]
        values += [value for band in bands for value in (*band.low, *band.high)]
        epochs = [epoch for curve in curves for epoch in curve.epochs]
        epochs += [epoch for band in bands for epoch in band.epochs]
        low, high = min(values), max(values)
        span = (min(epochs) - 0.3, max(epochs) + 0.3)
        if low > 0 and high / low > 100 and not from_zero:
            return cls(span, (low / 1.5, high * 1.5), log=True)
        margin = 0.06 * (high - low) or max(abs(high), 1.0) * 0.05
        return cls(span, (-margin if from_zero else low - margin, high + margin))
