"""`raynas ls`: what there is to search, to search with, and what was searched."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, runs_option, say, show_table, table
from raynas.errors import RaynasError, plural, unknown
from raynas.sweep.status import STATUSES

if TYPE_CHECKING:
    from raynas.sweep.folder import AnySweep, TrainSweep


@dataclass(frozen=True)
class Listing:
    """One thing `ls` can list: its short overview, its rows (each with a ``name``), the next command."""

    names: Callable[[Path], list[str]]
    rows: Callable[[Path], list[dict[str, Any]]]
    next_verb: str


def ls(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="spaces, methods, parts, ops, data, cells, recipes, keys, trials or sweeps; alone, all.",
            show_default=False,
            autocompletion=lambda incomplete: [each for each in LISTINGS if each.startswith(incomplete)],
        ),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """List spaces, methods, parts, operations, data sets, cells, recipes, keys, trial files or sweeps.

    Example: raynas ls methods
    """
    if what is None:
        _overview(runs, as_json)
        return
    if what not in LISTINGS:
        raise unknown("list", what, LISTINGS, next_step="raynas ls")
    listing = LISTINGS[what]
    rows = listing.rows(runs)
    if as_json:
        print_json(rows)
        return
    if not rows:
        say(f"no {what} here")
        next_step("sweep" if what == "sweeps" else "ls", *(["quickstart"] if what == "sweeps" else []))
        return
    shown = table(*rows[0])
    for row in rows:
        shown.add_row(*("" if value is None else str(value) for value in row.values()))
    show_table(shown)
    where = runs_option(runs) if what == "sweeps" else []
    next_step(listing.next_verb, str(rows[0]["name"]), *where)


def _overview(runs: Path, as_json: bool) -> None:
    names = {what: listing.names(runs) for what, listing in LISTINGS.items()}
    if as_json:
        print_json(names)
        return
    shown = table("list", "", "names", right=[""])
    for what, known in names.items():
        shown.add_row(what, str(len(known)), _first_names(known) or "none yet")
    show_table(shown)
    next_step("ls", "spaces")


def _first_names(names: Sequence[str], most: int = 48) -> str:
    """Return as many names as go into so many letters, and a sign for the rest."""
    count = next((n for n in range(len(names), 0, -1) if len(", ".join(names[:n])) <= most), 1)
    return ", ".join(names[:count]) + (", …" if count < len(names) else "")


def _space_names(_: Path) -> list[str]:
    from raynas.spaces import library

    return sorted(library.names("search_spaces"))


def _spaces(_: Path) -> list[dict[str, Any]]:
    from raynas.spaces import library

    rows: list[dict[str, Any]] = []
    for name, path in sorted(library.names("search_spaces").items()):
        row = {"name": name, "nodes": "", "edges": "", "problems": "", "title": ""}
        try:
            space = library.load_space(str(path))
            edges = "+".join(str(len(cell.edges)) for cell in space.cells)
            row |= {"nodes": str(space.nodes), "edges": edges, "title": space.title}
        except RaynasError as error:
            row["problems"] = _problems(error)
        rows.append(row)
    return rows


def _method_names(_: Path) -> list[str]:
    from raynas import methods

    return list(methods.method_names())


def _methods(_: Path) -> list[dict[str, Any]]:
    from raynas import methods

    rows = []
    for name in methods.method_names():
        about = methods.describe(name)
        rows.append({"name": name, "title": about.get("title", ""), "source": about.get("source", "")})
    return rows


def _part_names(_: Path) -> list[str]:
    from raynas.methods.about import known_parts

    return list(known_parts())


def _parts(_: Path) -> list[dict[str, Any]]:
    from raynas.methods.about import known_parts, part_facts

    facts = [part_facts(use, kind) for use, kinds in known_parts().items() for kind in kinds]
    return [
        {"name": each["name"], "slot": ", ".join(each["slots"]), "title": each["title"]} for each in facts
    ]


def _op_names(_: Path) -> list[str]:
    from raynas.spaces.operations import OPERATIONS

    return list(OPERATIONS)


def _ops(_: Path) -> list[dict[str, Any]]:
    from raynas.spaces.operations import OPERATIONS

    return [{"name": op.name, "family": op.family, "title": op.title} for op in OPERATIONS.values()]


def _data_names(_: Path) -> list[str]:
    from raynas.data.catalogue import titles

    return list(titles())


def _data(_: Path) -> list[dict[str, Any]]:
    from raynas.data.catalogue import titles

    return [{"name": name, "title": title} for name, title in titles().items()]


def _cell_names(_: Path) -> list[str]:
    from raynas.spaces import library

    return sorted(library.names("cells"))


def _cells(_: Path) -> list[dict[str, Any]]:
    from raynas.cli.published import cell_rows

    return cell_rows(_problems)


def _recipe_names(_: Path) -> list[str]:
    from raynas.spaces import library

    return sorted(library.names("recipes"))


def _recipes(_: Path) -> list[dict[str, Any]]:
    from raynas.cli.published import recipe_rows

    return recipe_rows(_problems)


def _trial_names(_: Path) -> list[str]:
    from raynas.spaces import library

    return sorted(library.names("trials"))


def _trials(_: Path) -> list[dict[str, Any]]:
    from raynas.spaces import library
    from raynas.sweep.file.load import load_any

    rows = []
    for name, path in sorted(library.names("trials").items()):
        searches, problems = "", ""
        try:
            searches = str(len(load_any(path, []).trials))
        except RaynasError as error:
            problems = _problems(error)
        rows.append({"name": name, "searches": searches, "problems": problems, "title": _first_comment(path)})
    return rows


def _sweep_names(runs: Path) -> list[str]:
    found = (*runs.glob("*/sweep.json"), *runs.glob("*/trained/*/sweep.json"))
    return sorted(str(path.parent.relative_to(runs)) for path in found)


def _sweeps(runs: Path) -> list[dict[str, Any]]:
    from raynas.cli.progress import SweepProgress
    from raynas.sweep.folder import AnySweep, SweepFolder, trains
    from raynas.sweep.packs import damage

    rows: list[dict[str, Any]] = []
    for name in _sweep_names(runs):
        folder = SweepFolder(runs / name)
        try:
            if trains(folder):
                rows.append(_trained(name, AnySweep(runs / name)))
                continue
            records = [trial.glance() for trial in folder.trials()]
            progress = SweepProgress(folder.sweep(), records, lookups=folder.lookups)
            damaged = folder.lost() or any(record.damage for record in records) or damage(folder.packs)
        except RaynasError as error:
            rows.append({"name": name, "created": "", "searches": "", "state": error.what, "best": ""})
            continue
        counts = _counted(progress.count(), folder)
        rows.append(
            {
                "name": name,
                "created": progress.sweep.created[:19].replace("T", " "),
                "searches": progress.planned,
                "state": f"{counts}, damaged" if damaged else counts,
                "best": progress.best(),
            }
        )
    return rows


def _counted(counts: Mapping[str, int], folder: "AnySweep") -> str:
    """Say how many trials have each status; what has begun is stopped where nobody drives the sweep."""
    words = {"running": "running" if folder.driver else "stopped"}
    return ", ".join(f"{count} {words.get(status, status)}" for status, count in counts.items() if count)


def _trained(name: str, folder: "TrainSweep") -> dict[str, Any]:
    """Return the row of a sweep of trainings; its best is none, as nothing may be chosen by test images."""
    records = folder.records()
    counts = Counter(record.status for record in records)
    state = _counted({status: counts[status] for status in STATUSES}, folder)
    damaged = any(record.damage for record in records)
    return {
        "name": name,
        "created": folder.sweep().created[:19].replace("T", " "),
        "searches": len(records),
        "state": f"trained: {state}" + (", damaged" if damaged else ""),
        "best": "",
    }


def _problems(error: RaynasError) -> str:
    problems = getattr(error, "problems", ())
    if len(problems) > 1:
        return plural(len(problems), "problem")
    text = f"{problems[0].path}: {problems[0].message}" if problems else error.what
    return text.splitlines()[0]


def _first_comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def _key_names(_: Path) -> list[str]:
    from raynas.cli.keys import key_names

    return key_names()


def _keys(_: Path) -> list[dict[str, Any]]:
    from raynas.cli.keys import key_rows

    return key_rows()


LISTINGS = {
    "spaces": Listing(_space_names, _spaces, "show"),
    "methods": Listing(_method_names, _methods, "show"),
    "parts": Listing(_part_names, _parts, "show"),
    "ops": Listing(_op_names, _ops, "show"),
    "data": Listing(_data_names, _data, "show"),
    "cells": Listing(_cell_names, _cells, "show"),
    "recipes": Listing(_recipe_names, _recipes, "show"),
    "keys": Listing(_key_names, _keys, "show"),
    "trials": Listing(_trial_names, _trials, "check"),
    "sweeps": Listing(_sweep_names, _sweeps, "status"),
}
