"""`raynas show`: everything there is to know about one name, without running a search."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from raynas.cli import compare, complete, describe, published
from raynas.cli.compare import SIZE
from raynas.cli.options import DEFAULT_RUNS, AsCsv, AsJson, Overrides, Runs
from raynas.cli.output import next_step, print_csv, print_json, runs_option, say
from raynas.cli.verbs.files import find
from raynas.cli.verbs.ls import LISTINGS
from raynas.errors import RaynasError, unknown
from raynas.spaces.here import only_looking

ShownKind = Literal[
    "space", "method", "part", "op", "data", "cell", "recipe", "key", "schema", "trial", "sweep"
]

_LISTS: dict[ShownKind, str] = {
    "key": "keys",
    "space": "spaces",
    "method": "methods",
    "part": "parts",
    "op": "ops",
    "data": "data",
    "cell": "cells",
    "recipe": "recipes",
    "trial": "trials",
    "sweep": "sweeps",
}


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A name from `raynas ls`, or the path of a YAML file.", autocompletion=complete.ANYTHING
        ),
    ],
    overrides: Overrides = None,
    kind: Annotated[
        ShownKind | None, typer.Option("--kind", help="Which, where several things share the name.")
    ] = None,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Time one step and its peak memory (spaces, trial files); an epoch and its memory beside "
            "DARTS' (methods).",
        ),
    ] = False,
    space: Annotated[
        str | None, typer.Option("--space", help=f"Where a method is measured.  [default: {SIZE['space']}]")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", min=1, help=f"Of its first cell.  [default: {SIZE['channels']}]"),
    ] = None,
    cells: Annotated[
        int | None, typer.Option("--cells", min=1, help=f"In its supernet.  [default: {SIZE['cells']}]")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help=f"Images a step.  [default: {SIZE['batch']}]")
    ] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Show a space, method, part, operation, data set, cell, recipe, key, trial file or sweep.

    All that has the name is shown. `KEY=VALUE` changes a trial file; `schema` is that of trial files.

    Example: raynas show drnas, raynas show lr, raynas show quickstart epochs=20
    """
    found = _matches(name, kind, runs)
    _check_overrides(name, found, overrides)
    if as_csv:
        _print_trials(name, found, runs)
        return
    given = {"space": space, "channels": channels, "cells": cells, "batch": batch}
    size = {key: value for key, value in given.items() if value is not None}
    _check_measure(name, found, measure, size)
    changes = overrides or []
    with only_looking(not measure):
        data = {each: _data(each, target, measure, size, changes, runs) for each, target in found.items()}
    if as_json:
        print_json(data)
        return
    _print(name, data)
    _say_next(name, found, changes, runs)


def _say_next(name: str, found: Mapping[ShownKind, str], overrides: Sequence[str], runs: Path) -> None:
    first = next(iter(found))
    if len(found) > 1:
        next_step("show", name, "--kind", first)
    else:
        _next(first, found[first] if first == "key" else name, overrides, runs)


def _print(name: str, data: Mapping[ShownKind, dict[str, Any]]) -> None:
    for place, (each, facts) in enumerate(data.items()):
        if place:
            say()
        if len(data) > 1:
            say(f"the {each} {name}")
        _PRINTERS[each](facts)


def _check_overrides(name: str, found: Mapping[ShownKind, str], overrides: Sequence[str] | None) -> None:
    if overrides and "trial" not in found:
        raise RaynasError(
            "only trial files take key=value", got=f"{' '.join(overrides)}, of {name} ({', '.join(found)})"
        )


def _print_trials(name: str, found: Mapping[ShownKind, str], runs: Path) -> None:
    from raynas.report.results import Results
    from raynas.sweep.folder import find_sweep

    if "sweep" not in found:
        raise RaynasError("only a sweep has rows for --csv", got=f"{name} ({', '.join(found)})")
    print_csv(Results(find_sweep(runs, found["sweep"])).rows())


