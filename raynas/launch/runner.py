"""What trials run as: a pack of searches or a training, behind one protocol, and what each leaves behind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch

from raynas.bilevel.records import EpochReport
from raynas.config import DataConfig
from raynas.data.split import Data, split
from raynas.errors import RaynasError, quoted
from raynas.search.loop import Pack
from raynas.sweep.folder import AnySweep, TrialFolder
from raynas.train.config import TrainConfig
from raynas.train.deployed import Deployed
from raynas.train.loop import Training, check_lane
from raynas.train.records import TrainReport

Report = EpochReport | TrainReport


class Runner(Protocol):
    """Like-shaped trials that advance together, an epoch at a time; lanes never influence each other."""

    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def history(self) -> Sequence[Sequence[Report]]: ...
    @property
    def parameters_count(self) -> int: ...
    def advance(self) -> Sequence[Report | RaynasError]:
        """Run one epoch; return what each lane has to say, an error of one that diverged."""

    def state_dict(self, lane: int = 0) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any], lane: int = 0) -> None: ...
    def keep(self, lanes: Sequence[int]) -> "Runner":
        """Return a runner of some lanes, each going on from where it stands."""


def runner_of(
    trials: Sequence[TrialFolder[Any, Any]],
    dataset: Data,
    device: torch.device,
    forms: Mapping[str, str] | None,
) -> Runner:
    """Return what like-shaped trials run as, at their first epoch."""
    configs = [trial.config() for trial in trials]
    if trials[0].kind == "train":
        return Training(configs, trials[0].genotype(), dataset, device)
    return Pack(configs, trials[0].space(), split(dataset, configs[0].data), device, forms=forms)


def told(runner: Runner) -> dict[str, Any]:
    """Return what a start event says of a runner's kind alone."""
    if isinstance(runner, Pack):
        return {
            "data": runner.splits.record(),
            "method": runner.method.fingerprint,
            "validated": runner.method.validated,
        }
    if isinstance(runner, Training):
        dataset, lane = runner.dataset, runner.lanes[0]
        data = {
            "train": lane.feed.count,
            "valid": lane.valid.count if lane.valid else 0,
            "test": dataset.tests,
            "classes": dataset.classes,
            "hash": dataset.fingerprint(),
        }
        return {"data": data, "cell": runner.genotype.digest()}
    return {}


def keep_result(trial: TrialFolder[Any, Any], runner: Runner, lane: int) -> None:
    """Write what a trial has come to into its folder: the cell that it found, or the network it trained."""
    if isinstance(runner, Training):
        deployed = Deployed.of(
            runner.lanes[lane].result(),
            runner.genotype,
            runner.dataset,
            config=runner.configs[lane].plain(),
            report=runner.history[lane][-1].to_json(),
            sweep=trial.path.parent.parent.name,
            trial=trial.id,
        )
        deployed.save(trial.network)
    elif (final := trial.record().deciding) is not None:
        final.genotype.save(trial.path / "genotype.json")


def check_trainable(
    folder: AnySweep, configs: Iterable[Any], dataset_of: Callable[[DataConfig], Data]
) -> None:
    """Build the networks of a sweep's trainings once each; raises `RaynasError` for one that cannot be.

    What is wrong with a cell and a size is told before anything has started. Searches pass.
    """
    seen = set()
    for config in configs:
        if not isinstance(config, TrainConfig):
            return
        built = {"cell", "channels", "cells", "data", "text", "batch"}
        mark = config.model_dump_json(include=built), config.auxiliary > 0
        if mark in seen:
            continue
        seen.add(mark)
        dataset = dataset_of(config.data)
        try:
            check_lane(config, folder.sweep().cells[config.cell], dataset)
        except RaynasError as error:
            raise RaynasError(
                f"the cell {quoted(config.cell)} cannot be trained on {dataset.name}: {error.what}",
                got=error.got,
                expected=error.expected,
                near=error.near,
                next_step=error.next_step,
            ) from None
