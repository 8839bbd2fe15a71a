"""Checks of a sweep file that go beyond types: do the names exist, do the numbers fit together."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

from raynas.config import LANE_FIELDS, DataConfig
from raynas.errors import MOST_PROBLEMS, Problem, RaynasError, nearest, quoted
from raynas.spaces import skeletons
from raynas.spaces.draw import draw_cells
from raynas.spaces.library import load_space
from raynas.spaces.outside import offered
from raynas.sweep.file.axes import Combination, Draft, paired_draws, same
from raynas.sweep.file.keys import nest
from raynas.sweep.file.shell import OBJECTIVES_KEY, SweepConfig
from raynas.sweep.file.uri import resolve_uri, without_passwords
from raynas.sweep.file.words import unknown_key
from raynas.sweep.sections import TRACKERS_GROUP, Benchmark, Criterion, Track
from raynas.sweep.select import NO_BENCHMARK, UNMEASURED, UNSELECTED
from raynas.sweep.where import COSTS
from raynas.tables.open import open_table
from raynas.tables.table import column_of, without_table, without_times

Check = Callable[[dict[str, Any]], Iterator[Problem]]


def check_sections(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Check what a sweep adds to its searches: strategy, tracker, packs, and what it asks of the device."""
    return [
        *_strategy_problems(config, draft),
        *track_problems(config.track),
        *_pack_problems(config, draft),
        *_judge_problems(config, draft),
        *_device_problems(config, draft),
    ]


def check_meaning(draft: Draft) -> list[Problem]:
    """Check every combination of a draft; a mistake is told once, at the value it comes from."""
    extremes = {"epochs": min, "warmup": max, "cells": min}
    sampled = {
        key: extremes[key](d.values) if key in extremes else d.values[0] for key, d in draft.sample.items()
    }
    problems: dict[Problem, None] = dict.fromkeys(_same_searches(draft))
    seen: set[str] = set()
    for setting in draft.settings:
        leaves = setting.leaves | sampled
        for check, keys in _CHECKS.items():
            subject = {leaf: leaves[leaf] for leaf in leaves if leaf in keys or leaf.split(".")[0] in keys}
            paths = {leaf: setting.paths.get(leaf, leaf) for leaf in subject}
            if len(problems) >= MOST_PROBLEMS:
                return list(problems)
            if (mark := repr((subject, paths))) not in seen:
                seen.add(mark)
                for problem in check(subject):
                    problems[Problem(paths.get(problem.path, problem.path), problem.message)] = None
    return list(problems)


def check_benchmark(benchmark: Benchmark, draft: Draft) -> list[Problem]:
    """Check that the table is there and has the data set, and that it can hold every space's cells."""
    try:
        table = open_table(Path(benchmark.table))
    except RaynasError as error:
        return [Problem("benchmark.table", str(error))]
    problems: dict[Problem, None] = {}
    try:
        column_of(table.columns, benchmark.data)
    except RaynasError as error:
        problems[Problem("benchmark.data", str(error))] = None
    for name in {setting.leaves["space"] for setting in draft.settings if "space" in setting.leaves}:
        try:
            reason = table.misfit(load_space(name))
        except RaynasError:
            continue  # reported, once, by the check of the space itself
        if reason is not None:
            problems[Problem("benchmark.table", reason)] = None
    return list(problems)


def _same_searches(draft: Draft) -> Iterator[Problem]:
    """Find combinations that differ on paper only, as `digits` and `{name: digits}` do."""
    first: dict[str, Combination] = {}
    for setting in draft.settings:
        other = first.setdefault(same(setting.leaves), setting)
        if other is not setting:
            different = [key for key, value in setting.axes.items() if value != other.axes[key]]
            if not different:
                yield Problem("zip", f"the same values twice: {setting.axes or 'all'}")
                continue
            key = different[0]
            section = "zip" if any(axis.key == key for axis in draft.zip) else "grid"
            values = f"{other.axes[key]!r} and {setting.axes[key]!r}"
            yield Problem(f"{section}.{key}", f"{values} are the same search")


def _space(leaves: dict[str, Any]) -> Iterator[Problem]:
    if "space" in leaves:
        try:
            load_space(leaves["space"])
        except RaynasError as error:
            yield Problem("space", str(error))


def _cells(leaves: dict[str, Any]) -> Iterator[Problem]:
    if leaves.get("cells") is None:
        return
    try:
        space = load_space(leaves["space"])
    except (KeyError, RaynasError):
        return  # reported, once, by the check of the space itself
    skeleton = skeletons.of(space)
    if skeleton.has_trunk and leaves["cells"] != space.nodes:
        yield Problem("cells", f"{space.name} has {space.nodes} {skeleton.counts}; got {leaves['cells']}")
    if wrong := skeleton.wrong_cells(leaves["cells"]):
        yield Problem("cells", f"{wrong}; got {leaves['cells']}; leave it out for the usual depth")


