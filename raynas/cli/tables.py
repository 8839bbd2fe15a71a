"""How a sweep stands and how its trials rank: as plain data, and printed."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raynas.cli.output import say, show_table, table
from raynas.cli.progress import MARK, RISES, SweepProgress, rising, skips
from raynas.data.catalogue import is_text
from raynas.errors import short
from raynas.report.results import choice_rows, trial_json
from raynas.report.text import MISSING, RANKED_BY, format_number, percent, ranked_number, ranked_spread
from raynas.sweep.folder import SweepFolder
from raynas.sweep.ranking import Selection
from raynas.sweep.record import TrialRecord
from raynas.sweep.status import BROKEN

MOST_ROWS = 40
"""Trials of which `status` prints a row."""

MOST_DAMAGE = 12
"""Lines shown of what is damaged, and of what failed; ``--json`` has them all."""

MOST_RANKED = 10
"""Trials shown of a ranking; the report and ``--json`` have them all."""


def standing(folder: SweepFolder) -> dict[str, Any]:
    """Return a sweep's state: who drives it, how many trials have each status, every trial's last numbers.

    ``state`` is ``running`` while a driver holds the sweep; else ``done`` when every planned trial ended, and
    ``stopped`` when not.
    """
    progress = SweepProgress(folder.sweep(), folder.records(), lookups=folder.lookups)
    counts = progress.count()
    held_by = short(folder.driver or "") or None
    trials = [
        {**trial_json(record), "rising": rising(record.reports), "log": str(folder.trial(record.id).log)}
        for record in progress.records.values()
    ]
    if not held_by:  # nobody drives them: what has begun and not ended waits for `resume`
        counts["stopped"] = counts.pop("running")
        for trial in trials:
            trial["status"] = "stopped" if trial["status"] == "running" else trial["status"]
    unfinished = counts.get("running", 0) + counts.get("stopped", 0) + counts["waiting"]
    ranking = progress.ranking()
    return {
        "name": folder.name,
        "path": str(folder.path),
        "state": "running" if held_by else "stopped" if unfinished else "done",
        "driver": held_by,
        "searches": progress.planned,
        "counts": counts,
        "by": progress.sweep.select.rule,
        "best": {"id": ranking[0].trial.id, "value": ranking[0].value} if ranking else None,
        "methods": [
            {
                "method": line.method,
                "count": line.values.count,
                "mean": line.values.mean,
                "sd": line.values.sd,
                "best": line.best.trial.id,
                "text": ranked_spread(line.values, progress.sweep.select.rule),
            }
            for line in progress.methods()
        ],
        "data": _data(progress.records.values()),
        "trials": trials,
        "damage": folder.damage(),
    }


def print_standing(facts: Mapping[str, Any]) -> None:
    """Print a sweep's state: a head line, a row per trial, a line per method, failures with their logs."""
    counts = ", ".join(f"{count} {status}" for status, count in facts["counts"].items() if count)
    by = f" ({facts['driver']})" if facts["driver"] else ""
    say(f"{facts['name']}: {facts['state']}{by}; {facts['searches']} planned: {counts}")
    for data in facts["data"]:
        say(f"data: {data}")
    numbers = ("epoch", "train", "valid", "acc %", "λmax", "skips")
    shown = table("trial", "status", *numbers, right=numbers)
    rows = _rows(facts)
    for trial in rows:
        mark = f" {MARK}" if trial["rising"] else ""
        shown.add_row(
            trial["id"],
            trial["status"],
            f"{trial['epoch']}/{trial['epochs']}",
            format_number(trial["train_loss"]),
            format_number(trial["valid_loss"]),
            percent(trial["valid_accuracy"]),
            format_number(trial["eig_max"]) + mark,
            skips(trial["skips"] or {}),
        )
    show_table(shown)
    say_signs(rows[0]["skips"] if rows else None, rises=any(trial["rising"] for trial in rows))
    if (more := len(facts["trials"]) - len(rows)) > 0:
        say(f"+ {more} more; --json has them all")
    for line in facts["methods"]:
        spread_words = " (mean ± deviation)" if line["sd"] is not None else ""
        ranked = f"{RANKED_BY.get(facts['by'], facts['by'])} {line['text']}{spread_words}"
        say(f"{line['method']}: {line['count']} done, {ranked}, best {line['best']}")
    broken = [trial for trial in facts["trials"] if trial["status"] in BROKEN]
    for trial in broken[:MOST_DAMAGE]:
        say(f"{trial['id']} {trial['status']}: {with_log(trial['reason'], trial['log'])}")
    if (more := len(broken) - MOST_DAMAGE) > 0:
        say(f"+ {more} more that failed or diverged")


def say_signs(counted: Mapping[str, int] | None, *, rises: bool = False) -> None:
    """Say below a table what its signs and columns mean; ``counted`` are the skips of one of its trials."""
    kinds = f", by kind of cell: {'/'.join(sorted(counted))}" if counted and len(counted) > 1 else ""
    say(f"losses in nats; skips: skip connections in the derived cell{kinds}; {MISSING}: not measured")
    if rises:
        say(RISES)


