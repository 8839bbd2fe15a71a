"""What `raynas show` says of each kind of thing: its facts as plain data, and how they are printed."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raynas.cli.measured import measured_each, measured_step, measured_text
from raynas.cli.output import say, show_table, table
from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.spaces.space import Space

_IMAGES: tuple[tuple[int, ...], int, str] = (3, 32, 32), 10, "32×32 colour images, 10 classes"
_WORDS: tuple[tuple[int, ...], int, str] = (), 10_000, "a vocabulary of 10,000 words"
"""The shape of an example, the number of classes, and a description of what spaces are sized on."""


MOST_BITS = 10_000
"""Of a count that is written out; Python itself refuses to write more than 4,300 digits."""


def usual_data(space: "Space") -> tuple[tuple[int, ...], int, str]:
    """Return shape, classes and a description of the data that a space's sizes are given for."""
    from raynas.spaces import skeletons

    return _WORDS if skeletons.of(space).texts else _IMAGES


def space(name: str, measure: bool = False) -> dict[str, Any]:
    """Return a space's cells, size, and the parameters of its default supernet on colour images or words.

    With ``measure`` one search step of DARTS at its default batch is timed as well.
    """
    import torch

    from raynas.config import SearchConfig
    from raynas.methods import with_defaults
    from raynas.nets.supernet import Supernet
    from raynas.nets.supernets.recurrent import RecurrentSupernet
    from raynas.spaces import library, skeletons

    path = library.locate("search_spaces", name)
    found = library.load_space(str(path))
    seed = torch.Generator().manual_seed(0)
    shape, classes, sized_on = usual_data(found)
    build = RecurrentSupernet if skeletons.of(found).texts else Supernet
    supernet = build(found, shape, classes, found.default_channels, found.default_cells, [seed])
    config = with_defaults(SearchConfig(space=str(path)))
    return {
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "file": str(path),
        "fingerprint": skeletons.fingerprint(found),
        "nodes": found.nodes,
        "keep": found.keep,
        "skeleton": found.skeleton,
        "exclude": list(found.exclude),
        "cells": {
            cell.kind: {f"{edge.source}->{edge.target}": list(edge.ops) for edge in cell.edges}
            for cell in found.cells
        },
        "architectures": _exact(skeletons.of(found).architectures(found)),
        "default_channels": found.default_channels,
        "default_cells": found.default_cells,
        "cells_are": skeletons.of(found).counts,
        "parameters": sum(each.numel() for each in supernet.parameters()),
        "sized_on": sized_on,
        "defaults": dict(found.defaults),
        "measured": measured_step(config, found, shape, classes) if measure else None,
        "yaml": path.read_text(encoding="utf-8"),
    }


def print_space(facts: Mapping[str, Any]) -> None:
    """Print a space: facts, the operations on its edges, the YAML."""
    shown = {
        "source": facts["source"],
        "file": facts["file"],
        "nodes": f"{facts['nodes']}, {_keeping(facts['keep'])}{_never(facts['exclude'])}",
        "architectures": _about(facts["architectures"]),
        "supernet": f"{facts['default_cells']} {facts['cells_are']}, {facts['default_channels']} channels: "
        f"{facts['parameters']:,} parameters on {facts['sized_on']}",
        "defaults": ", ".join(f"{key}={value}" for key, value in facts["defaults"].items()),
        **measured_text(facts["measured"]),
    }
    print_fields({"name": f"{facts['name']}: {facts['title']}", **shown})
    for kind, every in facts["cells"].items():
        say()
        # Edges into an output that chooses what it reads hold no operation.
        edges = {edge: ops for edge, ops in every.items() if ops != ["identity"]}
        if len({tuple(ops) for ops in edges.values()}) == 1:
            say(f"{kind} cell, on each of {len(edges)} edges: {', '.join(next(iter(edges.values())))}")
            continue
        say(f"{kind} cell:")
        lines = _lines(edges)
        width = max(map(len, lines)) + 2
        for edge, ops in lines.items():
            say(f"  {edge:<{width}}{', '.join(ops)}")
    say()
    say(facts["yaml"].rstrip())


