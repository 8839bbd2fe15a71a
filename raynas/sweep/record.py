"""What is known of one trial: its spool folded into a plain record."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from raynas.core.config import SearchConfig
from raynas.core.records import EpochReport
from raynas.errors import RaynasError
from raynas.sweep.ids import method_label
from raynas.sweep.spool import damaged

Status = Literal["waiting", "running", "finished", "diverged", "failed"]


@dataclass(frozen=True)
class TrialRecord:
    """One trial as its spool tells it.

    ``status`` is ``running`` from a start until an end, also when its process has died meanwhile;
    ``reports`` are ordered by epoch, each epoch once; ``start`` is the last start event; ``errors`` are
    the messages of all failed attempts; ``replaced`` are the reports that the search took back when it went
    back to an earlier epoch, as they were written.
    """

    id: str
    config: SearchConfig
    axes: dict[str, object]
    status: Status
    reason: str
    reports: tuple[EpochReport, ...]
    start: dict[str, Any] | None
    errors: tuple[str, ...]
    replaced: tuple[EpochReport, ...] = ()

    @property
    def ran(self) -> tuple[EpochReport, ...]:
        """All epochs in the order in which they ran, those that were replaced among them."""
        return tuple(sorted((*self.replaced, *self.reports), key=lambda each: (each.restart, each.epoch)))

    @property
    def newest(self) -> EpochReport | None:
        """The report of the latest epoch: how far the trial got."""
        return self.reports[-1] if self.reports else None

    @property
    def deciding(self) -> EpochReport | None:
        """The report whose cell and losses count: the newest, or that of the epoch it went back to."""
        newest = self.newest
        if newest is None or newest.ended is None:
            return newest
        return next((report for report in self.reports if report.epoch == newest.ended.epoch), newest)

    @property
    def validated(self) -> str:
        """What its validation loss is of (see `Method.validated`); raynas 0.1.0 validated mixtures only."""
        return str((self.start or {}).get("validated", "mixture"))

    @property
    def epochs(self) -> int:
        """How many epochs it has if nothing ends it early: a method may add some to its configuration's."""
        return int((self.start or {}).get("epochs", self.config.epochs))

    @property
    def method_name(self) -> str:
        """The method's name; for a method given as a mapping its base and name (or a short hash)."""
        return method_label(self.config.method)


def fold(
    trial_id: str, config: SearchConfig, axes: Mapping[str, object], events: Iterable[Mapping[str, Any]]
) -> TrialRecord:
    """Fold events in the order they were written into a record; kinds of events not known are passed over.

    ``finished`` and ``diverged`` are final. A start after ``failed`` is a new attempt. An epoch that was
    run again after a kill keeps its first report, but a search that goes back of its own accord (`restart`)
    replaces what it had said of that epoch and later ones. Raises `RaynasError` for an event that is not
    whole.
    """
    status: Status = "waiting"
    reason = ""
    start: dict[str, Any] | None = None
    reports: dict[int, EpochReport] = {}
    replaced: list[EpochReport] = []
    errors: list[str] = []
    for event in events:
        try:
            match event["kind"]:
                case "start":
                    start = dict(event)
                    if status not in ("finished", "diverged"):
                        status, reason = "running", ""
                case "epoch":
                    replaced += _take(EpochReport.from_json(event["report"]), reports)
                case "error":
                    errors.append(event["message"])
                case "end" if status not in ("finished", "diverged"):
                    status, reason = event["status"], event["reason"]
        except (KeyError, TypeError, ValueError, AttributeError, RaynasError):
            raise damaged(f"{json.dumps(event)[:60]!r} of {trial_id}") from None
    return TrialRecord(
        id=trial_id,
        config=config,
        axes=dict(axes),
        status=status,
        reason=reason,
        reports=tuple(reports[epoch] for epoch in sorted(reports)),
        start=start,
        errors=tuple(errors),
        replaced=tuple(replaced),
    )


def _take(report: EpochReport, reports: dict[int, EpochReport]) -> list[EpochReport]:
    """Add a report to those of a trial, in place; return those it replaces."""
    newest = max((each.restart for each in reports.values()), default=0)
    replaced = []
    if report.restart > newest:
        replaced = [reports.pop(epoch) for epoch in sorted(reports) if epoch >= report.epoch]
    if report.restart >= newest:
        reports.setdefault(report.epoch, report)
    return replaced
