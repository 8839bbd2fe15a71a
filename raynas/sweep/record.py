"""The record of a trial: its spool folded into plain data."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, cast

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import TypeVar

from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.errors import RaynasError, quoted
from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json
from raynas.sweep.file.resolve import method_label
from raynas.sweep.plan import C
from raynas.sweep.status import ENDED, OVER, Status
from raynas.train.config import TrainConfig
from raynas.train.records import TrainReport

FOREIGN = "its records were written by another version of raynas; go on with that version"


VALIDATED = {
    "mixture": "that of the mixture of all operations",
    "cells": "the mean over cells that its method draws",
    "table": "the table's error of the best cell that its method proposed",
}
"""What a validation loss is of, by kind; numbers of two kinds do not compare."""


class _Start(BaseModel):
    """What the values of a start event must be, where it has them."""

    model_config = ConfigDict(strict=True, extra="ignore")

    attempt: int = 1
    epochs: int = 1
    from_epoch: int = 0
    pack: list[str] = []
    mended: list[str] = []  # what was repaired; the word of recorded events stays
    data: dict[str, Any] = {}
    versions: dict[str, str | None] = {}
    forms: dict[str, str] = {}


class Judged(BaseModel):
    """What a search's own cell and random ones lose with its weights, as its control event says.

    ``own`` is the loss in nats and the accuracy of its derived cell, ``losses`` and ``accuracies`` are those
    of the cells that ``seed`` draws (`raynas.spaces.draw`). ``why`` says why there are none.
    """

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    own: tuple[float, float] | None = None
    losses: tuple[float, ...] = ()
    accuracies: tuple[float, ...] = ()
    seed: int = 0
    why: str = ""


R = TypeVar("R", bound=EpochReport | TrainReport, default=EpochReport)


@dataclass(frozen=True)
class Record(Generic[C, R]):
    """One trial as its spool tells it.

    ``status`` is ``running`` from a start until an end, also when its process has died meanwhile;
    ``reports`` are ordered by epoch, each epoch once; ``start`` is the last start event; ``errors`` are
    the messages of all failed attempts; ``replaced`` are the reports that the search took back when it went
    back to an earlier epoch, as they were written; ``damage`` says what could not be read, in the trial's
    folder or of its events. With ``foreign`` another version of raynas has written some, and this one neither
    adds to them nor ranks them. ``control`` is what it lost beside random cells, None before its end.
    """

    id: str
    config: C
    axes: dict[str, object]
    status: Status
    reason: str
    reports: tuple[R, ...]
    start: dict[str, Any] | None
    errors: tuple[str, ...]
    replaced: tuple[R, ...] = ()
    damage: tuple[str, ...] = ()
    foreign: bool = False
    control: Judged | None = None

    @property
    def ran(self) -> tuple[R, ...]:
        """All epochs in the order in which they ran, those that were replaced among them."""
        return tuple(sorted((*self.replaced, *self.reports), key=lambda each: (each.restart, each.epoch)))

    @property
    def newest(self) -> R | None:
        """The report of the latest epoch: how far the trial got."""
        return self.reports[-1] if self.reports else None

    @property
    def epochs(self) -> int:
        """How many epochs it has if nothing ends it early: a method may add some to its configuration's."""
        return int((self.start or {}).get("epochs", getattr(self.config, "epochs", 0)))


@dataclass(frozen=True)
class TrainRecord(Record[TrainConfig, TrainReport]):
    """One training as its spool tells it."""

    @property
    def tested(self) -> TrainReport | None:
        """The last epoch's report, once the training has finished: the only one that has seen test images."""
        return self.newest if self.status == "finished" else None

    @property
    def parameters(self) -> int | None:
        """How many weights its network has, without the auxiliary head's; None before its first start."""
        return self._count("parameters")

    @property
    def multiply_adds(self) -> int | None:
        """How many multiply-adds one image takes; None before its first start, and where it did not say."""
        return self._count("multiply_adds")

    def _count(self, key: str) -> int | None:
        told = (self.start or {}).get(key)
        return told if isinstance(told, int) else None


