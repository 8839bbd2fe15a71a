"""Facts of the report, computed from a sweep's folder as plain data; nothing here knows HTML or plots."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import fmean

from raynas.bilevel.records import EpochReport
from raynas.errors import RaynasError
from raynas.report.stats import Spread
from raynas.report.text import axis_value
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space
from raynas.sweep.folder import SweepFolder
from raynas.sweep.lookups import Lookups
from raynas.sweep.plan import Sweep
from raynas.sweep.ranking import OF_KINDS, Selection
from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Benchmark
from raynas.sweep.select import rank
from raynas.sweep.status import BROKEN
from raynas.tables.table import Yardstick

MEASURES = {
    "valid_loss": "validation loss",
    "select_loss": "loss on the third part",
    "discrete_loss": "discrete loss",
    "perplexity": "perplexity",
    "valid_accuracy": "validation accuracy",
    "eig_max": "λmax",
    "table_accuracy": "accuracy in the table",
    "table_regret": "regret in the table",
}
"""What is stated of a trial, besides its skips for each kind of cell (``skips_normal``)."""


@dataclass(frozen=True)
class MethodSetting:
    """Trials that differ by their seed alone: a method and a strength.

    ``strength`` holds the values of every varied axis but method and seed, as text.
    """

    method: str
    strength: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """A sweep as the report sees it.

    ``records`` are the planned trials in plan order and ``settings`` the setting of each; ``strength_axes``
    names the varied axes besides method and seed, ``strengths`` their combinations in order of size.
    ``unplanned`` counts trials whose values are not suggested yet. ``as_of`` is the time of the last event
    in unix seconds. ``space`` is None when trials use several spaces. ``yardstick`` is the column of the
    table that the cells are looked up in, or None; ``no_yardstick`` then says why, if one was named.
    ``judge`` is the column that selects, where a table does.
    """

    sweep: Sweep
    records: tuple[TrialRecord, ...]
    settings: tuple[MethodSetting, ...]
    strength_axes: tuple[str, ...]
    strengths: tuple[tuple[str, ...], ...]
    selection: Selection
    unplanned: int
    as_of: float | None
    space: Space | None
    logs: frozenset[str]
    yardstick: Yardstick | None = None
    no_yardstick: str = ""
    judge: Yardstick | None = None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods in plan order."""
        return tuple(dict.fromkeys(setting.method for setting in self.settings))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell of all trials, in order."""
        found = {kind for record in self.records for report in record.reports for kind in report.skips}
        return tuple(sorted(found))

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of all that `measured` has of these trials."""
        return (*MEASURES, *(f"skips_{kind}" for kind in self.kinds))

    @property
    def texts(self) -> bool:
        """Whether any trial learned from a text, and so has a perplexity."""
        return any("perplexity" in record.newest.extra for record in self.records if record.newest)

    @property
    def thirds(self) -> bool:
        """Whether any trial held out a third part of its data, to choose by."""
        return any(each.newest.select_loss is not None for each in self.records if each.newest)

    @property
    def shorts(self) -> bool:
        """Whether the cell of any trial had a short training."""
        return any(each.short is not None for each in self.records)

    @property
    def ranked(self) -> tuple[TrialRecord, ...]:
        """The trials that could be compared, best first."""
        return tuple(entry.trial for entry in self.selection.ranking)

    @property
    def chosen(self) -> Genotype | None:
        """The winner's derived cell."""
        winner = self.selection.winner
        return winner.trial.deciding.genotype if winner and winner.trial.deciding else None

    def setting(self, record: TrialRecord) -> MethodSetting:
        """Return the setting of one of the records."""
        return self._setting_by_id[record.id]

    @cached_property
    def _setting_by_id(self) -> dict[str, MethodSetting]:
        return {record.id: own for record, own in zip(self.records, self.settings, strict=True)}

    def count(self, status: str) -> int:
        """Return how many trials have a status; trials not suggested yet are waiting."""
        planned = sum(record.status == status for record in self.records)
        return planned + (self.unplanned if status == "waiting" else 0)

    @property
    def total(self) -> int:
        """All trials of the sweep."""
        return len(self.records) + self.unplanned

    @property
    def complete(self) -> bool:
        """Whether every trial has ended."""
        return self.count("waiting") == self.count("running") == 0


