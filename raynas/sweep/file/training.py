"""Reading a file of trainings: a recipe, cells, seeds, what departs from the recipe; checked all at once."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from raynas.config import Frozen, folder_name
from raynas.errors import MOST_PROBLEMS, FileProblems, Problem, RaynasError, quoted
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import explain, locate, names
from raynas.sweep.cells import cell_label, cell_of
from raynas.sweep.file.axes import same, too_many
from raynas.sweep.file.check import track_problems
from raynas.sweep.file.keys import implausible, is_plain, leaves_of, nest
from raynas.sweep.file.resolve import axis_label, git_state, short_hash, trial_id, versions
from raynas.sweep.file.trainable import data_problems, device_problems, kind_problems, network_problems
from raynas.sweep.file.words import TRAININGS, unknown_key
from raynas.sweep.plan import Sweep, Trial
from raynas.sweep.sections import Resources, Select, Track
from raynas.train.config import TextTraining, TrainConfig, TrainData
from raynas.train.recipe import Recipe, load_recipe

_GROUPS: dict[str, type[Frozen]] = {"data": TrainData, "text": TextTraining}
LEAVES = tuple(
    leaf
    for name in TrainConfig.model_fields
    if name != "recipe"
    for leaf in ([f"{name}.{sub}" for sub in _GROUPS[name].model_fields] if name in _GROUPS else [name])
)
TRAIN_KEYS = (*LEAVES, *_GROUPS)
"""Every key of a training that a file may give or vary."""


class TrainFile(Frozen):
    """A file of trainings: the keys of a training in ``base``, and what a sweep adds to them."""

    name: str = Field(description="of the sweep and its folder")
    train: str = Field(description="the recipe whose values stand where the file gives none")
    base: dict[str, Any] = Field(default_factory=dict, description="what all trainings share")
    grid: dict[str, Any] = Field(default_factory=dict, description="lists; every combination is a training")
    resources: Resources = Field(default_factory=Resources)
    track: Track = Field(default_factory=Track)

    @field_validator("name")
    @classmethod
    def _name_of_a_folder(cls, value: str) -> str:
        return folder_name(value)


_SHELL = tuple(key for key in TrainFile.model_fields if key != "base")
SECTIONS = (*_SHELL, *TRAIN_KEYS)
"""Every key that may stand at the top of a file of trainings."""


@dataclass
class _Draft:
    """What has been read of a file so far, and all that is wrong with it."""

    source: str
    problems: list[Problem] = field(default_factory=list)
    cells: dict[str, tuple[str, Genotype]] = field(default_factory=dict)

    def note(self, path: str, error: object) -> None:
        """Take in a problem, once."""
        problem = Problem(path, str(error))
        if problem not in self.problems:
            self.problems.append(problem)


def resolve_training(
    data: Mapping[str, Any],
    source: str,
    problems: Sequence[Problem] = (),
    *,
    command: str,
    runs: Path = Path("runs"),
) -> Sweep[TrainConfig]:
    """Check what a file of trainings says and lay out its trials; ``runs`` is where sweeps are named.

    ``source`` is what messages call the file, and its stem the name of a sweep that has none. Raises
    `FileProblems` with every mistake at once, ``problems`` among them.
    """
    draft = _Draft(source, list(problems))
    shell = _shell(data, draft)
    recipe = _recipe(shell, draft)
    axes = _axes(shell, draft)
    if wrong := too_many(axes, {}, None):
        raise FileProblems(source, [*draft.problems, *wrong])
    _find_cells(shell.base, axes, draft, runs)
    draft.problems += track_problems(shell.track)
    plans = _plans(shell, axes, recipe, draft)
    for config, _, paths in plans:
        _check(config, paths, shell.resources.gpu, draft)
        _check_devices(config.devices, shell.resources, paths, draft)
    if draft.problems:
        raise FileProblems(source, draft.problems[:MOST_PROBLEMS])
    return _laid_out(shell, axes, plans, draft, command)


def _shell(data: Mapping[str, Any], draft: _Draft) -> TrainFile:
    """Return what the file says besides its trainings; a part that is wrong is left at its default."""
    for key in data:
        if key not in SECTIONS:
            draft.problems.append(unknown_key(key, SECTIONS, str(key), data[key]))
    shell: dict[str, Any] = {"name": Path(draft.source).stem, **{k: data[k] for k in _SHELL if k in data}}
    for key in [key for key in data if not is_plain(data[key])]:
        draft.note(str(key), "expected numbers, text, lists or mappings of text")
        shell.pop(str(key), None)
        data = {other: value for other, value in data.items() if other != key}
    shell["base"] = {key: data[key] for key in data if key in TRAIN_KEYS}
    shell["grid"] = shell.get("grid") or {}
    try:
        return TrainFile.model_validate(shell)
    except ValidationError as error:
        draft.problems += explain(error, TrainFile, TRAININGS.strange)
        wrong = {detail["loc"][0] for detail in error.errors()}
        right = {key: value for key, value in shell.items() if key not in wrong}
        return TrainFile.model_validate({"name": "unnamed", "train": "", **right})


def _recipe(shell: TrainFile, draft: _Draft) -> Recipe:
    """Return the recipe; where there is none such, one that says nothing, so that the rest is checked too."""
    try:
        return load_recipe(shell.train)
    except RaynasError as error:
        if shell.train:
            draft.note("train", error)
        return Recipe("", "", "", "", {})


def _axes(shell: TrainFile, draft: _Draft) -> dict[str, list[Any]]:
    """Return the axes that are right, the seeds last, and say what is wrong with the others."""
    found = {}
    for key, values in shell.grid.items():
        path = f"grid.{key}"
        if key not in TRAIN_KEYS:
            draft.problems.append(unknown_key(key, TRAIN_KEYS, path))
        elif not isinstance(values, list) or not values:
            draft.note(path, f"expected a list of values; got {quoted(values)}")
        elif key in shell.base or (key.startswith("data.") and "data" in shell.base):
            draft.note(path, f"also given at {key if key in shell.base else 'data'}")
        elif len({same({key: value}) for value in values}) < len(values):
            draft.note(path, "a value is listed twice")
        else:
            found[key] = values
    for key, value in shell.base.items():
        if isinstance(value, list):
            draft.note(key, f"expected one value; several go under `grid: {{{key}: {quoted(value)}}}`")
    seeds = {key: found.pop(key) for key in ("seed",) if key in found}
    return {**found, **seeds}


def _find_cells(base: Mapping[str, Any], axes: Mapping[str, list[Any]], draft: _Draft, runs: Path) -> None:
    places = [("cell", base["cell"])] if "cell" in base else []
    places += [(f"grid.cell[{place}]", each) for place, each in enumerate(axes.get("cell", []))]
    if not places and not any(problem.path.startswith("grid.cell") for problem in draft.problems):
        draft.note(
            "cell", "is missing: a cell's name, a file, a text or a sweep's folder (`raynas ls cells`)"
        )
    for path, given in places:
        if not isinstance(given, str):
            if not isinstance(given, list):
                draft.note(path, f"expected a cell's name, a file or a text; got {quoted(given)}")
            continue
        try:
            draft.cells[given] = cell_of(given, runs)
        except (RaynasError, OSError, ValueError) as error:
            draft.note(path, error)
    called = Counter(name for name, _ in draft.cells.values())
    for path, given in places:
        if isinstance(given, str) and given in draft.cells and called[draft.cells[given][0]] > 1:
            draft.note(path, "is a cell that is named twice")


_Plan = tuple[TrainConfig, dict[str, Any], dict[str, str]]
"""A training, the values of the axes that it has, and where its leaves stand in the file."""


def _plans(shell: TrainFile, axes: Mapping[str, list[Any]], recipe: Recipe, draft: _Draft) -> list[_Plan]:
    found = []
    base = {
        leaf: item
        for key, value in shell.base.items()
        for leaf, item in leaves_of(key, value, _GROUPS).items()
    }
    for picks in product(*(enumerate(values) for values in axes.values())):
        leaves, paths = dict(base), dict(zip(base, base, strict=True))
        chosen = {}
        for key, (place, value) in zip(axes, picks, strict=True):
            chosen[key] = value
            for leaf, item in leaves_of(key, value, _GROUPS).items():
                leaves[leaf], paths[leaf] = item, f"grid.{key}[{place}]"
        if shell.resources.gpu > 1:
            leaves.setdefault("devices", int(shell.resources.gpu))
        given = leaves.pop("cell", None)
        if not isinstance(given, str) or given not in draft.cells:
            given = ""
        name = draft.cells[given][0] if given else "any"
        if not isinstance(leaves.get("data", {}), dict):
            draft.note(
                paths["data"], f"expected a data set's name or a mapping; got {quoted(leaves['data'])}"
            )
            continue
        if (config := _config(recipe, name, leaves, paths, draft)) is None:
            continue
        own = config.plain()
        for leaf, value in leaves.items():
            group, _, sub = leaf.rpartition(".")
            if why := implausible(value, (own[group] or {}).get(sub) if group else own.get(sub)):
                draft.note(paths[leaf], why)
        found.append((config, chosen, paths))
    return found


def _config(
    recipe: Recipe, cell: str, leaves: Mapping[str, Any], paths: Mapping[str, str], draft: _Draft
) -> TrainConfig | None:
    """Return a training, without the values that are wrong, which are noted; None where nothing is left."""
    try:
        return recipe.config(cell, **_portable(nest(leaves)))
    except ValidationError as error:
        problems = explain(error, TrainConfig, TRAININGS.strange)
    for problem in problems:
        draft.note(paths.get(problem.path, problem.path or "train"), problem.message)
    wrong = {problem.path for problem in problems}
    rest = {leaf: value for leaf, value in leaves.items() if leaf not in wrong}
    return _config(recipe, cell, rest, paths, draft) if len(rest) < len(leaves) else None


def _portable(values: dict[str, Any]) -> dict[str, Any]:
    """Return values whose path of data is meant from the folder that the command was given in."""
    data = values.get("data")
    path = data.get("path") if isinstance(data, dict) else None
    if isinstance(path, str) and "://" not in path and not path.startswith("~"):
        return {**values, "data": {**values["data"], "path": str(Path(path).absolute())}}
    return values


def _portable_recipe(name: str) -> str:
    """Return a name on the shelf as it is, and the absolute path of a file."""
    return name if name in names("recipes") else str(locate("recipes", name).absolute())


def _check(config: TrainConfig, paths: Mapping[str, str], gpu: float, draft: _Draft) -> None:
    """Check what a training is to read and to run on, and whether the cell's network can be built for it."""
    cells = dict(draft.cells.values())
    problems = [*data_problems(config), *device_problems(config.plain(), gpu)]
    if config.cell in cells:
        called = quoted(cell_label(config.cell))
        problems += [*network_problems(config, cells[config.cell], called)]
        problems += kind_problems(config, cells[config.cell], called)
    for problem in problems:
        at = next((key for key in (problem.path, problem.path.partition(".")[0]) if key in paths), None)
        # What the file does not say is the recipe's.
        known = at or problem.path == "train" or problem.path.startswith("data.")
        own = "" if known else f" (of the recipe {config.recipe})"
        draft.note(paths[at] if at else problem.path, f"{problem.message}{own}")


