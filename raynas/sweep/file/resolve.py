"""From a checked draft to a sweep: every trial with its id and configuration, and where it came from.

An id is short, readable, safe in paths and URLs, and unique: the method, what varies, the seed.
"""

import hashlib
import json
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

from raynas.config import SearchConfig
from raynas.spaces.library import locate, names
from raynas.sweep.file.axes import Combination, Draft, paired_draws
from raynas.sweep.file.keys import LEAVES, all_leaves, defaults, nest
from raynas.sweep.file.shell import OBJECTIVES_KEY, SweepConfig
from raynas.sweep.identity import records_of
from raynas.sweep.plan import Sweep, Trial
from raynas.sweep.sections import Retrain, Select

PACKAGES = ("raynas", "torch", "torchvision", "ray", "optuna", "mlflow")


def resolve_sweep(config: SweepConfig, draft: Draft, command: str) -> Sweep:
    """Lay out every trial of a draft that has no problems.

    The plan takes one draw after another, for each draw every setting, for each setting every seed, so
    that what has finished at any time can be compared.
    """
    settings = draft.settings
    base: dict[str, dict[str, Any]] = {}
    if config.strategy == "optuna":
        labels = group_labels([(setting.leaves, setting.axes) for setting in settings])
        base = {label: nest(setting.leaves) for label, setting in zip(labels, settings, strict=True)}
        trials = [
            Trial(trial_id(f"{label}-try{sample}", seed), None, axes, (label, sample))
            for sample in range(config.samples or 0)
            for label, setting in zip(labels, settings, strict=True)
            for seed, axes in _seeds(draft, setting)
        ]
    else:
        draws = paired_draws(draft.sample, config.samples) if config.samples else [{}]
        groups = [Combination(s.leaves | draw, s.paths, s.axes | draw) for draw in draws for s in settings]
        labels = group_labels([(group.leaves, group.axes) for group in groups])
        trials = [
            Trial(trial_id(label, seed), configure(nest(group.leaves), {"seed": seed}), axes)
            for label, group in zip(labels, groups, strict=True)
            for seed, axes in _seeds(draft, group)
        ]
    return Sweep(
        name=config.name,
        trials=tuple(trials),
        strategy=config.strategy,
        samples=config.samples,
        sample=draft.sample,
        resources=config.resources,
        select=_counted_for(config.select, config.retrain),
        track=config.track,
        resolved=_echo(config, draft),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        versions=versions(),
        git=git_state(),
        base=base,
        benchmark=config.benchmark,
        retrain=config.retrain,
        control=config.control,
        objectives=tuple(config.sample.get(OBJECTIVES_KEY, ())),
        methods=records_of((each.leaves["method"], each.leaves["space"]) for each in settings),
    )


def _counted_for(select: Select, retrain: Retrain | None) -> Select:
    """Return a rule whose budget says by which recipe networks are counted: the one that trains them."""
    if (where := select.where) is None:
        return select
    recipe = where.recipe or (retrain.recipe if retrain else None)
    if recipe is None:
        return select
    if recipe not in names("recipes"):
        recipe = str(locate("recipes", recipe).absolute())
    return select.model_copy(update={"where": where.model_copy(update={"recipe": recipe})})


def brought_by_methods(found: Sweep) -> dict[str, dict[str, list[str]]]:
    """Return the keys that are not the same in all searches though the file does not vary them, by value."""
    varied = {axis.partition(".")[0] for trial in found.trials for axis in trial.axes}
    brought: dict[str, dict[str, list[str]]] = {}
    for config in (trial.config for trial in found.trials if trial.config is not None):
        for key, value in all_leaves(config.model_dump(mode="json")).items():
            if key.partition(".")[0] not in {*varied, "method", "seed"}:
                whose = brought.setdefault(key, {}).setdefault(str(value), [])
                whose += [] if (label := method_label(config.method)) in whose else [label]
    return {key: values for key, values in brought.items() if len(values) > 1}


def filled(sweep: Sweep, trial: Trial, point: Mapping[str, Any]) -> Trial:
    """Return a slot's trial with the values suggested for it."""
    if trial.slot is None:
        return trial
    seed = {"seed": trial.axes["seed"]} if "seed" in trial.axes else {}
    config = configure(sweep.base[trial.slot[0]], {**point, **seed})
    return replace(trial, config=config, axes={**trial.axes, **point})


def configure(base: Mapping[str, Any], leaves: Mapping[str, Any]) -> SearchConfig:
    """Return a configuration with some leaves (``hessian.every``) set anew."""
    return SearchConfig.model_validate(nest(all_leaves(base) | dict(leaves)))


def _seeds(draft: Draft, setting: Combination) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every seed of a setting with the trial's axes."""
    if draft.seeds is None:
        yield setting.leaves["seed"], setting.axes
        return
    for entry in draft.seeds.entries:
        yield entry.value, setting.axes | {"seed": entry.value}


