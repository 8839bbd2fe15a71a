"""Sweeps on disk for the tests of the command line, made from a real trial file; and how to run a verb."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.track_folders import end, epochs, report, start
from raynas.bilevel.records import Curvature
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder

FILE = """\
# Four searches for the tests.
name: four
space: tiny
data: digits
epochs: 4
grid:
  weight_decay: [3.0e-4, 2.7e-3]
  seed: [0, 1]
track: {mlflow: null}
"""
IDS = ("darts-wd0.0003-s0", "darts-wd0.0003-s1", "darts-wd0.0027-s0", "darts-wd0.0027-s1")

# What a search of the space `tiny` reports: 5 edges of 4 operations, of which each node keeps two edges.
CELL = [Choice("skip_connect", 0, 2), Choice("sep_conv_3x3", 1, 2)]
CELL += [Choice("sep_conv_3x3", 0, 3), Choice("max_pool_3x3", 2, 3)]
TINY = {
    "genotype": Genotype.of("tiny", 2, {"normal": CELL, "reduce": CELL}),
    "weights": {kind: [[0.25] * 4] * 5 for kind in ("normal", "reduce")},
}


@dataclass(frozen=True)
class Outcome:
    """What a verb left behind: its exit code and what it printed."""

    code: int
    out: str
    err: str


def raynas(capsys: pytest.CaptureFixture[str], *words: str) -> Outcome:
    """Run a verb in this process."""
    from raynas.cli.main import main

    capsys.readouterr()
    code = main(list(words))
    out, err = capsys.readouterr()
    return Outcome(code, out, err)


def environment() -> dict[str, str]:
    """The environment for a verb in a process of its own: this checkout, no colours, no user's settings."""
    root = str(Path(__file__).resolve().parents[2])
    return {"PYTHONPATH": root, "PATH": str(Path(sys.executable).parent), "PYTHONWARNINGS": "ignore"}


def write_file(folder: Path, text: str = FILE) -> Path:
    path = folder / "four.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def make_sweep(runs: Path, overrides: Sequence[str] = ()) -> SweepFolder:
    """Create the sweep `four` (or what the overrides make of it) with no trial started."""
    runs.mkdir(parents=True, exist_ok=True)
    path = write_file(runs.parent)
    sweep = load_sweep(path, overrides)
    folder = SweepFolder(runs / sweep.name)
    folder.create(sweep, path.read_text(encoding="utf-8"))
    return folder


def play(
    folder: SweepFolder,
    trial: str,
    losses: Sequence[float],
    eigenvalues: Sequence[float] = (),
    status: str | None = "finished",
    reason: str = "",
) -> None:
    """Spool a trial: one epoch a loss (the validation loss), and its end unless ``status`` is None."""
    start(folder, trial)
    for epoch, loss in enumerate(losses):
        changes: dict[str, Any] = {**TINY, "curvature": None}
        if eigenvalues:
            changes["curvature"] = Curvature(eigenvalues[epoch], -0.1, 0.2, 1.5)
        epochs(folder, trial, report(epoch, valid_loss=loss, **changes))
    if status is not None:
        end(folder, trial, status, reason)
