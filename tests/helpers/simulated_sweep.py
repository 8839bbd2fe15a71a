"""Simulated sweeps on disk: the real files with synthetic curves, for the tests of what reads them."""

import json
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from raynas.bilevel.records import Curvature, EpochReport
from raynas.config import SearchConfig
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.space import Space
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Sweep, Trial
from raynas.sweep.sections import Resources, Select, Track

METHODS = ("darts", "drnas")
STRENGTHS = (3e-4, 2.7e-3)
SEEDS = (0, 1)
EPOCHS = 6
BEGAN = 1_760_000_000.0


class Life:
    """A simulated search: its α drift apart steadily, half as in all trials of its method."""

    def __init__(self, space: Space, trial_id: str) -> None:
        shared, own = random.Random(trial_id.split("-")[0]), random.Random(trial_id)
        self.space, self.noise = space, own
        self.drift = {
            group.name: [[shared.gauss(0, 1) + own.gauss(0, 0.7) for _ in row.options] for row in group.rows]
            for group in skeletons.groups(space)
        }

    def weights(self, epoch: int) -> dict[str, list[list[float]]]:
        """Return softmax rows."""
        found: dict[str, list[list[float]]] = {}
        for kind, rows in self.drift.items():
            powers = [[math.exp(0.08 * epoch * drift) for drift in row] for row in rows]
            found[kind] = [[power / sum(row) for power in row] for row in powers]
        return found

    def genotype(self, weights: dict[str, list[list[float]]]) -> Genotype:
        """Derive the cell as DARTS does: each node keeps its two strongest edges."""
        if self.space.skeleton != "darts":
            return derive(self.space, weights)
        cells: dict[str, list[Choice]] = {}
        for cell in self.space.cells:
            best = [
                max((w, op) for w, op in zip(row, edge.ops, strict=True) if op not in self.space.exclude)
                for edge, row in zip(cell.edges, weights[cell.kind], strict=True)
            ]
            ranked = sorted(zip(best, cell.edges, strict=True), key=lambda pair: -pair[0][0])
            cells[cell.kind] = [
                Choice(op, edge.source, edge.target)
                for node in range(2, 2 + self.space.nodes)
                for (_, op), edge in [pair for pair in ranked if pair[1].target == node][:2]
            ]
        return Genotype.of(self.space.name, self.space.nodes, cells)

    def report(self, epoch: int, loss: float, curvature: bool = True) -> EpochReport:
        """Make one epoch's report."""
        weights = self.weights(epoch)
        cell = self.genotype(weights)
        eig_max = 0.1 + 0.3 / (1 + math.exp(3 - epoch / 4)) + self.noise.random() * 0.03
        return EpochReport(
            epoch=epoch,
            train_loss=loss * 0.9,
            train_accuracy=math.exp(-loss * 0.9),
            valid_loss=loss,
            valid_accuracy=math.exp(-loss),
            discrete_loss=loss * 1.5,
            discrete_accuracy=math.exp(-loss * 1.5),
            learning_rate=0.025,
            genotype=cell,
            weights=weights,
            entropy={
                group.name: 1.0 + 0.1 * place for place, group in enumerate(skeletons.groups(self.space))
            },
            skips=skeletons.of(cell).count(cell, "skip_connect"),
            curvature=Curvature(eig_max, -0.01, 0.05, 0.4) if curvature else None,
            seconds=1.5,
        )


def sweep_of(trials: Iterable[Trial], name: str = "robust", **changes: Any) -> Sweep:
    """Wrap trials as a resolved sweep."""
    fields: dict[str, Any] = {
        "name": name,
        "trials": tuple(trials),
        "strategy": "grid",
        "samples": None,
        "sample": {},
        "resources": Resources(),
        "select": Select(),
        "track": Track(mlflow=None),
        "resolved": {"name": name, "space": "tiny", "grid": {"method": list(METHODS), "seed": list(SEEDS)}},
        "created": "2025-10-09T08:00:00+00:00",
        "command": f"raynas sweep {name}.yaml epochs={EPOCHS}",
        "versions": {"raynas": "0.1.0", "torch": "2.9.0", "ray": "2.60.0"},
        "git": {"commit": "0123abc", "dirty": True},
    }
    return Sweep(**{**fields, **changes})


