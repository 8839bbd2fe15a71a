"""The report of a sweep: a pure function of its folder, as one HTML file and the same in Markdown."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError, plural
from raynas.report import facts as f
from raynas.report import figures, pictures, text
from raynas.report.checklist import CHECKLIST, checklist_of
from raynas.report.draw import draw_cell, write_cells
from raynas.report.facts import Facts
from raynas.report.front import Front, front_of
from raynas.report.page import render, write_pictures
from raynas.report.pictures import Likeness, Multiple, Picture
from raynas.report.provenance import provenance, resolved_yaml
from raynas.report.remarks import remarks
from raynas.report.results import choice_rows
from raynas.report.stability import STABLE, stability_of
from raynas.report.stats import derived_counts
from raynas.report.trained import trained_in
from raynas.report.trust import RULE_NAMES, TRUST, Worth, worth_of
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.reading import genotype_to_text
from raynas.sweep.folder import SweepFolder, write_atomic
from raynas.sweep.identity import anew
from raynas.sweep.sections import Benchmark

DECIDES = {
    "valid_loss": "the supernet’s validation loss",
    "select_loss": "the supernet’s loss on the third part of the data",
    "short_training": "the derived cell’s error after a short training from scratch",
    "discrete_loss": "the derived cell’s validation loss",
    "eig_max": "the largest eigenvalue of the Hessian in α",
    "table": "the derived cell’s error in the table",
}


def build_report(folder: SweepFolder, benchmark: Benchmark | None = None) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.md`` of a sweep, whatever its state, and return their paths.

    Also writes ``selection.json`` and ``trust.json``, the plots of the Markdown as ``report/*.svg``, and,
    once a trial has finished, the winner's genotype and drawings in ``best/``. Reads nothing but the folder,
    and, for cells that were not looked up before, the table of trained accuracies that it names (or
    ``benchmark``, instead of that); the same folder gives the same bytes wherever it lies. Raises
    `RaynasError` when the folder's records are missing or damaged, when it cannot be written, and rather than
    write less than what stands there.
    """
    return write_report(folder, benchmark).paths


@dataclass(frozen=True)
class WrittenReport:
    """A report that was just written: its two files, and what it was made of."""

    paths: tuple[Path, Path]
    facts: Facts
    worth: Worth


def write_report(folder: SweepFolder, benchmark: Benchmark | None = None) -> WrittenReport:
    """Write the report as `build_report` does, for who wants to say the same of the sweep once more."""
    facts = f.gather(folder, benchmark)
    _check_not_less(folder, facts)
    if facts.chosen:
        write_cells(facts.chosen, folder.best)
        facts.chosen.save(folder.best / "genotype.json")
    content = _content(facts, (folder.best / "genotype.json").read_text() if facts.chosen else "")
    _add_what_follows(content, facts, folder)
    content["trust"] = worth = worth_of(folder, facts)
    content["stability"] = stability_of(facts)
    content["front"] = front_of(facts)
    content["checklist"] = checklist_of(folder, facts, content["trust"].trust)
    if folder.lookups is not None:
        folder.lookups.save()
    write_atomic(folder.path / "selection.json", _json(facts.selection.to_json()))
    write_atomic(folder.path / "trust.json", _json(worth.trust.to_json()))
    write_pictures(_all_pictures(content), folder.path / "report")
    html, markdown = folder.path / "report.html", folder.path / "report.md"
    for path in (html, markdown):
        write_atomic(path, render(path.name, content).encode())
    return WrittenReport((html, markdown), facts, worth)


