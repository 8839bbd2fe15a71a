"""Running a sweep's trials in parallel with Ray Tune.

A trial's folder is the only authority on how far it got: whoever runs the trial again goes on from there.
So Tune carries no checkpoints, its own files are thrown away, and nothing here restores a Tuner: a resumed
sweep is a fresh Tuner over the trials that have not ended.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raynas.data.split import Data
from raynas.errors import RaynasError
from raynas.launch.device import trial_device
from raynas.launch.driver import RunTrials, data_key, load_recorded, only_driver, waiting_configs
from raynas.launch.observer import LOADING, MEASURING, STARTING, Observer, Observers
from raynas.launch.packs import Packs, Steps, Task, measure_task
from raynas.launch.recover import repair
from raynas.launch.runner import check_trainable
from raynas.launch.stop import asked
from raynas.launch.trial import run_trials
from raynas.launch.tune.cluster import Ask, cluster, concurrency
from raynas.launch.tune.plan import TunePlan, Watch
from raynas.launch.tune.trainable import storage_digest, train
from raynas.sweep.folder import AnySweep
from raynas.sweep.propose import Proposer


class RayLauncher:
    """Runs trials in parallel, on this machine or on a Ray cluster.

    ``address`` is ``host:port`` or ``auto`` for a running cluster; without one, and without ``RAY_ADDRESS``
    in the environment, a cluster is started on this machine and ended with the sweep.
    """

    def __init__(self, address: str | None = None, run_trials: RunTrials = run_trials) -> None:
        self._address = address
        self._run_trials = run_trials

    def run(
        self, folder: AnySweep, observers: Sequence[Observer[Any, Any]] = (), retry_failed: bool = False
    ) -> None:
        """Run every trial that has not ended, and with ``retry_failed`` those that failed, to their ends.

        Raises `RaynasError` when the sweep is running already, when no node can hold a trial, or when a
        node does not see the sweep's folder, and `KeyboardInterrupt` when interrupted; in all cases the
        sweep can go on later with the same call.
        """
        folder = folder.resolved()
        everyone = Observers(observers)
        with only_driver(folder):
            repaired = repair(folder)
            proposer = Proposer(folder, retry_failed=retry_failed)
            if proposer.pending():
                everyone.on_phase(f"joining Ray at {self._address}" if self._address else "starting Ray")
                with cluster(self._address) as grows:
                    configs = waiting_configs(folder, retry_failed)
                    self._run(folder, proposer, everyone, configs, grows, repaired)
            else:
                everyone.on_start(folder)
                everyone.on_repaired(repaired)
                everyone.on_end(folder)

    def _run(
        self,
        folder: AnySweep,
        proposer: Proposer,
        everyone: Observer[Any, Any],
        configs: list[Any],
        grows: bool,
        repaired: Sequence[str],
    ) -> None:
        resources = folder.sweep().resources
        ask = Ask(resources.cpu or max(config.cpus for config in configs), resources.gpu)
        at_once = concurrency(ask, resources.max_concurrent, proposer.pending(), grows=grows)
        everyone.on_phase(LOADING)
        datasets = _load_data(folder, configs)
        check_trainable(folder, configs, lambda data: datasets[data_key(data)])
        shared = {key: ray.put(dataset) for key, dataset in datasets.items()}
        everyone.on_start(folder)
        everyone.on_repaired(repaired)
        try:
            # Where nodes come as they are needed, what counts is the work each of them gets done.
            packs = Packs(folder, slots=1 if grows else at_once)
            _measure(packs, configs, datasets, ask, everyone)
            everyone.on_phase(STARTING)
            plan = TunePlan(folder, proposer, resources.retries, packs)
            trainable = tune.with_resources(
                tune.with_parameters(
                    train,
                    sweep=str(folder.path),
                    digest=storage_digest(folder),
                    share=ask.gpu,
                    datasets=shared,
                    run_trials=self._run_trials,
                ),
                {"cpu": ask.cpu, "gpu": ask.gpu},
            )
            for number in count():
                watch = Watch(folder, plan, everyone, ask)
                tuner = _tuner(trainable, plan, watch, at_once, _scratch(folder) / str(number), ask)
                if _fitted(tuner, plan, watch):
                    break
        finally:
            shutil.rmtree(_scratch(folder), ignore_errors=True)
            everyone.on_end(folder)


def _measure(
    packs: Packs,
    configs: list[Any],
    datasets: Mapping[str, Data],
    ask: Ask,
    everyone: Observer[Any, Any],
) -> None:
    """Measure the shapes of which nothing is known yet, on the share of a device that their trials get."""
    waiting = packs.tasks(configs, lambda data: datasets[data_key(data)], ask.gpu)
    if waiting:
        everyone.on_phase(MEASURING)
    measure = ray.remote(num_cpus=ask.cpu, num_gpus=ask.gpu, max_retries=0)(_measure_here)
    found = {shape: measure.remote(task) for shape, task in waiting.items()}
    packs.record({shape: (waiting[shape], _result(steps)) for shape, steps in found.items()})


def _measure_here(task: Task) -> Steps:
    return measure_task(task, trial_device(task.share))


def _result(steps: ray.ObjectRef) -> Steps:
    """Return what was measured, or nothing where that failed: the trials will say what is wrong."""
    try:
        found: Steps = ray.get(steps)
    except ray.exceptions.RayError:
        return Steps("unknown")
    return found


def _tuner(
    trainable: object, plan: TunePlan, watch: Watch, at_once: int, scratch: Path, ask: Ask
) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=plan,
            num_samples=-1,  # the plan says when it is done
            max_concurrent_trials=at_once,
            # A GPU trial gets a new process: only its end frees CUDA's memory for certain.
            reuse_actors=ask.gpu == 0,
            trial_name_creator=_name,
            trial_dirname_creator=_folder_name,
        ),
        run_config=tune.RunConfig(
            name=scratch.name,
            storage_path=str(scratch.parent),
            verbose=0,
            callbacks=[watch],
            failure_config=tune.FailureConfig(max_failures=0),  # the plan starts crashed trials again
        ),
    )


def _fitted(tuner: tune.Tuner, plan: TunePlan, watch: Watch) -> bool:
    """Run a Tuner; return whether all is done. A kill by Ray's memory monitor ends a Tuner, not the sweep."""
    try:
        tuner.fit()
    except Exception as error:
        if asked():  # SIGTERM may have reached Ray's own processes as well
            raise KeyboardInterrupt from error
        if watch.unfit is not None:
            raise RaynasError(watch.unfit) from None
        killed = isinstance(error, RuntimeError) and "Caught unexpected exception" in str(error)
        if not killed or not plan.live:
            raise
        plan.broken_off(error)
        return not plan.left
    if plan.left:
        # Tune takes Ctrl-C as a wish to end, and returns as if all were well.
        raise KeyboardInterrupt
    return True


def _load_data(folder: AnySweep, configs: Iterable[Any]) -> dict[str, Data]:
    """Load every data set once; all trials of a node will read it without a copy."""
    datasets = {}
    for key, data in {data_key(config.data): config.data for config in configs}.items():
        datasets[key] = load_recorded(folder, data)
        datasets[key].fingerprint()  # kept with the data set, so that no trial computes it again
    return datasets


def _scratch(folder: AnySweep) -> Path:
    return folder.path / "ray"


def _name(trial: TuneTrial) -> str:
    return str(trial.config["searches"][0])


def _folder_name(trial: TuneTrial) -> str:
    return f"{_name(trial)}-{trial.trial_id}"
