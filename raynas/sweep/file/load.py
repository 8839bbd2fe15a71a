"""Reading a sweep file: overridden from the command line, checked all at once, resolved to trials."""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raynas.config import DataConfig
from raynas.data.catalogue import check_data
from raynas.errors import MOST_PROBLEMS, FileProblems, Problem, RaynasError, short
from raynas.spaces import skeletons
from raynas.spaces.library import explain, load_space, read_yaml
from raynas.sweep.file.axes import Draft, read_draft, same, too_many
from raynas.sweep.file.check import check_benchmark, check_meaning, check_sections, objective_problems
from raynas.sweep.file.keys import SEARCH_KEYS, SWEEP_KEYS, apply_overrides, nest
from raynas.sweep.file.resolve import resolve_sweep
from raynas.sweep.file.shell import SweepConfig
from raynas.sweep.file.trainable import data_problems, network_problems, some_cell, trained_data
from raynas.sweep.file.training import SECTIONS, resolve_training
from raynas.sweep.file.words import SEARCHES, unknown_key
from raynas.sweep.plan import Sweep
from raynas.sweep.select import NO_BENCHMARK, UNMEASURED, UNSELECTED
from raynas.sweep.where import Where
from raynas.train.recipe import load_recipe


def load_sweep(path: Path, overrides: Sequence[str] = (), *, command: str | None = None) -> Sweep:
    """Read a sweep file, apply ``key.sub=value`` overrides, check everything and resolve it to trials.

    ``command`` is recorded as what was typed. Raises `FileProblems` with every mistake at once.
    """
    raw = read_yaml(path)
    if _of_trainings(raw):
        raise RaynasError(
            f"{path} trains given cells; this is for files of searches",
            next_step=f"raynas sweep {path}",
        )
    data, problems = apply_overrides(raw, overrides)
    config, wrong = _read(data, path.stem)
    problems += wrong
    if wrong := too_many(config.grid, config.zip, config.samples):
        raise FileProblems(str(path), [*problems, *wrong])
    draft, wrong = read_draft(config.base, config.grid, config.zip, config.ranges)
    problems += wrong
    problems += [*check_sections(config, draft), *check_meaning(draft)]
    problems += check_benchmark(config.benchmark, draft) if config.benchmark else []
    problems += _training_problems("retrain", config.retrain.recipe, draft) if config.retrain else []
    problems += _rule_problems(config, draft, benchmark="benchmark" in data)
    problems += objective_problems(config, draft)
    problems += _budget_problems(config.select.where, draft) if config.select.where else []
    if not any("space" in place for place in (config.base, config.grid, config.zip)):
        problems.append(Problem("space", "is missing: a search space's name (`raynas ls spaces`) or a file"))
    if problems:
        raise FileProblems(str(path), problems)
    return resolve_sweep(config, draft, command or shlex.join(["raynas", "sweep", str(path), *overrides]))


def load_any(path: Path, overrides: Sequence[str] = (), *, command: str | None = None) -> Sweep[Any]:
    """Read a file of searches, as `load_sweep`, or of trainings, which has a key ``train``."""
    raw = read_yaml(path)
    if not _of_trainings(raw):
        return load_sweep(path, overrides, command=command)
    data, problems = apply_overrides(raw, overrides, SECTIONS)
    command = command or shlex.join(["raynas", "sweep", str(path), *overrides])
    return resolve_training(data, str(path), problems, command=command)


