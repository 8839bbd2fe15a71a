"""Running a sweep's trials in this process, one after another."""

import gc
from collections.abc import Sequence

import torch

from raynas.core.records import EpochReport
from raynas.data.dataset import Dataset
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.launch.device import local_device
from raynas.launch.driver import (
    Retries,
    RunTrial,
    data_key,
    give_up,
    next_attempt,
    note_death,
    only_driver,
    only_writer,
)
from raynas.launch.observer import Observer, Observers
from raynas.launch.trial import run_trial
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.propose import Proposer


class LocalLauncher:
    """Runs trials one after another on one device, with the numbers that `RayLauncher` would give.

    ``device`` is ``cpu``, ``cuda``, or ``auto`` for CUDA if there is any.
    """

    def __init__(self, device: str = "auto", run_trial: RunTrial = run_trial) -> None:
        self._device = device
        self._run_trial = run_trial
        self._data: tuple[str, Dataset] | None = None

    def run(self, folder: SweepFolder, observers: Sequence[Observer], retry_failed: bool = False) -> None:
        """Run every trial that has not ended, and with ``retry_failed`` those that failed, to their ends.

        Raises `RaynasError` when the sweep is running already or the device is missing. Crashed trials are
        started again as often as ``resources.retries`` says; interrupted sweeps go on with the same call.
        """
        folder = SweepFolder(folder.path.resolve())
        device = local_device(self._device)
        everyone = Observers(observers)
        with only_driver(folder):
            proposer = Proposer(folder, retry_failed=retry_failed)
            retries = Retries(folder.sweep().resources.retries)
            everyone.on_start(folder)
            try:
                while (planned := proposer.next()) is not None:
                    trial = folder.trial(planned.id)
                    self._to_its_end(trial, device, retries, everyone)
                    everyone.on_trial(trial.record())
                    proposer.tell(trial.id)
            finally:
                everyone.on_end(folder)

    def _to_its_end(
        self, trial: TrialFolder, device: torch.device, retries: Retries, everyone: Observer
    ) -> None:
        def heartbeat(report: EpochReport) -> None:
            everyone.on_trial(trial.record())
            everyone.on_tick()

        dataset = self._dataset(trial)
        with only_writer(trial):
            while True:
                attempt = next_attempt(trial.record())
                try:
                    self._run_trial(
                        trial, dataset=dataset, device=device, attempt=attempt, heartbeat=heartbeat
                    )
                except RaynasError:
                    raise  # the disk is full: so it will be for every trial
                except Exception as error:
                    note_death(trial, f"{type(error).__name__}: {error}")
                    if not retries.again(trial.id):
                        give_up(trial)
                        return
                else:
                    return
                gc.collect()
                torch.cuda.empty_cache()  # after CUDA ran out of memory; nothing on a CPU

    def _dataset(self, trial: TrialFolder) -> Dataset:
        """Load the trial's data; the last set is kept, as trials in a row mostly share it."""
        config = trial.config().data
        key = data_key(config)
        if self._data is None or self._data[0] != key:
            self._data = (key, load_data(config))
        return self._data[1]
