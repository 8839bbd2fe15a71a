"""Sweeps of trainings as a driver and its trials would leave them, without training anything."""

from pathlib import Path
from typing import Any

from raynas.sweep.file.training import resolve_training
from raynas.sweep.folder import TrainSweep
from raynas.train.records import TrainReport

CONTENT: dict[str, Any] = {
    "train": "quick",
    "data": {"name": "digits", "limit": 64},
    "epochs": 3,
    "channels": 2,
    "grid": {"cell": ["darts-v2"], "seed": [0, 1]},
}


def make_trainings(path: Path, **content: Any) -> TrainSweep:
    sweep = resolve_training({**CONTENT, "name": path.name, **content}, str(path), command="raynas retrain")
    folder = TrainSweep(path)
    folder.create(sweep, "")
    return folder


def trained(epoch: int, epochs: int = 3, **changes: Any) -> TrainReport:
    tests = {"test_loss": 0.5, "test_accuracy": 0.75} if epoch == epochs - 1 else {}
    values = {
        "epoch": epoch,
        "train_loss": 2.0 / (epoch + 1),
        "train_accuracy": 0.5,
        "learning_rate": 0.025,
        "drop_path": 0.1,
        "seconds": 1.25,
        "peak_memory": 100.0,
    }
    return TrainReport(**(values | tests | changes))


def begin(folder: TrainSweep, trial: str, attempt: int = 1) -> None:
    config = folder.trial(trial).config()
    folder.trial(trial).spool.append(
        "start",
        trial=trial,
        attempt=attempt,
        device="cpu",
        data={"hash": "abc"},
        cell=folder.trial(trial).genotype().digest(),
        parameters=1234,
        multiply_adds=5678,
        epochs=config.epochs,
    )


def say(folder: TrainSweep, trial: str, *reports: TrainReport) -> None:
    for report in reports:
        folder.trial(trial).spool.append("epoch", report=report.to_json())


def play(folder: TrainSweep, trial: str, status: str | None = "finished", **changes: Any) -> None:
    """Spool a training: all its epochs, and its end unless ``status`` is None."""
    begin(folder, trial)
    epochs = folder.trial(trial).config().epochs
    say(folder, trial, *(trained(epoch, epochs, **changes) for epoch in range(epochs)))
    if status is not None:
        folder.trial(trial).spool.append("end", status=status, reason="")