def _method(leaves: dict[str, Any]) -> Iterator[Problem]:
    from raynas.methods import reasons, resolve  # brings torch
    from raynas.methods.build import check_own, own_parts
    from raynas.spaces.here import looks_only

    try:
        own = list(own_parts(leaves["method"])) if looks_only() else []
        for name in own:
            check_own(name)
        method = resolve(leaves["method"])
    except RaynasError as error:
        yield Problem("method", str(error))
        return
    try:
        space = load_space(leaves["space"])
    except (RaynasError, KeyError):
        space = None  # reported by its own check
    if own:
        return  # what it fits is known once it is imported
    for reason in reasons(method, space, leaves):
        yield Problem("method", reason)


def _epochs(leaves: dict[str, Any]) -> Iterator[Problem]:
    epochs, warmup = leaves["epochs"], leaves["warmup"]
    if warmup >= epochs:
        yield Problem("warmup", f"α is never trained: warmup is {warmup} of {epochs} epochs")


def _data(leaves: dict[str, Any]) -> Iterator[Problem]:
    from raynas.data.catalogue import check_data  # brings torch

    yield from check_data(DataConfig.model_validate(nest(leaves)["data"]))


def _reads(leaves: dict[str, Any]) -> Iterator[Problem]:
    """Check that the space's cells read what the data hold."""
    from raynas.data.catalogue import DATA_SETS, is_text
    from raynas.data.functions import is_function

    try:
        space = load_space(leaves["space"])
    except (RaynasError, KeyError):
        return  # reported, once, by the check of the space itself
    name = leaves["data.name"]
    if skeletons.of(space).texts and leaves["recompute"]:
        yield Problem("recompute", f"cells of {space.name} are not computed twice: set it to false")
    if skeletons.of(space).texts == is_text(name) or (name not in DATA_SETS and not is_function(name)):
        return
    fitting = ", ".join(entry.name for entry in DATA_SETS.values() if entry.text == skeletons.of(space).texts)
    reads, holds = ("texts", "images") if skeletons.of(space).texts else ("images", "a text")
    yield Problem(
        "data.name", f"cells of {space.name} read {reads}, and {name} holds {holds}; {reads}: {fitting}"
    )


_CHECKS: dict[Check, tuple[str, ...]] = {
    _space: ("space",),
    _cells: ("space", "cells"),
    _method: ("method", "space", "channels", "cells", "epochs", "warmup", "hessian.every"),
    _epochs: ("epochs", "warmup"),
    _data: ("data",),
    _reads: ("space", "data.name", "recompute"),
}


def _strategy_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    if config.strategy == "grid":
        message = "only strategy random-paired or optuna draws samples"
        given = {"sample": config.ranges, "samples": config.samples}
        return [Problem(key, message) for key, value in given.items() if value]
    problems = []
    if not config.ranges:
        problems.append(
            Problem("sample", f"strategy {config.strategy} needs `sample`, the ranges to draw from")
        )
    if config.samples is None:
        problems.append(Problem("samples", f"strategy {config.strategy} needs `samples`, how many to draw"))
    elif config.strategy == "random-paired" and draft.sample:
        count = len(paired_draws(draft.sample, config.samples))
        if count < config.samples:
            message = f"only {count} different points were found in `sample`; got {config.samples}"
            problems.append(Problem("samples", message))
    return problems


