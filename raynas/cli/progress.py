"""What a sweep's records add up to: counts, time left, the best so far, as display and status print them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from types import MappingProxyType

from raynas.bilevel.records import EpochReport
from raynas.errors import RaynasError
from raynas.report.stats import Spread
from raynas.report.text import ranked_number
from raynas.sweep.file.resolve import method_label
from raynas.sweep.lookups import Lookups
from raynas.sweep.plan import Sweep
from raynas.sweep.ranking import Ranked
from raynas.sweep.record import TrialRecord
from raynas.sweep.select import rank
from raynas.sweep.status import ENDED, STATUSES
from raynas.tables.table import Yardstick

RISE = 1.3
"""λmax above this many times the mean of the earlier epochs is marked as rising (R-DARTS' threshold)."""

MARK = "▲"
"""Stands beside a λmax that rises."""

RISES = f"{MARK}: λmax is more than {RISE:g} times its mean so far: the cell may be turning into skips"
"""What the mark means, said wherever one stands (Zela et al. 2020, section 4)."""


@dataclass(frozen=True)
class MethodLine:
    """The finished trials of one method: the spread of their values, and the best of them."""

    method: str
    values: Spread
    best: Ranked


class SweepProgress:
    """A sweep's plan and the newest record of each trial that has one, with what its table said of them."""

    def __init__(
        self,
        sweep: Sweep,
        records: Iterable[TrialRecord],
        now: float = 0.0,
        lookups: Lookups | None = None,
    ) -> None:
        self.sweep, self._lookups = sweep, lookups
        self.records = {record.id: slim(record) if record.status in ENDED else record for record in records}
        self.started = now
        self._moved = now
        self._ranking: tuple[Ranked, ...] | None = None

    def update(self, record: TrialRecord, now: float = 0.0) -> None:
        """Take in a trial's newest record, seen at ``now``."""
        before = self.records.get(record.id)
        self.records[record.id] = slim(record) if record.status in ENDED else record
        self._moved = now
        if "finished" in {record.status, before.status if before else ""}:
            self._ranking = None

    @property
    def planned(self) -> int:
        """How many trials there will be, the ones not suggested yet included."""
        return max(len(self.sweep.trials), len(self.records))

    def count(self) -> dict[str, int]:
        """Return how many trials have each status; trials without a record are waiting."""
        counts = Counter[str](record.status for record in self._all())
        counts["waiting"] += self.planned - len(self.records)
        return {status: counts[status] for status in STATUSES}

    def running(self) -> list[TrialRecord]:
        """Return the records of the running trials, in plan order."""
        order = {trial.id: place for place, trial in enumerate(self.sweep.trials)}
        now = [record for record in self._all() if record.status == "running"]
        return sorted(now, key=lambda record: order.get(record.id, len(order)))

    @property
    def _mean_epochs(self) -> float:
        """Epochs of a trial that is not suggested yet: the mean of the others."""
        known = [trial.config.epochs for trial in self.sweep.trials if trial.config is not None]
        return fmean(known or [record.config.epochs for record in self._all()])

    def seconds_left(self, now: float, begun: Mapping[str, float] = MappingProxyType({})) -> float | None:
        """Estimate the seconds left from what each trial has left, as many at once as run now.

        An epoch is taken to last as those of its own trial, else of its method, else of all; ``begun`` is the
        share of its epoch that a running trial has behind it. No less than the longest trial that runs has
        left. None before the first epoch, and while nothing runs.
        """
        records = self._all()
        running = [record for record in records if record.status == "running"]
        own = {record.id: [report.seconds for report in record.reports] for record in records}
        every = [seconds for each in own.values() for seconds in each]
        if not every or not running:
            return None
        methods: dict[str, list[float]] = {}
        for record in records:
            methods.setdefault(record.method_name, []).extend(own[record.id])
        known = {record.id: record for record in records}
        lefts = []
        for trial in self.sweep.trials:
            one, config = known.get(trial.id), trial.config
            if one is not None and one.status in ENDED:
                continue
            name = one.method_name if one else method_label(config.method) if config else ""
            pace = own.get(trial.id) or methods.get(name) or every
            epochs = one.epochs if one else config.epochs if config else self._mean_epochs
            done = min(len(one.reports) if one else 0, epochs) + begun.get(trial.id, 0.0)
            lefts.append((max(epochs - done, 0.0) * fmean(pace), one is not None and one.status == "running"))
        longest = max((left for left, runs in lefts if runs), default=0.0)
        left = max(sum(left for left, _ in lefts) / len(running), longest)
        # Where the running trials say how far they are, the time since the last report is in that.
        return max(left - (0.0 if begun else now - self._moved), 0.0)

    def shares(self) -> str:
        """Say what the running trials hold: ``0.75 GPU`` or ``6 CPUs``; those of a pack hold it together."""
        packs = {tuple((r.start or {}).get("pack", [r.id])): r for r in self.running()}
        if self.sweep.resources.gpu:
            held = len(packs) * self.sweep.resources.gpu
            return f"{held:g} GPU{'s' if held > 1 else ''}"
        cpu = self.sweep.resources.cpu
        held = sum(cpu if cpu is not None else record.config.cpus for record in packs.values())
        return f"{held:g} CPU{'' if held == 1 else 's'}"

    def ranking(self) -> tuple[Ranked, ...]:
        """Rank the trials that finished so far, by the sweep's own rule."""
        if self._ranking is None:
            records = [record for record in self._all() if record.status == "finished"]
            self._ranking = rank(records, self.sweep.select, self._judge).ranking if records else ()
        return self._ranking

    @cached_property
    def _judge(self) -> Yardstick | None:
        if self._lookups is None or "table" not in self.sweep.select.rules:
            return None
        try:
            return self._lookups.open(strict=False).judge()
        except RaynasError:
            return None  # the table has gone: nothing is ranked, all else is shown

    def best(self) -> str:
        """Name the first of the ranking with its value; "" while none has finished."""
        if not (ranking := self.ranking()):
            return ""
        return f"{ranked_number(ranking[0].value, self.sweep.select.rule)} {ranking[0].trial.id}"

    def methods(self) -> list[MethodLine]:
        """Fold the finished trials into one line per method, the best method first."""
        by_method: dict[str, list[Ranked]] = {}
        for ranked in self.ranking():
            by_method.setdefault(ranked.trial.method_name, []).append(ranked)
        lines = []
        for method, group in by_method.items():
            values = Spread.of(each.value for each in group)
            if values is not None:
                lines.append(MethodLine(method, values, group[0]))
        return lines

    def _all(self) -> list[TrialRecord]:
        # A copy: the display's thread reads while the driver's thread updates.
        return list(self.records.values())


def slim(record: TrialRecord) -> TrialRecord:
    """Return a record without the weights of its epochs, most of its memory: 9 kB per epoch on DARTS."""
    return replace(record, reports=tuple(replace(report, weights={}) for report in record.reports))


def rising(reports: Iterable[EpochReport]) -> bool:
    """Say whether the last λmax is more than `RISE` times the mean of the earlier ones."""
    values = [report.curvature.eig_max for report in reports if report.curvature is not None]
    if len(values) < 2:
        return False
    mean = fmean(values[:-1])
    return mean > 0 and values[-1] > RISE * mean


def skips(counts: Mapping[str, int]) -> str:
    """Format the skip connections of a genotype, one number for each kind of cell: normal/reduce."""
    return "/".join(str(counts[kind]) for kind in sorted(counts))