def gather(folder: SweepFolder, benchmark: Benchmark | None = None) -> Facts:
    """Read a sweep's folder; raises `RaynasError` when its plan or a record is missing or damaged.

    ``benchmark`` names a table to look the cells up in, instead of the sweep's own.
    """
    sweep = folder.sweep()
    trials = folder.trials()
    spaces = {trial.space() for trial in trials}
    records = tuple(folder.records())
    own = folder.lookups
    if own is not None:
        own.look_up_all(report.genotype for record in records for report in record.reports)
    if benchmark is None and own is not None:
        yardstick, no_yardstick = _yardstick(lambda: own.open(spaces, strict=False))
        no_yardstick = no_yardstick or own.lacking
    else:
        yardstick, no_yardstick = _yardstick(lambda: benchmark.open(spaces) if benchmark else None)
    judge = _judge(sweep, own)
    axes = _strength_axes(records)
    settings = tuple(MethodSetting(record.method_name, _strength(record, axes)) for record in records)
    times = [trial.feed.latest for trial in trials if trial.feed.latest]
    return Facts(
        sweep=sweep,
        records=records,
        settings=settings,
        strength_axes=axes,
        strengths=_strengths(records, axes),
        selection=rank(records, sweep.select, judge),
        unplanned=len(sweep.trials) - len(records),
        as_of=max(times, default=None),
        space=spaces.pop() if len(spaces) == 1 else None,
        logs=frozenset(trial.id for trial in trials if trial.log.is_file()),
        yardstick=yardstick,
        no_yardstick=no_yardstick,
        judge=judge,
    )


def _yardstick(opened: Callable[[], Yardstick | None]) -> tuple[Yardstick | None, str]:
    """Open the table; one that has gone before a cell was looked up costs a column, not the report."""
    try:
        return opened(), ""
    except RaynasError as error:
        return None, " ".join(str(error).split())


def _judge(sweep: Sweep, own: Lookups | None) -> Yardstick | None:
    """Return what selects, the sweep's own table whatever other one the report looks cells up in."""
    if own is None or "table" not in sweep.select.rules:
        return None
    found, _ = _yardstick(lambda: own.open(strict=False))
    return found.judge() if found else None


def measured(report: EpochReport | None, name: str, yardstick: Yardstick | None = None) -> float | None:
    """Return one of `Facts.measures` of a report, None when it was not measured or is not in the table."""
    match name:
        case _ if report is None:
            return None
        case "eig_max":
            return report.curvature.eig_max if report.curvature else None
        case _ if name.startswith("skips_"):
            skips = report.skips.get(name.removeprefix("skips_"))
            return None if skips is None else float(skips)
        case "perplexity":
            return report.extra.get("perplexity")
        case "table_accuracy":
            return yardstick.accuracy(report.genotype) if yardstick else None
        case "table_regret":
            return yardstick.regret(report.genotype) if yardstick else None
        case _:
            value = getattr(report, name)
            return None if value is None else float(value)


def deciding_measure(record: TrialRecord, name: str, yardstick: Yardstick | None = None) -> float | None:
    """Return a measure at the epoch that counts; λmax at the last epoch up to it where it was measured."""
    return record.eig_max if name == "eig_max" else measured(record.deciding, name, yardstick)


@dataclass(frozen=True)
class RankingRow:
    """One line of the ranking: ``place`` from 1 on, or None with the ``note`` that says why not."""

    place: int | None
    record: TrialRecord
    values: dict[str, float | None]
    skips: str
    seconds: float | None
    note: str


def ranking(facts: Facts) -> list[RankingRow]:
    """Return every planned trial: the ranked ones best first, then the others in plan order."""
    places = {record.id: place for place, record in enumerate(facts.ranked, start=1)}
    notes = dict(facts.selection.left_out)
    ordered = sorted(facts.records, key=lambda record: places.get(record.id, len(places) + 1))
    return [
        RankingRow(
            place=places.get(record.id),
            record=record,
            values={name: deciding_measure(record, name, facts.yardstick) for name in facts.measures}
            | {"short_training": record.short},
            skips=_skips(facts, record),
            seconds=sum(report.seconds for report in record.reports) if record.reports else None,
            note=_note(record, notes.get(record.id, "")),
        )
        for record in ordered
    ]


