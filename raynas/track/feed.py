"""A trial's spool as it grows, with the time of every epoch."""

from pathlib import Path
from typing import Any

from raynas.core.config import SearchConfig
from raynas.core.records import EpochReport
from raynas.sweep.folder import TrialFolder
from raynas.sweep.record import TrialRecord, fold


class Feed:
    """Reads one trial's spool, each line once; ``record`` is what it amounts to so far.

    ``started`` and ``latest`` are the Unix times in seconds of the first and the last event. Raises
    `RaynasError` for a damaged configuration or spool.
    """

    def __init__(self, trial: TrialFolder) -> None:
        self._trial = trial
        self._config: SearchConfig = trial.config()
        self._events: list[dict[str, Any]] = []
        self._record = fold(trial.id, self._config, {}, ())
        self.offset = 0
        self._times: dict[tuple[int, int], float] = {}

    def read(self) -> TrialRecord:
        """Take in the lines written since the last call."""
        events, self.offset = self._trial.spool.events(self.offset)
        if events:
            self._events += events
            for event in events:
                if event["kind"] == "epoch":
                    report = event["report"]
                    self._times.setdefault((report.get("restart", 0), report["epoch"]), event["time"])
            self._record = fold(self._trial.id, self._config, {}, self._events)
        return self._record

    def time(self, report: EpochReport) -> float:
        """Return the Unix time in seconds at which a report was first written."""
        return self._times[report.restart, report.epoch]

    @property
    def log(self) -> Path:
        """The trial's file of tracebacks and warnings, which may not exist."""
        return self._trial.log

    @property
    def record(self) -> TrialRecord:
        """What the lines read so far amount to."""
        return self._record

    @property
    def started(self) -> float:
        """When the first event was written."""
        return float(self._events[0]["time"])

    @property
    def latest(self) -> float:
        """When the last event read so far was written."""
        return float(self._events[-1]["time"])
