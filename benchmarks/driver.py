"""What a sweep costs its driver: CPU seconds per trial and memory, with a search that costs nothing.

`python -m benchmarks.driver --trials 200 --epochs 50` runs a sweep of so many stand-ins through Ray Tune, the
display, MLflow and the report, then one of twice as many, and says how the cost of a trial grew: a driver
whose work is linear gives a ratio of 1. Reading a sweep's folder again (`raynas report`, `raynas ls sweeps`)
is measured as well.
"""

import argparse
import json
import math
import os
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from raynas.bilevel.records import Curvature, EpochReport
from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.space import Space
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.identity import records_of
from raynas.sweep.plan import Sweep, Trial
from raynas.sweep.sections import Resources, Select, Track

ROOT = Path(__file__).resolve().parents[1]
METHODS = ("darts", "drnas")
TURN = 5
"""Epochs for which a stand-in keeps its cell."""


def stand_in(
    trials: Sequence[TrialFolder],
    *,
    dataset: Any,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None = None,
) -> None:
    """Do what `raynas.launch.trial.run_trials` does, with made-up reports of a real one's size."""
    for trial in trials:
        config, space = trial.config(), trial.space()
        trial.spool.append(
            "start",
            trial=trial.id,
            attempt=1,
            host=socket.gethostname(),
            pid=os.getpid(),
            device="cpu (stand-in)",
            threads=1,
            versions={},
            data={"hash": "0", "train": 1, "valid": 1},
            epochs=config.epochs,
            from_epoch=0,
            pack=[trial.id],
            forms={},
        )
        chance = random.Random(trial.id)
        for epoch in range(config.epochs):
            trial.spool.append("epoch", report=_report(space, epoch, chance).to_json())
            heartbeat(epoch + 1)
        trial.spool.append("end", status="finished", reason="")


def _report(space: Space, epoch: int, chance: random.Random) -> EpochReport:
    weights = {
        cell.kind: [_softmax([chance.gauss(0, 1) for _ in edge.ops]) for edge in cell.edges]
        for cell in space.cells
    }
    loss = 1.0 + chance.random() / (1 + epoch)
    turn = random.Random(f"{chance.getstate()[1][0]} {epoch // TURN}")
    genotype = Genotype.of(space.name, space.nodes, {cell.kind: _cell(space, turn) for cell in space.cells})
    return EpochReport(
        epoch=epoch,
        train_loss=loss,
        train_accuracy=math.exp(-loss),
        valid_loss=loss,
        valid_accuracy=math.exp(-loss),
        discrete_loss=loss,
        discrete_accuracy=math.exp(-loss),
        learning_rate=0.025,
        genotype=genotype,
        weights=weights,
        entropy={cell.kind: 1.0 for cell in space.cells},
        skips=skeletons.of(genotype).count(genotype, "skip_connect"),
        curvature=Curvature(chance.random(), -0.01, 0.05, 0.4),
        seconds=0.01,
    )


def _softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(logit) for logit in logits]
    return [power / sum(powers) for power in powers]


def _cell(space: Space, chance: random.Random) -> list[Choice]:
    ops = ("skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "max_pool_3x3")
    return [
        Choice(chance.choice(ops), source, node)
        for node in range(2, 2 + space.nodes)
        for source in sorted(chance.sample(range(node), 2))
    ]


def plan(count: int, epochs: int, store: str | None) -> Sweep:
    """Return a sweep of ``count`` searches: two methods, two strengths, the rest seeds."""
    trials = []
    for place in range(count):
        method, strength = METHODS[place % 2], (3e-4, 2.7e-3)[place // 2 % 2]
        keys = {"method": method, "weight_decay": strength, "seed": place // 4}
        config = SearchConfig(space="darts", epochs=epochs, **keys)
        trials.append(Trial(f"{method}-wd{strength:g}-s{place // 4}", config, keys))
    return Sweep(
        name=f"stand-in-{count}",
        trials=tuple(trials),
        strategy="grid",
        samples=None,
        sample={},
        resources=Resources(cpu=1, pack=1),
        select=Select(),
        track=Track(mlflow=store),
        resolved={},
        created="2026-01-01T00:00:00+00:00",
        command="python -m benchmarks.driver",
        versions={},
        git=None,
        methods=records_of((each.config.method, each.config.space) for each in trials if each.config),
    )


def drive(runs: Path, count: int, epochs: int) -> dict[str, float]:
    """Run a sweep in this process; return what it cost this process, which should have done nothing else."""
    from raynas.cli.verbs.run import run
    from raynas.launch.tune.launcher import RayLauncher

    folder = SweepFolder(runs / f"stand-in-{count}")
    folder.create(plan(count, epochs, f"sqlite:///{runs}/mlflow-{count}.db"), "")
    before, began = _usage(), time.monotonic()
    code = run(folder, RayLauncher(run_trials=stand_in), runs)
    cost = _usage() - before
    sys.stdout.flush()
    return {
        "trials": count,
        "epochs": epochs,
        "exit code": code,
        "wall seconds": time.monotonic() - began,
        "CPU seconds per trial": cost / count,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "epochs in MLflow": _tracked(runs / f"mlflow-{count}.db"),
    }


def _usage() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def _tracked(store: Path) -> int:
    import sqlite3

    with sqlite3.connect(store) as base:
        return int(base.execute("select count(*) from metrics where key = 'time/epoch'").fetchone()[0])


def reading(runs: Path, *words: str) -> float:
    """Return the CPU seconds of one reading verb."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-P", "-m", "raynas", *words, "--runs", str(runs)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _apart(runs: Path, count: int, epochs: int) -> dict[str, float]:
    """Run `drive` in a process of its own, which sees the loopback only where that can be done."""
    command = [sys.executable, str(ROOT / ".ci" / "loopback.py"), sys.executable, "-m", "benchmarks.driver"]
    command += ["--trials", str(count), "--epochs", str(epochs), "--within", str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RaynasError("the sweep failed", got=(done.stdout + done.stderr)[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver", description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--once", action="store_true", help="do not run twice as many as well")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.within:
        print(json.dumps(drive(chosen.within, chosen.trials, chosen.epochs)))
        return 0
    with TemporaryDirectory(prefix="raynas-benchmark-") as name:
        runs, costs = Path(name), []
        for count in (chosen.trials,) if chosen.once else (chosen.trials, 2 * chosen.trials):
            costs.append(_apart(runs, count, chosen.epochs))
            for words in (("status",), ("report",)):
                costs[-1][f"raynas {words[0]}, CPU seconds"] = reading(runs, *words, f"stand-in-{count}")
            print("\n".join(f"{key}: {value:.4g}" for key, value in costs[-1].items()), flush=True)
        print(f"raynas ls sweeps, CPU seconds: {reading(runs, 'ls', 'sweeps'):.4g}")
        if len(costs) == 2:
            one, two = (cost["CPU seconds per trial"] for cost in costs)
            print(f"CPU seconds per trial, twice the trials / once: {two / one:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
