"""What looks on beside the display while the command line runs a sweep: the report writer and the tracker."""

from pathlib import Path
from typing import TYPE_CHECKING

from raynas.launch.observer import Observer
from raynas.sweep.folder import SweepFolder

if TYPE_CHECKING:
    from raynas.track.mlflow import MlflowTracker


class ReportWriter(Observer):
    """Writes the report once the sweep ended or was interrupted."""

    def __init__(self) -> None:
        self._paths: tuple[Path, ...] = ()
        self._failure: Exception | None = None

    def on_end(self, folder: SweepFolder) -> None:
        try:
            from raynas.report.build import build_report

            self._paths = build_report(folder)
        except Exception as error:
            self._failure = error
            raise

    def raise_failure(self) -> None:
        """Raise what kept the report from being written; observers must not raise while a sweep runs."""
        if self._failure is not None:
            raise self._failure

    def results(self, folder: SweepFolder) -> list[tuple[str, Path]]:
        """Return what there is to look at now, with labels."""
        best = folder.best / "genotype.json"
        found = [("best cell", best)] if best.is_file() else []
        return found + [("report", path) for path in self._paths[:1]]


def tracker_for(folder: SweepFolder) -> "MlflowTracker | None":
    """Return the tracker the sweep asks for; none where its file says ``mlflow: null``."""
    uri = folder.mlflow
    if uri is None:
        return None
    from raynas.track.mlflow import MlflowTracker

    return MlflowTracker(folder, uri)
