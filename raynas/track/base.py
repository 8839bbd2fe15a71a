"""What a tracker is: an observer of a running sweep that a trial file names and sets."""

from typing import Any

from raynas.launch.observer import Observer
from raynas.sweep.folder import AnySweep


class Tracker(Observer):
    """Base of trackers: built from the sweep's folder and its setting before the first trial starts.

    ``setting`` is what the trial file says, any plain value but null; `RaynasError` refuses it. A trial's
    record comes anew whenever it grew, and after a resume from the start, so a tracker may be told of an
    epoch twice. ``message`` is one line for the user at the end while something is wrong, else None.
    """

    message: str | None = None

    def __init__(self, folder: AnySweep, setting: Any) -> None:
        """Take what the trial file says of this tracker."""
