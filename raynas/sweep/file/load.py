"""Reading a sweep file: overridden from the command line, checked all at once, resolved to trials."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raynas.config import LANE_FIELDS
from raynas.errors import MOST_PROBLEMS, FileProblems, Problem, RaynasError, short
from raynas.spaces.library import explain, read_yaml
from raynas.spaces.outside import offered
from raynas.sweep.file.check import check_benchmark, check_meaning
from raynas.sweep.file.config import SWEEP_KEYS, SweepConfig
from raynas.sweep.file.draft import Draft, read_draft, same, too_many
from raynas.sweep.file.keys import KEYS, unknown_key
from raynas.sweep.file.overrides import apply_overrides
from raynas.sweep.file.resolve import resolve
from raynas.sweep.file.sampling import paired_draws
from raynas.sweep.file.uri import resolve_uri, without_passwords
from raynas.sweep.plan import TRACKERS_GROUP, Sweep
from raynas.sweep.select import NO_BENCHMARK


def load_sweep(path: Path, overrides: Sequence[str] = (), *, command: str | None = None) -> Sweep:
    """Read a sweep file, apply ``key.sub=value`` overrides, check everything and resolve it to trials.

    ``command`` is recorded as what was typed. Raises `FileProblems` with every mistake at once.
    """
    data, problems = apply_overrides(read_yaml(path), overrides)
    config, wrong = _read(data, path.stem)
    problems += wrong
    if wrong := too_many(config.grid, config.zip, config.samples):
        raise FileProblems(str(path), [*problems, *wrong])
    draft, wrong = read_draft(config.base, config.grid, config.zip, config.sample)
    problems += wrong
    problems += [*_strategy_problems(config, draft), *_track_problems(config)]
    problems += [*_pack_problems(config, draft), *_device_problems(config, draft)]
    problems += check_meaning(draft)
    problems += check_benchmark(config.benchmark, draft) if config.benchmark else []
    if config.select.by == "table" and config.benchmark is None and "benchmark" not in data:
        problems.append(Problem("select.by", NO_BENCHMARK))
    if not any("space" in place for place in (config.base, config.grid, config.zip)):
        problems.append(Problem("space", "is missing: a search space's name (`raynas ls spaces`) or a file"))
    if problems:
        raise FileProblems(str(path), problems)
    return resolve(config, draft, command or shlex.join(["raynas", "sweep", str(path), *overrides]))


def _read(data: Mapping[str, Any], stem: str) -> tuple[SweepConfig, list[Problem]]:
    """Check the shell of the file; a part that is wrong is reported and left at its default."""
    known = (*SWEEP_KEYS, *KEYS)
    strange = [key for key in data if key not in known]
    problems = [unknown_key(key, known, short(str(key))) for key in strange[:MOST_PROBLEMS]]
    if more := strange[MOST_PROBLEMS:]:
        problems.append(Problem("", f"and {len(more)} more unknown keys"))
    shell: dict[str, Any] = {"name": stem, "base": {key: data[key] for key in data if key in KEYS}}
    for key in SWEEP_KEYS:
        if key in data and not (key in ("grid", "zip", "sample") and data[key] is None):
            shell[key] = data[key]
    try:
        return SweepConfig.model_validate(shell), problems
    except ValidationError as error:
        problems += explain(error, SweepConfig)
        wrong = {detail["loc"][0] for detail in error.errors()}
        right = {key: value for key, value in shell.items() if key not in wrong}
        return SweepConfig.model_validate({"name": "unnamed", **right}), problems


def _strategy_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    if config.strategy == "grid":
        message = "only strategy random-paired or optuna draws samples"
        return [Problem(key, message) for key in ("sample", "samples") if getattr(config, key)]
    problems = []
    if not config.sample:
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


def _pack_problems(config: SweepConfig, draft: Draft) -> list[Problem]:
    """Find a wish for packs that no two searches can share."""
    if config.resources.pack in (1, "auto") or draft.size * (config.samples or 1) == 1:
        return []
    shapes = Counter(
        same({leaf: value for leaf, value in setting.leaves.items() if leaf not in LANE_FIELDS})
        for setting in draft.settings()
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


def _track_problems(config: SweepConfig) -> list[Problem]:
    problems = []
    for name, setting in config.track.model_dump().items():
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