def _rows(facts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the trials worth a row, in plan order: all of a few; of many what runs, what broke, the best."""
    trials: list[Mapping[str, Any]] = facts["trials"]
    if len(trials) <= MOST_ROWS:
        return trials
    order: dict[str, int] = {"running": 0, "stopped": 0, **dict.fromkeys(BROKEN, 1)}
    best = {facts["best"]["id"]: -1} if facts["best"] else {}

    def worth(place: int) -> tuple[int, float, int]:
        trial = trials[place]
        loss = trial.get(facts["by"])
        return best.get(trial["id"], order.get(trial["status"], 2)), math.inf if loss is None else loss, place

    chosen = sorted(range(len(trials)), key=worth)[:MOST_ROWS]
    return [trials[place] for place in sorted(chosen)]


def print_damage(damage: Sequence[str], typed: str) -> None:
    """Say what in a sweep's folder cannot be read, and what sets it right."""
    for what in damage[:MOST_DAMAGE]:
        say(f"damaged: {what}")
    if (more := len(damage) - MOST_DAMAGE) > 0:
        say(f"damaged: {more} more")
    if damage:
        say(f"`raynas resume {typed}` repairs what it can; what it cannot read, it renames and runs again")


def print_selection(
    selection: Selection,
    careful: Sequence[str] = (),
    worth: Sequence[str] = (),
    verdict: Sequence[str] = (),
) -> None:
    """Print the ranking's top, what was left out and why, the winner with the reasons and their ``worth``.

    The ``verdict`` stands above all of it, then what to be ``careful`` about: see `raynas.report.remarks`.
    """
    for place, sentence in enumerate(verdict):
        say(f"verdict: {sentence}" if place == 0 else f"  {sentence}")
    for remark in careful:
        say(f"careful: {remark}")
    numbers = ("", RANKED_BY.get(selection.by, selection.by), "acc %", "discrete", "λmax", "skips")
    shown = table("", "trial", *numbers[1:], right=numbers)
    for place, ranked in enumerate(selection.ranking[:MOST_RANKED], start=1):
        shown.add_row(
            str(place),
            ranked.trial.id,
            ranked_number(ranked.value, selection.by),
            *_deciding_numbers(ranked.trial),
        )
    if selection.ranking:
        show_table(shown)
        first = selection.ranking[0].trial.deciding
        say_signs(first.skips if first else None)
    if (more := len(selection.ranking) - MOST_RANKED) > 0:
        say(f"+ {more} more")
    for trial_id, why in selection.left_out:
        say(f"left out: {trial_id}: {why}")
    if selection.winner is None:
        why = selection.over_budget or (selection.reasons[0] if selection.left_out else "no trial finished")
        say(f"no winner: {why}")
        _print_choices(selection)
        return
    value = ranked_number(selection.winner.value, selection.by)
    say(f"winner: {selection.winner.trial.id}, {RANKED_BY.get(selection.by, selection.by)} {value}")
    for sentence in (*selection.reasons, *worth):
        say(f"  {sentence}")
    _print_choices(selection)


def _print_choices(selection: Selection) -> None:
    """Print what each of several rules chooses; nothing for one."""
    if not selection.choices:
        return
    numbers = ("value", "searches", "has the winner at")
    shown = table("rule", "chooses", *numbers, right=numbers)
    for rule, trial, *values in choice_rows(selection):
        shown.add_row(rule, trial, *values)
    show_table(shown)
    say(selection.disagreement)


def with_log(reason: str, log: str) -> str:
    """Return the first line of why a trial failed, and where the rest is."""
    first = next((line.strip() for line in reason.splitlines() if line.strip()), "no reason given")
    return first if log in first else f"{first}  log: {log}"


def _data(records: Iterable[TrialRecord]) -> list[str]:
    """Say what the trials that have started learn from: how much of it, in how many classes."""
    found = []
    for record in records:
        data = (record.start or {}).get("data")
        if isinstance(data, Mapping) and {"train", "valid", "classes"} <= set(data):
            text = is_text(record.config.data.name)
            counted = f"{data['classes']} {'words in the vocabulary' if text else 'classes'}"
            things = "tokens" if text else "images"
            found.append(
                f"{record.config.data.name}, {counted}; {data['train']} {things} train the weights, "
                f"{data['valid']} train α"
                + (f", {data['select']} neither, to choose by" if data.get("select") else "")
            )
    return list(dict.fromkeys(found))


def _deciding_numbers(record: TrialRecord) -> list[str]:
    report = record.deciding
    if report is None:
        return []
    eig_max = format_number(report.curvature.eig_max if report.curvature else None)
    return [percent(report.valid_accuracy), format_number(report.discrete_loss), eig_max, skips(report.skips)]
