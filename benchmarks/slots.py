"""What the slots of a sweep did all the time, read from the records of its trials.

A slot is a process that ran trials, one after another or several at once as a pack. Between its first start
and its last event it trains (the seconds its epochs report), writes what an epoch found, or is on its way
from one trial to the next. Trials that overlap in one process are a pack: they share their epochs, which
count once.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Event = Mapping[str, Any]
Process = tuple[str, int]
"""Host and process id."""


@dataclass
class Attempt:
    """One start of a trial, or of a pack of trials, and what came of it, in unix seconds."""

    started: float
    ended: float
    epochs: dict[int, tuple[float, float]] = field(default_factory=dict)
    """By epoch: when it was first written down, and the seconds it says it took."""

    @property
    def trained(self) -> float:
        """Seconds of all epochs."""
        return sum(seconds for _, seconds in self.epochs.values())

    @property
    def loading(self) -> float:
        """Seconds from the start to the beginning of the first epoch, of which there must be one."""
        time, seconds = self.epochs[min(self.epochs)]
        return time - seconds - self.started


@dataclass(frozen=True)
class Slot:
    """One process with its attempts, in order."""

    process: Process
    attempts: tuple[Attempt, ...]

    @property
    def first(self) -> float:
        """When its first trial started."""
        return self.attempts[0].started

    @property
    def last(self) -> float:
        """When its last trial ended."""
        return max(attempt.ended for attempt in self.attempts)

    @property
    def trained(self) -> float:
        """Seconds of training."""
        return sum(attempt.trained for attempt in self.attempts)

    def between(self) -> list[float]:
        """Return the seconds from an attempt's end to the next one's start."""
        pairs = pairwise(self.attempts)
        return [after.started - before.ended for before, after in pairs]

    def beside(self) -> list[float]:
        """Return, for each epoch but an attempt's first, its seconds since the last beside training."""
        found = []
        for attempt in self.attempts:
            written = [attempt.epochs[epoch] for epoch in sorted(attempt.epochs)]
            found += [time - before - seconds for (before, _), (time, seconds) in pairwise(written)]
        return found


def slots(spools: Iterable[Iterable[Event]]) -> list[Slot]:
    """Return a sweep's slots from its trials' events; attempts without an epoch count as well."""
    found: dict[Process, list[Attempt]] = defaultdict(list)
    for events in spools:
        for process, attempt in _attempts(events):
            found[process].append(attempt)
    return [Slot(process, tuple(_merged(attempts))) for process, attempts in sorted(found.items())]


def _attempts(events: Iterable[Event]) -> list[tuple[Process, Attempt]]:
    found: list[tuple[Process, Attempt]] = []
    for event in events:
        if event["kind"] == "start":
            found.append(((event["host"], event["pid"]), Attempt(event["time"], event["time"])))
        elif found:
            attempt = found[-1][1]
            attempt.ended = event["time"]
            if event["kind"] == "epoch":
                report = event["report"]
                attempt.epochs.setdefault(report["epoch"], (event["time"], report["seconds"]))
    return found


def _merged(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return attempts in order, those that overlap made one."""
    found: list[Attempt] = []
    for attempt in sorted(attempts, key=lambda attempt: attempt.started):
        if not found or attempt.started >= found[-1].ended:
            found.append(attempt)
            continue
        pack = found[-1]
        pack.ended = max(pack.ended, attempt.ended)
        for epoch, (time, seconds) in attempt.epochs.items():
            known = pack.epochs.get(epoch, (time, seconds))
            pack.epochs[epoch] = (min(known[0], time), known[1])
    return found
