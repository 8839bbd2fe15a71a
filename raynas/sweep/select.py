"""Ranking the trials of a sweep and saying, in sentences, why the winner won.

By losses, unless the sweep asks for `table`: then by the error (1 less the accuracy) that a public table
gives for the cell of the last epoch, its validation accuracies where it has some.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import correlation, fmean, stdev
from typing import Any, Protocol

from raynas.errors import RaynasError
from raynas.spaces.space import Space
from raynas.sweep.budget import Excess, excess, nothing_fits
from raynas.sweep.file.resolve import short_hash
from raynas.sweep.plan import Criterion, Select
from raynas.sweep.record import VALIDATED, TrialRecord
from raynas.tables.table import Yardstick

_NAMES = {
    "valid_loss": "validation loss of the supernet",
    "select_loss": "loss of the supernet on the third part",
    "discrete_loss": "validation loss of the derived cell alone",
    "short_training": "error after a short training of its cell",
    "eig_max": "largest eigenvalue of the Hessian in α",
    "table": "error of its cell in the table",
}
_LACKING = {
    "table": "a cell that the table holds",
    "eig_max": "measured curvature",
    "short_training": "a short training of its cell (raynas retrain SWEEP --short)",
    "select_loss": "a loss on a third part of the data (data.select)",
}
PROPOSED = "error in the table of the best cell that was proposed"
"""What ranks the trials of methods that propose cells, where validation losses rank the others."""
OF_KINDS = ("valid_loss", "select_loss")
"""Rules whose numbers are of what a method validates, and compare within a kind of that only."""

UNDECIDED = "Only training both cells from scratch, or a table (select: {by: table}), decides between them."
FEWEST_RANKED = 4
"""Trials below which a rank correlation says nothing."""

UNMEASURED = "eig_max ranks by curvature, which is not measured: set hessian: {every: 1}"
UNSELECTED = "select_loss is of a part of the data that trains nothing, and there is none: data.select=0.1"
NO_BENCHMARK = "ranking by the table needs one: the sweep has no `benchmark: {table: ..., data: ...}`"


@dataclass(frozen=True)
class Ranked:
    """One trial with the value it is ranked by at its last epoch: nats, or an error in [0, 1]."""

    trial: TrialRecord
    value: float


@dataclass(frozen=True)
class RuleChoice:
    """What one of several rules chooses, of how many that it can rank; None where that is none.

    ``place`` is where it has the trial that was selected, None where it cannot rank that.
    """

    rule: Criterion
    first: Ranked | None
    ranked: int
    place: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        trial, value = (self.first.trial.id, self.first.value) if self.first else (None, None)
        told = {"rule": self.rule, "trial": trial, "value": value}
        return {**told, "ranked": self.ranked, "place_of_selected": self.place}


@dataclass(frozen=True)
class Selection:
    """The ranking of a sweep, best first, and the reasons for its winner.

    ``top`` is the first `Select.top` of the ranking, ``left_out`` holds (trial id, why) of those that were
    not ranked, ``margin`` is the value of the best of the others that compare with the winner, minus
    the winner's (None where none does): validation losses of two kinds do not. ``choices`` has a line for
    each rule where several were asked for, ``over_budget`` says which network came nearest, where none is
    within the budget.
    """

    by: Criterion
    ranking: tuple[Ranked, ...]
    top: tuple[Ranked, ...]
    reasons: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    choices: tuple[RuleChoice, ...] = ()
    over_budget: str = ""

    @property
    def disagreement(self) -> str:
        """Who of several rules chooses what, in a sentence; empty where there is but one."""
        chosen: dict[str, list[str]] = {}
        for choice in self.choices:
            chosen.setdefault(choice.first.trial.id if choice.first else "", []).append(choice.rule)
        silent = chosen.pop("", [])
        said = f" {', '.join(silent)} can rank none." if silent else ""
        if not chosen:
            return said.strip()
        if len(chosen) == 1:
            [trial] = chosen
            return f"All rules that can rank choose {trial}.{said}"
        each = "; ".join(f"{trial} by {', '.join(rules)}" for trial, rules in chosen.items())
        return f"The rules disagree: {each}.{said}"

    @property
    def winner(self) -> Ranked | None:
        """The first of the ranking."""
        return self.ranking[0] if self.ranking else None

    @property
    def margin(self) -> float | None:
        """How much lower the winner's value is than the second's."""
        alike = comparable(self.ranking, self.by)
        return alike[1].value - alike[0].value if len(alike) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; trials by their id."""
        return {
            "by": self.by,
            "winner": self.winner.trial.id if self.winner else None,
            "margin": self.margin,
            "best_of_kinds": {kind: each.trial.id for kind, each in best_of_kinds(self.ranking).items()},
            "top": [ranked.trial.id for ranked in self.top],
            "reasons": list(self.reasons),
            "ranking": [{"trial": ranked.trial.id, "value": ranked.value} for ranked in self.ranking],
            "left_out": [{"trial": trial, "why": why} for trial, why in self.left_out],
            **({"rules": [choice.to_json() for choice in self.choices]} if self.choices else {}),
        }


