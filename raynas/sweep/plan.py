"""A resolved sweep as plain data: every trial with its id, what they share, and where it all came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
)
from typing_extensions import TypeVar

from raynas.config import SearchConfig
from raynas.errors import quoted
from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.space import Space
from raynas.spaces.space_file import sound_space
from raynas.sweep.sections import Benchmark, Control, Resources, Retrain, Select, Track
from raynas.train.config import TrainConfig

Strategy = Literal["grid", "random-paired", "optuna"]

Kind = Literal["search", "train"]
"""What a sweep's trials do: search for cells, or train networks of given ones."""

CONFIGS: dict[Kind, type[SearchConfig] | type[TrainConfig]] = {"search": SearchConfig, "train": TrainConfig}

C = TypeVar("C", default=SearchConfig)
"""The configurations of a sweep; those of searches where nothing else is said."""

SWEEP_VERSION = 1

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,250}")


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
