"""MLflow as an observer: a thread beside the driver uploads the spools; a trial never knows of it."""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from raynas.errors import RaynasError
from raynas.launch.observer import write_failure
from raynas.sweep.file.uri import reason, resolve_uri, shown
from raynas.sweep.folder import AnySweep
from raynas.sweep.record import Record
from raynas.track.base import Tracker
from raynas.track.progress import alone
from raynas.track.uploader import Uploader

__all__ = ["MlflowTracker", "Replayed", "replay", "resolve_uri"]


@dataclass(frozen=True)
class Patience:
    """How long the tracker waits, in seconds.

    ``start`` for the store before the first trial, ``first`` to ``longest`` between two attempts
    (doubling), ``flush`` at most at the end of the sweep, and there no longer than ``stuck`` without
    anything getting through; ``last`` for the call that goes on then.
    """

    start: float = 30.0
    first: float = 1.0
    longest: float = 30.0
    flush: float = 60.0
    last: float = 15.0
    stuck: float = 15.0


class MlflowTracker(Tracker):
    """Keeps MLflow level with a running sweep, and neither slows nor stops it.

    ``uri`` is any tracking address (see `resolve_uri`, which raises `RaynasError`). ``message`` is one line
    for the display while something is wrong, else None. Everything that fails is tried again, after
    growing pauses; what never got through is sent later by `replay`.
    """

    def __init__(self, folder: AnySweep, uri: str, patience: Patience | None = None) -> None:
        self.uri = resolve_uri(uri)
        self._folder = folder
        self._patience = patience or Patience()
        self._uploader = Uploader(folder, self.uri)
        self._thread = threading.Thread(target=self._work, name="raynas-mlflow", daemon=True)
        self._lock = threading.Lock()
        self._news: set[str] = set()
        self._pending: set[str] = set()
        self._troubles: set[str] = set()
        self._failures = 0
        self._reached = self._closing = self._level = self._stopped = False
        # `wake` ends the wait for news, `hurry` a pause after a failure; `tried` is set by the first attempt.
        self._wake, self._hurry, self._tried = threading.Event(), threading.Event(), threading.Event()

    def on_start(self, folder: AnySweep) -> None:
        """Start the thread, and wait until the store is ready for the first trial or was found away."""
        self._thread.start()
        self._add(trial.id for trial in folder.trials())
        self._tried.wait(self._patience.start)

    def on_trial(self, record: Record[Any, Any]) -> None:
        """Note that this trial has something to send."""
        self._add([record.id])

    def on_end(self, folder: AnySweep) -> None:
        """Send what is left, the results, and the final states; gives up as `Patience` says.

        Result files that are written after this call reach MLflow with `replay`.
        """
        failures = self._failures
        self._closing = True
        self._wake.set()
        self._hurry.set()
        deadline = moved = time.monotonic()
        deadline += self._patience.flush
        steps = self._uploader.steps
        while self._thread.is_alive():
            self._thread.join(0.05)
            now = time.monotonic()
            if self._uploader.steps != steps:
                steps, moved = self._uploader.steps, now
            never_there = not self._reached and self._failures > failures
            if never_there or now > deadline or now - moved > self._patience.stuck:
                break
        self._stopped = True
        self._uploader.stop()
        self._hurry.set()
        if self._thread.is_alive():
            # Longer than a call to MLflow may take: Python must not end under a thread that is in a library.
            self._thread.join(self._patience.last)
        if not self._level:
            self.message = (
                f"not all of the sweep is in MLflow at {shown(self.uri)}; "
                f"once it is back: raynas track {folder.typed}"
            )

    def _add(self, trials: Iterable[str]) -> None:
        with self._lock:
            self._news.update(trials)
        self._wake.set()

    def _work(self) -> None:
        try:
            with alone(self._folder):
                self._keep_level()
        except RaynasError as error:
            self.message = f"MLflow: {error.what}"
        finally:
            self._uploader.close()
            self._tried.set()

    def _keep_level(self) -> None:
        pause = self._patience.first
        while not self._stopped and not self._level:
            if self._attempt():
                pause = self._patience.first
                if not self._level:
                    self._wake.wait()
                    self._wake.clear()
            else:
                self._hurry.wait(pause)
                self._hurry.clear()
                pause = min(2 * pause, self._patience.longest)

    def _attempt(self) -> bool:
        closing = self._closing
        with self._lock:
            self._pending |= self._news
            self._news.clear()
        try:
            self._uploader.open()
            self._reached = True
            self._tried.set()
            if closing:
                self._uploader.finish()
            else:
                self._uploader.send(self._pending, urgent=lambda: bool(self._news or self._closing))
        except Exception as error:
            self._failed(error)
            return False
        self.message = None
        self._level = closing
        return True

    def _failed(self, error: Exception) -> None:
        self._uploader.forget()
        if self._stopped:
            return
        why = reason(error)
        self.message = f"MLflow at {shown(self.uri)}: {why}; the sweep goes on, uploads are tried again"
        if why not in self._troubles:
            self._troubles.add(why)
            write_failure(self._folder.path, type(self).__name__, error)
        self._failures += 1
        self._tried.set()


@dataclass(frozen=True)
class Replayed:
    """What `replay` added to the store: runs that were not there, and epochs."""

    runs: int
    epochs: int


def replay(folder: AnySweep, uri: str) -> Replayed:
    """Bring a store level with a sweep that is not running, and return what it lacked.

    Raises `RaynasError` when the store cannot be reached or refuses, and while a tracker is at work on the
    same sweep.
    """
    address = resolve_uri(uri)
    uploader = Uploader(folder, address)
    try:
        with alone(folder):
            uploader.open()
            uploader.finish()
    except RaynasError:
        raise
    except Exception as error:
        raise RaynasError(
            "the sweep could not be sent to MLflow",
            got=f"{shown(address)}: {reason(error)}",
            expected="an MLflow store that answers",
            next_step=f"check the address and that the server is running, then: raynas track {folder.typed}",
        ) from error
    finally:
        uploader.close()
    return Replayed(uploader.runs, uploader.epochs)