def _content(facts: Facts, genotype_json: str) -> dict[str, Any]:
    """Return everything the templates name; both files are made from it, so they state the same."""
    chosen, winner = facts.chosen, facts.selection.winner
    started = any(record.reports for record in facts.records)
    curves, mixes, skips = pictures.curves(facts), pictures.operation_mix(facts), pictures.skip_counts(facts)
    likeness, failures = pictures.likeness(facts), f.failures(facts)
    measured = any(report.curvature for record in facts.records for report in record.reports)
    content: dict[str, Any] = {
        "facts": facts,
        "winner": winner,
        "winner_accuracy": f.measured(winner.trial.deciding, "table_accuracy", facts.yardstick)
        if winner
        else None,
        "careful": remarks(facts.selection, facts.space),
        "scope": _scope(facts),
        "headline": _headline(facts),
        "choices": choice_rows(facts.selection, RULE_NAMES),
        "cells": {kind: draw_cell(chosen, kind) for kind in chosen.kinds} if chosen else {},
        "genotype_json": genotype_json.rstrip(),
        "genotype_text": _text(chosen) if chosen else "",
        "notation": skeletons.of(chosen).notation if chosen else "",
        "ranking": f.ranking(facts),
        "settings": f.setting_rows(facts),
        "curves": curves,
        "mixes": mixes,
        "skips": skips,
        "counts": _counts(facts),
        "likeness": likeness,
        "likeness_rows": _likeness_rows(likeness) if likeness else [],
        "failures": failures,
        "provenance": provenance(facts),
        "again": anew(facts.sweep, "sweep.yaml"),
        "yaml": resolved_yaml(facts.sweep).rstrip(),
        "captions": _captions(facts, likeness),
    }
    candidates = {
        "verdict": ("Verdict", ""),
        "ranking": ("Ranking", "" if facts.records else "the ranking (no trial is planned yet)"),
        "settings": (
            "Methods and strengths",
            "" if facts.ranked else "means over seeds (no trial has finished)",
        ),
        "curves": ("Curves", "" if curves else "curves (no epoch has finished)"),
        "operations": ("Operations", "" if skips else "operations (no epoch has finished)"),
        "alike": (
            "How alike the cells are",
            "" if likeness else "how alike the cells are (fewer than two to compare)",
        ),
        "failures": ("What failed", "" if failures else "failures (there are none)"),
        "again": ("How to run it again", ""),
    }
    content["sections"] = {key: title if not missing else "" for key, (title, missing) in candidates.items()}
    content["left_out"] = [missing for _, missing in candidates.values() if missing]
    if facts.no_yardstick:
        content["left_out"].append(f"accuracies of the table ({facts.no_yardstick})")
    if started and not measured:
        content["left_out"].append("λmax (curvature was not measured)")
    if started and not mixes:
        content["left_out"].append("shares of weight (the sweep has several search spaces)")
    return content


def _check_not_less(folder: SweepFolder, facts: Facts) -> None:
    """Raise `RaynasError` when the table has gone that the report which stands there was made with.

    Reports of raynas 0.1.0 looked it up each time and kept nothing else.
    """
    there = folder.path / "report.md"
    if facts.yardstick is not None or facts.sweep.benchmark is None or not there.is_file():
        return
    if "| table accuracy / % |" in there.read_text(encoding="utf-8", errors="replace"):
        raise RaynasError(
            "the report has accuracies of a table that cannot be looked up any more; it stays as it is",
            got=facts.no_yardstick,
            expected="the table, once: what is looked up is kept in the sweep's folder from now on",
            next_step=f"raynas report {folder.typed} --table FILE --data {facts.sweep.benchmark.data}",
        )


def _add_what_follows(content: dict[str, Any], facts: Facts, folder: SweepFolder) -> None:
    """Add what became of the winners, and while nothing has, the command that trains them."""
    trained, command = trained_in(folder), f"raynas retrain {facts.sweep.name} --recipe quick --seeds 0,1,2"
    ready = facts.complete and facts.chosen and not skeletons.of(facts.chosen).texts and not trained
    content["trained"] = trained
    content["steps"] = [("train the best cell from scratch", command)] if ready else []
    follows = {"trained": trained and "Trained from scratch", "next": ready and "What next"}
    verdict = content["sections"].pop("verdict")
    content["sections"] = {"verdict": verdict, **follows, **content["sections"]}


def _scope(facts: Facts) -> str:
    """Say in a line what was searched: spaces, data, epochs."""
    configs = [record.config for record in facts.records]
    spaces = ", ".join(dict.fromkeys(f"space {config.space}" for config in configs))
    data = ", ".join(dict.fromkeys(f"data {config.data.name}" for config in configs))
    epochs = ", ".join(dict.fromkeys(plural(config.epochs, "epoch") for config in configs))
    return "; ".join(part for part in (spaces, data, epochs) if part)


def _decides(facts: Facts) -> str:
    """Say what the winner was chosen by."""
    ranking = facts.selection.ranking
    proposed = ranking and ranking[0].trial.proposed
    if facts.selection.by == "valid_loss" and proposed:
        return "the table’s error of the best cell that was proposed"
    return DECIDES[facts.selection.by]


def _headline(facts: Facts) -> str:
    """Say in a line what chose the winner; empty when there will be none, as the selection's reasons say."""
    ranked, decides = facts.selection.ranking, _decides(facts)
    if not ranked:
        return "" if facts.complete else "There is no verdict yet: no trial has finished."
    if len(ranked) == 1:
        return f"The only trial that finished; {decides} was to decide."
    return f"Chosen by {decides}, of {len(ranked)} trials; second is {ranked[1].trial.id}."


