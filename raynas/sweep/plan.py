"""A resolved sweep as plain data: every trial with its id, what they share, and where it all came from."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)
from typing_extensions import TypeVar

from raynas.config import MOST_EPOCHS, MOST_SEED, Frozen, Hint, SearchConfig
from raynas.disk import expanded
from raynas.errors import quoted
from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.space import Space
from raynas.spaces.space_file import sound_space
from raynas.sweep.where import Where
from raynas.tables.open import open_table
from raynas.tables.table import Yardstick
from raynas.train.config import TrainConfig

Strategy = Literal["grid", "random-paired", "optuna"]

Criterion = Literal["valid_loss", "select_loss", "discrete_loss", "short_training", "eig_max", "table"]

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

SHORT_EPOCHS = 5
"""Epochs of a short training where the file says none."""

Kind = Literal["search", "train"]
"""What a sweep's trials do: search for cells, or train networks of given ones."""

CONFIGS: dict[Kind, type[SearchConfig] | type[TrainConfig]] = {"search": SearchConfig, "train": TrainConfig}

C = TypeVar("C", default=SearchConfig)
"""The configurations of a sweep; those of searches where nothing else is said."""

SWEEP_VERSION = 1

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,250}")

MOST_TRIALS = 10_000
"""Searches of one sweep."""


class Resources(Frozen):
    """What each trial gets, and how many run at once."""

    cpu: Annotated[float | None, Hint("cpus num_cpus cpus_per_trial", "CPUs", 2)] = Field(
        None, gt=0, le=1024, description="CPUs per trial; the search's `threads` if left out"
    )
    gpu: Annotated[float, Hint("gpus num_gpus gpus_per_trial device cuda", "GPUs", 0.25)] = Field(
        0, ge=0, le=1024, description="GPUs per trial: 0, a share 1/n, or a whole number"
    )
    max_concurrent: Annotated[
        PositiveInt | None,
        Hint("concurrency max_concurrent_trials parallel workers jobs n_jobs", "trials", 4),
    ] = Field(None, le=MOST_TRIALS, description="most trials at once; as many as fit")
    retries: Annotated[NonNegativeInt, Hint("max_failures retry", "times")] = Field(
        3, le=1000, description="how often a crashed trial is started again"
    )
    pack: Annotated[
        Annotated[int, Field(ge=1, le=MOST_TRIALS)] | Literal["auto"],
        Hint("packs pack_size vmap", "trials", 8),
    ] = Field(
        "auto", description="most like-shaped trials that advance together in one process; auto measures"
    )

    @field_validator("gpu")
    @classmethod
    def _share(cls, gpu: float) -> float:
        if gpu >= 1:
            if gpu != int(gpu):
                raise ValueError(f"{gpu:g} GPUs cannot be given to one trial: {int(gpu)} or {int(gpu) + 1}")
        elif gpu > 0:
            fit = int(1 / gpu + 1e-9)
            if 1 / fit - gpu > 1e-3:
                raise ValueError(f"{gpu:g} does not divide a GPU: {1 / (fit + 1):.3g} or {1 / fit:.3g}")
        return gpu


