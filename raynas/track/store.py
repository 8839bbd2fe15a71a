"""The few calls to MLflow that raynas needs, each safe to make twice."""

import logging
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

from raynas.disk import lock, replace
from raynas.sweep.file.uri import artifact_root, sqlite_file
from raynas.track.content import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient

BATCH = 1000
"""Metrics MLflow takes in one call."""

_ENVIRONMENT = {
    # MLflow's own retries block for minutes, and one after a lost answer may write twice: ours do neither.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # Progress bars and addresses on standard output would break the live display.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Nothing is sent to anyone but the store that was named.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass
class Run:
    """A run that is in the store: its state, its tags and the names of its parameters."""

    id: str
    experiment: str
    status: str
    tags: dict[str, str]
    params: frozenset[str]


class MlflowStore:
    """One MLflow store. Making it connects (a fresh sqlite file gets its tables); every method may raise
    whatever MLflow raises when the store is away or refuses.
    """

    def __init__(self, uri: str) -> None:
        self._client = _client(uri)
        self._artifacts = artifact_root(uri)

    def ping(self) -> None:
        """Ask for next to nothing; raises when the store is away."""
        self._client.search_experiments(max_results=1)

    def experiment(self, name: str) -> str:
        """Return the id of the experiment, making it if there is none and bringing back a deleted one."""
        from mlflow.exceptions import MlflowException

        if (found := self._client.get_experiment_by_name(name)) is None:
            place = None if self._artifacts is None else (self._artifacts / name).as_uri()
            try:
                return str(self._client.create_experiment(name, artifact_location=place))
            except MlflowException:
                # Another sweep may have made it since we looked.
                if (found := self._client.get_experiment_by_name(name)) is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def runs(self, experiment: str, created: str) -> Iterator[Run]:
        """Yield the runs of the sweep created at that time, the oldest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [experiment],
                f"tags.`raynas.created` = '{created}'",
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from (_run(found, experiment) for found in page)
            if not (token := page.token):
                return

    def create(self, experiment: str, name: str, tags: Mapping[str, str], start: float) -> Run:
        """Start a run; ``start`` is in Unix seconds."""
        made = self._client.create_run(experiment, start_time=_ms(start), tags=dict(tags), run_name=name)
        return _run(made, experiment)

    def params(self, run: Run, values: Mapping[str, str]) -> None:
        """Write the parameters the run lacks; those it has are left alone, since MLflow keeps the first."""
        from mlflow.entities import Param

        if lacking := {key: value for key, value in values.items() if key not in run.params}:
            params = [Param(key, value) for key, value in lacking.items()]
            self._client.log_batch(run.id, params=params, synchronous=True)
            run.params |= set(lacking)

    def log(
        self, run: Run, rows: Sequence[tuple[int, float, Mapping[str, float]]], tags: Mapping[str, str]
    ) -> None:
        """Write epochs, each (step, Unix seconds, metrics), and the tags that changed, in one call."""
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(key, value, _ms(time), step) for step, time, row in rows for key, value in row.items()
        ]
        changed = {key: value for key, value in tags.items() if run.tags.get(key) != value}
        if metrics or changed:
            # Said each time: with MLFLOW_ENABLE_ASYNC_LOGGING set, MLflow would lose rows without a word.
            marks = [RunTag(key, value) for key, value in changed.items()]
            self._client.log_batch(run.id, metrics=metrics, tags=marks, synchronous=True)
            run.tags |= changed

    def steps(self, run: Run, metric: str) -> set[int]:
        """Return the steps at which the run has a value of the metric."""
        return {found.step for found in self._client.get_metric_history(run.id, metric)}

    def set_status(self, run: Run, status: Status, end: float) -> None:
        """End the run, or open it again; ``end`` is in Unix seconds and of no account for RUNNING."""
        if run.status != status:
            if status == "RUNNING":
                self._client.update_run(run.id, status=status)
            else:
                self._client.set_terminated(run.id, status=status, end_time=_ms(end))
            run.status = status

    def files(self, run: Run, folder: str) -> set[str]:
        """Return the names of the artifacts in one folder of the run."""
        return {Path(found.path).name for found in self._client.list_artifacts(run.id, folder)}

    def upload(self, run: Run, folder: Path) -> None:
        """Write everything in a local folder to the run's artifacts."""
        self._client.log_artifacts(run.id, str(folder))

    def image(self, run: Run, file: IO[bytes], key: str, step: int, time: float) -> None:
        """Write a picture that MLflow shows with a slider over the steps."""
        from PIL import Image

        with Image.open(file) as picture:
            self._client.log_image(run.id, picture, key=key, step=step, timestamp=_ms(time), synchronous=True)


def _client(uri: str) -> "MlflowClient":
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for logger in ("mlflow", "urllib3.connectionpool"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if (file := sqlite_file(uri)) is None:
        return MlflowClient(tracking_uri=uri)
    with _alone(file):
        if _empty(file):
            _make(file)
        return MlflowClient(tracking_uri=uri)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Let one process at a time make or migrate a sqlite store: several at once break it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with lock(file.with_name(f".{file.name}.lock"), patience=math.inf):
        yield


def _empty(file: Path) -> bool:
    """Tell whether a sqlite store holds no run yet; it may then be half made as well.

    What is not a database is left to MLflow, which says so.
    """
    if not file.exists():
        return True
    with suppress(sqlite3.Error), closing(_opened(file)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        rows = {name: f"SELECT count(*) FROM {name}" for name in ("runs", "experiments") if name in tables}  # noqa: S608
        counts = {name: database.execute(query).fetchone()[0] for name, query in rows.items()}
        return not counts.get("runs") and int(counts.get("experiments", 0)) <= 1
    return False


def _make(file: Path) -> None:
    """Make a store beside its place and give it its name when it is whole: a kill leaves nothing half made.

    An empty store that a kill did leave half made, as earlier versions could, is kept under another name.
    """
    from mlflow import MlflowClient

    for rest in file.parent.glob(f".{file.name}.making-*"):
        rest.unlink(missing_ok=True)
    # MLflow keeps what it has opened by its name, so each has a name of its own.
    fresh = file.with_name(f".{file.name}.making-{uuid4().hex}")
    try:
        MlflowClient(tracking_uri=f"sqlite:///{fresh}").search_experiments(max_results=1)
        with closing(sqlite3.connect(fresh)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if file.exists() and _schema(file) != _schema(fresh):
            replace(file, file.with_name(f"{file.name}.half-made"))
            for tail in ("-journal", "-wal", "-shm"):  # would be taken for the new one's
                file.with_name(file.name + tail).unlink(missing_ok=True)
        if not file.exists():
            replace(fresh, file)
    finally:  # after Ctrl-C as well, which no later call would clean up after where the store is whole
        for rest in file.parent.glob(f"{fresh.name}*"):
            rest.unlink(missing_ok=True)


def _schema(file: Path) -> list[tuple[object, ...]]:
    """Return the tables of a sqlite store and the version MLflow brought them to; [] where they lack it."""
    with suppress(sqlite3.Error), closing(_opened(file)) as database:
        tables = database.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        return [*tables, *database.execute("SELECT * FROM alembic_version").fetchall()]
    return []


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)


def _run(found: Any, experiment: str) -> Run:
    return Run(
        found.info.run_id,
        experiment,
        found.info.status,
        dict(found.data.tags),
        frozenset(found.data.params),
    )


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
