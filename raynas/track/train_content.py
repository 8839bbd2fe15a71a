"""What MLflow gets to see of a training: names and values, in a search's words where they are alike."""

from typing import Any

from raynas.sweep.cells import cell_label
from raynas.sweep.record import TrainRecord
from raynas.track.content import finite, not_finite, standing_tags
from raynas.train.config import TrainConfig
from raynas.train.records import TrainReport


def training_experiment(config: TrainConfig) -> str:
    """Return the experiment of a training that comes from no search: cells compare on one page per data."""
    return f"train/{config.data.name}"


def training_params(record: TrainRecord) -> dict[str, str]:
    """Return the parameters of a run: the same keys in every run, and values that a resume never changes."""
    config = record.config
    own = config.model_dump(mode="json", exclude={"cell", "data", "deterministic"})
    data: dict[str, Any] = {
        key: getattr(config.data, key) for key in ("limit", "valid", "augment", "cutout", "split_seed")
    }
    values = {"cell": cell_label(config.cell), "data": config.data.name, **own}
    values |= {f"data_{key}": value for key, value in data.items()}
    values |= {key: config.plain()[key] or "default" for key in ("channels", "cells")}
    return {key: "none" if value is None else str(value) for key, value in values.items()}


def training_metrics(record: TrainRecord, report: TrainReport) -> dict[str, float]:
    """Return the metrics of an epoch, finite or not; those of the test images and the size at the last."""
    found = {
        "loss/train": report.train_loss,
        "loss/valid": report.valid_loss,
        "loss/test": report.test_loss,
        "acc/train": report.train_accuracy,
        "acc/valid": report.valid_accuracy,
        "acc/test": report.test_accuracy,
        "lr": report.learning_rate,
        "drop_path": report.drop_path,
        "time/epoch": report.seconds,
        "memory/peak": report.peak_memory,
    }
    if report.epoch == record.epochs - 1:
        found |= {"size/parameters": record.parameters, "size/multiply_adds": record.multiply_adds}
    return {key: float(value) for key, value in found.items() if value is not None}


def training_tags(record: TrainRecord, sweep: str) -> dict[str, str]:
    """Return the tags of a run: everything about it that may change while it runs or resumes."""
    found = standing_tags(record, "train", sweep) | {"raynas.recipe": record.config.recipe}
    if cell := (record.start or {}).get("cell"):
        found["raynas.cell"] = str(cell)
    values = (training_metrics(record, report) for report in record.reports)
    if lost := sorted({key for each in values for key in not_finite(each)}):
        found["raynas.nonfinite"] = ", ".join(lost)
    if record.status != "running":
        found["mlflow.note.content"] = training_note(record)
    return found


def training_row(record: TrainRecord, report: TrainReport) -> dict[str, float]:
    """Return what of an epoch's metrics MLflow can hold."""
    return finite(training_metrics(record, report))


def training_note(record: TrainRecord) -> str:
    """Return two lines about a training, in Markdown."""
    config = record.config
    head = (
        f"{cell_label(config.cell)} by {config.recipe} on {config.data.name}, seed {config.seed}: "
        f"{record.status} after {len(record.reports)} of {record.epochs} epochs"
    )
    if record.newest is None:
        return f"{head}  \nno epoch was finished"
    last = record.tested
    if last is None or last.test_accuracy is None or last.test_loss is None:
        said = f"training loss {record.newest.train_loss:.4g}, no test images looked at"
    else:
        said = f"test accuracy {last.test_accuracy:.4g}, test loss {last.test_loss:.4g} at the last epoch"
    return f"{head}  \n{said}"
