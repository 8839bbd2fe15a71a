"""Running a sweep's trials in parallel with Ray Tune.

A trial's folder is the only authority on how far it got: whoever runs the trial again goes on from there.
So Tune carries no checkpoints, its own files are thrown away, and nothing here restores a Tuner: a resumed
sweep is a fresh Tuner over the trials that have not ended.
"""

import shutil
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path

import ray
from ray import tune
from ray.tune.experiment import Trial as TuneTrial

from raynas.core.config import SearchConfig
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.launch.driver import ENDED, RunTrial, data_key, only_driver
from raynas.launch.observer import Observer, Observers
from raynas.launch.trial import run_trial
from raynas.launch.tune_cluster import Ask, cluster, concurrency
from raynas.launch.tune_plan import Plan, Watch
from raynas.launch.tune_trainable import storage_digest, train
from raynas.sweep.folder import SweepFolder
from raynas.sweep.propose import Proposer


class RayLauncher:
    """Runs trials in parallel, on this machine or on a Ray cluster.

    ``address`` is ``host:port`` or ``auto`` for a running cluster; without one, and without ``RAY_ADDRESS``
    in the environment, a cluster is started on this machine and ended with the sweep.
    """

    def __init__(self, address: str | None = None, run_trial: RunTrial = run_trial) -> None:
        self._address = address
        self._run_trial = run_trial

    def run(self, folder: SweepFolder, observers: Sequence[Observer], retry_failed: bool = False) -> None:
        """Run every trial that has not ended, and with ``retry_failed`` those that failed, to their ends.

        Raises `RaynasError` when the sweep is running already, when no node can hold a trial, or when a
        node does not see the sweep's folder, and `KeyboardInterrupt` when interrupted; in all cases the
        sweep can go on later with the same call.
        """
        folder = SweepFolder(folder.path.resolve())
        everyone = Observers(observers)
        with only_driver(folder):
            proposer = Proposer(folder, retry_failed=retry_failed)
            plan = Plan(folder, proposer, folder.sweep().resources.retries)
            if plan.left:
                with cluster(self._address) as grows:
                    self._run(folder, plan, everyone, _configs(folder, retry_failed), grows)
            else:
                everyone.on_start(folder)
                everyone.on_end(folder)

    def _run(
        self, folder: SweepFolder, plan: Plan, everyone: Observer, configs: list[SearchConfig], grows: bool
    ) -> None:
        resources = folder.sweep().resources
        ask = Ask(resources.cpu or max(config.threads for config in configs), resources.gpu)
        at_once = concurrency(ask, resources.max_concurrent, plan.left, grows=grows)
        trainable = tune.with_resources(
            tune.with_parameters(
                train,
                sweep=str(folder.path),
                digest=storage_digest(folder),
                share=ask.gpu,
                datasets=_shared_data(configs),
                run_trial=self._run_trial,
            ),
            {"cpu": ask.cpu, "gpu": ask.gpu},
        )
        everyone.on_start(folder)
        try:
            for number in count():
                watch = Watch(folder, plan, everyone, ask)
                tuner = _tuner(trainable, plan, watch, at_once, _scratch(folder) / str(number), ask)
                if _fitted(tuner, plan, watch):
                    break
        finally:
            shutil.rmtree(_scratch(folder), ignore_errors=True)
            everyone.on_end(folder)


def _tuner(trainable: object, plan: Plan, watch: Watch, at_once: int, scratch: Path, ask: Ask) -> tune.Tuner:
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


def _fitted(tuner: tune.Tuner, plan: Plan, watch: Watch) -> bool:
    """Run a Tuner; return whether all is done. A kill by Ray's memory monitor ends a Tuner, not the sweep."""
    try:
        tuner.fit()
    except Exception as error:
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


def _configs(folder: SweepFolder, retry_failed: bool) -> list[SearchConfig]:
    """Return the configurations of the trials to come; of those not suggested yet what is known."""
    sweep = folder.sweep()
    ended = ENDED - {"failed"} if retry_failed else ENDED
    done = {record.id for record in folder.records() if record.status in ended}
    configs = []
    for trial in sweep.trials:
        if trial.id in done:
            continue
        if trial.config is not None:
            configs.append(trial.config)
        elif trial.slot is not None:
            configs.append(SearchConfig.model_validate(sweep.base[trial.slot[0]]))
    return configs


def _shared_data(configs: Iterable[SearchConfig]) -> dict[str, ray.ObjectRef]:
    """Load every data set once and put it where all trials of a node read it without a copy."""
    shared = {}
    for key, data in {data_key(config.data): config.data for config in configs}.items():
        dataset = load_data(data)
        dataset.fingerprint()  # kept with the data set, so that no trial computes it again
        shared[key] = ray.put(dataset)
    return shared


def _scratch(folder: SweepFolder) -> Path:
    return folder.path / "ray"


def _name(trial: TuneTrial) -> str:
    return str(trial.config["searches"][0])


def _folder_name(trial: TuneTrial) -> str:
    return f"{_name(trial)}-{trial.trial_id}"