class Opens(Protocol):
    """A table that can be opened: one that a `Benchmark` names, or a sweep's `Lookups`."""

    def open(self, spaces: Iterable[Space] = ()) -> Yardstick: ...


def judge_of(config: Select, table: Opens | None) -> Yardstick | None:
    """Open the table that selects; None where losses do.

    Raises `RaynasError` when the sweep has none, and as opening does.
    """
    if "table" not in config.rules:
        return None
    if table is None:
        raise RaynasError(NO_BENCHMARK, next_step="choose valid_loss or discrete_loss")
    return table.open().judge()


def rank(records: Sequence[TrialRecord], config: Select, judge: Yardstick | None = None) -> Selection:
    """Rank finished trials by their value at the last epoch, lowest first; ties go to the earlier trial.

    Trials that did not finish, or whose value is not a finite number, are left out with the reason; so are
    those whose network is beyond the budget, and, where the table selects, cells that it lacks. It is
    ``judge`` (see `judge_of`), None when it has gone. Of several rules the first ranks; what each would
    choose is in the selection's ``choices``.
    """
    by = config.rule
    ranking = []
    left_out = []
    beyond: dict[str, Excess] = {}
    for record in records:
        value = value_of(record, by, judge)
        if value is None:
            left_out.append((record.id, _why_left_out(record, by, judge)))
        elif config.where and (over := excess(record, config.where)):
            beyond[record.id] = over
            left_out.append((record.id, over.why))
        else:
            ranking.append(Ranked(record, value))
    # Stable, so that of equals the earlier in the plan comes first, whichever finished first.
    ranking.sort(key=lambda ranked: ranked.value)
    lacking = _LACKING.get(by, "a finite loss")
    none = nothing_fits(list(beyond.values())) if beyond and not ranking else ""
    reasons = [none] if none else _reasons(ranking, by, lacking)
    reasons += _left_out_reason(records, ranking, lacking, beyond)
    if by in OF_KINDS:
        reasons += [*_validated_reasons(ranking), *_agreement(ranking)]
    if ranking:
        table = judge if by == "table" else None
        reasons.append(_caution(table) if table else _CAUTIONS.get(by) or _of_part(ranking, by))
    top = tuple(ranking[: config.top])
    choices = _choices(records, config, judge, ranking)
    return Selection(by, tuple(ranking), top, tuple(reasons), tuple(left_out), choices, none)


def _choices(
    records: Sequence[TrialRecord], config: Select, judge: Yardstick | None, ranking: Sequence[Ranked]
) -> tuple[RuleChoice, ...]:
    """Return what each of several rules chooses, the one that selects first; nothing for one."""
    first = ranking[0].trial.id if ranking else None
    found = []
    for rule in config.rules if len(config.rules) > 1 else ():
        its = rank(records, Select(by=rule, where=config.where), judge)
        places = {ranked.trial.id: place for place, ranked in enumerate(its.ranking, start=1)}
        found.append(RuleChoice(rule, its.winner, len(its.ranking), places.get(first or "")))
    return tuple(found)


_OPTIMISTIC = (
    "The validation half also trained α, so this loss is optimistic: only training the cell from "
    "scratch, tested on other images, measures it."
)
_FRESH = (
    "The third part of the data (data.select) trained neither weights nor α, so this choice is not "
    "optimistic; the loss is still that of shared weights: only training the cell from scratch measures it."
)
_CHOSEN_IN_TABLE = (
    "The table's accuracies that judged the cells also chose among them, so this error is optimistic: the "
    "table's test accuracies, or training the cell, measure it."
)
_CAUTIONS = {
    "short_training": "The errors are of images held out, after a few epochs from scratch: what ranks first "
    "then need not do so after a whole training, which is a number of its own.",
    "eig_max": "A small eigenvalue is a sign of a cell that survives its derivation (Zela et al. 2020), not "
    "a measure of it, and eigenvalues of several methods hardly compare: only training the cell measures it.",
}


