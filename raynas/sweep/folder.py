"""The folder of a sweep: where everything lies, and reading and writing it."""

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, cast

from raynas.disk import disk_error, expanded, holder, read_bounded, write_atomic
from raynas.errors import RaynasError, nearest, quoted
from raynas.spaces.library import load_space, locate
from raynas.sweep import packs
from raynas.sweep.file.resolve import filled
from raynas.sweep.file.uri import without_passwords
from raynas.sweep.lookups import Lookups
from raynas.sweep.places import NONE, PlacesHere
from raynas.sweep.plan import SWEEP_VERSION, C, Sweep, Trial
from raynas.sweep.record import T, TrainRecord
from raynas.sweep.sections import Benchmark
from raynas.sweep.short_results import SHORT, short_errors, with_short
from raynas.sweep.trial_folder import Known, TrialFolder, pretty, read_mapping
from raynas.train.config import TrainConfig

__all__ = ["Known", "SweepFolder", "TrialFolder", "write_atomic"]

Slot = tuple[str, int]

DRIVER_LOCK = ".driver.lock"
"""The file that whoever drives a sweep holds."""

TRAINED = "trained"
"""The folder in a sweep's that holds the sweeps in which its winners are trained."""


class SweepFolder(Generic[C, T]):
    """The folder of one sweep: of searches, where nothing else is said."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sweep: Sweep[C] | None = None
        self._made = False
        self._suggested: dict[Slot, dict[str, Any]] = {}
        self._trials: dict[str, TrialFolder[C, T]] = {}

    @property
    def name(self) -> str:
        """The sweep's name, which is the folder's."""
        return self.path.name

    @property
    def behind(self) -> "SweepFolder | None":
        """The sweep of searches whose winners are trained here; None where this one stands for itself."""
        above = SweepFolder(self.path.parent.parent)
        return above if self.path.parent.name == TRAINED and above.exists else None

    @property
    def called(self) -> str:
        """What the sweep is called in lists and by verbs: `SWEEP/trained/NAME` where it lies in another's."""
        return self.name if self.behind is None else f"{self.behind.name}/{TRAINED}/{self.name}"

    @property
    def words(self) -> list[str]:
        """What a command names the sweep by: as it is called, and `--runs` where that is not in ./runs."""
        runs = (self.behind or self).path.parent
        elsewhere = runs.resolve() != Path("runs").resolve()
        return [self.called, *(["--runs", str(runs)] if elsewhere else [])]

    @property
    def typed(self) -> str:
        """The `words` as they are typed."""
        return shlex.join(self.words)

    @property
    def best(self) -> Path:
        """Where the winner's genotype and drawings go."""
        return self.path / "best"

    @property
    def packs(self) -> Path:
        """What was measured before the first trial: steps, packs and convolution forms."""
        return self.path / "packs.json"

    @property
    def exists(self) -> bool:
        """Whether a sweep was created here."""
        return (self.path / "sweep.json").is_file()

    @property
    def started(self) -> bool:
        """Whether any trial has."""
        return any(self.path.glob("trials/*/events.jsonl"))

    def create(self, sweep: Sweep[C], source_text: str) -> None:
        """Write a new sweep, `sweep.json` last.

        Raises `RaynasError` when there already is one, or when the disk is full or may not be written.
        """
        if self.exists or self.started:
            raise RaynasError(
                f"there is already a sweep {self.name!r}",
                got=self.path,
                next_step=f"raynas resume {self.typed}, or give the new one another name: "
                f"name={self.name}-2, or delete the folder of the old one",
            )
        self._made = not self.path.exists()
        try:
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, self.path) from error
        address = sweep.track.mlflow
        if address and without_passwords(address) != address:
            write_atomic(self._secret, address.encode(), mode=0o600)
        sweep = replace(
            sweep,
            track=sweep.track.model_copy(update={"mlflow": address and without_passwords(address)}),
            command=without_passwords(sweep.command),
            resolved=_hidden(sweep.resolved),
        )
        write_atomic(self.path / "sweep.yaml", without_passwords(source_text).encode())
        configs: list[Any] = [trial.config for trial in sweep.trials]
        named = [config.space for config in configs if config is not None and sweep.kind == "search"]
        named += [base["space"] for base in sweep.base.values()]
        spaces = {name: load_space(name) for name in dict.fromkeys(named)}
        if sweep.kind == "train":
            write_atomic(self.recipe, locate("recipes", str(sweep.resolved["train"])).read_bytes())
        for trial, config in zip(sweep.trials, configs, strict=True):
            if config is not None:
                found = spaces[config.space] if sweep.kind == "search" else sweep.cells[config.cell]
                # Before sweep.json, whose presence says that a sweep is whole: a kill here leaves a name that
                # is still free.
                self.trial(trial.id).write(trial, found, control=sweep.control.random)
        self._write(replace(sweep, spaces=spaces))

    def _write(self, sweep: Sweep[C]) -> None:
        suggested = [[*slot, point] for slot, point in self._suggested.items()]
        # Last, so that what comes before it never changes: see `fixed`.
        write_atomic(self.path / "sweep.json", pretty({**sweep.to_json(), "suggested": suggested}))

    def fixed(self) -> bytes:
        """Return what of the sweep's file never changes; raises `OSError` as reading does."""
        head, _, _ = (self.path / "sweep.json").read_bytes().partition(b'\n "suggested":')
        return head.rstrip(b",}\n ")

    @property
    def mlflow(self) -> str | None:
        """The address of the sweep's MLflow store here, its password included; None for none.

        The password lies in a file that only its owner may read, and nowhere else. Raises `RaynasError` when
        that file has gone.
        """
        if (here := self.places.mlflow) is not None:
            return None if here == NONE else here
        address = self.sweep().track.mlflow
        if address is None or without_passwords(address) != address or "***" not in address:
            return address
        try:
            return read_bounded(self._secret, 10_000).decode()
        except (OSError, ValueError) as error:
            raise RaynasError(
                "the password of the sweep's MLflow store cannot be read",
                got=f"{self._secret}: {error}",
                next_step=f"write the whole address into it: {address}; or name another store: "
                f"raynas resume {self.typed} track.mlflow=URI",
            ) from None

    @property
    def places(self) -> PlacesHere:
        """Where this machine has what lies outside of the folder; raises as `PlacesHere.read`.

        What is not said of trainings is where their searches have it.
        """
        own, above = PlacesHere.read(self.path), self.behind
        return own if above is None else own.over(above.places)

    @property
    def recipe(self) -> Path:
        """The recipe of a sweep of trainings as it was when that began; absent from earlier sweeps."""
        return self.path / "recipe.yaml"

    def moved(self) -> None:
        """Take note of places that have changed."""
        self.__dict__.pop("lookups", None)

    @cached_property
    def lookups(self) -> Lookups | None:
        """The sweep's table as far as cells were looked up in it; None where it has none."""
        benchmark = self.benchmark
        return None if benchmark is None else Lookups(self.path / "table.json", benchmark, self.typed)

    @property
    def benchmark(self) -> Benchmark | None:
        """The sweep's table by the place where this machine has it; None where it has none."""
        if (benchmark := self.sweep().benchmark) is None:
            return None
        here = self.places.table
        return benchmark if here is None else benchmark.model_copy(update={"table": here})

    @property
    def _secret(self) -> Path:
        return self.path / ".mlflow"

    @property
    def driver(self) -> str | None:
        """Who drives the sweep now; None where nobody does, and what has begun waits for a resume."""
        return holder(self.path / DRIVER_LOCK)

    def forget_unstarted(self) -> None:
        """Take back what `create` wrote if no trial has started, so that the name is free again."""
        if self.started or any(self.path.glob("trials/*/checkpoint*.pt")):
            return
        with suppress(OSError):
            (self.path / "sweep.json").unlink()
            if self._made:
                shutil.rmtree(self.path)

    def sweep(self) -> Sweep[C]:
        """Read the resolved sweep (once: it never changes); raises `RaynasError` if missing or damaged."""
        if self._sweep is None:
            self._sweep = read_mapping(self.path / "sweep.json", "a sweep", self._parse)
        return self._sweep

    def _parse(self, data: dict[str, Any]) -> Sweep[C]:
        if data.get("version") != SWEEP_VERSION:
            raise RaynasError(
                "the sweep was written by another version of raynas",
                got=f"format {data.get('version')} in {self.path}",
                expected=f"format {SWEEP_VERSION}",
            )
        sweep = Sweep[C].from_json(data)
        self._suggested = {
            (stratum, index): {key: point[key] for key in sweep.sample}
            for stratum, index, point in data.get("suggested", [])
        }
        return sweep

    def suggested(self, slot: Slot) -> dict[str, Any] | None:
        """Return the values suggested for a slot; None before that.

        They are in the sweep's file, and in that of each of the slot's trials.
        """
        sweep = self.sweep()
        if slot not in self._suggested:
            for trial in self._slots.get(slot, ()):
                if (known := self.trial(trial.id).own()) is not None:
                    return {key: known.axes[key] for key in sweep.sample}
        return self._suggested.get(slot)

    @cached_property
    def _slots(self) -> dict[Slot, list[Trial[C]]]:
        found: dict[Slot, list[Trial[C]]] = {}
        for trial in self.sweep().trials:
            if trial.slot is not None:
                found.setdefault(trial.slot, []).append(trial)
        return found

    @cached_property
    def _plans(self) -> dict[str, Trial[C]]:
        return {trial.id: trial for trial in self.sweep().trials}

    def suggest(self, slot: Slot, point: dict[str, Any]) -> None:
        """Put the values suggested for a slot on record."""
        sweep = self.sweep()
        self._suggested[slot] = point
        self._write(sweep)

    def trial(self, trial_id: str) -> TrialFolder[C, T]:
        """Return the folder of one trial, which need not exist yet."""
        if trial_id not in self._trials:
            path = self.path / "trials" / trial_id
            self._trials[trial_id] = TrialFolder[C, T](path, lambda: self._planned(trial_id))
        return self._trials[trial_id]

    def _planned(self, trial_id: str) -> Known | None:
        """Return what the sweep's file says of a trial, its space also from another trial of that space."""
        sweep = self.sweep()
        trial: Trial[Any] | None = self._plans.get(trial_id)
        if sweep.kind == "train" and trial is not None and trial.config is not None:
            cell = json.dumps(sweep.cells[trial.config.cell].to_json(), sort_keys=True)
            return Known(trial.config, trial.axes, cell, kind="train")
        if trial is not None and trial.slot is not None:
            point = self.suggested(trial.slot)
            trial = None if point is None else filled(cast("Sweep", sweep), trial, point)
        if trial is None or (config := trial.config) is None:
            return None
        if (space := sweep.spaces.get(config.space)) is not None:
            text = json.dumps(space.model_dump(mode="json"), sort_keys=True)
            return Known(config, trial.axes, text, control=sweep.control.random)
        others = (self.trial(other.id).own() for other in sweep.trials)
        alike = (other.space for other in others if other and other.config.space == config.space)
        return Known(config, trial.axes, next(alike, None), control=sweep.control.random)

    def trials(self) -> list[TrialFolder[C, T]]:
        """Return the trials in plan order; an optuna slot joins once its values were suggested."""
        folders = (self.trial(trial.id) for trial in self.sweep().trials)
        return [folder for folder in folders if folder.planned]

    def lost(self) -> list[TrialFolder[C, T]]:
        """Return those that have run with values that were suggested and that nothing holds any more."""
        folders = (self.trial(trial.id) for trial in self.sweep().trials)
        return [folder for folder in folders if not folder.planned and os.path.lexists(folder.spool.path)]

    def trained_path(self, name: str) -> Path:
        """Return the folder of such a sweep."""
        return self.path / TRAINED / name

    def trained(self) -> list[str]:
        """Return the names of the sweeps in which this one's winners are trained."""
        return sorted(path.parent.name for path in self.path.glob(f"{TRAINED}/*/sweep.json"))

    def damage(self) -> list[str]:
        """Say what in the folder cannot be read, a line each; empty where all is well."""
        records = self.records()
        found = [f"{record.id}: {what}" for record in records for what in record.damage]
        trained = (record.id for record in records if isinstance(record, TrainRecord) and record.tested)
        found += [f"{each}: its network is missing" for each in trained if not self.trial(each).kept]
        found += [f"{trial.id}: the values suggested for it are lost" for trial in self.lost()]
        found += [wrong] if (wrong := packs.damage(self.packs)) else []
        return found + ([self.lookups.damage] if self.lookups and self.lookups.damage else [])

    def records(self) -> list[T]:
        """Return the record of every trial of `trials`, of searches with what short trainings came to."""
        return with_short([folder.record() for folder in self.trials()], self.short_errors())

    def short_errors(self) -> dict[str, float]:
        """Return what short trainings of cells came to, by network; nothing where there are none."""
        trained = SweepFolder[TrainConfig, TrainRecord](self.trained_path(SHORT))
        if not trained.exists:
            return {}
        try:
            return short_errors(trained.sweep().cells, trained.records())
        except RaynasError:
            return {}  # damaged, which reading that sweep itself tells

    def resolved(self) -> "SweepFolder[C, T]":
        """Return this folder at its real path: itself, with what it has read, unless a link leads here."""
        path = self.path.resolve()
        return self if path == self.path else SweepFolder[C, T](path)

    @staticmethod
    def find(runs: Path, name: str) -> "SweepFolder":
        """Find a sweep of searches by its name under ``runs``, or by its path.

        Raises `RaynasError` with the nearest name, and for a sweep of trainings.
        """
        folder = find_sweep(runs, name)
        if not trains(folder):
            return folder
        raise RaynasError(
            f"the sweep {quoted(name)} trains given cells; this is for searches, which find one",
            next_step=f"raynas report {folder.typed}",
        )


AnySweep = SweepFolder[Any, Any]
"""A sweep of searches or of trainings."""

TrainSweep = SweepFolder[TrainConfig, TrainRecord]


def find_sweep(runs: Path, name: str) -> SweepFolder[Any, Any]:
    """Find a sweep of any kind as `SweepFolder.find` does."""
    for path in (runs / name, expanded(name)):
        if (folder := SweepFolder[Any, Any](path.absolute())).exists:
            return folder
    known = sorted(path.parent.name for path in runs.glob("*/sweep.json"))
    raise RaynasError(
        f"no sweep {quoted(name)} in {runs}",
        expected=f"one of {', '.join(known)}" if known else None,
        near=nearest(name, known),
        next_step="raynas ls sweeps" if known else "raynas sweep quickstart",
    )


def trains(folder: SweepFolder[Any, Any]) -> bool:
    """Tell whether a sweep is of trainings; False for one whose file cannot be read."""
    try:
        return folder.sweep().kind == "train"
    except RaynasError:
        return False


def _hidden(value: Any) -> Any:
    """Return plain data with the passwords of all addresses hidden."""
    if isinstance(value, Mapping):
        return {key: _hidden(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    return without_passwords(value) if isinstance(value, str) else value
