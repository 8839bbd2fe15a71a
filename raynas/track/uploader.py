"""Bringing one MLflow store level with a sweep's folder; every call may be repeated at any time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raynas.sweep.feed import SpoolFeed
from raynas.sweep.folder import AnySweep
from raynas.track import parent
from raynas.track.artifacts import Files
from raynas.track.content import run_status
from raynas.track.kinds import account_of
from raynas.track.progress import Uploaded, Uploads
from raynas.track.store import BATCH, MlflowStore, Run

if TYPE_CHECKING:
    from raynas.report.drawer import Drawer

_EPOCH_MARK = "time/epoch"
"""The metric that every epoch has, a measured time and so always finite: where it is, its epoch is."""


@dataclass
class _Child:
    """A trial's run, and what of it is in the store; ``epochs`` and ``files`` are None until asked for.

    An epoch's step in the store is how many had run before it. That is the epoch's number unless the search
    has gone back to an earlier one: then what it took back stays at its steps, and what follows comes after.
    """

    run: Run
    epochs: set[int] | None = None
    files: Files | None = None


class Uploader:
    """Sends what the spools hold and the store lacks.

    What is in the store is asked of the store, found by tags, whenever there is doubt: at the start and
    after any failure (`forget`), since a call whose answer was lost may have done its work. So an epoch is
    there once, and a trial has one run, whatever is killed and whenever. Calls raise what MLflow raises.
    """

    def __init__(self, folder: AnySweep, uri: str) -> None:
        self._folder = folder
        self._uri = uri
        self._sweep = folder.sweep()
        self._account = account_of(folder)
        self._progress = Uploads(folder, uri)
        self.runs = 0
        self.epochs = 0
        self.steps = 0
        self._stopped = False
        self._drawer: Drawer | None = None
        self.forget()

    def forget(self) -> None:
        """Drop all knowledge of the store."""
        self._store: MlflowStore | None = None
        self._parents: dict[str, Run] = {}
        self._children: dict[str, _Child] = {}

    def open(self) -> None:
        """Connect, and make or reopen the experiments and the sweep's runs in them.

        Raises `RaynasError` when the sweep's table of trained accuracies is needed and gone: epochs are sent
        once, and so is looking up a cell that is new.
        """
        self._account.open()
        if self._store is None:
            self._store = MlflowStore(self._uri)
            for name in self._account.experiments():
                self._take_stock(name)
            for trial in self._folder.trials():
                self._parent(trial.config())

    def stop(self) -> None:
        """Let what is being sent fail at its next step; any thread may ask for it."""
        self._stopped = True
        if self._drawer is not None:
            self._drawer.close()

    def send(
        self, pending: set[str], closing: bool = False, urgent: Callable[[], bool] = lambda: False
    ) -> None:
        """Send those trials, taking each out of ``pending`` once its run is level with its spool.

        With ``closing`` nothing runs any more. A trial that fails for a reason of its own keeps no other
        waiting; the first such failure is raised at the end. Once there is something ``urgent`` (more
        numbers), files are left for the next call.
        """
        failures: dict[str, Exception] = {}
        later: set[str] = set()
        try:
            # All numbers before all files: a broken artifact store must not hold back the metrics.
            for step in (self._send_rows, self._send_files):
                for place, trial_id in enumerate(sorted(pending - failures.keys())):
                    if self._stopped:
                        raise InterruptedError("uploading was stopped")
                    # The first trial's files go in any case: a sweep that always has new numbers would never
                    # send a picture.
                    if place and step == self._send_files and urgent():
                        later.add(trial_id)
                        continue
                    try:
                        step(trial_id, closing)
                    except Exception as error:
                        # A trial that fails by itself keeps no other waiting; a store that does not answer
                        # fails here, for all.
                        self._connected.ping()
                        failures[trial_id] = error
                    self.steps += 1
            pending &= failures.keys() | later
        finally:
            self._progress.save()
            if self._folder.lookups is not None:
                self._folder.lookups.save()
        if failures:
            raise next(iter(failures.values()))

    def finish(self) -> None:
        """Send every trial, what has not ended as KILLED; end the sweep's runs and write its results there.

        The sweep's runs are ended even when some trial fails.
        """
        try:
            self.send({trial.id for trial in self._folder.trials()}, closing=True)
        finally:
            for name, run in self._parents.items():
                if (status := self._account.status(run, self._statuses(name))) is not None:
                    self._connected.set_status(run, status, self._latest())
                self._account.results(self._connected, run)
                self.steps += 1

    @property
    def _draws(self) -> "Drawer":
        if self._drawer is None:
            from raynas.report.drawer import Drawer

            self._drawer = Drawer()
        return self._drawer

    def close(self) -> None:
        """End what helps sending."""
        if self._drawer is not None:
            self._drawer.close()
            self._drawer = None

    @property
    def _connected(self) -> MlflowStore:
        if self._store is None:
            raise RuntimeError("open() comes first")
        return self._store

    def _take_stock(self, name: str) -> None:
        """Find the runs that the sweep's trials have in an experiment already."""
        store = self._connected
        for run in store.runs(store.experiment(name), self._sweep.created):
            tags = run.tags
            if (tags.get("raynas.sweep"), tags.get("raynas.kind")) == (
                self._account.called,
                self._account.kind,
            ):
                self._children.setdefault(tags["raynas.trial"], _Child(run))

    def _parent(self, config: Any) -> Run:
        """Return the run in the trial's experiment that holds the sweep's trials together."""
        name = self._account.experiment(config)
        if name in self._parents:
            return self._parents[name]
        store, owner = self._connected, self._account.owner
        experiment, sweep = store.experiment(name), owner.sweep()
        tags = parent.sweep_tags(owner)
        same = ("raynas.sweep", "raynas.kind")
        runs = store.runs(experiment, sweep.created)
        # Two, where a call whose answer was lost had done its work: the first found is used from now on.
        found = next((run for run in runs if all(run.tags.get(key) == tags[key] for key in same)), None)
        found = found or store.create(experiment, sweep.name, tags, parent.start_time(sweep))
        store.params(found, parent.sweep_params(sweep))
        if owner is self._folder:
            store.set_status(found, "RUNNING", 0)
        self._parents[name] = found
        return found

    def _child(self, feed: SpoolFeed[Any], tags: dict[str, str]) -> _Child:
        record = feed.record
        child = self._children.get(record.id)
        if child is None:
            experiment = self._parent(record.config).experiment
            run = self._connected.create(experiment, record.id, tags, feed.started)
            # New, so nothing of it is in the store: no question need be asked.
            child = self._children[record.id] = _Child(run, set(), Files(set(), set()))
            self.runs += 1
        return child

    def _send_rows(self, trial_id: str, closing: bool) -> None:
        if self._level(trial_id):
            return
        feed = self._folder.trial(trial_id).feed
        record = feed.read()
        if not feed.offset:
            return
        store = self._connected
        tags = self._account.tags(record) | {
            "raynas.created": self._sweep.created,
            "mlflow.parentRunId": self._parent(record.config).id,
        }
        child = self._child(feed, tags)
        if child.epochs is None:
            child.epochs = store.steps(child.run, _EPOCH_MARK)
        store.params(child.run, self._account.params(record))
        self._send_epochs(child, child.epochs, feed, tags)
        store.set_status(child.run, run_status(record, closing), feed.latest)
        self._progress.trials[trial_id] = Uploaded(
            run=child.run.id, epochs=len(child.epochs), status=child.run.status
        )

    def _send_epochs(
        self, child: _Child, there: set[int], feed: SpoolFeed[Any], tags: dict[str, str]
    ) -> None:
        rows = [
            (step, feed.time(report), self._account.row(feed.record, report))
            for step, report in enumerate(feed.record.ran)
            if step not in there
        ]
        # MLflow takes at most 1,000 metrics a call: whole epochs, as many as fit.
        many = BATCH // max((len(row) for _, _, row in rows), default=1)
        # One call even without rows, for the tags: a trial that waits or has failed has no epoch to send them
        # with.
        for start in range(0, max(len(rows), 1), many):
            batch = rows[start : start + many]
            self._connected.log(child.run, batch, tags)
            there.update(step for step, _, _ in batch)
            self.epochs += len(batch)
            self.steps += 1

    def _send_files(self, trial_id: str, closing: bool) -> None:
        trial, child = self._folder.trial(trial_id), self._children.get(trial_id)
        if child is None or trial_id not in self._progress.trials:
            return
        feed = trial.feed
        feed.read()  # it may have been let go of, and be another by now
        if child.files is None:
            child.files = self._account.there(self._connected, child.run, feed.record)
        ended = child.run.status != "RUNNING"
        self.steps += self._account.send(
            self._connected, child.run, child.files, trial_id, ended, self._draws
        )
        if ended:
            self._progress.trials[trial_id].offset = feed.offset
            trial.let_go()

    def _level(self, trial_id: str) -> bool:
        """Whether the store is known to have all of the trial's spool, and the final state with it."""
        known, child = self._progress.trials.get(trial_id), self._children.get(trial_id)
        if known is None or not known.offset or child is None or child.run.id != known.run:
            return False
        spool = self._folder.trial(trial_id).spool.path
        # Not only longer: a damaged spool that its user cut down and resumed is another one as well.
        return spool.exists() and spool.stat().st_size == known.offset

    def _statuses(self, experiment: str) -> Iterable[str | None]:
        for trial in self._sweep.trials:
            folder = self._folder.trial(trial.id)
            if not folder.planned:
                yield None
            elif self._account.experiment(folder.config()) == experiment:
                child = self._children.get(trial.id)
                yield None if child is None else child.run.status

    def _latest(self) -> float:
        """When the last trial wrote its last line."""
        spools = [trial.spool.path for trial in self._folder.trials()]
        times = [path.stat().st_mtime for path in spools if path.exists()]
        return max(times, default=parent.start_time(self._sweep))