def _skips(facts: Facts, record: TrialRecord) -> str:
    counts = record.deciding.skips if record.deciding else {}
    return " / ".join(str(counts[kind]) for kind in facts.kinds if kind in counts) or "–"


def _note(record: TrialRecord, why: str) -> str:
    """Return why a trial was left out, less its status, which is shown beside it."""
    return "" if why == record.status else why.removeprefix(f"{record.status}: ")


@dataclass(frozen=True)
class SettingRow:
    """One setting's measures over its ranked seeds; ``best`` marks the smallest mean of what selects.

    Of validation losses, which compare within a kind only, the smallest of each kind.
    """

    setting: MethodSetting
    ranked: int
    total: int
    values: dict[str, Spread | None]
    best: bool


def setting_rows(facts: Facts) -> list[SettingRow]:
    """Return mean and sd over seeds of every setting: methods in plan order, strengths by size."""
    ranked = {entry.trial.id: entry.value for entry in facts.selection.ranking}
    rows: list[tuple[MethodSetting, int, int, dict[str, Spread | None]]] = []
    means: list[tuple[str, float]] = []
    for setting in _ordered_settings(facts):
        members = [r for r, s in zip(facts.records, facts.settings, strict=True) if s == setting]
        counted = [record for record in members if record.id in ranked]
        values = {
            name: Spread.of(deciding_measure(record, name, facts.yardstick) for record in counted)
            for name in facts.measures
        }
        rows.append((setting, len(counted), len(members), values))
        kind = counted[0].validated if counted and facts.selection.by in OF_KINDS else ""
        means.append((kind, fmean(ranked[record.id] for record in counted) if counted else inf))
    smallest = {kind: min(mean for its, mean in means if its == kind) for kind, _ in means}
    return [
        SettingRow(*row, best=mean == smallest[kind] < inf)
        for row, (kind, mean) in zip(rows, means, strict=True)
    ]


@dataclass(frozen=True)
class Failure:
    """A trial that failed, diverged, needed more than one attempt, or is damaged on disk.

    ``messages`` maps what spoke (the end, an attempt) to its words; ``log`` is relative to the folder.
    """

    record: TrialRecord
    messages: dict[str, str]
    log: str | None


def failures(facts: Facts) -> list[Failure]:
    """Return what went wrong, in plan order: the last words of every trial and of every failed attempt."""
    found = []
    for record in facts.records:
        if record.status in BROKEN or record.errors or record.damage:
            messages = {f"damage {number}": what for number, what in enumerate(record.damage, start=1)}
            messages |= {f"attempt {number}": words for number, words in enumerate(record.errors, start=1)}
            if record.status in BROKEN:
                messages["in the end"] = record.reason or "no reason was given"
            log = f"trials/{record.id}/log.txt" if record.id in facts.logs else None
            found.append(Failure(record, messages, log))
    return found


def _strength_axes(records: Sequence[TrialRecord]) -> tuple[str, ...]:
    values: dict[str, set[str]] = {}
    for record in records:
        for axis, value in record.axes.items():
            values.setdefault(axis, set()).add(axis_value(value))
    return tuple(axis for axis, seen in values.items() if axis not in ("method", "seed") and len(seen) > 1)


def _strength(record: TrialRecord, axes: Sequence[str]) -> tuple[str, ...]:
    return tuple(axis_value(record.axes.get(axis)) for axis in axes)


def _strengths(records: Sequence[TrialRecord], axes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Order strengths by their numbers where all are numbers, else as planned."""
    raw = {_strength(record, axes): [record.axes.get(axis) for axis in axes] for record in records}
    if all(isinstance(value, int | float) for values in raw.values() for value in values):
        return tuple(sorted(raw, key=lambda strength: raw[strength]))
    return tuple(raw)


def _ordered_settings(facts: Facts) -> list[MethodSetting]:
    seen = set(facts.settings)
    ordered = [MethodSetting(method, strength) for method in facts.methods for strength in facts.strengths]
    return [setting for setting in ordered if setting in seen]
