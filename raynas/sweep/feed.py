"""A trial's spool as it grows: each line is read once, by whoever asks first."""

import os
import threading
from collections.abc import Mapping
from typing import Any, Generic

from raynas.bilevel.records import EpochReport
from raynas.sweep.record import Fold, T
from raynas.sweep.spool import Spool
from raynas.train.records import TrainReport


class SpoolFeed(Generic[T]):
    """Follows one trial's spool; ``record`` is what it amounts to as far as it was read, to byte ``offset``.

    ``started`` and ``latest`` are the Unix times in seconds of the first and the last event. Threads may
    share a feed. A spool that is not the one that was read so far is read from its start.
    """

    def __init__(self, trial_id: str, spool: Spool, config: Any, axes: Mapping[str, object]) -> None:
        self._known = trial_id, config, axes
        self._spool = spool
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._fold = Fold[T](*self._known)
        self._state: os.stat_result | None = None
        self._tail = b""
        self.offset = 0
        self.record = self._fold.record()

    def read(self) -> T:
        """Take in the lines written since the last call."""
        with self._lock:
            if (now := self._spool.changed(self._state)) is not None:
                # A longer file is not always the same file: a user may have put another in its place, or cut
                # and continued it.
                if self._spool.before(self.offset) != self._tail:
                    self._begin()
                self._state = now
                events, self.offset = self._spool.events(self.offset)
                for event in events:
                    self._fold.take(event)
                self._tail = self._spool.before(self.offset)
                self.record = self._fold.record()
            # Set aside by a resume: what was read belongs to the file that has gone.
            elif self._state is not None and not os.path.lexists(self._spool.path):
                self._begin()
            return self.record

    @property
    def damaged(self) -> bool:
        """Whether something that was read is not an event."""
        return bool(self._fold.damage)

    def repair(self) -> str:
        """Leave whole events only in the spool, the file as it was beside it; return what was done."""
        with self._lock:
            damage, fold = "; ".join(self._fold.damage), Fold[T](*self._known)
            kept = [event for event in self._spool.events()[0] if fold.take(event)]
            aside = self._spool.rewrite(kept)
            self._begin()
        return f"{damage}; the file as it was is {aside.name}, and what can be read goes on"

    def time(self, report: EpochReport | TrainReport) -> float:
        """Return the Unix time in seconds at which a report was first written."""
        return self._fold.time(report)

    @property
    def started(self) -> float:
        """When the first event was written."""
        return self._fold.started

    @property
    def latest(self) -> float:
        """When the last event read so far was written."""
        return self._fold.latest
