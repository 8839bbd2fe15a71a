"""Schedules: numbers that change from epoch to epoch, and the annealing of the weights' learning rate."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from raynas.bilevel.part import Composition
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import EpochReport
from raynas.bilevel.slots import Annealing, Schedule
from raynas.spaces.space import Space


@dataclass(frozen=True)
class Linear(Schedule):
    """Goes in equal steps from ``start`` in the first epoch to ``end``.

    With ``reach`` the last epoch has ``end`` (GDAS' temperature, scheduled drop path); without it the epoch
    after the last one would (SDARTS' ε and DARTS-' β). It stays at its last value while fine tuning.
    """

    use: ClassVar[str] = "linear"
    start: float
    end: float
    reach: bool = True

    def __call__(self, progress: Progress) -> float:
        """Return start + (end − start)·epoch/steps."""
        steps = max(progress.epochs - self.reach, 1)
        return self.start + (self.end - self.start) * min(progress.epoch / steps, 1.0)


@dataclass(frozen=True)
class Exponential(Schedule):
    """Is multiplied by ``factor`` after each epoch: ASAP's temperature is 1.6·0.95^epoch of 50 epochs.

    With ``over`` a search of any length takes the course that one of so many epochs has.
    """

    use: ClassVar[str] = "exponential"
    version: ClassVar[int] = 2
    start: float
    factor: Annotated[float, Field(gt=0)]
    over: Annotated[int, Field(ge=1)] | None = None

    def __call__(self, progress: Progress) -> float:
        """Return start·factor^epoch, or start·factor^(over·epoch/epochs)."""
        scale = 1.0 if self.over is None else self.over / progress.epochs
        return float(self.start * self.factor ** (scale * progress.epoch))


@dataclass(frozen=True)
class PhasedDropout(Schedule):
    """The dropout of P-DARTS on skip connections: one rate a stage, falling within it.

    During the stage's warm-up it falls linearly, and once α is trained it starts again from the rate and
    falls by exp(−``decay``) an epoch. Stages beyond the list have its last rate. Source: the code of Chen et
    al. 2019.
    """

    use: ClassVar[str] = "phased-dropout"
    rates: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0, 0.4, 0.7)
    decay: Annotated[float, Field(ge=0)] = 0.2

    def __call__(self, progress: Progress) -> float:
        """Return rate·(E − e − 1)/E before α is trained and rate·exp(−decay·(e − warmup)) from then on."""
        rate = self.rates[min(progress.stage, len(self.rates) - 1)]
        epoch, epochs = progress.stage_epoch, progress.stage_epochs
        if epoch < progress.warmup:
            return rate * (epochs - epoch - 1) / epochs
        return rate * math.exp(-self.decay * (epoch - progress.warmup))


@dataclass(frozen=True)
class Cosine(Annealing):
    """Half a cosine from high to low, over the search or each stage (Loshchilov & Hutter 2017)."""

    use: ClassVar[str] = "cosine"
    over: Literal["search", "stage"] = "search"

    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """Return low + (high − low)·(1 + cos(π·share))/2."""
        share = progress.share if self.over == "search" else progress.stage_epoch / progress.stage_epochs
        return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


@dataclass(frozen=True)
class PowerCosine(Annealing):
    """Cosine power annealing (Hundt, Jain, Hager 2019): the cosine c becomes p^(c + 1), scaled to [0, 1].

    ``power`` 1 is the cosine; the larger it is, the earlier the rate falls. The last epoch has ``low``. With
    a ``warmup`` of W epochs (a share of the search below 1) the first W + 1 climb from above ``low`` to
    ``high`` in equal steps; without, the first epoch has ``high``. Source: the authors' code,
    cnn/cosine_power_annealing.py, which counts epochs from 1.
    """

    use: ClassVar[str] = "power-cosine"
    version: ClassVar[int] = 2
    power: Annotated[float, Field(ge=1)] = 2.0
    warmup: Annotated[float, Field(ge=0)] = 0

    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """Return low + (high − low)·(p^(c + 1) − p)/(p^(C + 1) − p), with C the largest c."""
        warmup = round(self.warmup * progress.epochs if self.warmup < 1 else self.warmup)
        epoch = progress.epoch + 1
        if warmup and epoch <= warmup + 1:
            return low + (high - low) * epoch / (warmup + 1)
        epochs = max(progress.epochs - warmup, 1)
        top = self._height(0 if warmup else 1 / epochs)
        height = self._height(min((epoch - warmup) / epochs, 1.0)) / top if top else 1.0
        return low + (high - low) * height

    def _height(self, share: float) -> float:
        cosine = (1 + math.cos(math.pi * share)) / 2
        return cosine if self.power == 1 else self.power ** (cosine + 1) - self.power

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """The search has to last longer than its warm-up."""
        if 1 <= values.get("epochs", math.inf) <= self.warmup:
            yield (
                "power-cosine never leaves its warm-up: give it fewer epochs than the search has, or a share "
                "below 1"
            )


@dataclass(frozen=True)
class BoldDriver(Annealing):
    """Grows the rate while the training loss falls and cuts it when the loss rises (after Battiti 1989).

    Starts at ``high`` and never goes below ``low``. Battiti's takes back a step that raised the loss and
    tries again at the lower rate; here the steps of such an epoch stay, and only the next ones are shorter.
    """

    use: ClassVar[str] = "bold-driver"
    grow: Annotated[float, Field(ge=1)] = 1.05
    cut: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """Return the last epoch's rate, times ``grow`` or ``cut``."""
        if len(reports) < 2:
            return high
        before, last = ((each.train_loss or 0.0, each.learning_rate or 0.0) for each in reports[-2:])
        factor = self.grow if last[0] < before[0] else self.cut
        return max(last[1] * factor, low)


@dataclass(frozen=True)
class TwoPhases(Annealing):
    """The warm-up has a curve of its own, from ``first``·high, before that of the search proper from high.

    Both are half a cosine down to low, or without ``falls`` steady. ProxylessNAS' code warms up for 40 epochs
    from 0.05 and then searches for 120 from 0.025; that of DSO-NAS trains weights at 0.05 and then searches
    at 0.1.
    """

    use: ClassVar[str] = "two-phases"
    first: Annotated[float, Field(gt=0)] = 2.0
    falls: bool = True

    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """Return low + (top − low)·(1 + cos(π·share))/2 in each phase, or its top."""
        warming = progress.epoch < progress.warmup
        top = high * self.first if warming else high
        start, end = (0, progress.warmup) if warming else (progress.warmup, progress.epochs)
        share = min((progress.epoch - start) / max(end - start, 1), 1.0)
        return low + (top - low) * (1 + math.cos(math.pi * share)) / 2 if self.falls else top


@dataclass(frozen=True)
class Steady(Annealing):
    """The same rate in every epoch."""

    use: ClassVar[str] = "steady"

    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """Return ``high``, whatever the epoch."""
        return high
