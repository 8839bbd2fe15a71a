"""The protocol of a launcher, which `LocalLauncher` and `RayLauncher` fill."""

from collections.abc import Sequence
from typing import Any, Protocol

from raynas.launch.observer import Observer
from raynas.sweep.folder import AnySweep


class Launcher(Protocol):
    """Runs what a sweep still has to run, each trial to its end, and tells the observers."""

    def run(
        self, folder: AnySweep, observers: Sequence[Observer[Any, Any]], retry_failed: bool = False
    ) -> None:
        """Run the sweep's remaining trials, with ``retry_failed`` those that failed too.

        An interrupted sweep goes on with the same call. Raises `RaynasError` when the sweep is running
        already, or cannot run here.
        """
