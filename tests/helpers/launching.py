"""For the launch tests: a search that costs nothing, sweeps of such searches, an observer that remembers."""

import json
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.launch.driver import next_attempt
from raynas.launch.observer import Observer
from raynas.methods import method_names
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.identity import records_of
from raynas.sweep.plan import Distribution, Strategy, Sweep, Trial
from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Resources, Select, Track

CELL = (Choice("skip_connect", 0, 2), Choice("sep_conv_3x3", 1, 2))
GENOTYPE = Genotype.of("darts", 1, {"normal": CELL, "reduce": CELL})


def fake_trials(
    trials: Sequence[TrialFolder],
    *,
    dataset: Any,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None = None,
) -> None:
    """Do what `raynas.launch.trial.run_trials` does, with a logistic map for a search.

    The trial's method says what happens before an epoch: ``crash@2`` raises there once, ``broken@2`` every
    time, ``user@2`` raises a user error, ``nan@2`` diverges, ``slow`` takes 0.2 s an epoch, ``kill@2``
    kills the process, once, ``memory@2`` runs out of memory as long as the trial is not alone.
    """
    for trial in trials:
        _fake_trial(trial, [each.id for each in trials], dataset, device, heartbeat)


def _fake_trial(
    folder: TrialFolder,
    company: list[str],
    dataset: Any,
    device: torch.device,
    heartbeat: Callable[[int], None],
) -> None:
    if folder.record().status in ("finished", "diverged"):
        return
    config, attempt = folder.config(), next_attempt(folder.record())
    torch.set_num_threads(config.threads)
    state = (
        json.loads(folder.checkpoint.read_text())
        if folder.checkpoint.exists()
        else [0, 0.1 + config.seed / 7]
    )
    folder.spool.append(
        "start", trial=folder.id, attempt=attempt, host=socket.gethostname(), pid=os.getpid(),
        device=str(device), threads=torch.get_num_threads(), from_epoch=state[0], images=len(dataset.images),
        writeable=bool(dataset.images.flags.writeable), cwd=str(Path.cwd()), pack=company,
    )  # fmt: skip
    what, _, where = str(config.method).partition("@")
    try:
        for epoch in range(state[0], config.epochs):
            now = what if where == "" or epoch == int(where) else ""
            _happen(now, first=attempt == 1, alone=len(company) == 1)
            x = 3.9 * state[1] * (1 - state[1])
            numbers = (x / divisor for divisor in range(1, 8))
            report = EpochReport(epoch, *numbers, GENOTYPE, {"normal": [[x]]}, {"normal": x}, {"normal": 1})
            folder.spool.append("epoch", report=report.to_json())
            state = [epoch + 1, x]
            write_atomic(folder.checkpoint, json.dumps(state).encode())
            heartbeat(epoch + 1)
    except RaynasError as error:
        status = "diverged" if what == "nan" else "failed"
        folder.spool.append("end", status=status, reason=error.what)
        return
    except Exception as error:
        kind = "oom" if isinstance(error, MemoryError) else "crash"
        folder.spool.append(
            "error", message=f"{type(error).__name__}: {error}", kind_of_error=kind, attempt=attempt
        )
        raise
    folder.spool.append("end", status="finished", reason="")


def _happen(what: str, *, first: bool, alone: bool) -> None:
    if what == "slow":
        time.sleep(0.2)
    elif what == "nan":
        raise RaynasError("the training loss is NaN", got=math.nan)
    elif what == "user":
        raise RaynasError("this batch is larger than the data")
    elif what == "broken" or (what == "crash" and first):
        raise ValueError("a bug")
    elif what == "memory" and not alone:
        raise MemoryError("too much")
    elif what == "kill" and first:
        os.kill(os.getpid(), signal.SIGKILL)


def make_sweep(
    path: Path, methods: list[str], seeds: int = 1, epochs: int = 3, threads: int = 1,
    strategy: Strategy = "grid", samples: int | None = None, **keys: Any,
) -> SweepFolder:  # fmt: skip
    """Create a sweep folder: every method with every seed (and sample); ``keys`` of searches or resources."""
    resources = {key: keys.pop(key) for key in list(keys) if key in Resources.model_fields}
    resources.setdefault("pack", 1)
    trials, base = [], {}
    for method in methods:
        fields: dict[str, Any] = {"space": "darts", "method": method, "epochs": epochs, "threads": threads}
        fields |= keys
        base[method] = SearchConfig.model_validate(fields).model_dump(mode="json", exclude={"seed"})
        for sample in range(samples or 1):
            for seed in range(seeds):
                axes: dict[str, object] = {"method": method, "seed": seed}
                trial_id = f"{method}-s{seed}" if samples is None else f"{method}-{sample}-s{seed}"
                if strategy == "optuna":
                    trials.append(Trial(trial_id, None, axes, (method, sample)))
                else:
                    trials.append(Trial(trial_id, SearchConfig(**fields, seed=seed), axes))
    sample_keys = {"weight_decay": Distribution("log", (1e-4, 1e-2))} if strategy == "optuna" else {}
    sweep = Sweep(
        path.name, tuple(trials), strategy, samples, sample_keys, Resources(**resources), Select(),
        Track(mlflow=None), {}, "2026-01-01T00:00:00+00:00", "raynas sweep", {}, None,
        base if strategy == "optuna" else {},
        methods=records_of((name, keys.get("space", "darts")) for name in methods if name in method_names()),
    )  # fmt: skip
    folder = SweepFolder(path)
    folder.create(sweep, "")
    return folder


def reports(folder: SweepFolder) -> dict[str, tuple[EpochReport, ...]]:
    """Return every trial's reports."""
    return {record.id: record.reports for record in folder.records()}


def statuses(folder: SweepFolder) -> dict[str, str]:
    """Return every trial's status."""
    return {record.id: record.status for record in folder.records()}


def starts(folder: SweepFolder, trial_id: str) -> list[dict[str, Any]]:
    """Return the start events of a trial, one an attempt."""
    return [event for event in folder.trial(trial_id).spool.events()[0] if event["kind"] == "start"]


class Memory(Observer):
    """Remembers every call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.seen: list[TrialRecord] = []
        self.repaired: list[str] = []

    def on_repaired(self, done: Sequence[str]) -> None:
        self.repaired += done

    def on_start(self, folder: SweepFolder) -> None:
        self.calls.append("start")

    def on_trial(self, record: TrialRecord) -> None:
        self.calls.append("trial")
        self.seen.append(record)

    def on_tick(self) -> None:
        self.calls.append("tick")

    def on_end(self, folder: SweepFolder) -> None:
        self.calls.append("end")