def _captions(facts: Facts, likeness: Likeness | None) -> dict[str, str]:
    """Return each section's line on what its numbers are and how to read them."""
    again = (
        "In the sweep’s folder, whose sweep.yaml is the file as it was typed (with paths from where that was)"
    )
    resume = f"“raynas resume {facts.sweep.name}” goes on with what has not ended. "
    resume += f"From the start: {again[0].lower()}{again[1:]}:"
    chance = likeness.chance if likeness else None
    return {
        "ranking": f"By {_decides(facts)} at the last epoch, smallest first. Losses in nats."
        + _table_words(facts),
        "trust": TRUST,
        "stability": STABLE,
        "checklist": CHECKLIST,
        "settings": "Mean ± sample standard deviation over seeds of the ranked trials, at their last epoch.",
        "curves": "A line is a trial. A ring marks the chosen one, a cross where a trial failed or diverged. "
        "Where lines are too many, one is their median (of counts the mean), in the middle 80 % of them. "
        "All panels of a measure share their axes.",
        "operations": "Shares are of the architecture weights of all edges, averaged over a method’s trials.",
        "alike": "Share of (edge, operation) choices that the cells of two trials have in common."
        + ("" if chance is None else f" Two cells drawn at random share {100 * chance:.0f} %."),
        "again": f"{again}:" if facts.complete else resume,
    }


def _table_words(facts: Facts) -> str:
    """Say which table the cells were looked up in, and whether it decided anything."""
    if (found := facts.yardstick) is None:
        return ""
    trained = "accuracy as a model predicts it" if found.table.predicts else "trained accuracy"
    words = f" Table: the derived cell’s {trained}, {found.column} of {found.table.name}"
    if found.bests:
        best = " and ".join(f"{text.percent(best)} % ({space})" for space, best in found.bests.items())
        words += f"; regret: how far below the best that the space can express, {best}"
    if facts.selection.by == "table":
        return f"{words}. The sweep asked for it to choose."
    return f"{words}. It was looked up only, and chose nothing."


def _counts(facts: Facts) -> dict[str, Any] | None:
    """Return how many edges an operation holds in the derived cells, a number per kind of cell, by method."""
    genotypes: dict[str, list[Genotype]] = {}
    for record in facts.ranked:
        if record.deciding:
            genotypes.setdefault(facts.setting(record).method, []).append(record.deciding.genotype)
    if not genotypes:
        return None
    methods = [method for method in facts.methods if method in genotypes]
    means = {m: [derived_counts(genotypes[m], kind) for kind in _kinds(genotypes[m])] for m in methods}
    used = [op for op in OPERATIONS if any(op in kind for kinds in means.values() for kind in kinds)]
    rows = {
        figures.operation_label(op): [
            " / ".join(f"{kind.get(op, 0):.1f}" for kind in means[m]) for m in methods
        ]
        for op in used
    }
    return {"methods": methods, "rows": rows}


def _kinds(genotypes: list[Genotype]) -> list[str]:
    """Return the kinds of cell that all of these have."""
    return sorted(set.intersection(*(set(genotype.kinds) for genotype in genotypes)))


def _likeness_rows(likeness: Likeness) -> list[tuple[str, str, int]]:
    """Return label, share in common and number of pairs: of each group, inside all of them, between them."""
    found = likeness.alike
    spreads = list(found.by_group.items())
    if len(spreads) > 1 and found.within:
        spreads.append((f"same {likeness.grouping}", found.within))
    if found.between:
        spreads.append((f"different {likeness.grouping}s", found.between))
    return [(label, text.spread_percent(spread), spread.count) for label, spread in spreads]


def _text(genotype: Genotype) -> str:
    """Return the text form of the genotype's own field, or nothing for cells that it cannot express."""
    try:
        return genotype_to_text(genotype)
    except RaynasError:
        return ""


def _all_pictures(content: dict[str, Any]) -> list[Picture]:
    multiples: list[Multiple] = [*content["curves"], *content["mixes"]]
    if content["skips"]:
        multiples.append(content["skips"])
    multiples += [multiple for trained in content["trained"] for multiple in trained.curves]
    found = [picture for multiple in multiples for picture in multiple.panels]
    likeness: Likeness | None = content["likeness"]
    worth: Worth = content["trust"]
    found += [picture for bench in worth.benches if bench.curve for picture in bench.curve.panels]
    front: Front = content["front"]
    found += front.picture.panels if front.picture else ()
    return [*found, likeness.picture] if likeness and likeness.picture else found


def _json(data: object) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
