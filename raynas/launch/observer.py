"""Observers of a running sweep: the live display, the report writer, the MLflow tracker."""

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic

from raynas.disk import append_text
from raynas.sweep.file.uri import without_passwords
from raynas.sweep.folder import AnySweep, SweepFolder
from raynas.sweep.plan import C
from raynas.sweep.record import T

LOADING, MEASURING = "loading the data", "measuring how many run together"
STARTING, WRITING = "starting the first trials", "writing the report"
"""What launchers are at before a trial runs, and what observers are at after the last."""


class Observer(Generic[C, T]):
    """Base of everything that looks on, at searches where nothing else is said; override what you need.

    The driver's thread makes these calls, so each must return at once. Observers only look: they change
    neither trials nor the order in which trials run.
    """

    def on_phase(self, what: str) -> None:
        """Before something begins during which no search runs, also before `on_start` and before `on_end`.

        ``what`` names it.
        """

    def on_start(self, folder: SweepFolder[C, T]) -> None:
        """Before the first trial of this run of the sweep starts; on a resume as well."""

    def on_repaired(self, done: Sequence[str]) -> None:
        """After what was damaged in the folder has been repaired; ``done`` says how, one line each."""

    def on_trial(self, record: T) -> None:
        """After a trial's spool grew or its status changed."""

    def on_tick(self) -> None:
        """About once a second."""

    def on_end(self, folder: SweepFolder[C, T]) -> None:
        """After the last trial ended, or after the sweep was interrupted."""


class Observers(Observer[Any, Any]):
    """Several observers as one; an exception in one of them stops neither the others nor the sweep.

    Each different exception is written once, with its traceback, to ``observers.log`` in the sweep's
    folder: Ray Tune ends the whole sweep when a callback raises.
    """

    def __init__(self, observers: Sequence[Observer[Any, Any]]) -> None:
        self._observers = tuple(observers)
        self._folder: Path | None = None
        self._written: set[tuple[int, str]] = set()

    def on_phase(self, what: str) -> None:
        self._each(lambda observer: observer.on_phase(what))

    def on_start(self, folder: AnySweep) -> None:
        self._folder = folder.path
        self._each(lambda observer: observer.on_start(folder))

    def on_repaired(self, done: Sequence[str]) -> None:
        self._each(lambda observer: observer.on_repaired(done))

    def on_trial(self, record: Any) -> None:
        self._each(lambda observer: observer.on_trial(record))

    def on_tick(self) -> None:
        self._each(lambda observer: observer.on_tick())

    def on_end(self, folder: AnySweep) -> None:
        self._folder = folder.path
        self.on_phase(WRITING)
        self._each(lambda observer: observer.on_end(folder))

    def _each(self, call: Callable[[Observer[Any, Any]], None]) -> None:
        for index, observer in enumerate(self._observers):
            try:
                call(observer)
            except Exception as error:
                self._note(index, observer, error)

    def _note(self, index: int, observer: Observer[Any, Any], error: Exception) -> None:
        key = (index, repr(error))
        if self._folder is not None and key not in self._written:
            self._written.add(key)
            write_failure(self._folder, type(observer).__name__, error)


def write_failure(folder: Path, who: str, error: Exception) -> None:
    """Add an observer's exception to ``observers.log``; a full disk is not a reason to stop."""
    text = without_passwords("".join(traceback.format_exception(error)))
    append_text(folder / "observers.log", f"{who}: {text}\n")