def _rule_problems(config: SweepConfig, draft: Draft, *, benchmark: bool) -> list[Problem]:
    """Find rules of `select.by` with nothing to choose by; ``benchmark``: whether a table is named."""
    settings = [setting.leaves for setting in draft.settings]
    lacking = {
        "table": NO_BENCHMARK if config.benchmark is None and not benchmark else "",
        "eig_max": UNMEASURED if not all(leaves["hessian.every"] for leaves in settings) else "",
        "select_loss": UNSELECTED if not all(leaves.get("data.select") for leaves in settings) else "",
    }
    found = [Problem("select.by", why) for rule in config.select.rules if (why := lacking.get(rule))]
    if "short_training" not in config.select.rules:
        unused = [key for key in ("recipe", "epochs") if getattr(config.select, key) is not None]
        return found + [
            Problem(f"select.{key}", "is for by: short_training, which is not asked for") for key in unused
        ]
    if config.strategy == "optuna" and config.select.rule == "short_training":
        found.append(
            Problem("select.by", "optuna must know a value when a search ends; put short_training second")
        )
    if len({same(nest(leaves).get("data", {})) for leaves in settings}) > 1:
        found.append(
            Problem("select.by", "short_training compares cells on one data set; these searches have several")
        )
    return found + _training_problems("select", config.select.recipe or "quick", draft)


def _training_problems(key: str, name: str, draft: Draft) -> list[Problem]:
    """Find what would keep cells from being trained by a recipe, for a cell that each space may come to."""
    try:
        recipe = load_recipe(name)
    except RaynasError as error:
        return [Problem(f"{key}.recipe", str(error))]
    found: dict[Problem, None] = {}
    wanted = {same(nest(setting.leaves).get("data", {})): setting.leaves for setting in draft.settings}
    spaces = dict.fromkeys(str(s.leaves["space"]) for s in draft.settings if "space" in s.leaves)
    for leaves in wanted.values():
        try:
            data = trained_data(DataConfig.model_validate(nest(leaves)["data"]))
            config = recipe.config("any", data=data)
            loaded = [load_space(name) for name in spaces]
        except (LookupError, ValueError, RaynasError):
            continue  # told by the checks of the data and of the spaces themselves
        for space in loaded:
            if skeletons.of(space).texts:
                found[Problem(key, f"cells of {space.name} read texts; a training needs images")] = None
            elif check_data(config.data) == [] and (cell := some_cell(space)) is not None:
                wrong = [*data_problems(config), *network_problems(config, cell, f"a cell of {space.name}")]
                for each in wrong:
                    message = f"{each.path} of {name}: {each.message}"
                    found[Problem(f"{key}.recipe", message)] = None
    return list(found)


def _budget_problems(where: Where, draft: Draft) -> list[Problem]:
    """Find what would keep the networks of a budget from being counted."""
    if where.recipe is None:
        return []
    try:
        load_recipe(where.recipe)
    except RaynasError as error:
        return [Problem("select.where.recipe", str(error))]
    for name in dict.fromkeys(str(s.leaves["space"]) for s in draft.settings if "space" in s.leaves):
        with suppress(RaynasError):  # told by the check of the space itself
            if skeletons.of(load_space(name)).texts:
                message = f"cells of {name} read texts, and recipes are for images: leave it out"
                return [Problem("select.where.recipe", message)]
    return []


def _of_trainings(raw: Mapping[str, Any]) -> bool:
    return "train" in raw


def _read(data: Mapping[str, Any], stem: str) -> tuple[SweepConfig, list[Problem]]:
    """Check the shell of the file; a part that is wrong is reported and left at its default."""
    known = (*SWEEP_KEYS, *SEARCH_KEYS)
    strange = [key for key in data if key not in known]
    problems = [unknown_key(key, known, short(str(key)), data[key]) for key in strange[:MOST_PROBLEMS]]
    if more := strange[MOST_PROBLEMS:]:
        problems.append(Problem("", f"and {len(more)} more unknown keys"))
    shell: dict[str, Any] = {"name": stem, "base": {key: data[key] for key in data if key in SEARCH_KEYS}}
    for key in SWEEP_KEYS:
        if key in data and not (key in ("grid", "zip", "sample") and data[key] is None):
            shell[key] = data[key]
    try:
        return SweepConfig.model_validate(shell), problems
    except ValidationError as error:
        problems += explain(error, SweepConfig, SEARCHES.strange)
        wrong = {detail["loc"][0] for detail in error.errors()}
        right = {key: value for key, value in shell.items() if key not in wrong}
        return SweepConfig.model_validate({"name": "unnamed", **right}), problems
