"""What a store is told of a sweep, by the kind of its trials: searches, or trainings of given cells."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.sweep.folder import TRAINED, AnySweep, SweepFolder, TrainSweep, TrialFolder, trains
from raynas.sweep.record import TrainRecord, TrialRecord
from raynas.tables.table import Yardstick
from raynas.track import content, parent, train_content
from raynas.track.artifacts import Files, send_files, send_network
from raynas.track.content import run_status
from raynas.track.store import MlflowStore, Run
from raynas.train.config import TrainConfig

if TYPE_CHECKING:
    from raynas.report.drawer import Drawer


class Account(Protocol):
    """What the uploader asks of a sweep's kind; every answer is a function of the sweep's folder.

    ``kind`` is the tag of the trials' runs. ``owner`` is the sweep whose run is their parent: itself, or the
    searches from which its cells come. ``called`` is the sweep's name in tags.
    """

    kind: str
    owner: AnySweep
    called: str

    def open(self) -> None:
        """Read what the numbers need besides the folder; raises `RaynasError` where it is gone."""

    def experiment(self, config: Any) -> str: ...
    def experiments(self) -> Iterable[str]:
        """Return every experiment in which the sweep may have runs."""

    def params(self, record: Any) -> dict[str, str]: ...
    def tags(self, record: Any) -> dict[str, str]: ...
    def row(self, record: Any, report: Any) -> dict[str, float]:
        """Return the metrics of an epoch that a store can hold."""

    def there(self, store: MlflowStore, run: Run, record: Any) -> Files:
        """Ask the store which files a trial's run has."""

    def send(
        self, store: MlflowStore, run: Run, files: Files, trial_id: str, ended: bool, drawer: "Drawer"
    ) -> int:
        """Write the files that a trial's run lacks; return how many."""

    def status(self, run: Run, statuses: Iterable[str | None]) -> content.Status | None:
        """Return the state of the parent from those of its trials' runs; None to leave it alone."""

    def results(self, store: MlflowStore, run: Run) -> None:
        """Write the sweep's result files to the parent; right to repeat."""


def account_of(folder: AnySweep) -> Account:
    """Return what a store is told of a sweep."""
    return TrainAccount(folder) if trains(folder) else SearchAccount(folder)


class SearchAccount:
    """Searches: the sweep's own run is the parent, a run per search below it."""

    kind = "search"

    def __init__(self, folder: SweepFolder) -> None:
        self.owner, self.called = folder, folder.sweep().name
        self._yardstick: Yardstick | None = None

    def open(self) -> None:
        if self._yardstick is None and self.owner.lookups is not None:
            self._yardstick = self.owner.lookups.open({trial.space() for trial in self.owner.trials()})

    def experiment(self, config: SearchConfig) -> str:
        return content.experiment_name(config)

    def experiments(self) -> Iterator[str]:
        yield from dict.fromkeys(content.experiment_name(trial.config()) for trial in self.owner.trials())

    def params(self, record: TrialRecord) -> dict[str, str]:
        return content.params(record)

    def tags(self, record: TrialRecord) -> dict[str, str]:
        return content.tags(record, self.called)

    def row(self, record: TrialRecord, report: Any) -> dict[str, float]:
        return content.finite(content.metrics(report, self._yardstick))

    def there(self, store: MlflowStore, run: Run, record: TrialRecord) -> Files:
        last = record.newest
        return Files.of(store, run, set(last.genotype.kinds) if last else set())

    def send(
        self, store: MlflowStore, run: Run, files: Files, trial_id: str, ended: bool, drawer: "Drawer"
    ) -> int:
        trial = self.owner.trial(trial_id)
        return send_files(store, run, files, trial.log, trial.feed, ended, drawer)

    def status(self, run: Run, statuses: Iterable[str | None]) -> content.Status:
        return parent.overall(statuses)

    def results(self, store: MlflowStore, run: Run) -> None:
        parent.send_results(store, run, self.owner, self._yardstick)


