"""The report's section on size: the searches' cells by what they reach and what their networks take."""

from collections.abc import Sequence
from dataclasses import dataclass

from raynas.report import figures
from raynas.report.facts import Facts
from raynas.report.pictures import Key, Multiple, Picture
from raynas.report.text import format_number, percent
from raynas.report.trust import RULE_NAMES
from raynas.sweep.budget import counting_recipe, network_in_words
from raynas.sweep.plan import Sweep
from raynas.sweep.propose import objective_of
from raynas.sweep.ranking import OF_KINDS, comparable
from raynas.sweep.record import TrialRecord
from raynas.sweep.where import COSTS
from raynas.trust.front import front

MOST_COUNTED = 32
"""Different cells that are counted unasked, once all trials have ended: one of 20 layers takes .5 s."""

FRONT = "Trials that no other is better than in all of these at once (the Pareto front)."


@dataclass(frozen=True)
class Front:
    """Trials on the front as texts, what is drawn of all of them, and ``caption``; no rows for no section."""

    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    picture: Multiple | None = None
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class _Placed:
    """A trial by its objectives; ``fits`` says whether it is within the budget."""

    trial: str
    numbers: tuple[float, ...]
    fits: bool


def front_of(facts: Facts) -> Front:
    """Return which finished trials are on the front of a sweep's objectives.

    Those are `sample.objectives`, or the rule's number, parameters and multiply-adds. Nothing for fewer than
    two trials that compare, nor, where nobody asked for sizes, before all trials have ended and for more
    cells than `MOST_COUNTED`.
    """
    names = facts.sweep.objectives or (facts.sweep.select.rule, *COSTS)
    found = _placed(facts, names)
    if len(found) < 2:
        return Front()
    on_it = front([each.numbers for each in found])
    best = sorted(
        (each for each, is_best in zip(found, on_it, strict=True) if is_best),
        key=lambda each: each.numbers[::-1],
    )
    rows = tuple(
        (
            each.trial,
            *(_text(name, value) for name, value in zip(names, each.numbers, strict=True)),
            _mark(facts, each),
        )
        for each in best
    )
    headers = ("trial", *map(_label, names), "")
    title = "What small costs" if set(names) & set(COSTS) else "The front of the objectives"
    caption = f"{FRONT}{_network(facts.sweep, names)}"
    return Front(headers, rows, _picture(facts, names, found), caption, title)


def _network(sweep: Sweep, names: Sequence[str]) -> str:
    """Say which network is counted."""
    if not set(names) & set(COSTS):
        return ""
    return f" Sizes are those of the network that {network_in_words(counting_recipe(sweep))}."


def _label(name: str) -> str:
    """Name an objective, with its unit."""
    if name in COSTS:
        return COSTS[name]
    words = {str(rule): words for rule, words in RULE_NAMES.items()}
    return words.get(name, name) + {"table": " / %", "eig_max": "", "short_training": ""}.get(name, " / nats")


def _text(name: str, value: float) -> str:
    if name in COSTS:
        return f"{value:,.0f}"
    return percent(value) if name == "table" else format_number(value)


def _mark(facts: Facts, each: _Placed) -> str:
    winner = facts.selection.winner
    if winner and winner.trial.id == each.trial:
        return "chosen"
    return "" if each.fits else "beyond the budget"


def _placed(facts: Facts, names: Sequence[str]) -> list[_Placed]:
    """Return the finished trials with all of these numbers; of validation losses those of one kind."""
    by = next((name for name in names if name in OF_KINDS), facts.sweep.select.rule)
    ranked = [each.trial for each in comparable(facts.selection.ranking, by)]
    fitting, kinds = {record.id for record in ranked}, {record.validated for record in ranked}
    where = facts.sweep.select.where
    left = {trial for trial, _ in facts.selection.left_out} if where else set()
    others = [r for r in facts.records if r.id in left and (not kinds or r.validated in kinds)]
    candidates: list[TrialRecord] = [record for record in (*ranked, *others) if record.deciding]
    different = {record.deciding.genotype for record in candidates if record.deciding}
    asked = where or facts.sweep.objectives
    if not asked and (len(different) > MOST_COUNTED or not facts.complete):
        return []
    judge = facts.judge or (facts.yardstick.judge() if facts.yardstick else None)
    found = []
    for record in candidates:
        numbers = [objective_of(record, name, facts.sweep, judge) for name in names]
        known = tuple(number for number in numbers if number is not None)
        if len(known) == len(names):
            found.append(_Placed(record.id, known, record.id in fitting))
    return found


def _picture(facts: Facts, names: Sequence[str], found: Sequence[_Placed]) -> Multiple:
    """Draw the first objective over each of the others, with the front of the two."""
    winner = facts.selection.winner
    units = [100.0 if name == "table" else 1.0 for name in names]
    panels = []
    for place, name in enumerate(names[1:], start=1):
        points = {
            each.trial: (units[place] * each.numbers[place], units[0] * each.numbers[0]) for each in found
        }
        colours = ["s0" if each.fits else "s5" for each in found]
        limit = getattr(facts.sweep.select.where, name, None)
        svg = figures.front_panel(
            f"front-{name}",
            [(*point, colour) for point, colour in zip(points.values(), colours, strict=True)],
            _steps(list(points.values())),
            points.get(winner.trial.id) if winner else None,
            (_label(name), _label(names[0])),
            limit.most if limit else None,
        )
        words = _label(name).partition(" / ")[0]
        alt = f"Each trial's {_label(names[0])} over its {words}, with the front of the two"
        panels.append(Picture(f"front-{name.replace('_', '-')}", f"Over {words}", alt, svg))
    keys = [Key("a trial", "var(--s0)", "line"), Key("front of the two", "var(--ink)", "line")]
    keys += [Key("beyond the budget", "var(--s5)", "line")] * any(not each.fits for each in found)
    keys += [Key("the budget", "var(--s1)", "dash")] * (facts.sweep.select.where is not None)
    return Multiple("The trials by their objectives", tuple(panels), tuple(keys), 2)


def _steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of the front of two numbers, by the first."""
    return sorted({point for point, is_best in zip(points, front(points), strict=True) if is_best})