class Select(Frozen):
    """How the winner is chosen."""

    by: Annotated[
        Criterion | Annotated[tuple[Criterion, ...], Field(min_length=1)],
        Hint("metric criterion select_by rules", example="discrete_loss"),
    ] = Field(
        "valid_loss",
        description="the supernet's validation loss (of a method's mixture, or the mean over cells that it "
        "draws), the same on the part of the data that `data.select` holds out, the loss of its derived cell "
        "alone, the error after a short training of that cell from scratch, the largest eigenvalue of the "
        "Hessian in α where it was last measured, or the validation accuracy in the benchmark's table; of "
        "several in a list the first selects, and what the others would choose is shown",
    )
    top: Annotated[PositiveInt, Hint("top_k k n_best best", "cells", 3)] = Field(
        1, le=MOST_TRIALS, description="how many of the best are named"
    )
    where: Annotated[
        Where | None,
        Hint(
            "constraints constraint budget budgets small largest", example={"parameters": {"most": 3_500_000}}
        ),
    ] = Field(None, description="how large the network of a chosen cell may be; any if left out")
    recipe: Annotated[
        str | None, Hint("short_recipe", example={"by": "short_training", "recipe": "quick"})
    ] = Field(None, description="how `short_training` trains (`raynas ls recipes`), or a file; quick")
    epochs: Annotated[
        PositiveInt | None, Hint("short_epochs", "epochs", {"by": "short_training", "epochs": 5})
    ] = Field(None, le=MOST_EPOCHS, description=f"how long `short_training` trains; {SHORT_EPOCHS}")

    @property
    def rules(self) -> tuple[Criterion, ...]:
        """All rules that are asked for."""
        return (self.by,) if isinstance(self.by, str) else self.by

    @property
    def rule(self) -> Criterion:
        """The one that selects."""
        return self.rules[0]

    @field_validator("by")
    @classmethod
    def _rules_differ(cls, by: Criterion | tuple[Criterion, ...]) -> Criterion | tuple[Criterion, ...]:
        if isinstance(by, tuple) and len(set(by)) < len(by):
            raise ValueError("a rule is listed twice")
        return by

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write newer keys only where they are given: sweeps that were recorded before have none."""
        return {key: value for key, value in handler(self).items() if value is not None}


class Retrain(Frozen):
    """What is trained from scratch once all searches of a sweep have finished."""

    top: Annotated[PositiveInt, Hint("top_k n_best best", "cells", 3)] = Field(
        1, le=MOST_TRIALS, description="how many of the best cells"
    )
    seeds: Annotated[tuple[Annotated[NonNegativeInt, Field(le=MOST_SEED)], ...], Hint("retrain_seeds")] = (
        Field((0, 1, 2), min_length=1, description="the seeds of each cell's trainings")
    )
    recipe: Annotated[str, Hint("protocol", example="quick")] = Field(
        "quick", description="how they are trained (`raynas ls recipes`), or a file"
    )

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds


class Control(Frozen):
    """Random cells that are judged as the searches' own are, to say what a search was worth."""

    random: Annotated[NonNegativeInt, Hint("random_cells", "cells", 50)] = Field(
        20, le=10_000, description="cells that each search judges at its end with its weights; 0 for none"
    )
    by: Annotated[Literal["weights", "training"], Hint("control_by", example="training")] = Field(
        "weights",
        description="with `training`, so many random cells are also trained from scratch beside those that "
        "`retrain` or `short_training` trains, by the same recipe",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `by` only where it is not the default: recorded sweeps have no such key."""
        return {key: value for key, value in handler(self).items() if (key, value) != ("by", "weights")}


TRACKERS_GROUP = "raynas.trackers"
"""The entry points under which other distributions offer trackers."""


class Track(Frozen):
    """Where the runs are recorded: a setting for each tracker by name, null for none.

    What trackers there are besides MLflow is known to who reads a trial file and to who runs a sweep, so that
    a recorded sweep can be read where its trackers are not installed.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    mlflow: Annotated[
        str | None, Hint("tracking tracking_uri mlflow_uri tracker logger", example="http://127.0.0.1:5000")
    ] = Field("sqlite:///mlflow.db", description="MLflow's address; null for none")

    @property
    def wanted(self) -> dict[str, Any]:
        """The settings of the trackers that are wanted, by name."""
        return {name: setting for name, setting in self.model_dump().items() if setting is not None}


class Benchmark(Frozen):
    """The public table in which each epoch's cell is looked up; it decides nothing unless asked to."""

    table: Annotated[str, Hint("tabular lookup api", example="accuracy.csv")] = Field(
        description="path of a .csv or .parquet file of trained accuracies, or of a surrogate's folder"
    )
    data: Annotated[str, Hint("dataset column", example="cifar10")] = Field(
        description="a data set of the table, for its test accuracies, or one of its columns by name"
    )

    @field_validator("table")
    @classmethod
    def _absolute(cls, table: str) -> str:
        return str(expanded(table).absolute())

    def open(self, spaces: Iterable[Space] = ()) -> Yardstick:
        """Read the table; regret is to the best of the ``spaces``' own cells.

        Raises `RaynasError` when the table is missing, damaged, or lacks the data set.
        """
        return Yardstick.of(open_table(Path(self.table)), self.data, spaces)


@dataclass(frozen=True)
class Distribution:
    """What a sampled key is drawn from.

    ``kind`` is ``log`` or ``uniform`` (floats), ``int`` (both ends included) or ``choice``; ``values`` are
    the two ends, or the choices.
    """

    kind: Literal["log", "uniform", "int", "choice"]
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Trial(Generic[C]):
    """One search, or one training, of a sweep.

    ``axes`` holds what varies between the trials (its seed and method too, when they do). ``slot`` is
    (stratum, sample index) under the strategy ``optuna``; the ``config`` of such a slot is None until its
    values have been suggested.
    """

    id: str
    config: C | None
    axes: dict[str, object]
    slot: tuple[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        config = self.config.model_dump(mode="json") if isinstance(self.config, BaseModel) else None
        slot = None if self.slot is None else list(self.slot)
        return {"id": self.id, "config": config, "axes": self.axes, "slot": slot}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], kind: Kind = "search") -> "Trial[Any]":
        """Rebuild a trial of a kind from `to_json`'s data."""
        if _ID.fullmatch(data["id"]) is None:
            raise ValueError(f"a trial's id is the name of its folder; got {quoted(data['id'])}")
        config = None if data["config"] is None else CONFIGS[kind].model_validate(data["config"])
        slot = None if data.get("slot") is None else (data["slot"][0], data["slot"][1])
        return Trial[Any](data["id"], config, data["axes"], slot)


class _Plain(BaseModel):
    """What a sweep's file says in plain values, each of its kind: a file may be damaged and still be JSON."""

    model_config = ConfigDict(strict=True, extra="ignore")

    name: str
    strategy: Strategy
    samples: int | None
    resolved: dict[str, Any]
    created: str
    command: str
    versions: dict[str, str | None]
    git: dict[str, Any] | None
    base: dict[str, dict[str, Any]]


