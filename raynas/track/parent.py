"""What MLflow gets to see of the sweep as a whole: its run, its winner, its report."""

import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from raynas import __version__
from raynas.disk import read_json
from raynas.errors import plural
from raynas.sweep.file.resolve import short_hash
from raynas.sweep.folder import AnySweep, SweepFolder, TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.ranking import Selection
from raynas.sweep.record import TrialRecord
from raynas.sweep.select import rank
from raynas.tables.table import Yardstick
from raynas.track.content import Status, metrics
from raynas.track.store import MlflowStore, Run
from raynas.track.trust_content import trust_rows

_FILES = ("report.html", "report.md", "selection.json", "trust.json", "sweep.json", "sweep.yaml", "best")
_BEST = {
    "best/valid_loss": "loss/valid",
    "best/valid_acc": "acc/valid",
    "best/select_loss": "loss/select",
    "best/select_acc": "acc/select",
    "best/discrete_loss": "loss/discrete",
    "best/discrete_acc": "acc/discrete",
    "best/eig_max": "hessian/eig_max",
    "best/table_accuracy": "test/table_accuracy",
    "best/table_regret": "test/table_regret",
}


def start_time(sweep: Sweep[Any]) -> float:
    """Return when the sweep was created, in Unix seconds."""
    return datetime.fromisoformat(sweep.created).timestamp()


def sweep_tags(folder: AnySweep) -> dict[str, str]:
    """Return the tags of the sweep's run.

    ``raynas.created`` is what tells a sweep from an earlier one of the same name in the same store.
    """
    sweep = folder.sweep()
    return {
        "raynas.kind": "sweep",
        "raynas.sweep": sweep.name,
        "raynas.created": sweep.created,
        "raynas.version": __version__,
        "mlflow.note.content": f"{_outline(sweep)}  \n`{sweep.command}`"[:5000],
    }


def sweep_params(sweep: Sweep[Any]) -> dict[str, str]:
    """Return the few parameters of the sweep's run, all fixed before its first trial."""
    if sweep.kind == "train":
        trainings = [trial.config for trial in sweep.trials if trial.config is not None]
        return {
            "trials": str(len(sweep.trials)),
            "recipe": ", ".join(sorted({config.recipe for config in trainings})),
            "cells": str(len({config.cell for config in trainings})),
            "epochs": ", ".join(sorted({str(config.epochs) for config in trainings})),
            "seeds": str(len({config.seed for config in trainings})),
        }
    configs = [trial.config for trial in sweep.trials if trial.config is not None]
    return {
        "trials": str(len(sweep.trials)),
        "strategy": sweep.strategy,
        "select": ", ".join(sweep.select.rules),
        "epochs": ", ".join(sorted({str(config.epochs) for config in configs})),
        "seeds": str(len({config.seed for config in configs})),
    }


def overall(statuses: Iterable[str | None]) -> Status:
    """Return the sweep's state from those of its trials, None for one that never started."""
    known = list(statuses)
    if any(status in (None, "KILLED", "RUNNING") for status in known):
        return "KILLED"
    return "FINISHED" if "FINISHED" in known else "FAILED"


def send_results(
    store: MlflowStore, run: Run, folder: SweepFolder, yardstick: Yardstick | None = None
) -> None:
    """Write the winner and every result file there is to the sweep's run; right to repeat."""
    with TemporaryDirectory(prefix="raynas-") as scratch:
        for name in _FILES:
            source = folder.path / name
            if source.is_dir():
                shutil.copytree(source, Path(scratch) / name)
            elif source.is_file():
                shutil.copy(source, Path(scratch) / name)
        (Path(scratch) / "report").mkdir()
        for curve in sorted((folder.path / "report").glob("choice-*.svg")):
            shutil.copy(curve, Path(scratch) / "report")
        store.upload(run, Path(scratch))
    _send_trust(store, run, folder)
    judge = yardstick.judge() if yardstick else None
    selection = rank(folder.records(), folder.sweep().select, judge)
    if selection.winner is not None:
        _send_winner(store, run, folder, selection, selection.winner.trial, yardstick)


def _send_trust(store: MlflowStore, run: Run, folder: SweepFolder) -> None:
    """Write what the report says of the choice's worth as metrics, once for each state of it.

    It was computed with the report. A later state, as after more trainings, is added at the same steps.
    """
    try:
        told = read_json(folder.path / "trust.json")
    except (OSError, ValueError):
        return  # no report yet, or one of before there was such a file
    mark = short_hash(told)
    if run.tags.get("raynas.trust") == mark:
        return
    rows = [(step, start_time(folder.sweep()), row) for step, row in sorted(trust_rows(told).items())]
    store.log(run, rows, {"raynas.trust": mark})


def _send_winner(
    store: MlflowStore,
    run: Run,
    folder: SweepFolder,
    selection: Selection,
    winner: TrialRecord,
    yardstick: Yardstick | None,
) -> None:
    last = winner.deciding
    if last is None:
        return
    feed = folder.trial(winner.id).feed
    feed.read()
    values = metrics(last, yardstick)
    row = {name: values[key] for name, key in _BEST.items() if key in values}
    tags = {
        "raynas.winner": winner.id,
        "raynas.winner_epoch": str(last.epoch),
        "raynas.cell": last.genotype.digest(),
        "mlflow.note.content": f"{_outline(folder.sweep())}  \n{_verdict(winner, selection)}",
    }
    known = all(run.tags.get(key) == tags[key] for key in ("raynas.winner", "raynas.winner_epoch"))
    store.log(run, [] if known else [(last.epoch, feed.time(last), row)], tags)


def _verdict(winner: TrialRecord, selection: Selection) -> str:
    last = winner.deciding
    epoch = "" if last is None else f" after epoch {last.epoch + 1}"
    margin = "" if selection.margin is None else f", {selection.margin:.3g} ahead of the second"
    value = "" if selection.winner is None else f"{selection.by} {selection.winner.value:.4g}"
    return f"best: **{winner.id}**, {value}{epoch}{margin}"


def _outline(sweep: Sweep[Any]) -> str:
    if sweep.kind == "train":
        return f"raynas sweep **{sweep.name}**: {plural(len(sweep.trials), 'training')}"
    return f"raynas sweep **{sweep.name}**: {len(sweep.trials)} searches, strategy {sweep.strategy}"


def trained_lines(folder: TrainSweep) -> list[str]:
    """Return a line for each cell and setting whose trainings have come to an error on test images."""
    from raynas.report.text import spread_percent
    from raynas.report.trained import trained_rows

    rows = trained_rows(folder, folder.records())
    return [
        f"{row.label}: test error {spread_percent(row.error)} % ({plural(len(row.errors), 'seed')})"
        for row in rows
        if row.error
    ]
