"""Trackers by name: observers that record a running sweep where the user wants it.

A trial file gives each tracker its setting (``track: {mlflow: sqlite:///mlflow.db}``). MLflow is raynas' own;
other distributions offer a subclass of `Tracker` under the entry point group ``raynas.trackers``.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from raynas.errors import RaynasError, unknown
from raynas.launch.observer import Observer
from raynas.spaces.outside import Registry, misfit
from raynas.sweep.file.uri import homeless
from raynas.sweep.folder import AnySweep
from raynas.sweep.sections import TRACKERS_GROUP
from raynas.track.base import Tracker

__all__ = ["TRACKERS", "Tracker", "trackers_for"]


def _mlflow(folder: AnySweep, _: Any) -> Observer:
    from raynas.track.mlflow import MlflowTracker

    return MlflowTracker(folder, folder.mlflow or "")  # with the password, which the plan does not hold


def _tracker(point: EntryPoint, found: Any) -> Callable[[AnySweep, Any], Observer]:
    if not isinstance(found, type) or not issubclass(found, Tracker):
        raise misfit(point, found, "a subclass of raynas.track.Tracker")
    return found


TRACKERS: Mapping[str, Callable[[AnySweep, Any], Observer]] = Registry(
    {"mlflow": _mlflow}, TRACKERS_GROUP, _tracker
)


def trackers_for(folder: AnySweep) -> list[Observer]:
    """Return the trackers that a sweep asks for.

    Raises `RaynasError` for a tracker that is not installed, and what a tracker raises of its setting.
    """
    found = []
    for name, setting in folder.sweep().track.wanted.items():
        if name == "mlflow" and (folder.mlflow is None or (folder.started and homeless(folder.mlflow))):
            continue  # not wanted on this machine, or a store of another one
        if name not in TRACKERS:
            raise unknown(
                "tracker", name, TRACKERS, next_step="install the package that offers it, then resume"
            )
        try:
            found.append(TRACKERS[name](folder, setting))
        except RaynasError:
            raise
        except Exception as error:  # the tracker may be anybody's
            raise RaynasError(
                f"the tracker {name} cannot be used",
                got=f"{type(error).__name__}: {error}",
                next_step=f"change its setting, track.{name}, or fix the package that offers it",
            ) from error
    return found
