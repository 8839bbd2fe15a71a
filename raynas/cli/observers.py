"""The observer that writes the report while the command line runs a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING

from raynas.launch.observer import Observer
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import TrialRecord
from raynas.sweep.status import ENDED

if TYPE_CHECKING:
    from raynas.report.build import WrittenReport


class ReportWriter(Observer):
    """Writes the report once the sweep ended or was interrupted, and keeps what its table says meanwhile."""

    def __init__(self) -> None:
        self.written: WrittenReport | None = None
        self._failure: Exception | None = None
        self._folder: SweepFolder | None = None

    def on_start(self, folder: SweepFolder) -> None:
        self._folder = folder

    def on_trial(self, record: TrialRecord) -> None:
        """Keep what the table says of an ended trial's cells, so that no kill and no move can lose it."""
        lookups = self._folder.lookups if self._folder and record.status in ENDED else None
        if (
            lookups is not None and lookups.quick
        ):  # a model's predictions take seconds: the driver waits for none
            lookups.look_up_all(report.genotype for report in record.reports)
            lookups.save()

    def on_end(self, folder: SweepFolder) -> None:
        try:
            from raynas.report.build import write_report

            self.written = write_report(folder)
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
        return found + ([("report", self.written.paths[0])] if self.written else [])
