"""`raynas status`, `select`, `report` and `draw`: what became of a sweep."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raynas.cli import complete
from raynas.cli.cell import CellArgument, find_cell
from raynas.cli.options import DEFAULT_RUNS, AsCsv, AsJson, Runs, SweepName
from raynas.cli.output import next_step, print_csv, print_json, runs_option, say
from raynas.cli.verbs.tracking import has_store
from raynas.errors import RaynasError, unknown

if TYPE_CHECKING:
    from raynas.sweep.folder import AnySweep, TrainSweep
    from raynas.sweep.sections import Criterion

WATCH_EVERY = 2.0
"""Seconds between two looks of `status --watch`."""


def status(
    name: SweepName,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every few seconds, until it has ended or Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Show how a sweep stands.

    Example: raynas status quickstart
    """
    from raynas.cli.tables import print_damage, print_standing, standing
    from raynas.cli.training import print_train_standing, train_standing
    from raynas.report.results import Results
    from raynas.sweep.folder import find_sweep, trains

    folder = find_sweep(runs, name)
    if as_csv:
        print_csv(Results(folder).rows())
        return
    if watch:
        _watch(folder)
    trained = trains(folder)
    facts = train_standing(folder) if trained else standing(folder)
    if as_json:
        print_json(facts)
        return
    if trained:
        print_train_standing(facts)
    else:
        print_standing(facts)
    print_damage(facts["damage"], folder.typed)
    verb = {"done": "report", "stopped": "resume", "running": "status"}[facts["state"]]
    if facts["damage"] and verb == "report":
        verb = "resume"
    next_step(verb, name, *runs_option(runs))


def _watch(folder: "AnySweep") -> None:
    """Clear the screen and show how the sweep stands, until nobody drives it or Ctrl-C."""
    import time
    from contextlib import suppress

    from raynas.cli.output import console
    from raynas.cli.tables import print_standing, standing
    from raynas.cli.training import print_train_standing, train_standing
    from raynas.sweep.folder import trains

    trained = trains(folder)
    screen = console()
    with suppress(KeyboardInterrupt):
        while True:
            facts = train_standing(folder) if trained else standing(folder)
            if facts["state"] != "running":
                return
            screen.clear()
            (print_train_standing if trained else print_standing)(facts)
            sys.stdout.flush()
            time.sleep(WATCH_EVERY)


def select(
    name: SweepName,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="RULE",
            help="Rank by this and not by what the sweep's file says; several times, to compare rules.",
            autocompletion=complete.RULES,
        ),
    ] = None,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Print as well what a choice among n searches is worth, n = 1, 2, 4, …"),
    ] = False,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Rank a sweep's trials, say why the winner won and what that is worth.

    Example: raynas select quickstart --by discrete_loss
    """
    from raynas.cli.tables import print_damage, print_selection
    from raynas.cli.trust import print_curves
    from raynas.report.facts import gather
    from raynas.report.remarks import remarks
    from raynas.report.trust import RULE_NAMES
    from raynas.sweep.folder import SweepFolder
    from raynas.sweep.select import judge_of, rank
    from raynas.trust.trust import trust_of
    from raynas.trust.verdict import verdict_of
    from raynas.trust.words import worth

    folder = SweepFolder.find(runs, name)
    sweep = folder.sweep()
    rule = sweep.select.model_copy(update={"by": _rules(by)}) if by else sweep.select
    selection = rank(folder.records(), rule, judge_of(rule, folder.lookups))
    facts = gather(folder)
    careful = remarks(selection, facts.space)
    trust = trust_of(folder, sweep, facts.records, selection, facts.yardstick)
    verdict = verdict_of(selection, trust, sweep.name, RULE_NAMES[selection.by], len(careful)).sentences
    if as_json:
        told = {
            **selection.to_json(),
            "verdict": verdict,
            "careful": careful,
            "trust": trust.to_json(),
            "damage": folder.damage(),
        }
        print_json(told)
        return
    print_selection(selection, careful, worth(trust, selection), verdict)
    if curve:
        print_curves(trust)
    print_damage(folder.damage(), folder.typed)
    next_step("report", name, *runs_option(runs))


def _rules(given: list[str]) -> "tuple[Criterion, ...]":
    """Return the rules of these names, each once; raises `RaynasError` for what is none."""
    from raynas.sweep.sections import CRITERIA

    for each in given:
        if each not in CRITERIA:
            raise unknown("rule", each, CRITERIA, next_step="raynas show select.by")
    return tuple(rule for each in dict.fromkeys(given) for rule in CRITERIA if rule == each)


def report(
    name: SweepName,
    table: Annotated[
        str | None,
        typer.Option(
            "--table", metavar="FILE", help="Look cells up in this table; the one of the sweep's `benchmark`."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME", help="A data set or column of the table given."),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write a sweep's report, as HTML and as Markdown, whatever its state.

    Example: raynas report quickstart
    """
    from raynas.cli.tables import print_damage
    from raynas.report.build import build_report
    from raynas.sweep.folder import SweepFolder, find_sweep, trains
    from raynas.sweep.sections import Benchmark

    if (table is None) != (data is None):
        raise RaynasError(
            "`--table` and `--data` go together", expected="--table accuracy.csv --data cifar10"
        )
    if trains(found := find_sweep(runs, name)):
        if table is not None:
            raise RaynasError("`--table` is for searches; this sweep trains cells", got=name)
        _report_trained(found, as_json)
        return
    folder = SweepFolder.find(runs, name)
    benchmark = Benchmark(table=table, data=data) if table is not None and data is not None else None
    if benchmark is not None:
        benchmark.open()  # what was just typed must be right; the sweep's own table may have gone
    html, markdown = build_report(folder, benchmark)
    if as_json:
        print_json({"html": str(html), "markdown": str(markdown)})
        return
    say(f"report    {html}")
    say(f"          {markdown}")
    print_damage(folder.damage(), folder.typed)
    next_step("ui" if has_store(folder) else "status", name, *runs_option(runs))


def _report_trained(folder: "TrainSweep", as_json: bool) -> None:
    from raynas.cli.tables import print_damage
    from raynas.cli.training import print_trained
    from raynas.report.trained import build_trained

    html, markdown = build_trained(folder)
    if as_json:
        print_json({"html": str(html), "markdown": str(markdown)})
        return
    print_trained(folder)
    say(f"report    {html}")
    say(f"          {markdown}")
    print_damage(folder.damage(), folder.typed)
    ready = any(record.status == "finished" for record in folder.records())
    next_step("evaluate" if ready else "status", *folder.words)


def draw(
    cell: CellArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="The folder for the drawings; beside the cell.")
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Draw a cell, as SVG and as PNG.

    Example: raynas draw pc-darts-cifar --to pictures
    """
    from raynas.report.draw import write_cells
    from raynas.spaces.library import names

    genotype, place = find_cell(cell, runs)
    paths = write_cells(genotype, place if to is None else to)
    if as_json:
        print_json({"genotype": genotype.to_json(), "files": [str(path) for path in paths]})
        return
    for path in paths:
        say(str(path))
    next_step(*(["show", genotype.space] if genotype.space in names("search_spaces") else ["ls", "spaces"]))
