"""What a running trial is at within its epoch: for whoever watches, and for nothing else."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raynas.disk import open_own, read_json
from raynas.sweep.trial_folder import TrialFolder

EVERY = 1.0
"""Seconds between two pulses: half as often as a display renews itself, 50 µs each."""

MOST_BYTES = 1000

SAVING = "saving"
"""What a trial does between an epoch's record and the next epoch."""


@dataclass(frozen=True)
class Pulse:
    """What is done of an epoch: ``doing`` in words, ``share`` of its steps in [0, 1].

    It belongs to one ``attempt`` and ``epoch``; that of another one is stale, left behind by a kill.
    """

    attempt: int
    epoch: int
    doing: str
    share: float


class Heart:
    """Writes the pulses of a pack's trials, each into its folder; what cannot be written is left out.

    With ``compiling`` the first steps are those during which torch.compile works.
    """

    def __init__(self, trials: Sequence[TrialFolder[Any, Any]], *, compiling: bool = False) -> None:
        self.trials, self._compiling = list(trials), compiling
        self._attempts = {trial.id: (trial.record().start or {}).get("attempt", 1) for trial in trials}
        self._at, self._doing = float("-inf"), ""

    def beat(self, epoch: int, doing: str, share: float) -> None:
        """Say what the trials are at now; said at most once a second, and whenever ``doing`` changes."""
        if self._compiling:
            self._compiling, doing = share == 0, "compiling" if share == 0 else doing
        now = time.monotonic()
        if doing == self._doing and now - self._at < EVERY:
            return
        self._at, self._doing = now, doing
        for trial in self.trials:
            pulse = Pulse(self._attempts[trial.id], epoch, doing, round(share, 3))
            with suppress(OSError, ValueError):
                descriptor = open_own(_file(trial), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                    json.dump(asdict(pulse), file)

    def stop(self) -> None:
        """Take the pulses away."""
        for trial in self.trials:
            with suppress(OSError):
                _file(trial).unlink(missing_ok=True)


def pulse_of(trial: TrialFolder[Any, Any], attempt: int, epoch: int) -> Pulse | None:
    """Return what a trial is at in an attempt and epoch; None where that is not known.

    After an epoch's record its state is saved, and the pulse is still that of the epoch before.
    """
    with suppress(OSError, ValueError, TypeError):
        pulse = Pulse(**read_json(_file(trial), most=MOST_BYTES, deepest=1))
        sound = isinstance(pulse.doing, str) and isinstance(pulse.share, int | float)
        if not sound or pulse.attempt != attempt or not 0 <= pulse.share <= 1:
            return None
        if pulse.epoch == epoch - 1:
            return Pulse(attempt, epoch, SAVING, 0.0)
        return pulse if pulse.epoch == epoch else None
    return None


def _file(trial: TrialFolder[Any, Any]) -> Path:
    return trial.path / "now.json"