def objective_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Find what is wrong with `sample.objectives`: names, how many, and what they need."""
    path = f"sample.{OBJECTIVES_KEY}"
    if OBJECTIVES_KEY not in config.sample:
        return []
    if config.strategy != "optuna":
        return [Problem(path, "only strategy optuna lowers objectives")]
    wanted, known = config.sample[OBJECTIVES_KEY], (*get_args(Criterion), *COSTS)
    if not isinstance(wanted, list) or len(wanted) < 2:
        message = f"expected a list of two or more of {', '.join(known)}; got {quoted(wanted)}"
        return [Problem(path, f"{message}; one alone is `select: {{by: …}}`")]
    problems = []
    for place, name in enumerate(wanted):
        if name not in known:
            near = nearest(name, known)
            what = f"nearest: {near}" if near else f"known: {', '.join(known)}"
            problems.append(Problem(f"{path}[{place}]", f"unknown objective {quoted(name)}; {what}"))
        elif name in wanted[:place]:
            problems.append(Problem(f"{path}[{place}]", f"{name} is listed twice"))
    if "table" in wanted and config.benchmark is None:
        problems.append(Problem(path, NO_BENCHMARK))
    if "eig_max" in wanted and any(not each.leaves["hessian.every"] for each in draft.settings):
        problems.append(Problem(path, UNMEASURED))
    if "short_training" in wanted:
        message = "optuna must know a value when a search ends; short trainings come later"
        problems.append(Problem(path, message))
    if "select_loss" in wanted and not all(each.leaves.get("data.select") for each in draft.settings):
        problems.append(Problem(path, UNSELECTED))
    return problems


def _pack_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Find a wish for packs that no two searches can share."""
    if config.resources.pack in (1, "auto") or draft.size * (config.samples or 1) == 1:
        return []
    shapes = Counter(
        same({leaf: value for leaf, value in setting.leaves.items() if leaf not in LANE_FIELDS})
        for setting in draft.settings
    )
    seeds = len(draft.seeds.entries) if draft.seeds else 1
    samples = (config.samples or 1) if set(draft.sample) <= LANE_FIELDS else 1
    if not shapes or max(shapes.values()) * seeds * samples > 1:
        return []
    varied = [axis.key for axis in (*draft.grid, *draft.zip)] + list(draft.sample)
    shaping = ", ".join(key for key in varied if key not in LANE_FIELDS)
    return [
        Problem(
            "resources.pack",
            f"no two searches can share a pack, for each differs in {shaping}; those of a pack may differ "
            f"in {', '.join(sorted(LANE_FIELDS))}",
        )
    ]


def _device_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Find options that the device cannot do, as far as this machine can tell."""
    entries = [*draft.base, *(entry for axis in (*draft.grid, *draft.zip) for entry in axis.entries)]
    wishes = [
        (entry.path, wish)
        for entry in entries
        for wish in ("precision", "compile")
        if entry.leaves.get(wish) in ("bfloat16", True)
    ]
    if not wishes:
        return []
    from raynas.search.abilities import lacks_bfloat16, lacks_compiler  # brings torch

    lacks = {"precision": lacks_bfloat16, "compile": lacks_compiler}
    kind = "cuda" if config.resources.gpu else "cpu"
    found = ((path, lacks[wish](kind)) for path, wish in wishes)
    return [Problem(path, reason) for path, reason in found if reason]


def _judge_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Find proposals without a table that judges them, or with one that lacks what they need."""
    problems: dict[Problem, None] = {}
    trains = False
    for setting in draft.settings:
        if "method" not in setting.leaves:
            continue
        from raynas.methods import resolve  # brings torch

        try:
            proposals = resolve(setting.leaves["method"]).proposals
        except RaynasError:
            trains = True  # as far as is known
            continue  # reported, once, by the check of the method itself
        if proposals is None:
            trains = True
            continue
        path = setting.paths.get("method", "method")
        if config.benchmark is None:
            problems[Problem(path, str(without_table(setting.leaves["method"])))] = None
        elif proposals.seconds is not None and (why := _no_times(config.benchmark, setting.leaves)):
            problems[Problem(path, why)] = None
    for rule in ("discrete_loss", "select_loss", "eig_max"):
        if problems or trains or rule not in config.select.rules or not draft.settings:
            continue
        why = f"{rule} ranks no method here, for they train nothing: valid_loss (the table's error) or table"
        problems[Problem("select.by", why)] = None
    return list(problems)


def _no_times(benchmark: Benchmark, leaves: dict[str, Any]) -> str:
    """Say that a table lacks the times of its trainings, by one of its cells; empty where it has them."""
    try:
        judge = benchmark.open().judge()
        [cell] = draw_cells(load_space(leaves["space"]), 1, "times")
        return "" if judge.seconds(cell) is not None else str(without_times(judge.table.name))
    except (RaynasError, KeyError):
        return ""  # reported, once, by the checks of table and space


def track_problems(track: Track) -> list[Problem]:
    """Find trackers that nobody offers, and settings that cannot be meant."""
    problems = []
    for name, setting in track.model_dump().items():
        if name != "mlflow" and name not in offered(TRACKERS_GROUP):
            problems.append(unknown_key(name, ("mlflow", *offered(TRACKERS_GROUP)), f"track.{name}"))
        elif setting is not None and (why := _unfit(name, setting)):
            problems.append(Problem(f"track.{name}", why))
    return problems


def _unfit(tracker: str, setting: Any) -> str | None:
    """Say why a tracker's setting is wrong, as far as that is known without the tracker."""
    if tracker == "mlflow":
        try:
            resolve_uri(setting)
        except RaynasError as error:
            return str(error)
    elif without_passwords(text := json.dumps(setting)) != text:
        return "holds a password, which the sweep's folder would show; let the tracker find it elsewhere"
    return None
