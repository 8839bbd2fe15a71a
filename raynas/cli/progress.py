"""What a sweep's records add up to: counts, time left, the best so far, as display and status print them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from raynas.bilevel.records import EpochReport
from raynas.errors import RaynasError
from raynas.report.stats import Spread
from raynas.sweep.plan import Sweep
from raynas.sweep.record import TrialRecord
from raynas.sweep.select import Ranked, judge_of, rank
from raynas.sweep.status import ENDED, STATUSES
from raynas.tables.table import Yardstick

RISE = 1.3
"""λmax above this many times the mean of the earlier epochs is marked as rising (R-DARTS' threshold)."""

MARK = "▲"
"""Stands beside a λmax that rises."""


@dataclass(frozen=True)
class MethodLine:
    """The finished trials of one method: the spread of their values, and the best of them."""

    method: str
    values: Spread
    best: Ranked


class SweepProgress:
    """A sweep's plan and the newest record of each trial that has one."""

    def __init__(self, sweep: Sweep, records: Iterable[TrialRecord], now: float = 0.0) -> None:
        self.sweep = sweep
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
    def epochs_done(self) -> int:
        """Epochs finished; a trial that ended counts with all of its epochs."""
        return sum(
            r.config.epochs if r.status in ENDED else min(len(r.reports), r.config.epochs)
            for r in self._all()
        )

    @property
    def epochs_planned(self) -> int:
        """Epochs of all trials; those not suggested yet count as the mean of the others."""
        known = [trial.config.epochs for trial in self.sweep.trials if trial.config is not None]
        known = known or [record.config.epochs for record in self._all()]
        return round(fmean(known) * self.planned) if known else 0

    def seconds_left(self, now: float) -> float | None:
        """Estimate the seconds left: the epochs left at the mean time of one, as many at once as run now.

        None before the first epoch, and while nothing runs.
        """
        seconds = [report.seconds for record in self._all() for report in record.reports]
        at_once = len(self.running())
        if not seconds or not at_once:
            return None
        left = (self.epochs_planned - self.epochs_done) * fmean(seconds) / at_once
        return max(left - (now - self._moved), 0.0)

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
        try:
            return judge_of(self.sweep.select, self.sweep.benchmark)
        except RaynasError:
            return None  # the table has gone: nothing is ranked, all else is shown

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
    """Return a record without the weights of its epochs, most of its memory: 9 kB an epoch on DARTS."""
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


def record_json(record: TrialRecord) -> dict[str, object]:
    """Return one trial's state as plain data, with the numbers of the epoch that counts."""
    last = record.deciding
    return {
        "id": record.id,
        "status": record.status,
        "reason": record.reason,
        "method": record.method_name,
        "seed": record.config.seed,
        "axes": record.axes,
        "epoch": len(record.reports),
        "epochs": record.epochs,
        "train_loss": last and last.train_loss,
        "valid_loss": last and last.valid_loss,
        "valid_accuracy": last and last.valid_accuracy,
        "discrete_loss": last and last.discrete_loss,
        "eig_max": last.curvature.eig_max if last and last.curvature else None,
        "skips": last.skips if last else None,
        "seconds_per_epoch": last and last.seconds,
    }