@dataclass(frozen=True)
class TrialRecord(Record[SearchConfig, EpochReport]):
    """One search as its spool tells it.

    ``short`` is what the short training of its cell came to: the error on images held out, in [0, 1]. It is
    of another sweep's records (see `raynas.sweep.short`), None where there are none.
    """

    short: float | None = None

    @property
    def deciding(self) -> EpochReport | None:
        """The report whose cell and losses count: the newest, or that of the epoch it went back to."""
        newest = self.newest
        if newest is None or newest.ended is None:
            return newest
        return next((report for report in self.reports if report.epoch == newest.ended.epoch), newest)

    @property
    def eig_max(self) -> float | None:
        """λmax where it was last measured up to the epoch that counts; None if it never was."""
        last = self.deciding.epoch if self.deciding else -1
        found = (each.curvature for each in reversed(self.reports) if each.epoch <= last and each.curvature)
        return next((curvature.eig_max for curvature in found), None)

    @property
    def validated(self) -> str:
        """What its validation loss is of (see `Method.validated`); raynas 0.1.0 validated mixtures only."""
        told = (self.start or {}).get("validated")
        return told if isinstance(told, str) and told in VALIDATED else "mixture"

    @property
    def proposed(self) -> bool:
        """Whether its method trains nothing: it proposes cells, and a table's accuracies judge them."""
        return self.validated == "table"

    @property
    def method_name(self) -> str:
        """The method's name; for a method given as a mapping its base and name (or a short hash)."""
        return method_label(self.config.method)


T = TypeVar("T", bound=Record[Any, Any], default=TrialRecord)
"""The records of a sweep; those of searches where nothing else is said."""


class Fold(Generic[T]):
    """Events taken in one after another, in the order they were written; `record` is what they amount to.

    ``finished`` and ``diverged`` are final. A start after ``failed`` is a new attempt. An epoch that was
    run again after a kill keeps its first report, but a search that goes back of its own accord (`restart`)
    replaces what it had said of that epoch and later ones. Kinds of events not known are passed over. One
    that is not whole is told as ``damage`` and costs no other; a search that finished with epochs missing
    is not finished.
    """

    def __init__(self, trial_id: str, config: Any, axes: Mapping[str, object]) -> None:
        self._id, self._config, self._axes = trial_id, config, dict(axes)
        self._status: Status = "waiting"
        self._reason = ""
        self._start: dict[str, Any] | None = None
        self._reports: dict[int, Any] = {}
        self._replaced: list[Any] = []
        self._errors: list[str] = []
        self._damage: dict[str, None] = {}
        self._foreign = False
        self._control: Judged | None = None
        self._genotype: tuple[object, Genotype] | None = None
        self._times: dict[tuple[int, int], float] = {}
        self._strange = False
        self.started = self.latest = 0.0

    def take(self, event: Mapping[str, Any]) -> bool:
        """Take in the next event; return whether it is a whole one of this trial."""
        if self._of_another(event):
            return False
        try:
            self._take(event)
            time = float(event.get("time", 0.0))
        except (LookupError, TypeError, ValueError, AttributeError, RaynasError):
            self._damage[f"an event is not whole: {json.dumps(event, default=str)[:60]!r}"] = None
            return False
        self.started, self.latest = self.started or time, time or self.latest
        return bool(event["kind"] != "damage")

    def _of_another(self, event: Mapping[str, Any]) -> bool:
        """Tell whether another search wrote an event: it says so at its start, which holds up to the next."""
        kind = event.get("kind")
        if kind == "start":
            told = _another(event, self._id, self._config)
            # Holds until the next start: lines of two searches in one file come from a copied folder, and
            # only starts carry a name.
            self._strange = bool(told)
            if told:
                self._damage[f"events.jsonl holds the records of another search: {told}"] = None
        return self._strange and kind != "damage"

    @property
    def damage(self) -> tuple[str, ...]:
        """What could not be read, and what is another search's."""
        return tuple(self._damage)

    def time(self, report: EpochReport | TrainReport) -> float:
        """Return the Unix time in seconds at which a report was first written."""
        return self._times[report.restart, report.epoch]

    def record(self, *, checked: bool = True) -> T:
        """Return what was taken in so far amounts to; unless ``checked``, whatever epochs it lacks."""
        kind = TrainRecord if isinstance(self._config, TrainConfig) else TrialRecord
        record = kind(
            id=self._id,
            config=self._config,
            axes=self._axes,
            status=self._status,
            reason=self._reason,
            reports=tuple(self._reports[epoch] for epoch in sorted(self._reports)),
            start=self._start,
            errors=tuple(self._errors),
            replaced=tuple(self._replaced),
            damage=self.damage,
            foreign=self._foreign,
            control=self._control,
        )
        if self._foreign:
            record = replace(record, status="failed", reason=FOREIGN)
        elif checked and self._status == "finished" and (lacking := _lacking(record)):
            record = replace(record, status="running", reason="", damage=(*record.damage, lacking))
        return cast("T", record)

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["kind"]:
            case "start":
                _Start.model_validate(event)
                self._start = dict(event)
                if self._status not in OVER:
                    self._status, self._reason = "running", ""
            case "epoch":
                self._report(self._parsed(event["report"]), event)
            case "control":
                told = {
                    key: tuple(value) if isinstance(value, list) else value for key, value in event.items()
                }
                self._control = self._control or Judged.model_validate(told)
            case "error":
                self._errors.append(str(event["message"]))
            case "end":
                status, reason = event["status"], str(event["reason"])
                if status not in ENDED:
                    raise ValueError(f"ended {status!r}")
                if self._status not in OVER:
                    self._status, self._reason = status, reason
            case "damage":
                self._damage[event["why"]] = None
                self._foreign = self._foreign or event["foreign"]

    def _parsed(self, data: dict[str, Any]) -> EpochReport | TrainReport:
        """Read a report; a cell that did not change since the last epoch is one object, read once."""
        if isinstance(self._config, TrainConfig):
            return TrainReport.from_json(data)
        report = data["genotype"]
        if self._genotype is None or self._genotype[0] != report:
            self._genotype = report, genotype_from_json(report)
        return EpochReport.from_json(data, self._genotype[1])

    def _report(self, report: EpochReport | TrainReport, event: Mapping[str, Any]) -> None:
        """Add a report to those there are.

        One of before the search went back counts only for what came before the epoch it went back to.
        """
        known = self._reports
        newest = max((each.restart for each in known.values()), default=0)
        # The first time counts: an epoch run again after a kill gives the same report, later.
        self._times.setdefault((report.restart, report.epoch), float(event.get("time", 0.0)))
        if report.restart > newest:
            # Kept apart and not dropped: MLflow has those epochs already, and an epoch's step there is its
            # place among all that ran.
            later = [epoch for epoch in sorted(known) if epoch >= report.epoch]
            self._replaced += [known.pop(epoch) for epoch in later]
        again = [each.epoch for each in known.values() if each.restart > report.restart]
        if report.epoch < min(again, default=report.epoch + 1):
            known.setdefault(report.epoch, report)


