"""`track.json`: which trials are in a store for good, so that nobody has to ask again."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pydantic import BaseModel, TypeAdapter, ValidationError

from raynas.disk import lock, read_json
from raynas.errors import RaynasError
from raynas.sweep.file.uri import shown
from raynas.sweep.folder import AnySweep, write_atomic


class Uploaded(BaseModel):
    """How far one trial is in one store: its run, its epochs there, its state.

    ``offset`` is the byte of the spool up to which all is there, artifacts and final state included; 0
    while the trial is running.
    """

    run: str
    epochs: int
    status: str
    offset: int = 0


_STORES = TypeAdapter(dict[str, dict[str, Uploaded]])


class Uploads:
    """What `track.json` says about one store; a lost or damaged file only costs questions to the store."""

    def __init__(self, folder: AnySweep, uri: str) -> None:
        self._path = folder.path / "track.json"
        self._key = shown(uri)
        self._saved = self._read()
        self.trials = {
            trial: uploaded.model_copy() for trial, uploaded in self._saved.get(self._key, {}).items()
        }

    def save(self) -> None:
        """Write the file if something changed; raises `RaynasError` when the disk is full."""
        now = {trial: uploaded.model_copy() for trial, uploaded in self.trials.items()}
        if now != self._saved.get(self._key, {}):
            stores = {**self._saved, self._key: now}
            data = {"v": 1, "stores": _STORES.dump_python(stores)}
            write_atomic(self._path, json.dumps(data, indent=1).encode())
            self._saved = stores

    def _read(self) -> dict[str, dict[str, Uploaded]]:
        try:
            return _STORES.validate_python(read_json(self._path)["stores"])
        except (OSError, ValueError, KeyError, TypeError, ValidationError):
            return {}


@contextmanager
def alone(folder: AnySweep) -> Iterator[None]:
    """Hold the sweep's uploader lock; raises `RaynasError` while another process uploads the sweep.

    Two uploaders at once could each make a run for the same trial. The lock ends with the process.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(lock(folder.path / ".track.lock"))
        except BlockingIOError:
            raise RaynasError(
                f"another process is uploading the sweep {folder.name!r} already",
                next_step="wait until it has ended",
            ) from None
        yield
