"""Stop rules: pure functions of a search's reports that may end it and say which epoch's cell counts.

They know nothing but the reports, so they resume exactly and are tested on recorded curves.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, ClassVar

from pydantic import Field, InstanceOf

from raynas.bilevel.part import Composition
from raynas.bilevel.records import EpochReport
from raynas.bilevel.slots import Ending, Restart, StopRule
from raynas.parts.derivations import no_skips
from raynas.spaces import skeletons
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space


@dataclass(frozen=True)
class Regularise(Restart):
    """What to do instead of ending (R-DARTS-ADA): go back, and on with more weight decay, ``times`` times.

    The paper's script multiplies by 10 from 3e-4 up to 3e-2: twice. Here the look ahead of second order has
    the new strength at once, as the weights have; in the authors' code it lags one restart behind.
    """

    use: ClassVar[str] = "regularise"
    weight_decay: Annotated[float, Field(gt=1)] = 10.0
    times: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True)
class EigenvalueGrowth(StopRule):
    """R-DARTS-ES: stop when the largest eigenvalue grows fast, and return the cell from before it did.

    Eigenvalues are averaged over the last ``window`` measurements, and an average belongs to the window's
    middle. When it exceeds ``factor`` times the average of ``delta`` measurements earlier, and that earlier
    middle is no earlier than epoch ``after``, the search goes back to it. ``diagonal`` is added to every
    eigenvalue: the authors' Hessian has α's weight decay on its diagonal. Averages that are not positive
    never trigger. Measured every second epoch (``hessian: {every: 2}``) this is the authors' code (factor 1.3
    over 8 epochs), and decides the 67 runs that they published as theirs does; the paper says 1/0.75 over 5.
    Their code never stops at the largest decay of its grid (2.43e-2), which this one may.

    The rule cannot fire before it has ``window``//2 + ``delta`` measurements after epoch ``after``: with the
    defaults in epoch 22, counted from 0. Source: Zela et al. 2020, section 4.
    """

    use: ClassVar[str] = "eigenvalue-growth"
    version: ClassVar[int] = 2
    factor: Annotated[float, Field(gt=1)] = 1.3
    window: Annotated[int, Field(ge=1)] = 5
    delta: Annotated[int, Field(ge=1)] = 4
    after: Annotated[int, Field(ge=0)] = 10
    then: InstanceOf[Restart] | None = None
    diagonal: Annotated[float, Field(ge=0)] = 1e-3

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It watches measured curvature of an α that is trained, for long enough to fire."""
        if method.estimator is None:
            yield "eigenvalue-growth watches the curvature that training α causes: here α rests"
        epochs, every = values.get("epochs"), values.get("hessian.every", 1)
        if every == 0:
            yield "eigenvalue-growth needs measured curvature: hessian.every is 0"
        elif epochs and "hessian.every" in values:
            yield from self._too_late(epochs, every)

    def _too_late(self, epochs: int, every: int) -> Iterator[str]:
        """Yield why the rule cannot end a search of so many epochs, measured every so many, if it cannot."""
        first = every * (self.window // 2 + self.delta + math.ceil(self.after / every))
        if epochs < first + 2:  # in the last epoch no rule is asked any more
            yield (
                f"eigenvalue-growth cannot end this search: measured every {every} epochs, it first can "
                f"after epoch {first + 1} of {first + 2} or more; got epochs: {epochs}. Lower "
                f"hessian.every, or its settings: `stop: {{use: eigenvalue-growth, after: {self.after}, "
                f"delta: {self.delta}, window: {self.window}}}`"
            )

    @property
    def reach(self) -> int:
        """How many measured epochs back the earlier average's middle may lie."""
        return self.window // 2 + self.delta + 1 if self.then is not None else 0

    @property
    def solo(self) -> bool:
        """Whether the search must run alone: one that goes back cannot stay in step with others."""
        return self.then is not None

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Compare the newest average with an earlier one, if this epoch was measured."""
        if not reports or reports[-1].curvature is None:
            return None
        measured = [(r.epoch, r.curvature.eig_max) for r in reports if r.curvature is not None]
        # An average belongs to the middle of its window (by default the third of five measurements), and the
        # earlier one ends ``delta`` measurements before: its middle is the epoch to go back to.
        back = len(measured) - 1 - self.window // 2 - self.delta
        if back < 0 or len(measured) - self.delta < (self.window + 1) // 2:
            return None
        epoch = measured[back][0]
        newest, earlier = self._average(measured), self._average(measured[: -self.delta])
        if epoch < self.after or earlier <= 0 or newest <= self.factor * earlier:
            return None
        rise = (
            f"the largest eigenvalue rose {newest / earlier:.2f} times (from {earlier:.3g} to {newest:.3g})"
        )
        return Ending(epoch, rise, self.then)

    def _average(self, measured: Sequence[tuple[int, float]]) -> float:
        values = [value for _, value in measured[-self.window :]]
        return sum(values) / len(values) + self.diagonal


@dataclass(frozen=True)
class SkipCount(StopRule):
    """DARTS+, rule 1: stop when a cell has ``most`` skip connections or more (Liang et al. 2019).

    Counted in the derived cell, not in the mixture, from epoch ``after`` on (counted from 0). The paper names
    no first epoch; the first epochs' α is noise, and of 8 edges so chosen often two or more are skips: in S1
    to S3 all of 18 searches without ``after`` ended at epoch 0.
    """

    use: ClassVar[str] = "skip-count"
    version: ClassVar[int] = 2
    most: Annotated[int, Field(ge=1)] = 2
    kind: str = "normal"
    after: Annotated[int, Field(ge=0)] = 10

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It counts skips of a kind of cell, from an epoch on."""
        epochs = values.get("epochs")
        if space is not None and no_skips(space):
            yield f"skips are counted, but the space has none ({space.name})"
        if space is not None and self.kind not in space.kinds:
            yield f"skips are counted in a kind of cell that the space does not have ({space.name})"
        if epochs is not None and epochs <= self.after + 1:  # in the last epoch no rule is asked any more
            yield (
                f"skip-count counts from epoch {self.after + 1} on, so it ends searches of {self.after + 2} "
                f"or more epochs, but this one has {epochs}: lower its `after`{_on(space)}"
            )

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Count the skips of the newest genotype."""
        if not reports or reports[-1].epoch < self.after:
            return None
        if (skips := reports[-1].skips.get(self.kind, 0)) < self.most:
            return None
        return Ending(reports[-1].epoch, f"{skips} skip connections in the {self.kind} cell")


@dataclass(frozen=True)
class RankStable(StopRule):
    """DARTS+, rule 2: stop when no edge's order of learnable operations has changed for ``epochs`` epochs.

    Where no edge has two of them there is no order, and the rule is refused.
    """

    use: ClassVar[str] = "rank-stable"
    epochs: Annotated[int, Field(ge=1)] = 10

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It compares an edge's learnable operations over some epochs."""
        epochs = values.get("epochs")
        if space is not None and all(len(columns) < 2 for _, _, columns in _compared(space)):
            yield (
                "rank-stable compares an edge's learnable operations, but no edge has two of them: "
                f"`stop: skip-count`{_on(space)}"
            )
        elif epochs is not None and epochs <= self.epochs + 1:  # in the last epoch no rule is asked any more
            yield (
                f"rank-stable compares {self.epochs + 1} epochs, so it ends searches of {self.epochs + 2} or "
                f"more, but this one has {epochs}: lower its `epochs`{_on(space)}"
            )

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Compare the orders of the newest reports; operations without weights do not count."""
        newest = reports[-self.epochs - 1 :]
        if len(newest) <= self.epochs or len({_orders(report, space) for report in newest}) > 1:
            return None
        return Ending(newest[-1].epoch, f"no order of operations has changed for {self.epochs} epochs")


def _on(space: Space | None) -> str:
    return "" if space is None else f" ({space.name})"


def _orders(report: EpochReport, space: Space) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(sorted(columns, key=lambda column: -report.weights[name][row][column]))
        for name, row, columns in _compared(space)
    )


def _compared(space: Space) -> Iterator[tuple[str, int, list[int]]]:
    """Yield each row of α as its group's name and its place, with the columns whose order counts."""
    for group in skeletons.groups(space):
        for place, row in enumerate(group.rows):
            yield (
                group.name,
                place,
                [
                    column
                    for column, option in enumerate(row.options)
                    if not group.operations or OPERATIONS[option].learns
                ],
            )


@dataclass(frozen=True)
class Converged(StopRule):
    """Stop when every row of weights has chosen, or when none moves any more.

    A row has chosen once one option has ``certain`` of its weight, which the report of the first epoch can
    tell; null leaves that out. None moves when for ``patience`` epochs in a row the largest Kullback-Leibler
    divergence from the epoch before is at most ``tolerance`` (in nats). VIM-NAS is said to converge, nearly
    one-hot, within an epoch; its criterion is not published, and this one is assumed.
    """

    use: ClassVar[str] = "converged"
    version: ClassVar[int] = 2
    tolerance: Annotated[float, Field(gt=0)] = 1e-2
    patience: Annotated[int, Field(ge=1)] = 1
    certain: Annotated[float, Field(gt=0.5, le=1)] | None = 0.95

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Look at the newest report, then compare each of the newest with the one before it."""
        if reports and self.certain is not None and (least := _least_share(reports[-1])) >= self.certain:
            return Ending(reports[-1].epoch, f"every row has chosen (at least {least:.1%} for one option)")
        newest = reports[-self.patience - 1 :]
        if len(newest) <= self.patience:
            return None
        moved = max(_divergence(b, a) for a, b in pairwise(newest))
        if moved > self.tolerance:
            return None
        return Ending(newest[-1].epoch, f"the weights have settled (divergence {moved:.2g} nats)")


def _least_share(report: EpochReport) -> float:
    """Return the smallest share that the heaviest option of any row has; rows without weight do not count."""
    rows = [row for rows in report.weights.values() for row in rows if sum(row) > 0]
    return min((max(row) / sum(row) for row in rows), default=0.0)


def _divergence(new: EpochReport, old: EpochReport) -> float:
    """Return the largest KL(new ‖ old) of any row; rows are divided by their sums first."""
    largest = 0.0
    for name, rows in new.weights.items():
        for row, before in zip(rows, old.weights[name], strict=True):
            total, total_before = sum(row), sum(before)
            if total <= 0 or total_before <= 0:
                continue
            pairs = [(p / total, q / total_before) for p, q in zip(row, before, strict=True) if p > 0]
            if any(q <= 0 for _, q in pairs):
                return math.inf
            largest = max(largest, sum(p * math.log(p / q) for p, q in pairs))
    return largest


@dataclass(frozen=True)
class AllDecided(StopRule):
    """Stop when every edge has one operation left, or none (SGAS, ASAP)."""

    use: ClassVar[str] = "all-decided"

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Look at the newest weights: what is dead weighs 0."""
        if not reports:
            return None
        rows = [row for table in reports[-1].weights.values() for row in table]
        if any(sum(weight > 0 for weight in row) > 1 for row in rows):
            return None
        return Ending(reports[-1].epoch, "every edge is decided")


@dataclass(frozen=True)
class AnyOf(StopRule):
    """Stop as soon as one of several rules says so."""

    use: ClassVar[str] = "any-of"
    slots = ("stop",)
    rules: tuple[InstanceOf[StopRule], ...]

    @property
    def solo(self) -> bool:
        """Whether one of the rules must run alone."""
        return any(rule.solo for rule in self.rules)

    @property
    def reach(self) -> int:
        """How far back the rule goes that goes farthest."""
        return max((rule.reach for rule in self.rules), default=0)

    @property
    def returning(self) -> tuple[StopRule, ...]:
        """The rules that may send the search back."""
        return tuple(each for rule in self.rules for each in rule.returning)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """What does not fit any of the rules."""
        for rule in self.rules:
            yield from rule.misfits(method, space, values)

    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """Ask the rules in order; the first that ends counts."""
        endings = (rule(reports, space) for rule in self.rules)
        return next((ending for ending in endings if ending is not None), None)
