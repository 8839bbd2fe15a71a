"""What MLflow gets to see of a trial: names and values, as pure functions of its record."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.sweep.record import Record, TrialRecord
from raynas.sweep.status import BROKEN
from raynas.tables.table import Yardstick

if TYPE_CHECKING:
    import numpy as np

PICTURES = 10
"""Pictures of the cell a search leaves at most, besides that of its last epoch."""

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


def space_name(config: SearchConfig) -> str:
    """Return the space's name; of a path to a file, the file's name."""
    return Path(config.space).name.removesuffix(".yaml").removesuffix(".yml")


def experiment_name(config: SearchConfig) -> str:
    """Return the MLflow experiment of a search, ``<space>/<data>``: methods compare on one page.

    Data of the user's own are called by their folder's name.
    """
    own = Path(config.data.path or "").resolve().name if config.data.name == "folder" else ""
    return f"{space_name(config)}/{own or config.data.name}"


def params(record: TrialRecord) -> dict[str, str]:
    """Return the parameters of a run: the same keys in every run, and values that a resume never changes.

    MLflow refuses another value for a parameter that is already there, so whatever may change is a tag.
    """
    config = record.config
    values: dict[str, object] = {
        "method": record.method_name,
        "space": space_name(config),
        "data": config.data.name,
        "seed": config.seed,
        "epochs": config.epochs,
        "batch": config.batch,
        "channels": config.channels or "default",
        "cells": config.cells or "default",
        "weight_decay": config.weight_decay,
        "learning_rate": config.learning_rate,
        "arch_learning_rate": config.arch_learning_rate,
        "arch_weight_decay": config.arch_weight_decay,
        "warmup": config.warmup,
        "hessian_every": config.hessian.every,
        "threads": config.threads,
    }
    return {key: str(value) for key, value in values.items()}


def metrics(report: EpochReport, yardstick: Yardstick | None = None) -> dict[str, float]:
    """Return the metrics of an epoch, finite or not; the slashes are how MLflow groups its charts.

    With a table's ``yardstick`` also what its cell reaches there; a cell the table lacks has neither. Of a
    search that has gone back also which epoch this is, as it is no longer the step.
    """
    trained = {
        "loss/train": report.train_loss,
        "loss/valid": report.valid_loss,
        "loss/discrete": report.discrete_loss,
        "acc/train": report.train_accuracy,
        "acc/valid": report.valid_accuracy,
        "acc/discrete": report.discrete_accuracy,
        "lr": report.learning_rate,
    }
    values: dict[str, float] = {name: value for name, value in trained.items() if value is not None}
    values |= {"time/epoch": report.seconds, "memory/peak": report.peak_memory}
    if report.select_loss is not None and report.select_accuracy is not None:
        values |= {"loss/select": report.select_loss, "acc/select": report.select_accuracy}
    values |= {f"cell/skips_{kind}": float(count) for kind, count in report.skips.items()}
    values |= {f"cell/entropy_{kind}": nats for kind, nats in report.entropy.items()}
    values |= {f"extra/{name}": value for name, value in report.extra.items()}
    if report.restart:
        values |= {"restart/count": float(report.restart), "restart/epoch": float(report.epoch)}
    if (curvature := report.curvature) is not None:
        for name in ("eig_max", "eig_min", "eig_gap", "trace"):
            values[f"hessian/{name}"] = getattr(curvature, name)
    if yardstick is not None:
        found = {
            "test/table_accuracy": yardstick.accuracy(report.genotype),
            "test/table_regret": yardstick.regret(report.genotype),
            "test/table_seconds": yardstick.seconds(report.genotype),
        }
        values |= {key: value for key, value in found.items() if value is not None}
    return values


def finite(values: dict[str, float]) -> dict[str, float]:
    """Return the values MLflow can hold: it stores infinity as 1.797e308, which ruins every chart."""
    return {key: value for key, value in values.items() if math.isfinite(value)}


def standing_tags(record: Record[Any, Any], kind: str, sweep: str) -> dict[str, str]:
    """Return the tags that a trial of any ``kind`` has: which it is, where it runs, how it ended."""
    found = {"raynas.kind": kind, "raynas.sweep": sweep, "raynas.trial": record.id}
    if record.start is not None:
        data = record.start.get("data") or {}
        facts = {"device": record.start.get("device"), "attempt": record.start.get("attempt")}
        facts["data_hash"] = data.get("hash")
        found |= {f"raynas.{key}": str(value) for key, value in facts.items() if value is not None}
    if record.status == "diverged":
        found["raynas.diverged"] = "true"
    if record.status in BROKEN:
        found["raynas.reason"] = record.reason[:500]
    return found


def not_finite(values: dict[str, float]) -> set[str]:
    """Return the names of those that MLflow cannot hold."""
    return set(values) - set(finite(values))


def tags(record: TrialRecord, sweep: str) -> dict[str, str]:
    """Return the tags of a search's run: everything about it that may change while it runs or resumes."""
    found = standing_tags(record, "search", sweep) | {"raynas.method": record.method_name}
    if record.deciding is not None:
        found["raynas.cell"] = record.deciding.genotype.digest()
    if lost := sorted({key for report in record.reports for key in not_finite(metrics(report))}):
        found["raynas.nonfinite"] = ", ".join(lost)
    if record.replaced:
        steps = [step for step, report in enumerate(record.ran) if report in record.replaced]
        found["raynas.replaced"] = f"steps {', '.join(_ranges(steps))}"
    if record.status == "finished" and len(record.reports) < record.epochs:
        found["raynas.stopped"] = record.reason[:500] or "early"
    if record.status != "running":
        found["mlflow.note.content"] = note(record)
    return found


