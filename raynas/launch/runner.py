"""Runners of trials: a pack of searches, proposals or a training, and what each leaves behind."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch

from raynas.bilevel.records import EpochReport
from raynas.config import DataConfig
from raynas.data.dataset import Dataset
from raynas.data.split import Data, Splits, split
from raynas.disk import expanded
from raynas.errors import RaynasError, quoted
from raynas.launch.device import make_deterministic, only_loopback
from raynas.methods import resolve
from raynas.nets.size import size_of
from raynas.search.loop import Pack
from raynas.search.proposing import Proposing, TableJudge
from raynas.search.searches import Tell
from raynas.spaces.draw import draw_cells
from raynas.spaces.genotype import Genotype
from raynas.sweep.folder import AnySweep, SweepFolder, TrialFolder
from raynas.sweep.lookups import table_hash
from raynas.tables.table import without_table
from raynas.train.config import TrainConfig
from raynas.train.deployed import Deployed
from raynas.train.loop import Training, check_lane
from raynas.train.parallel import Team
from raynas.train.records import TrainReport

Report = EpochReport | TrainReport

MOST_CLASS_NAMES = 1000
"""Names of classes that every start event keeps."""


PRUNED = "its method takes operations away, so a random cell may need what its supernet no longer has"
"""Why a search judges no random cells."""


class Runner(Protocol):
    """Like-shaped trials that advance together, an epoch at a time; lanes never influence each other."""

    tell: Tell

    @property
    def epoch(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def configs(self) -> Sequence[Any]: ...
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
    if trials[0].kind == "train" and configs[0].devices > 1:
        only_loopback()
        if not isinstance(dataset, Dataset):  # refused where a training is configured
            raise RaynasError("several devices are for images", got=dataset.name)
        return Team(configs, trials[0].genotype(), dataset, device, make_deterministic)
    if trials[0].kind == "train":
        return Training(configs, trials[0].genotype(), dataset, device)
    space = trials[0].space()
    if resolve(configs[0].method, space).proposals is not None:
        return Proposing(configs, space, _judge(trials[0]), device)
    return Pack(configs, space, split(dataset, configs[0].data), device, forms=forms)


def _judge(trial: TrialFolder[Any, Any]) -> TableJudge:
    """Open the table of a trial's sweep; raises `RaynasError` where it has none or it has gone."""
    benchmark = SweepFolder[Any, Any](trial.path.parent.parent).benchmark
    if benchmark is None:
        raise without_table(trial.config().method)
    return TableJudge(benchmark.open().judge(), table_hash(expanded(benchmark.table)))


def told(runner: Runner) -> dict[str, Any]:
    """Return what a start event says of a runner's kind alone."""
    if isinstance(runner, Pack):
        return {
            "data": runner.splits.record() | _class_names(runner.splits.dataset) | _counts(runner.splits),
            "method": runner.method.fingerprint,
            "validated": runner.method.validated,
        }
    if isinstance(runner, Proposing):
        return {
            "method": runner.method.fingerprint,
            "validated": runner.method.validated,
            "judge": runner.judge.name,
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
        found: dict[str, Any] = {"data": data | _class_names(dataset), "cell": runner.genotype.digest()}
        with suppress(RaynasError):  # of so many operations that nobody has counted them
            network = lane.trained.network
            size = size_of(runner.genotype, dataset.shape, dataset.classes, network.channels, network.depth)
            found["multiply_adds"] = size.multiply_adds
        return found
    return {}


def _class_names(dataset: Data) -> dict[str, list[str]]:
    names = dataset.class_names if isinstance(dataset, Dataset) else ()
    return {"class_names": list(names)} if 0 < len(names) <= MOST_CLASS_NAMES else {}


def _counts(splits: Splits) -> dict[str, list[int]]:
    """Return how many validation images each class has: what always naming the commonest one gets right."""
    dataset = splits.dataset
    if not isinstance(dataset, Dataset) or dataset.classes > MOST_CLASS_NAMES:
        return {}
    return {"valid_counts": np.bincount(dataset.labels[splits.valid], minlength=dataset.classes).tolist()}


def judge_random(runner: Runner, trials: Mapping[int, TrialFolder[Any, Any]]) -> None:
    """Let searches that end now judge random cells with the weights they have come to; spool the losses.

    ``trials`` are those of the lanes that end. All searches of a sweep and a space judge the same cells,
    which the data's split seed draws; beside them is what each one's own cell loses under the same weights.
    Trainings, searches that have judged already, and sweeps without a control are left alone.
    """
    records = {lane: trial.record() for lane, trial in trials.items() if trial.kind == "search"}
    cells = {lane: each.deciding.genotype for lane, each in records.items() if each.deciding}
    due = [lane for lane in cells if trials[lane].known.control and records[lane].control is None]
    if not isinstance(runner, Pack) or not due:
        return
    if not all(runner.problem.policy.whole(lane) for lane in due):
        for lane in due:
            trials[lane].spool.append("control", why=PRUNED)
        return
    seed, lanes = runner.config.data.split_seed, range(len(runner.configs))
    drawn = draw_cells(runner.space, trials[due[0]].known.control, f"control/{seed}")
    looks: list[list[Genotype | None]] = [[cells.get(lane) for lane in lanes]]
    looks += [[cell for _ in lanes] for cell in drawn]
    judged = runner.evaluator.judge(looks, runner.epoch - 1)
    for lane in due:
        own, *others = judged[lane]
        told = {"losses": [loss for loss, _ in others], "accuracies": [right for _, right in others]}
        trials[lane].spool.append("control", seed=seed, own=list(own), **told)


def keep_result(trial: TrialFolder[Any, Any], runner: Runner, lane: int) -> None:
    """Write what a trial has come to into its folder: the cell that it found, or the network it trained."""
    if isinstance(runner, Training):
        _deployed(trial, runner, lane).save(trial.network)
    elif (final := trial.record().deciding) is not None:
        final.genotype.save(trial.path / "genotype.json")


def deployed_again(trial: TrialFolder[Any, Any], state: Mapping[str, Any], dataset: Data) -> Deployed:
    """Return the network of a training that has finished, from its last checkpoint.

    Raises `RaynasError` for the checkpoint of another training, or of an epoch before the last.
    """
    runner = Training([trial.config()], trial.genotype(), dataset)
    runner.load_state_dict(state)
    if runner.epoch < runner.epochs:
        raise RaynasError(f"its checkpoint is of epoch {runner.epoch} of {runner.epochs}")
    return _deployed(trial, runner, 0)


def _deployed(trial: TrialFolder[Any, Any], runner: Training, lane: int) -> Deployed:
    return Deployed.of(
        runner.lanes[lane].trained.network,
        runner.genotype,
        runner.dataset,
        config=runner.configs[lane].plain(),
        report=runner.history[lane][-1].to_json(),
        sweep=trial.path.parent.parent.name,
        trial=trial.id,
        data_hash=runner.dataset.fingerprint(),  # what is compared must have learned from the same images
    )


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