def plan(space: str = "tiny", epochs: int = EPOCHS) -> list[Trial]:
    """Return 2 methods × 2 strengths × 2 seeds."""
    return [
        Trial(
            f"{method}-wd{strength:g}-s{seed}",
            SearchConfig(space=space, method=method, seed=seed, weight_decay=strength, epochs=epochs),
            {"method": method, "weight_decay": strength, "seed": seed},
        )
        for method in METHODS
        for strength in STRENGTHS
        for seed in SEEDS
    ]


class Scribe:
    """Writes one trial's events as a trial would, with times of its own."""

    def __init__(self, folder: SweepFolder, trial_id: str) -> None:
        self.path = folder.trial(trial_id).spool.path
        self.time = BEGAN

    def write(self, kind: str, **fields: Any) -> None:
        self.time += 1
        with self.path.open("a") as file:
            file.write(json.dumps({"v": 1, "kind": kind, "time": self.time, **fields}) + "\n")

    def start(self, attempt: int = 1) -> None:
        data = {"hash": "feed0123", "split_seed": 0, "train": 700, "valid": 700}
        versions = {"torch": "2.9.0", "raynas": "0.1.0", "python": "3.11.7"}
        self.write(
            "start",
            trial=self.path.parent.name,
            attempt=attempt,
            host="node-a",
            pid=1,
            device="cpu",
            threads=1,
            versions=versions,
            data=data,
            parameters=1234,
            from_epoch=0,
        )

    def epochs(self, space: Space, losses: Sequence[float], curvature: bool = True) -> None:
        life = Life(space, self.path.parent.name)
        for epoch, loss in enumerate(losses):
            self.write("epoch", report=life.report(epoch, loss, curvature).to_json())


def losses(last: float, count: int = EPOCHS) -> list[float]:
    """Return losses that fall to ``last``."""
    return [last + (2.2 - last) * (0.8**epoch - 0.8 ** (count - 1)) for epoch in range(count)]


LAST = {
    "darts-wd0.0003-s0": 0.81,
    "darts-wd0.0003-s1": 0.85,
    "darts-wd0.0027-s0": 0.74,
    "drnas-wd0.0003-s0": 0.62,
    "drnas-wd0.0003-s1": 0.66,
    "drnas-wd0.0027-s0": 0.59,
}
"""Validation losses at the last epoch; the two trials not named here diverge and fail."""


def simulate(
    path: Path, space_name: str = "tiny", epochs: int = EPOCHS, trials: Sequence[Trial] | None = None
) -> SweepFolder:
    """Write a sweep whose trials have ended, six of them as in `LAST`."""
    found, space = SweepFolder(path), load_space(space_name)
    found.create(sweep_of(trials or plan(space_name, epochs)), "name: robust\n")
    for trial in found.sweep().trials:
        scribe = Scribe(found, trial.id)
        scribe.start()
        if trial.id in LAST:
            scribe.epochs(space, losses(LAST[trial.id], epochs))
            scribe.write("end", status="finished", reason="all epochs done")
        elif trial.id.startswith("darts"):
            scribe.epochs(space, losses(1.0, epochs)[: epochs // 2])
            scribe.write("end", status="diverged", reason="NaN loss in epoch 3, learning rate 0.025")
        else:
            scribe.write("error", message="worker died", kind_of_error="crash", attempt=1)
            scribe.start(attempt=2)
            scribe.epochs(space, losses(1.0, epochs)[: epochs // 3])
            scribe.write("error", message="CUDA out of memory", kind_of_error="oom", attempt=2)
            scribe.write("end", status="failed", reason="gave up after 2 attempts")
            found.trial(trial.id).log.write_text("Traceback\n")
    return found