def _lines(edges: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Join a node's edges, as ``0…4->5``, where it reads a run of states through the same operation alone."""
    runs: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for edge, ops in edges.items():
        source, target = edge.split("->")
        runs.setdefault((target, tuple(ops)), []).append(source)
    joined: dict[str, Sequence[str]] = {}
    for (target, ops), sources in runs.items():
        if len(ops) == 1 and len(sources) > 1 and int(sources[-1]) - int(sources[0]) == len(sources) - 1:
            joined[f"{sources[0]}…{sources[-1]}->{target}"] = ops
        else:
            joined |= {f"{source}->{target}": ops for source in sources}
    return joined


def _exact(count: int) -> int | float:
    """Return a count, or infinity for one that nobody could write out."""
    return count if count.bit_length() < MOST_BITS else float("inf")


def _about(count: int | float) -> str:
    """Write a count of architectures with all its digits, and to two of them."""
    if isinstance(count, float):
        return f"more than 2^{MOST_BITS}"
    # Above 1e308 no float can hold it.
    return f"{count:,} ({count:.1e})" if count.bit_length() < 1000 else f"about 10^{math.log10(count):.0f}"


def _keeping(keep: int | str | Sequence[int]) -> str:
    if isinstance(keep, int | str):
        return f"each keeping {keep} edges"
    return f"keeping {', '.join(map(str, keep))} edges"


def _never(exclude: Sequence[str]) -> str:
    return f"; never {', '.join(exclude)}" if exclude else ""


def method(name: str) -> dict[str, Any]:
    """Return a method's title, source, and parts with their settings."""
    from raynas import methods

    return methods.describe(name)


def print_method(facts: Mapping[str, Any]) -> None:
    """Print a method: one line a part."""
    flat = {"name": f"{facts['name']}: {facts['title']}"}
    apart = {"name", "title", "parts", "nesterov", "on"}
    flat |= {key: value for key, value in facts.items() if key not in apart}
    flat["nesterov"] = "yes" if facts.get("nesterov") else ""
    flat["defaults"] = _values_text(facts.get("defaults", {}))
    flat |= {slot: _part_text(part) for slot, part in facts.get("parts", {}).items()}
    flat |= {f"on {place}": _changes_text(changes) for place, changes in facts.get("on", {}).items()}
    print_fields(flat)


def part(name: str) -> dict[str, Any]:
    """Return the words, slots and settings of every part of a name, and the methods that use it."""
    from raynas.methods.about import known_parts, part_facts

    return {"parts": [part_facts(name, kind) for kind in known_parts()[name]]}


def print_part(facts: Mapping[str, Any]) -> None:
    """Print a part: where it stands, its docstring, its settings, who uses it."""
    for place, each in enumerate(facts["parts"]):
        if place:
            say()
        print_fields({"name": each["name"], "slot": each["slots"]})
        say()
        say(each["about"].replace("``", "`"))
        say()
        if each["settings"]:
            shown = table("setting", "default", "takes")
            for setting in each["settings"]:
                default = setting["default"]
                text = _part_text(default) if isinstance(default, str | dict) else json.dumps(default)
                shown.add_row(setting["name"], text, setting["takes"])
            show_table(shown)
            say()
        print_fields({"methods": each["methods"] or "none", "class": each["class"]})


def _values_text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def _changes_text(changes: Mapping[str, Any]) -> str:
    """Write what a method does differently on a space: its parts, then its defaults."""
    parts = {slot: part for slot, part in changes.items() if slot != "defaults"}
    texts = [f"{slot}: {_part_text(part) or 'nothing'}" for slot, part in parts.items()]
    return "; ".join([*texts, _values_text(changes.get("defaults", {}))])


def _part_text(part: Any) -> str:
    """Write a part as `use(setting=value, …)`, parts within parts alike; empty settings are left out."""
    if isinstance(part, list | tuple):
        return ", ".join(map(_part_text, part))
    if not isinstance(part, Mapping):
        return str(part)
    settings = {key: value for key, value in part.items() if key != "use" and value not in (None, [])}
    inner = ", ".join(f"{key}={_part_text(value)}" for key, value in settings.items())
    return f"{part['use']}({inner})" if inner else str(part["use"])


def operation(name: str) -> dict[str, Any]:
    """Return an operation's facts and the spaces that use it."""
    from raynas.errors import RaynasError
    from raynas.spaces import library
    from raynas.spaces.operations import OPERATIONS

    users = []
    for space_name, path in library.names("search_spaces").items():
        try:
            found = library.load_space(str(path))
        except RaynasError:
            # A broken file of the user's is the business of `raynas check`.
            continue
        if any(name in edge.ops for cell in found.cells for edge in cell.edges):
            users.append(space_name)
    op = OPERATIONS[name]
    return {
        "name": op.name,
        "title": op.title,
        "family": op.family,
        "kernel": op.kernel,
        "dilation": op.dilation,
        "ratio": op.ratio if op.ratio > 1 else None,
        "spaces": sorted(users),
    }


def data_set(name: str) -> dict[str, Any]:
    """Return a data set's title, augmentation, and the files it needs."""
    from raynas.data.catalogue import DATA_SETS, titles

    if name not in DATA_SETS:
        return {"name": name, "title": titles()[name]}
    entry = DATA_SETS[name]
    return {
        "name": entry.name,
        "title": entry.title,
        "crop_pad": entry.recipe.pad,
        "flip": entry.recipe.flip,
        "files": list(entry.files),
        "mean": list(entry.mean),
        "std": list(entry.std),
    }


def trial_file(name: str, measure: bool = False, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the trials a file with overrides resolves to, and the file with all defaults written out.

    ``brought`` are the values in which its methods differ. With ``measure`` one step of each differently
    sized search is timed, on the file's own data.
    """
    from raynas.cli.training import trainings
    from raynas.cli.verbs.files import searches
    from raynas.spaces import library
    from raynas.sweep.file.load import load_any
    from raynas.sweep.file.resolve import brought_by_methods

    path = library.locate("trials", name)
    found = load_any(path, overrides)
    if found.kind == "train" and measure:
        raise RaynasError("only searches are measured", got=f"{name}, which trains cells")
    configs = [trial.config for trial in found.trials if trial.config is not None]
    return {
        "name": found.name,
        "file": str(path),
        "says": trainings(found) if found.kind == "train" else searches(found),
        "searches": len(found.trials),
        "strategy": found.strategy,
        "trials": [{"id": trial.id, "axes": trial.axes} for trial in found.trials],
        "measured": measured_each(configs) if measure else None,
        "resolved": found.resolved,
        "brought": brought_by_methods(found) if found.kind == "search" else {},
    }


def print_trial_file(facts: Mapping[str, Any]) -> None:
    """Print a trial file: its trials, measurements, the resolved YAML."""
    import yaml

    print_fields({"name": facts["name"], "file": facts["file"], "searches": facts["says"]})
    say()
    print_trials(facts["trials"])
    for each in facts["measured"] or ():
        say()
        print_fields({"supernet": f"{each['parameters']:,} parameters", **measured_text(each)})
    say()
    say("# the file, all defaults written out")
    plain = json.loads(json.dumps(facts["resolved"]))
    say(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).rstrip())
    for key, values in facts["brought"].items():
        said = "; ".join(f"{value} ({', '.join(whose)})" for value, whose in values.items())
        say(f"# {key}, of the methods: {said}")


def print_trials(trials: list[dict[str, Any]]) -> None:
    """Print one row per trial: its id and what varies."""
    axes = list(dict.fromkeys(key for trial in trials for key in trial["axes"]))
    shown = table("trial", *axes)
    for trial in trials:
        shown.add_row(trial["id"], *(str(trial["axes"].get(key, "")) for key in axes))
    show_table(shown)


def sweep_facts(name: str, runs: Path) -> dict[str, Any]:
    """Return how a sweep stands: the same as `raynas status`."""
    from raynas.cli.tables import standing
    from raynas.cli.training import train_standing
    from raynas.sweep.folder import find_sweep, trains

    folder = find_sweep(runs, name)
    return train_standing(folder) if trains(folder) else standing(folder)


def print_sweep(facts: Mapping[str, Any]) -> None:
    """Print how a sweep stands."""
    from raynas.cli.tables import print_standing
    from raynas.cli.training import print_train_standing

    if facts.get("kind") == "train":
        print_train_standing(facts)
    else:
        print_standing(facts)


def print_fields(facts: Mapping[str, Any]) -> None:
    """Print one ``name   value`` line a fact; facts that say nothing are left out."""
    shown = {key: value for key, value in facts.items() if value not in ("", [], None)}
    width = max(len(key) for key in shown) + 2
    for key, value in shown.items():
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        say(f"{key.replace('_', ' '):<{width}}{text}")
