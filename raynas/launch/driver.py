"""What every launcher does around the trials: one driver at a time, counting attempts, closing what died."""

import errno
import fcntl
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from raynas.core.config import DataConfig
from raynas.core.records import EpochReport
from raynas.disk import disk_error
from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.record import TrialRecord

if TYPE_CHECKING:
    import torch

    from raynas.data.dataset import Dataset

ENDED = frozenset({"finished", "diverged", "failed"})


class RunTrial(Protocol):
    """What runs one trial from where its folder stands to its end; `raynas.launch.trial.run_trial`."""

    def __call__(
        self,
        folder: TrialFolder,
        *,
        dataset: "Dataset",
        device: "torch.device",
        attempt: int,
        heartbeat: Callable[[EpochReport], None],
    ) -> str: ...


class Retries:
    """How often each trial may be started again after its process crashed or was killed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: Counter[str] = Counter()

    def again(self, trial_id: str) -> bool:
        """Count one more failure of a trial; return whether it may be started once more."""
        self._failures[trial_id] += 1
        return self._failures[trial_id] <= self._limit


def data_key(config: DataConfig) -> str:
    """Return a key that two configurations share exactly when `load_data` gives both the same images."""
    left_out = {"valid", "augment", "cutout", *(("split_seed",) if config.limit is None else ())}
    return config.model_dump_json(exclude=left_out)


def next_attempt(record: TrialRecord) -> int:
    """Return the number of the attempt about to start; the first ever is 1."""
    return (record.start["attempt"] if record.start else 0) + 1


def note_death(trial: TrialFolder, words: str, kind: str = "crash") -> None:
    """Record the death of a trial's process, unless the process did so itself; ``kind`` is crash or oom."""
    events, _ = trial.spool.events()
    if not events or events[-1]["kind"] != "error":
        attempt = max(next_attempt(trial.record()) - 1, 1)
        trial.spool.append("error", message=words, kind_of_error=kind, attempt=attempt)
        with suppress(OSError), trial.log.open("a", encoding="utf-8") as log:
            log.write(f"attempt {attempt}: {words}\n\n")


def give_up(trial: TrialFolder) -> None:
    """Write the end of a trial that cannot do it itself; its last error is the reason."""
    errors = trial.record().errors
    reason = errors[-1] if errors else "the trial stopped without saying how it ended"
    trial.spool.append("end", status="failed", reason=f"{reason} (log: {trial.log})")


@contextmanager
def only_driver(folder: SweepFolder) -> Iterator[None]:
    """Be the only process that drives a sweep; raises `RaynasError` while another one does."""
    lock = folder.path / ".driver.lock"
    with _opened(lock) as file:
        if not _locked(file):
            raise RaynasError(
                f"sweep {folder.name!r} is running already",
                got=f"driven by {lock.read_text().strip() or 'another process'}",
                next_step=f"watch it: raynas status {folder.typed}",
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


@contextmanager
def only_writer(trial: TrialFolder, patience: float = 60.0) -> Iterator[None]:
    """Be the only process that runs a trial, waiting up to ``patience`` seconds for the one before.

    After a driver was killed its trials die a few seconds later, perhaps after the next driver started.
    Raises `TimeoutError`.
    """
    with _opened(trial.path / ".lock") as file:
        until = time.monotonic() + patience
        while not _locked(file):
            if time.monotonic() > until:
                raise TimeoutError(f"another process still runs trial {trial.id} after {patience:.0f} s")
            time.sleep(0.2)
        yield


def _opened(path: Path) -> IO[str]:
    try:
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise disk_error(error, path) from error


def _locked(file: IO[str]) -> bool:
    """Take the lock, which the kernel drops with the process; True as well where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some shared storage (object stores mounted as folders) knows no locks: go on without.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True
