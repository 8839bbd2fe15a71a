"""The report's section on size: the searches' cells by what they reach and what their networks take."""

from dataclasses import dataclass

from raynas.errors import RaynasError
from raynas.report import figures
from raynas.report.facts import Facts
from raynas.report.pictures import Key, Multiple, Picture
from raynas.report.text import format_number, percent
from raynas.report.trust import RULE_NAMES
from raynas.sweep.budget import OBJECTIVES
from raynas.sweep.select import comparable, value_of
from raynas.sweep.sizes import size_of_search
from raynas.trust.front import front

MOST_COUNTED = 32
"""Different cells that are counted unasked, once all trials have ended: one of 20 layers takes .5 s."""

FRONT = (
    "Cells that no other is better than in all of these at once (the Pareto front), by parameters. The sizes "
    "are those of the network that"
)


@dataclass(frozen=True)
class Front:
    """Trials on the front as texts, what is drawn of all of them, and ``caption``; no rows for no section."""

    headers: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    picture: Multiple | None = None
    caption: str = ""


@dataclass(frozen=True)
class _Counted:
    trial: str
    value: float
    parameters: int
    multiply_adds: int
    fits: bool

    @property
    def numbers(self) -> tuple[float, float, float]:
        return self.value, self.parameters, self.multiply_adds


def front_of(facts: Facts) -> Front:
    """Return which finished trials are on the front of value, parameters and multiply-adds.

    Nothing for fewer than two trials that compare, nor, without a budget,
    before all trials have ended and for more cells than `MOST_COUNTED`.
    """
    found = _counted(facts)
    if len(found) < 2:
        return Front()
    on_it = front([each.numbers for each in found])
    chosen = sorted(
        (each for each, best in zip(found, on_it, strict=True) if best), key=lambda each: each.parameters
    )
    value = percent if facts.selection.by == "table" else format_number
    rows = tuple(
        (each.trial, value(each.value), f"{each.parameters:,}", f"{each.multiply_adds:,}", _mark(facts, each))
        for each in chosen
    )
    where, retrain = facts.sweep.select.where, facts.sweep.retrain
    recipe = (where and where.recipe) or (retrain and retrain.recipe)
    network = f"the recipe {recipe} trains." if recipe else "is usual for such cells."
    headers = ("trial", _label(facts), *OBJECTIVES.values(), "")
    return Front(headers, rows, _picture(facts, found, chosen), f"{FRONT} {network}")


def _label(facts: Facts) -> str:
    """Name what the rule ranks by, with its unit."""
    by = facts.sweep.select.rule
    return RULE_NAMES[by] + {"table": " / %", "eig_max": "", "short_training": ""}.get(by, " / nats")


def _mark(facts: Facts, each: _Counted) -> str:
    winner = facts.selection.winner
    if winner and winner.trial.id == each.trial:
        return "chosen"
    return "" if each.fits else "beyond the budget"


def _counted(facts: Facts) -> list[_Counted]:
    """Return the trials with a value that compares with the winner's, and the sizes of their networks."""
    where, retrain = facts.sweep.select.where, facts.sweep.retrain
    recipe = (where and where.recipe) or (retrain and retrain.recipe) or None
    ranked = [each.trial for each in comparable(facts.selection.ranking, facts.selection.by)]
    fitting = {record.id for record in ranked}
    kinds = {record.validated for record in ranked}
    left = {trial for trial, _ in facts.selection.left_out} if where else set()
    others = [r for r in facts.records if r.id in left and (not kinds or r.validated in kinds)]
    candidates = [record for record in (*ranked, *others) if record.deciding]
    different = {record.deciding.genotype for record in candidates if record.deciding}
    if where is None and (len(different) > MOST_COUNTED or not facts.complete):
        return []
    values = {each.trial.id: each.value for each in facts.selection.ranking}
    found = []
    for record in candidates:
        value = values.get(record.id, value_of(record, facts.sweep.select.rule, facts.judge))
        try:
            size = size_of_search(record, recipe)
        except RaynasError:
            continue  # the budget's reasons say so, where there is one
        if value is not None and size is not None:
            found.append(_Counted(record.id, value, *size, record.id in fitting))
    return found


def _picture(facts: Facts, found: list[_Counted], chosen: list[_Counted]) -> Multiple:
    unit = 100.0 if facts.selection.by == "table" else 1.0
    winner = facts.selection.winner
    panels = []
    for name, words in OBJECTIVES.items():
        points = [
            (getattr(each, name), unit * each.value, "s0" if each.fits else "s5", each.trial)
            for each in found
        ]
        marked = next((p for p in points if winner and p[3] == winner.trial.id), None)
        steps = _steps([(getattr(each, name), unit * each.value) for each in chosen])
        limit = getattr(facts.sweep.select.where, name, None)
        svg = figures.front_panel(
            f"front-{name}",
            [each[:3] for each in points],
            steps,
            marked and marked[:2],
            (words, _label(facts)),
            limit.most if limit else None,
        )
        alt = f"What each trial's cell reaches over the {words} of its network, with the front of the two"
        panels.append(Picture(f"front-{name.replace('_', '-')}", f"Over {words}", alt, svg))
    keys = [Key("a trial", "var(--s0)", "line"), Key("front of the two", "var(--ink)", "line")]
    keys += [Key("beyond the budget", "var(--s5)", "line")] * any(not each.fits for each in found)
    keys += [Key("the budget", "var(--s1)", "dash")] * (facts.sweep.select.where is not None)
    return Multiple("Size against what the rule says", tuple(panels), tuple(keys), 2)


def _steps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points of the front of two numbers, by the first."""
    best = [point for point, is_best in zip(points, front(points), strict=True) if is_best]
    return sorted(set(best))