def fold(
    trial_id: str, config: SearchConfig, axes: Mapping[str, object], events: Iterable[Mapping[str, Any]]
) -> TrialRecord:
    """Fold events in the order they were written into a record; see `Fold`."""
    folded = Fold[TrialRecord](trial_id, config, axes)
    for event in events:
        folded.take(event)
    return folded.record()


def _another(start: Mapping[str, Any], trial_id: str, config: SearchConfig | TrainConfig) -> str:
    """Say by what a start event is not that of a trial; empty where it is, as far as it says.

    Those of raynas 0.1.0 name the trial and its pack, and not the configuration.
    """
    if (named := start.get("trial", trial_id)) != trial_id:
        return f"trial {quoted(named)}"
    pack = start.get("pack")
    names = pack if isinstance(pack, list) and all(isinstance(each, str) for each in pack) else []
    if names and trial_id not in names:
        return f"pack {', '.join(map(quoted, names))}"
    return differs(start.get("config"), config)


def differs(theirs: object, config: SearchConfig | TrainConfig) -> str:
    """Say in which key another configuration, as JSON data, is not this one; empty where in none.

    A key that it lacks counts as its default; what is not a configuration is not judged.
    """
    if not isinstance(theirs, Mapping):
        return ""
    model = type(config)
    given = {key: theirs[key] for key in model.model_fields if key in theirs}
    try:
        found = model.model_validate(given).model_dump(mode="json")
    except ValidationError:
        return ""
    mine = config.model_dump(mode="json")
    different = (key for key in mine if found[key] != mine[key])
    return next((f"{key} {quoted(found[key])} there, {quoted(mine[key])} here" for key in different), "")


def _lacking(record: Record[Any, Any]) -> str:
    """Say which epochs of a search that finished are not on record; empty where none lacks."""
    planned = (record.start or {}).get("epochs", 0)
    last = record.newest
    count = last.epoch + 1 if last is not None else 0
    if last is None or last.ended is None:
        count = max(count, planned)
    there = [report.epoch for report in record.reports]
    if len(there) == count:
        return ""
    first = next((place for place, epoch in enumerate(there) if place != epoch), len(there))
    missing = f"{count - len(there)} of {count} epochs are not on record, from epoch {first + 1} on"
    return f"it finished, but {missing}"
