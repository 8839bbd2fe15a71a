"""The verdict on a sweep in a few sentences: the winner, by which rule, how sure, what would settle it.

Wrong confidence is a fault: where there are too few searches, no control or no truth, it says so and gives no
grade.
"""

from dataclasses import dataclass

from raynas.errors import plural
from raynas.sweep.ranking import Selection, comparable
from raynas.sweep.reasons import FEWEST_RANKED, PROPOSED
from raynas.trust.agreement import Agreement
from raynas.trust.margin import margin_of, settings_of
from raynas.trust.trust import Trust

FEW = 0.05
"""The share of random cells that may be as good as a cell of which one says that chance does not reach it."""

EVEN = 0.5
"""The share that a random cell has: where the interval reaches it, the winner is told from one by nothing."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Verdict:
    """``winner`` says what was chosen by what, ``sure`` how sure that is, ``settle`` what would settle it.

    All are sentences; ``settle`` is empty where nothing is left to settle.
    """

    winner: str
    sure: str = ""
    settle: str = ""

    @property
    def sentences(self) -> list[str]:
        """All that there is to say."""
        return [words for words in (self.winner, self.sure, self.settle) if words]


def verdict_of(selection: Selection, trust: Trust, sweep: str, rule: str, warnings: int = 0) -> Verdict:
    """Say what a choice amounts to; ``sweep`` is how commands name it, ``rule`` what chose, in words.

    ``warnings`` counts the remarks that stand below it (see `raynas.report.remarks`).
    """
    if selection.winner is None:
        why = selection.reasons[0] if selection.left_out else "no trial has ended."
        return Verdict(f"No winner: {why}", "", f"“raynas status {sweep}” says what became of each.")
    if selection.by == "valid_loss" and selection.winner.trial.proposed:
        rule = PROPOSED
    alike = comparable(selection.ranking, selection.by)
    count, best = len(alike), selection.winner
    winner = f"{best.trial.id} is chosen by {rule}, of {plural(count, 'search', 'searches')} that compare."
    if count == 1:
        return Verdict(
            winner,
            "With one search there is no choice, and nothing to be sure of.",
            _more(selection, trust, sweep),
        )
    if all(each.value == best.value for each in alike):
        tied = f"All {count} have the same value, so nothing was chosen: the first of the plan stands here."
        return Verdict(winner, tied, _settle(selection, trust, sweep))
    doubts, support, unknown = _grounds(selection, trust)
    if warnings:
        reasons = plural(warnings, "reason")
        doubts.insert(0, f"there {'is' if warnings == 1 else 'are'} {reasons} to be careful, below")
    if count < FEWEST_RANKED:
        return Verdict(
            winner, f"{count} searches are too few to say how sure that is.", _more(selection, trust, sweep)
        )
    if doubts:
        sure = f"Not sure: {'; '.join([*doubts, *unknown])}."
    elif unknown:
        sure = f"How sure that is cannot be said: {'; '.join(unknown)}."
    else:
        return Verdict(winner, f"Fairly sure: {'; '.join(support)}.")
    return Verdict(winner, sure, _settle(selection, trust, sweep))


def _grounds(selection: Selection, trust: Trust) -> tuple[list[str], list[str], list[str]]:
    """Return what speaks against the choice, what speaks for it, and what is not known."""
    doubts: list[str] = []
    support: list[str] = []
    unknown: list[str] = []
    margin = margin_of(settings_of(selection))
    if margin is not None and margin.spread is None:
        doubts.append("its lead stands on one seed of each setting")
    elif margin is not None and margin.noise:
        doubts.append(f"its lead of {margin.value:.2g} is below the spread over seeds, {margin.spread:.2g}")
    elif margin is not None:
        support.append(f"its lead of {margin.value:.2g} is above the spread over seeds, {margin.spread:.2g}")
    if trust.random is None:
        unknown.append("no random cell was judged beside it")
    else:
        low, high = trust.random.interval
        share = f"{100 * trust.random.as_good:.0f} % of {len(trust.random.values):,} random cells are as good"
        share += "" if trust.random.errors else ", judged with its own weights, which favours it"
        if trust.random is trust.short and selection.by == "short_training":
            share += ", by the number that chose it, which favours it"
        if high >= EVEN:
            interval = f"95 %: {100 * low:.0f} to {100 * high:.0f} %"
            doubts.append(f"nothing tells it from a random cell ({share}; {interval})")
        else:
            (support if trust.random.as_good <= FEW else doubts).append(share)
    judged = [found for _, found in trust.of_choice(selection)]
    known = max(judged, key=lambda each: each.count, default=None)
    if known is None and trust.benches:
        unknown.append("no true error is known that this rule could be held against")
    elif known is None:
        unknown.append("no cell of this sweep has been trained, and no table has them")
    elif known.tau is None or known.tau_interval is None:
        unknown.append(f"the true errors of {known.count} cells are too few to judge the rule by")
    else:
        _of_rule(known, known.tau, known.tau_interval[0], doubts, support)
    return doubts, support, unknown


def _of_rule(known: Agreement, tau: float, low: float, doubts: list[str], support: list[str]) -> None:
    said = f"τ = {tau:+.2f} over {known.count} searches, choosing by it costs {100 * known.regret:.2f} points"
    if low > 0:
        support.append(f"the rule follows the true errors ({said})")
    else:
        doubts.append(f"nothing tells the rule from chance here ({said})")


def _settle(selection: Selection, trust: Trust, sweep: str) -> str:
    """Name the command that would tell most, and how long that takes as far as seconds are on record."""
    margin = margin_of(settings_of(selection))
    if not trust.benches:
        takes = _length(trust.training * len(SEEDS), "at the pace of the trainings on record")
        command = f"raynas retrain {sweep} --seeds {','.join(map(str, SEEDS))}"
        return f"To settle it: “{command}” trains the cell from scratch and tests it once{takes}."
    if margin is not None and (margin.spread is None or margin.noise):
        return _more(selection, trust, sweep)
    return (
        "To settle it: `retrain: {top: 4, seeds: [0, 1, 2]}` and `control: {random: 8, by: training}` in the "
        "file train the best cells and random ones alike."
    )


def _more(selection: Selection, trust: Trust, sweep: str) -> str:
    """Ask for twice as many seeds of every setting, four at least."""
    settings = settings_of(selection)
    seeds = max(2 * max(map(len, settings)), FEWEST_RANKED)
    takes = _length(len(settings) * seeds * trust.seconds, "one search after another, at the pace on record")
    numbers = ", ".join(map(str, range(seeds)))
    command = f"raynas sweep sweep.yaml name={sweep}-seeds 'grid.seed=[{numbers}]'"
    return f"To settle it: more seeds, “{command}” in the sweep’s folder{takes}."


def _length(seconds: float, how: str) -> str:
    return (
        "; how long that takes is not on record" if seconds <= 0 else f"; about {_duration(seconds)}, {how}"
    )


def _duration(seconds: float) -> str:
    """Write a length of time in its largest unit that makes more than one: 5400 as 2 hours."""
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            return plural(round(seconds / size), unit)
    return plural(max(round(seconds), 1), "second")