class TrainAccount:
    """Trainings: below the run of the searches their cells come from, or below one of their own."""

    kind = "train"

    def __init__(self, folder: TrainSweep) -> None:
        self._folder, self._behind = folder, folder.behind
        self.owner: AnySweep = folder if self._behind is None else self._behind
        self.called = folder.called
        self._found: dict[str, str] = {}

    def open(self) -> None:
        """Read nothing: a training's numbers are all in its folder."""

    def experiment(self, config: TrainConfig) -> str:
        if self._behind is None:
            return train_content.training_experiment(config)
        return self._searched(self._behind, config)

    def _searched(self, behind: SweepFolder, config: TrainConfig) -> str:
        """Return the experiment of the search that found a cell, so that its run is on the same page."""
        if config.cell not in self._found:
            names = list(SearchAccount(behind).experiments())
            finders = (each for each in behind.trials() if len(names) > 1 and self._is_of(each, config.cell))
            first = next((content.experiment_name(each.config()) for each in finders), None)
            self._found[config.cell] = first or (names or [train_content.training_experiment(config)])[0]
        return self._found[config.cell]

    def _is_of(self, search: TrialFolder, cell: str) -> bool:
        last = search.record().deciding
        named = Path(cell).parent == search.path
        return named or (last is not None and last.genotype == self._folder.sweep().cells[cell])

    def experiments(self) -> Iterator[str]:
        if self._behind is None:
            configs = (trial.config() for trial in self._folder.trials())
            yield from dict.fromkeys(map(train_content.training_experiment, configs))
        else:
            yield from SearchAccount(self._behind).experiments()

    def params(self, record: TrainRecord) -> dict[str, str]:
        return train_content.training_params(record)

    def tags(self, record: TrainRecord) -> dict[str, str]:
        found = train_content.training_tags(record, self.called)
        network = self._folder.trial(record.id).network
        if record.status == "finished":
            found["raynas.network"] = str(network)
        return found

    def row(self, record: TrainRecord, report: Any) -> dict[str, float]:
        return train_content.training_row(record, report)

    def there(self, store: MlflowStore, run: Run, record: TrainRecord) -> Files:
        return Files(set(), set())

    def send(
        self, store: MlflowStore, run: Run, files: Files, trial_id: str, ended: bool, drawer: "Drawer"
    ) -> int:
        return send_network(store, run, self._folder.trial(trial_id), drawer) if ended else 0

    def status(self, run: Run, statuses: Iterable[str | None]) -> content.Status | None:
        """Return that of a run of its own. That of searches is theirs, and is made up for only where none
        of them runs and it was left open, as where the trainings were what opened it."""
        if self._behind is None:
            return parent.overall(statuses)
        if run.status != "RUNNING" or self._behind.driver:
            return None
        records = self._behind.records()
        ran = [run_status(record, True) if record.status != "waiting" else None for record in records]
        return parent.overall(ran)

    def results(self, store: MlflowStore, run: Run) -> None:
        with TemporaryDirectory(prefix="raynas-") as scratch:
            place = Path(scratch) if self._behind is None else Path(scratch) / TRAINED / self._folder.name
            place.mkdir(parents=True, exist_ok=True)
            for name in ("report.html", "report.md", "trained.json", "sweep.json", "sweep.yaml"):
                if (source := self._folder.path / name).is_file():
                    shutil.copy(source, place / name)
            store.upload(run, Path(scratch))
        if self._behind is not None:
            # What was trained says more of the searches: their report, their rules, perhaps their winner.
            searches = SearchAccount(self._behind)
            with suppress(RaynasError):  # a table that has gone costs its numbers
                searches.open()
            searches.results(store, run)
        lines = parent.trained_lines(self._folder)
        if self._behind is None:
            outline = parent.sweep_tags(self._folder)["mlflow.note.content"]
            store.log(run, [], {"mlflow.note.content": "  \n".join([outline, *lines])[:5000]})
        elif lines:
            store.log(run, [], {f"raynas.trained.{self._folder.name}": "; ".join(lines)[:5000]})