def note(record: TrialRecord) -> str:
    """Return two lines about a trial, in Markdown."""
    config = record.config
    head = f"{record.method_name} on {experiment_name(config)}, seed {config.seed}: {record.status}"
    last = record.deciding
    if last is None:
        return f"{head}  \nno epoch was finished"
    loss = "" if last.valid_loss is None else f"valid loss {last.valid_loss:.4g}, "
    return (
        f"{head} after {len(record.reports)} of {record.epochs} epochs  \n"
        f"{loss}valid accuracy {100 * last.valid_accuracy:.2f} %, cell `{last.genotype.digest()}`"
    )


def run_status(record: Record[Any, Any], closing: bool) -> Status:
    """Return the state of a trial's run; with ``closing`` nothing is running any more.

    A diverged trial is FAILED (its tags say so), one that the end of the sweep cut off KILLED.
    """
    if record.status == "finished":
        return "FINISHED"
    if record.status in BROKEN:
        return "FAILED"
    return "KILLED" if closing else "RUNNING"


def turns(reports: Iterable[EpochReport]) -> list[EpochReport]:
    """Return the reports of the epochs in which the genotype became another one, the first among them."""
    found: list[EpochReport] = []
    for report in reports:
        if not found or found[-1].genotype != report.genotype:
            found.append(report)
    return found


def pictured(record: TrialRecord, ended: bool) -> list[EpochReport]:
    """Return the reports whose cell is drawn: the first, at most one turn in each tenth, and the last.

    More epochs never take a picture back, so what was uploaded stays right while the search goes on.
    """
    found: list[EpochReport] = []
    for report in turns(record.reports):
        if not found or _tenth(report, record.config) != _tenth(found[-1], record.config):
            found.append(report)
    if ended and record.deciding is not None and record.deciding not in found:
        found.append(record.deciding)
    return found


def write_history(reports: Sequence[EpochReport], folder: Path) -> None:
    """Write ``weights.npz`` and, where every eigenvalue was computed, ``spectrum.npz``.

    ``epochs`` is [E]; each kind's weights [E, edges, operations], NaN where an edge has fewer operations;
    ``spectrum`` [E', eigenvalues], ascending, with its own ``epochs``.
    """
    import numpy as np

    kinds = reports[0].weights
    arrays: dict[str, Any] = {kind: _stack([report.weights[kind] for report in reports]) for kind in kinds}
    arrays["epochs"] = np.array([report.epoch for report in reports])
    np.savez_compressed(folder / "weights.npz", **arrays)
    spectra = [(r.epoch, r.curvature.spectrum) for r in reports if r.curvature and r.curvature.spectrum]
    if spectra:
        epochs, values = zip(*spectra, strict=True)
        np.savez_compressed(folder / "spectrum.npz", epochs=np.array(epochs), spectrum=np.array(values))


def write_json(data: object, path: Path) -> None:
    """Write indented JSON, making the folder it goes into."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _ranges(steps: Sequence[int]) -> list[str]:
    """Write ascending whole numbers as ranges: 3, 4, 5, 9 as 3-5, 9."""
    firsts = [step for step in steps if step - 1 not in steps]
    lasts = [step for step in steps if step + 1 not in steps]
    return [f"{a}-{b}" if a < b else str(a) for a, b in zip(firsts, lasts, strict=True)]


def _tenth(report: EpochReport, config: SearchConfig) -> int:
    return report.epoch * PICTURES // config.epochs


def _stack(history: list[list[list[float]]]) -> "np.ndarray":
    import numpy as np

    width = max(len(row) for weights in history for row in weights)
    padded = [[row + [math.nan] * (width - len(row)) for row in weights] for weights in history]
    return np.array(padded)
