"""Work that all launchers share: one driver at a time, counting attempts, closing what died."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from raynas.config import DataConfig, SearchConfig
from raynas.data.catalogue import is_text
from raynas.disk import append_text, lock
from raynas.errors import RaynasError
from raynas.sweep.folder import DRIVER_LOCK, AnySweep, TrialFolder
from raynas.sweep.places import check_there
from raynas.sweep.record import Record
from raynas.sweep.status import ENDED, OVER

if TYPE_CHECKING:
    import torch

    from raynas.data.split import Data


class RunTrials(Protocol):
    """What runs like-shaped trials from where their folders stand to their ends; see `raynas.launch.trial`.

    ``heartbeat`` is called after each epoch with the number of epochs done.
    """

    def __call__(
        self,
        trials: Sequence[TrialFolder[Any, Any]],
        *,
        dataset: "Data",
        device: "torch.device",
        heartbeat: Callable[[int], None],
        forms: Mapping[str, str] | None = None,
    ) -> None: ...


class Retries:
    """How often each trial may be started again after its process crashed or was killed."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._failures: Counter[str] = Counter()

    def after_death(
        self, pack: Sequence[TrialFolder[Any, Any]], words: str, kind: str = "crash"
    ) -> list[list[TrialFolder[Any, Any]]]:
        """Return the packs to start again after a pack's process died; ``kind`` is crash or oom.

        Deaths are recorded, and trials that died too often are given up. A pack that ran out of memory goes
        on as two. Only trials that finished or diverged are left alone: a failed one may have been started
        again.
        """
        again, kinds = [], set()
        for trial in pack:
            if trial.record().status in OVER:
                continue
            kinds.add(note_death(trial, words, kind))
            self._failures[trial.id] += 1
            if self._failures[trial.id] <= self._limit:
                again.append(trial)
            else:
                give_up(trial)
        # Half of a pack needs about half of the memory; the other half goes on as a pack of its own.
        middle = -(-len(again) // 2) if "oom" in kinds else len(again)
        return [part for part in (again[:middle], again[middle:]) if part]


def waiting_configs(folder: AnySweep, retry_failed: bool) -> list[Any]:
    """Return the configurations of the trials to come; of those not suggested yet what is known."""
    sweep = folder.sweep()
    ended = OVER if retry_failed else ENDED
    done = {record.id for record in folder.records() if record.status in ended or record.foreign}
    configs: list[Any] = []
    for trial in sweep.trials:
        if trial.id in done:
            continue
        if trial.config is not None:
            configs.append(trial.config)
        elif trial.slot is not None:
            configs.append(SearchConfig.model_validate(sweep.base[trial.slot[0]]))
    return configs


def data_key(config: DataConfig) -> str:
    """Return a key that two configurations share exactly when `load_data` gives both the same.

    The vocabulary of a text depends on where it is cut.
    """
    # They change batches, not the data set: searches that differ in these alone share one copy in memory.
    colours = {"brightness", "contrast", "saturation", "hue"}
    left_out = {"augment", "cutout", "bptt", *colours, *(("split_seed",) if config.limit is None else ())}
    if not is_text(config.name):
        left_out |= {"valid", "select"}
    return config.model_dump_json(exclude=left_out)


def load_recorded(folder: AnySweep, config: DataConfig) -> "Data":
    """Load data of a sweep from where this machine has them.

    Raises `RaynasError` as loading does, and for data that are not those with which its trials have started.
    """
    from raynas.data.load import load_data

    key = data_key(config)
    starts = {record.id: (record.start or {}).get("data") for record in folder.records()}
    here = folder.places.of(config)
    known = {
        str(told["hash"]): trial_id
        for trial_id, told in starts.items()
        if told and "hash" in told and data_key(folder.trial(trial_id).config().data) == key
    }
    if known:
        check_there(here, folder.typed)
    dataset = load_data(here)
    if known and (found := dataset.fingerprint()) not in known:
        then, trial_id = next(iter(known.items()))
        raise RaynasError(
            "these are not the data that the sweep was begun with; nothing was started or changed",
            got=f"{here.name}{f' in {here.path}' if here.path else ''}, hash {found}",
            expected=f"hash {then}, as {trial_id} recorded",
            next_step=f"raynas resume {folder.typed} data.path=PLACE, where they are"
            if here.path
            else f"go on with the version of {here.name} that it was begun with",
        )
    return dataset


def next_attempt(record: Record[Any, Any]) -> int:
    """Return the number of the attempt about to start; the first ever is 1."""
    return (record.start["attempt"] if record.start else 0) + 1


def this_attempt(record: Record[Any, Any]) -> int:
    """Return the number of the attempt that was started last; before the first start, 1."""
    return max(next_attempt(record) - 1, 1)


def note_death(trial: TrialFolder[Any, Any], words: str, kind: str = "crash") -> str:
    """Record the death of a trial's process, unless the process did so itself; ``kind`` is crash or oom.

    Returns the kind on record.
    """
    events, _ = trial.spool.events()
    # A process that could still write said why it died; "worker died" after it would hide the reason.
    if events and events[-1]["kind"] == "error":
        return str(events[-1]["kind_of_error"])
    attempt = this_attempt(trial.record())
    trial.spool.append("error", message=words, kind_of_error=kind, attempt=attempt)
    append_text(trial.log, f"attempt {attempt}: {words}\n\n")
    return kind


def give_up(trial: TrialFolder[Any, Any]) -> None:
    """Write the end of a trial that cannot do it itself; its last error is the reason."""
    errors = trial.record().errors
    reason = errors[-1] if errors else "the trial stopped without saying how it ended"
    trial.spool.append("end", status="failed", reason=f"{reason} (log: {trial.log})")


@contextmanager
def only_driver(folder: AnySweep) -> Iterator[None]:
    """Be the only process that drives a sweep; raises `RaynasError` while another one does."""
    path = folder.path / DRIVER_LOCK
    with ExitStack() as stack:
        try:
            file = stack.enter_context(lock(path))
        except BlockingIOError:
            raise RaynasError(
                f"sweep {folder.name!r} is running already",
                got=f"driven by {folder.driver or 'another process'}",
                next_step=f"watch it: raynas status {folder.typed}",
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


@contextmanager
def only_writer(trials: Sequence[TrialFolder[Any, Any]], patience: float = 60.0) -> Iterator[None]:
    """Be the only process that runs some trials, waiting up to ``patience`` seconds for the one before.

    After a driver was killed its trials die a few seconds later, perhaps after the next driver started.
    Raises `TimeoutError`.
    """
    with ExitStack() as stack:
        for trial in trials:
            try:
                stack.enter_context(lock(trial.path / ".lock", patience))
            except BlockingIOError:
                raise TimeoutError(
                    f"another process still runs trial {trial.id} after {patience:.0f} s"
                ) from None
        yield