class _Begun(BaseModel):
    """The record of a method as it was when a sweep was begun."""

    model_config = ConfigDict(strict=True, extra="allow")

    method: str | dict[str, Any]
    spaces: list[str] = []
    fingerprint: str
    record: dict[str, Any]


@dataclass(frozen=True)
class Sweep(Generic[C]):
    """A resolved sweep: nothing about it changes once its first trial has started.

    ``trials`` are in plan order. ``resolved`` is a sweep file's content that resolves to the same trials,
    defaults written out. ``base`` holds, for the strategy ``optuna``, each stratum's configuration; the
    sampled keys, and the seed when there are several, are there at their defaults. ``created`` is an ISO
    time (UTC), ``command`` what was typed, ``versions`` those of the packages that matter, ``git`` the
    commit of the folder it was started in and whether it was dirty. ``methods`` are the records of its
    methods as they were then (see `raynas.sweep.identity`), ``spaces`` its spaces by what configurations call
    them; sweeps of raynas 0.1.0 have none. A sweep of the kind ``train`` has instead ``cells``, by what its
    configurations call them. ``objectives`` are
    what optuna lowers, where that is more than what selects.
    """

    name: str
    trials: tuple[Trial[C], ...]
    strategy: Strategy
    samples: int | None
    sample: dict[str, Distribution]
    resources: Resources
    select: Select
    track: Track
    resolved: dict[str, Any]
    created: str
    command: str
    versions: dict[str, str | None]
    git: dict[str, Any] | None
    base: dict[str, dict[str, Any]] = field(default_factory=dict)
    benchmark: Benchmark | None = None
    methods: tuple[dict[str, Any], ...] = ()
    spaces: dict[str, Space] = field(default_factory=dict, compare=False)
    kind: Kind = "search"
    cells: dict[str, Genotype] = field(default_factory=dict)
    retrain: Retrain | None = None
    control: Control = field(default_factory=Control)
    objectives: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; `from_json` gives back an equal sweep."""
        return {
            "format": "raynas.sweep",
            "version": SWEEP_VERSION,
            **({} if self.kind == "search" else {"kind": self.kind}),
            "name": self.name,
            "created": self.created,
            "command": self.command,
            "versions": self.versions,
            "git": self.git,
            "strategy": self.strategy,
            "samples": self.samples,
            "sample": {key: {d.kind: list(d.values)} for key, d in self.sample.items()},
            **({"objectives": list(self.objectives)} if self.objectives else {}),
            "resources": self.resources.model_dump(mode="json"),
            "select": self.select.model_dump(mode="json"),
            "track": self.track.model_dump(mode="json"),
            "benchmark": None if self.benchmark is None else self.benchmark.model_dump(mode="json"),
            **({"retrain": self.retrain.model_dump(mode="json")} if self.retrain else {}),
            **({"control": self.control.model_dump(mode="json")} if self.kind == "search" else {}),
            "resolved": self.resolved,
            "base": self.base,
            "methods": list(self.methods),
            "spaces": {name: space.model_dump(mode="json") for name, space in self.spaces.items()},
            **({"cells": {name: cell.to_json() for name, cell in self.cells.items()}} if self.cells else {}),
            "trials": [trial.to_json() for trial in self.trials],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Rebuild a sweep from `to_json`'s data; raises as looking up and `ValueError` where damaged."""
        kind = kind_of(data)
        called = {trial["config"]["cell"] for trial in data["trials"]} if kind == "train" else set()
        if lost := called - {*data.get("cells", {})}:
            raise ValueError(f"it lacks the cell {quoted(min(lost))}")
        return cls(
            **dict(_Plain.model_validate(data)),
            trials=tuple(Trial.from_json(trial, kind) for trial in data["trials"]),
            sample={
                key: Distribution(kind, tuple(values))
                for key, entry in data["sample"].items()
                for kind, values in entry.items()
            },
            resources=Resources.model_validate(data["resources"]),
            select=Select.model_validate(data["select"]),
            track=Track.model_validate(data["track"]),
            benchmark=Benchmark.model_validate(data["benchmark"]) if data.get("benchmark") else None,
            methods=tuple(
                _Begun.model_validate(each).model_dump(exclude_unset=True) for each in data.get("methods", ())
            ),
            spaces={name: sound_space(space) for name, space in data.get("spaces", {}).items()},
            kind=kind,
            retrain=Retrain.model_validate(data["retrain"]) if data.get("retrain") else None,
            control=Control.model_validate(data.get("control", {})),
            objectives=tuple(map(str, data.get("objectives", ()))),
            cells={name: genotype_from_json(cell) for name, cell in data.get("cells", {}).items()},
        )


def kind_of(data: Mapping[str, Any]) -> Kind:
    """Return the kind of what a file holds as JSON data; raises `ValueError` for one not known."""
    kind = data.get("kind", "search")
    if kind not in get_args(Kind):
        raise ValueError(f"its kind is {quoted(kind)}")
    found: Kind = kind
    return found