def _echo(config: SweepConfig, draft: Draft) -> dict[str, Any]:
    """Write out a sweep file that resolves to the same trials, whatever the defaults become."""
    axes = (*draft.grid, *draft.zip)
    varied = {leaf for axis in axes for entry in axis.entries for leaf in entry.leaves} | set(draft.sample)
    given = {leaf: value for entry in draft.base for leaf, value in entry.leaves.items()}
    every = [setting.leaves for setting in draft.settings]
    # What a method brings along is written out where all methods of the sweep agree on it.
    fixed = {leaf: value for leaf, value in (defaults() | every[0]).items() if _agreed(leaf, every)} | given
    fields = {
        **nest({leaf: fixed[leaf] for leaf in LEAVES if leaf in fixed and leaf not in varied}),
        "grid": {axis.key: [entry.value for entry in axis.entries] for axis in draft.grid},
        "zip": {axis.key: [entry.value for entry in axis.entries] for axis in draft.zip},
        "sample": {
            **{key: {d.kind: list(d.values)} for key, d in draft.sample.items()},
            **{key: config.sample[key] for key in (OBJECTIVES_KEY,) if key in config.sample},
        },
        "samples": config.samples,
    }
    return {
        "name": config.name,
        **{key: value for key, value in fields.items() if value not in ({}, None)},
        "strategy": config.strategy,
        "resources": config.resources.model_dump(mode="json"),
        "select": _counted_for(config.select, config.retrain).model_dump(mode="json"),
        "track": config.track.model_dump(mode="json"),
        **({"benchmark": config.benchmark.model_dump(mode="json")} if config.benchmark else {}),
        **({"retrain": config.retrain.model_dump(mode="json")} if config.retrain else {}),
        "control": config.control.model_dump(mode="json"),
    }


def _agreed(leaf: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    return all(leaf in each and each[leaf] == settings[0].get(leaf) for each in settings)


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter here; None for one not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def git_state() -> dict[str, Any] | None:
    """Return commit and dirtiness of the current folder, or None where there is no repository or no git."""
    try:
        commit = _run_git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_run_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None


def _run_git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


ABBREVIATIONS = {
    "arch_learning_rate": "alr",
    "arch_weight_decay": "awd",
    "batch": "b",
    "cells": "n",
    "channels": "c",
    "data": "",
    "data.name": "",
    "epochs": "e",
    "learning_rate": "lr",
    "space": "",
    "weight_decay": "wd",
}
"""How a key is written in a trial's id; any other key is written as its last dotted part."""

_LONGEST = 120
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def method_label(method: str | Mapping[str, Any]) -> str:
    """Return a method's name, or for a mapping its base with its ``name`` (or a short hash)."""
    if isinstance(method, str):
        return _safe(method)
    base, name = str(method["base"]), method.get("name")
    if name is None:
        return _safe(f"{base}-{short_hash(method)}")
    return _safe(name if str(name).startswith(base) else f"{base}-{name}")


def axis_label(key: str, value: object) -> str:
    """Return an axis' value as it appears in an id: ``wd0.0003`` for ``weight_decay`` 0.0003."""
    if key == "method" and isinstance(value, str | Mapping):
        return method_label(value)
    prefix = ABBREVIATIONS.get(key, key.rpartition(".")[2])
    if isinstance(value, float):
        text = f"{value:.6g}".replace("+", "")
    elif key == "space":
        text = PurePath(str(value)).name.removesuffix(".yaml").removesuffix(".yml")
    elif isinstance(value, Mapping):
        name = value.get("name") if key == "data" else None
        text = str(name) if name is not None else short_hash(value)
    else:
        text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return _safe(prefix + text)


def group_labels(groups: Sequence[tuple[Mapping[str, Any], Mapping[str, object]]]) -> list[str]:
    """Name groups of trials that differ only by their seed: one (configuration, axes) each, all different.

    Labels are ``<method>-<axis><value>…``; different configurations (the seed apart) that would get the
    same label get a hash of their own.
    """
    labels = []
    for config, axes in groups:
        parts = [axis_label(key, value) for key, value in axes.items() if key not in ("method", "seed")]
        labels.append("-".join([method_label(config["method"]), *parts]))
    hashes = [short_hash({key: config[key] for key in config if key != "seed"}) for config, _ in groups]
    clashes = Counter(label for label, _ in set(zip(labels, hashes, strict=True)))
    return [
        f"{label[:_LONGEST]}-{digest}" if clashes[label] > 1 or len(label) > _LONGEST else label
        for label, digest in zip(labels, hashes, strict=True)
    ]


def trial_id(group: str, seed: int) -> str:
    """Return the id of one seed of a group."""
    return f"{group}-s{seed}"


def short_hash(value: object) -> str:
    """Return 8 hex digits that depend on the value alone, not on the order of its keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _safe(text: object) -> str:
    return _UNSAFE.sub("-", str(text)).strip("-.") or "x"