def _check_measure(
    name: str, found: Mapping[ShownKind, str], measure: bool, size: Mapping[str, object]
) -> None:
    if measure and not {"space", "trial", "method"} & set(found):
        raise RaynasError(
            "only spaces, methods and trial files can be measured", got=f"{name} ({', '.join(found)})"
        )
    if size and not (measure and "method" in found):
        raise RaynasError(
            f"{', '.join(f'--{key}' for key in size)}: how large a method is measured",
            got=f"{name} ({', '.join(found)}){'' if measure else ' without --measure'}",
            expected="a method and --measure",
            next_step="raynas show drnas --measure --space s2",
        )


def _matches(name: str, kind: ShownKind | None, runs: Path) -> dict[ShownKind, str]:
    """Return every kind of thing that ``name`` stands for, each with what its reader takes."""
    if (Path(name) / "sweep.json").is_file():
        return {"sweep": name}
    if Path(name).suffix in {".yaml", ".yml"}:
        return _in_file(name, kind)
    wanted: tuple[ShownKind, ...] = get_args(ShownKind) if kind is None else (kind,)
    known = {each: _known(each, runs) for each in wanted}
    found = {each: name for each, names in known.items() if name in names}
    if not found and "key" in wanted:
        from raynas.cli.keys import key_named

        if key := key_named(name):
            return {"key": key}
    if not found:
        everything = {each for names in known.values() for each in names}
        raise unknown(
            kind or "name",
            name,
            everything,
            next_step=f"raynas ls {_LISTS.get(kind, '') if kind else ''}".strip(),
        )
    return found


def _known(kind: ShownKind, runs: Path) -> list[str]:
    return ["schema"] if kind == "schema" else LISTINGS[_LISTS[kind]].names(runs)


def _in_file(name: str, kind: ShownKind | None) -> dict[ShownKind, str]:
    """Return what a YAML file holds, told by its keys."""
    from raynas.spaces import library

    keys = library.read_yaml(library.locate("trials", name)).keys() if kind is None else ()
    if kind == "cell" or {"cell", "space", "title"} <= set(keys):
        return {"cell": name}
    if kind == "recipe" or ({"source", "title"} <= set(keys) and not {"nodes", "skeleton"} & set(keys)):
        return {"recipe": name}
    path, held = find(name)
    return {held: str(path)}


def _data(
    kind: ShownKind,
    name: str,
    measure: bool,
    size: Mapping[str, Any],
    overrides: Sequence[str],
    runs: Path,
) -> dict[str, Any]:
    match kind:
        case "space":
            return describe.space(name, measure)
        case "method":
            measured = compare.with_darts(name, {**SIZE, **size}) if measure else None
            return {**describe.method(name), "measured": measured}
        case "part":
            return describe.part(name)
        case "op":
            return describe.operation(name)
        case "data":
            return describe.data_set(name)
        case "cell":
            return published.cell_facts(name)
        case "recipe":
            return published.recipe_facts(name)
        case "key":
            from raynas.cli.keys import key_facts

            return key_facts(name)
        case "schema":
            from raynas.sweep.file.schema_file import shipped

            return dict(json.loads(shipped()))
        case "trial":
            return describe.trial_file(name, measure, overrides)
        case "sweep":
            return describe.sweep_facts(name, runs)


def _print_key(facts: dict[str, Any]) -> None:
    from raynas.cli.keys import print_key  # brings pydantic

    print_key(facts)


_PRINTERS: dict[ShownKind, Callable[[dict[str, Any]], None]] = {
    "space": describe.print_space,
    "method": compare.print_compared,
    "part": describe.print_part,
    "op": describe.print_fields,
    "data": describe.print_fields,
    "cell": published.print_cell,
    "recipe": published.print_recipe,
    "key": _print_key,
    "schema": print_json,
    "trial": describe.print_trial_file,
    "sweep": describe.print_sweep,
}


def _next(kind: ShownKind, name: str, overrides: Sequence[str], runs: Path) -> None:
    match kind:
        case "space":
            next_step("cp", name, f"my-{Path(name).stem}.yaml")
        case "method" | "data":
            next_step("ls", "trials")
        case "part":
            next_step("ls", "methods")
        case "op":
            next_step("ls", "spaces")
        case "cell":
            next_step("draw", name)
        case "recipe":
            next_step("ls", "cells")
        case "key":
            next_step("ls", "keys")
        case "trial":
            next_step("sweep", name, *overrides, "--dry-run")
        case "sweep":
            next_step("report", name, *runs_option(runs))
