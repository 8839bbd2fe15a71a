"""Sweep folders as a driver and its trials would leave them, without running a search."""

import math
from pathlib import Path
from typing import Any

from raynas.bilevel.records import Curvature, EpochReport
from raynas.config import SearchConfig
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Sweep, Trial
from raynas.sweep.sections import Benchmark, Resources, Select, Track

OPS = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")


def genotype(op: str = "skip_connect") -> Genotype:
    choices = (Choice(op, 0, 2), Choice("sep_conv_3x3", 1, 2))
    return Genotype.of("tiny", 1, {"normal": choices, "reduce": choices})


def report(epoch: int, op: str = "skip_connect", **changes: Any) -> EpochReport:
    rows = [[0.5 + epoch / 1000, 0.5 - epoch / 1000], [0.25, 0.75]]
    values: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": 2.0 / (epoch + 1),
        "train_accuracy": 0.5,
        "valid_loss": 3.0 / (epoch + 1),
        "valid_accuracy": 0.4,
        "discrete_loss": 4.0 / (epoch + 1),
        "discrete_accuracy": 0.3,
        "learning_rate": 0.025,
        "genotype": genotype(op),
        "weights": {"normal": rows, "reduce": rows},
        "entropy": {"normal": 0.6, "reduce": 0.7},
        "skips": {"normal": 1, "reduce": 1},
        "curvature": Curvature(0.5 + epoch, -0.1, 0.2, 1.5, spectrum=(-0.1, 0.3, 0.5 + epoch)),
        "seconds": 1.25,
        "peak_memory": 100.0,
    }
    return EpochReport(**(values | changes))


def make_sweep(
    path: Path,
    seeds: int = 2,
    epochs: int = 6,
    created: str = "2026-01-02T03:04:05+00:00",
    benchmark: Benchmark | None = None,
    **config: Any,
) -> SweepFolder:
    values = {"space": "tiny", "data": {"name": "digits"}, "epochs": epochs} | config
    configs = [SearchConfig.model_validate(values | {"seed": seed}) for seed in range(seeds)]
    trials = tuple(Trial(f"{c.method}-s{c.seed}", c, {"seed": c.seed}) for c in configs)
    sweep = Sweep(
        name=path.name,
        trials=trials,
        strategy="grid",
        samples=None,
        sample={},
        resources=Resources(),
        select=Select(),
        track=Track(),
        resolved={"name": path.name},
        created=created,
        command=f"raynas sweep {path.name}",
        versions={},
        git=None,
        benchmark=benchmark,
    )
    folder = SweepFolder(path)
    folder.create(sweep, f"name: {path.name}\n")
    return folder


def start(folder: SweepFolder, trial: str, attempt: int = 1) -> None:
    folder.trial(trial).spool.append(
        "start", trial=trial, attempt=attempt, device="cpu", data={"hash": "abc"}
    )


def epochs(folder: SweepFolder, trial: str, *reports: EpochReport) -> None:
    for one in reports:
        folder.trial(trial).spool.append("epoch", report=one.to_json())


def end(folder: SweepFolder, trial: str, status: str = "finished", reason: str = "") -> None:
    folder.trial(trial).spool.append("end", status=status, reason=reason)


def play(folder: SweepFolder, trial: str, count: int, status: str | None = "finished") -> None:
    """A whole trial; its genotype turns at epoch 2."""
    start(folder, trial)
    epochs(folder, trial, *(report(epoch, OPS[epoch >= 2]) for epoch in range(count)))
    if status is not None:
        end(folder, trial, status)


def diverged(epoch: int) -> EpochReport:
    return report(epoch, train_loss=math.nan, valid_loss=math.inf, curvature=None)