def _check_devices(devices: int, resources: Resources, paths: Mapping[str, str], draft: _Draft) -> None:
    """Check that a training over several devices gets them, whole and for itself."""
    gpu, at = resources.gpu, paths.get("devices", "devices")
    if gpu and devices != max(gpu, 1):
        draft.note(
            at, f"{devices} devices need resources.gpu: {devices}, whole GPUs of one node; got {gpu:g}"
        )
    if devices > 1 and resources.pack not in ("auto", 1):
        draft.note("resources.pack", f"a training over {devices} devices is in no pack; got {resources.pack}")


def _laid_out(
    shell: TrainFile, axes: Mapping[str, list[Any]], plans: Sequence[_Plan], draft: _Draft, command: str
) -> Sweep[TrainConfig]:
    varied = {key for key, values in axes.items() if len(values) > 1}
    labels = []
    for config, chosen, _ in plans:
        parts = [axis_label(key, chosen[key]) for key in chosen if key in varied - {"cell", "seed"}]
        labels.append("-".join([axis_label("", cell_label(config.cell)), *parts])[:120])
    hashes = [short_hash(config.model_dump(mode="json", exclude={"seed"})) for config, *_ in plans]
    clashes = Counter(label for label, _ in set(zip(labels, hashes, strict=True)))
    unique = [
        f"{label}-{digest}" if clashes[label] > 1 else label
        for label, digest in zip(labels, hashes, strict=True)
    ]
    trials = tuple(
        Trial(
            trial_id(name, config.seed),
            config,
            {key: config.cell if key == "cell" else value for key, value in chosen.items() if key in varied},
        )
        for name, (config, chosen, _) in zip(unique, plans, strict=True)
    )
    called = {given: name for given, (name, _) in draft.cells.items()}
    echo: dict[str, Any] = {
        "name": shell.name,
        "train": _portable_recipe(shell.train),
        **{key: called.get(value, value) if key == "cell" else value for key, value in shell.base.items()},
        "grid": {
            key: [called.get(v, v) for v in values] if key == "cell" else values
            for key, values in axes.items()
        },
        "resources": shell.resources.model_dump(mode="json"),
        "track": shell.track.model_dump(mode="json"),
    }
    return Sweep(
        name=shell.name,
        trials=trials,
        strategy="grid",
        samples=None,
        sample={},
        resources=shell.resources,
        select=Select(),
        track=shell.track,
        resolved=json.loads(json.dumps({key: value for key, value in echo.items() if value != {}})),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        versions=versions(),
        git=git_state(),
        kind="train",
        cells=dict(draft.cells.values()),
    )