def _of_part(ranking: Sequence[Ranked], by: Criterion) -> str:
    """Say whether what the loss was taken on had trained α: in all searches a third part, or in some not."""
    if by == "valid_loss" and ranking[0].trial.validated == "table":
        return _CHOSEN_IN_TABLE
    thirds = [each.trial.deciding and each.trial.deciding.select_loss is not None for each in ranking]
    return _FRESH if by != "valid_loss" and all(thirds) else _OPTIMISTIC


def _caution(judge: Yardstick) -> str:
    source = f"The errors are those of {judge.column} of {judge.table.name}"
    if judge.table.predicts:
        source += ", which are predicted, not measured"
    if judge.tests:
        return (
            f"{source}: it has no validation accuracies, so this chooses on the test set, and what it states "
            "of the winner is optimistic."
        )
    return f"{source}: a choice that no search can make where there is no table."


def value_of(record: TrialRecord, by: Criterion, judge: Yardstick | None = None) -> float | None:
    """Return what a trial is ranked by, or None when it did not finish with a finite value."""
    if record.status != "finished" or record.deciding is None:
        return None
    if by == "table":
        return judge.error(record.deciding.genotype) if judge else None
    own = {"eig_max": record.eig_max, "short_training": record.short}
    value = own[by] if by in own else getattr(record.deciding, by)
    if by == "valid_loss" and record.validated == "table":
        value = 1 - record.deciding.valid_accuracy
    return value if value is not None and math.isfinite(value) else None


def _why_left_out(record: TrialRecord, by: Criterion, judge: Yardstick | None) -> str:
    if record.status == "finished":
        if record.deciding is None:
            return "finished without a report"
        if by == "table":
            return f"its cell is not in {judge.table.name}" if judge else "the table cannot be read"
        if by == "eig_max":
            return "its curvature was not measured"
        if by == "short_training":
            return "its cell has not been trained shortly, or that failed"
        if record.validated == "table" and getattr(record.deciding, by) is None:
            return "its method trains nothing: a table judged its cells (select: {by: table})"
        if by == "select_loss" and record.deciding.select_loss is None:
            return "its data have no third part (data.select)"
        return f"{by} is {getattr(record.deciding, by)} at epoch {record.deciding.epoch + 1}"
    if record.status == "running":
        done = f"{len(record.reports)} of {record.epochs} epochs" if record.reports else "no epoch yet"
        return f"not finished: {done}"
    return f"{record.status}: {record.reason}" if record.reason else record.status


def _reasons(ranking: Sequence[Ranked], by: Criterion, lacking: str) -> list[str]:
    if not ranking:
        return [f"No trial finished with {lacking}, so there is no winner."]
    winner = ranking[0]
    epoch = winner.trial.deciding.epoch + 1 if winner.trial.deciding else None  # people count from 1
    name = PROPOSED if by == "valid_loss" and winner.trial.validated == "table" else _NAMES[by]
    reasons = [f"{winner.trial.id} has the lowest {name}: {_told(winner.value, by)} at epoch {epoch}."]
    if len(ranking) == 1:
        reasons.append("It is the only trial that could be ranked.")
        return reasons
    ranking = comparable(ranking, by)
    if len(ranking) == 1:
        reasons.append("No other trial has a number of its kind.")
        return reasons
    second = ranking[1]
    if second.value == winner.value:
        reasons.append(f"{second.trial.id} has exactly the same; the earlier trial of the plan wins.")
    else:
        has, margin = _told(second.value, by), _told(second.value - winner.value, by)
        reasons.append(f"The second, {second.trial.id}, has {has}: a margin of {margin}.")
    return reasons + _group_reasons(ranking, by)


def _told(value: float, by: Criterion) -> str:
    """Write what ranks for people: the error in a table in percent, all else as it is."""
    return f"{100 * value:.2f} %" if by == "table" else f"{value:.4f}"


def _group_reasons(ranking: Sequence[Ranked], by: Criterion) -> list[str]:
    """Compare the winner's setting over its seeds with the best of the other settings."""
    groups: dict[str, list[Ranked]] = {}
    for ranked in ranking:
        groups.setdefault(_setting(ranked.trial.config.model_dump(mode="json")), []).append(ranked)
    own, *others = groups.values()
    if not others:
        return [f"Over its seeds the setting has {_spread(own, by)}."] if len(own) > 1 else []
    best = min(others, key=_mean)
    here, there = _spread(own, by), _spread(best, by)
    comparison = f"{_name(own)} has {here}, the best other setting, {_name(best)}, {there}"
    reasons = [f"Over seeds, {comparison}."]
    if _mean(best) < _mean(own):
        reasons.append(f"On average {_name(best)} is better, so the winner may be one lucky seed.")
    return reasons


