"""Running a sweep's trials in this process, one pack after another."""

import gc
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from raynas.config import DataConfig
from raynas.data.split import Data
from raynas.errors import RaynasError
from raynas.launch.device import local_device
from raynas.launch.driver import (
    Retries,
    RunTrials,
    data_key,
    load_recorded,
    only_driver,
    only_writer,
    waiting_configs,
)
from raynas.launch.observer import LOADING, MEASURING, STARTING, Observer, Observers
from raynas.launch.packs import Packs, measure_task
from raynas.launch.recover import repair
from raynas.launch.runner import check_trainable
from raynas.launch.stop import asked
from raynas.launch.trial import run_trials
from raynas.sweep.folder import AnySweep, TrialFolder
from raynas.sweep.propose import Proposer

DatasetOf = Callable[[DataConfig], Data]


class LocalLauncher:
    """Runs trials pack after pack on one device, with the numbers that `RayLauncher` would give.

    ``device`` is ``cpu``, ``cuda``, or ``auto`` for CUDA if there is any.
    """

    def __init__(self, device: str = "auto", run_trials: RunTrials = run_trials) -> None:
        self._device = device
        self._run_trials = run_trials
        self._data: tuple[str, Data] | None = None

    def run(
        self, folder: AnySweep, observers: Sequence[Observer[Any, Any]] = (), retry_failed: bool = False
    ) -> None:
        """Run every trial that has not ended, and with ``retry_failed`` those that failed, to their ends.

        Raises `RaynasError` when the sweep is running already or the device is missing. Crashed trials are
        started again as often as ``resources.retries`` says; interrupted sweeps go on with the same call.
        """
        folder = folder.resolved()
        device = local_device(self._device)
        everyone = Observers(observers)
        with only_driver(folder):
            repaired = repair(folder)
            proposer = Proposer(folder, retry_failed=retry_failed)
            retries = Retries(folder.sweep().resources.retries)
            packs = Packs(folder, slots=1)
            configs = waiting_configs(folder, retry_failed)
            dataset_of = partial(self._dataset, folder)
            if configs:
                everyone.on_phase(LOADING)
                dataset_of(configs[0].data)  # what is wrong with it is told before anything is recorded
                check_trainable(folder, configs, dataset_of)
            everyone.on_start(folder)
            everyone.on_repaired(repaired)
            try:
                self._measure(packs, configs, dataset_of, device, everyone)
                while planned := proposer.next(packs.size):
                    trials = [folder.trial(each.id) for each in planned]
                    self._to_their_ends(trials, packs, dataset_of, device, retries, everyone)
                    for trial in trials:
                        everyone.on_trial(trial.record())
                        proposer.tell(trial.id)
            finally:
                everyone.on_end(folder)

    def _measure(
        self,
        packs: Packs,
        configs: Sequence[Any],
        dataset_of: DatasetOf,
        device: torch.device,
        everyone: Observer[Any, Any],
    ) -> None:
        tasks = packs.tasks(configs, dataset_of, gpu=1.0)
        everyone.on_phase(MEASURING if tasks else STARTING)
        packs.record({shape: (task, measure_task(task, device)) for shape, task in tasks.items()})

    def _to_their_ends(
        self,
        trials: list[TrialFolder[Any, Any]],
        packs: Packs,
        dataset_of: DatasetOf,
        device: torch.device,
        retries: Retries,
        everyone: Observer[Any, Any],
    ) -> None:
        """Run a pack; start it again when it crashes, in halves when it ran out of memory."""
        dataset = dataset_of(trials[0].config().data)
        forms = packs.forms(trials[0].config())
        waiting = deque([trials])
        while waiting:
            pack = waiting.popleft()

            def heartbeat(epoch: int, pack: list[TrialFolder[Any, Any]] = pack) -> None:
                for trial in pack:
                    everyone.on_trial(trial.record())
                everyone.on_tick()

            try:
                with only_writer(pack):
                    self._run_trials(pack, dataset=dataset, device=device, heartbeat=heartbeat, forms=forms)
            except RaynasError:
                raise  # the disk is full: so it will be for every trial
            except Exception as error:
                if asked():  # SIGTERM to all processes ends those that read images, too
                    raise KeyboardInterrupt from error
                waiting.extend(retries.after_death(pack, f"{type(error).__name__}: {error}"))
                gc.collect()
                torch.cuda.empty_cache()  # after CUDA ran out of memory; nothing on a CPU

    def _dataset(self, folder: AnySweep, data: DataConfig) -> Data:
        """Load a data set; the last is kept, as trials in a row mostly share it."""
        key = data_key(data)
        if self._data is None or self._data[0] != key:
            self._data = (key, load_recorded(folder, data))
        return self._data[1]