def comparable(ranking: Sequence[Ranked], by: str) -> Sequence[Ranked]:
    """Return those whose values compare with the first's: of validation losses, those of its kind."""
    if by not in OF_KINDS:
        return ranking
    return [each for each in ranking if each.trial.validated == ranking[0].trial.validated]


def best_of_kinds(ranking: Sequence[Ranked]) -> dict[str, Ranked]:
    """Return the best trial of each kind of validation loss; only trials of one kind compare."""
    best: dict[str, Ranked] = {}
    for ranked in ranking:
        best.setdefault(ranked.trial.validated, ranked)
    return best


def _validated_reasons(ranking: Sequence[Ranked]) -> list[str]:
    """Say what was validated, and, where the trials are of two kinds, that these do not compare."""
    best = best_of_kinds(ranking)
    if len(best) < 2:
        what = "What is ranked" if "table" in best else "Its validation loss"
        return [f"{what} is {VALIDATED[kind]}{_judge(each)}." for kind, each in best.items()]
    each = "; ".join(
        f"{VALIDATED[kind]}{_judge(r)}: {r.trial.id} with {r.value:.4f}" for kind, r in best.items()
    )
    kinds = "Two kinds" if len(best) == 2 else f"{len(best)} kinds"
    return [f"{kinds} of validation loss are ranked that do not compare. Best of each: {each}. {UNDECIDED}"]


def _judge(ranked: Ranked) -> str:
    """Say in which column of which table a trial's cells were judged, where they were."""
    told = (ranked.trial.start or {}).get("judge")
    return f" ({told})" if isinstance(told, str) and ranked.trial.validated == "table" else ""


def _agreement(ranking: Sequence[Ranked]) -> list[str]:
    """Say how far the validation loss orders each kind's trials as their derived cells' losses do."""
    found = []
    for kind in best_of_kinds(ranking):
        pairs = [
            (each.value, loss)
            for each in ranking
            if each.trial.validated == kind
            and each.trial.deciding
            and (loss := each.trial.deciding.discrete_loss) is not None
        ]
        if len(pairs) >= FEWEST_RANKED and (rho := _rank_correlation(pairs)) is not None:
            found.append(
                f"Rank correlation of this loss with that of the derived cell alone: {rho:+.2f} "
                f"({len(pairs)} trials, {VALIDATED[kind]})."
            )
    return found


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Spearman's coefficient, None where one side is constant or not finite."""
    columns = [_ranks(column) for column in zip(*pairs, strict=True)]
    if not all(math.isfinite(value) for pair in pairs for value in pair):
        return None
    return correlation(*columns) if all(len(set(column)) > 1 for column in columns) else None


def _ranks(values: Sequence[float]) -> list[int]:
    """Return twice each value's place; equal ones share the mean of theirs."""
    ordered = sorted(values)
    # Twice the place, so that the mean of two places stays a whole number and equal ones compare equal.
    return [bisect_left(ordered, value) + bisect_right(ordered, value) for value in values]


def _left_out_reason(
    records: Sequence[TrialRecord], ranking: Sequence[Ranked], lacking: str, beyond: Collection[str]
) -> list[str]:
    ranked = {item.trial.id for item in ranking}
    without = {True: "beyond the budget", False: f"without {lacking}"}
    counts = Counter(
        without[record.id in beyond] if record.status == "finished" else record.status
        for record in records
        if record.id not in ranked
    )
    if not counts:
        return []
    total = counts.total()
    listed = ", ".join(f"{count} {what}" for what, count in counts.items())
    return [f"{total} of {len(records)} trials {'was' if total == 1 else 'were'} left out: {listed}."]


def _setting(config: Mapping[str, Any]) -> str:
    return short_hash({key: value for key, value in config.items() if key != "seed"})


def _name(group: Sequence[Ranked]) -> str:
    trial = group[0].trial
    return trial.id.removesuffix(f"-s{trial.config.seed}")


def _mean(group: Sequence[Ranked]) -> float:
    return fmean(ranked.value for ranked in group)


def _spread(group: Sequence[Ranked], by: Criterion) -> str:
    values = [ranked.value for ranked in group]
    if len(values) == 1:
        return f"{_told(values[0], by)} (one seed)"
    return f"{_told(fmean(values), by)} ± {_told(stdev(values), by)} ({len(values)} seeds)"
