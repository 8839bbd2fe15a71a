"""Why the winner of a ranking won and who was left out, in sentences, with what to be careful about."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from statistics import correlation, fmean, stdev
from typing import Any

from raynas.sweep.file.resolve import short_hash
from raynas.sweep.ranking import Ranked, best_of_kinds, comparable
from raynas.sweep.record import VALIDATED, TrialRecord
from raynas.sweep.sections import Criterion
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
UNDECIDED = "Only training both cells from scratch, or a table (select: {by: table}), decides between them."
FEWEST_RANKED = 4
"""Trials below which a rank correlation says nothing."""


def lacking(by: Criterion) -> str:
    """Return what a trial needs to be ranked by this rule."""
    return _LACKING.get(by, "a finite loss")


def why_left_out(record: TrialRecord, by: Criterion, judge: Yardstick | None) -> str:
    """Say why a trial could not be ranked by this rule."""
    if record.status == "finished":
        if record.deciding is None:
            return "finished without a report"
        if by == "table":
            return f"its cell is not in {judge.table.name}" if judge else "the table cannot be read"
        if by == "eig_max":
            return "its curvature was not measured"
        if by == "short_training":
            return "its cell has not been trained shortly, or that failed"
        if record.proposed and getattr(record.deciding, by) is None:
            return "its method trains nothing: a table judged its cells (select: {by: table})"
        if by == "select_loss" and record.deciding.select_loss is None:
            return "its data have no third part (data.select)"
        return f"{by} is {getattr(record.deciding, by)} at epoch {record.deciding.epoch + 1}"
    if record.status == "running":
        done = f"{len(record.reports)} of {record.epochs} epochs" if record.reports else "no epoch yet"
        return f"not finished: {done}"
    return f"{record.status}: {record.reason}" if record.reason else record.status


def winner_reasons(ranking: Sequence[Ranked], by: Criterion) -> list[str]:
    """Say what the first has, by how much it is ahead, and how its setting does over seeds."""
    if not ranking:
        return [f"No trial finished with {lacking(by)}, so there is no winner."]
    winner = ranking[0]
    epoch = winner.trial.deciding.epoch + 1 if winner.trial.deciding else None  # people count from 1
    name = PROPOSED if by == "valid_loss" and winner.trial.proposed else _NAMES[by]
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


def validated_reasons(ranking: Sequence[Ranked]) -> list[str]:
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
    return f" ({told})" if isinstance(told, str) and ranked.trial.proposed else ""


def agreement_reasons(ranking: Sequence[Ranked]) -> list[str]:
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


def left_out_reasons(
    records: Sequence[TrialRecord], ranking: Sequence[Ranked], by: Criterion, beyond: Collection[str]
) -> list[str]:
    """Count the trials that are not ranked, by why; ``beyond`` are those over the budget."""
    ranked = {item.trial.id for item in ranking}
    without = {True: "beyond the budget", False: f"without {lacking(by)}"}
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


def caution(ranking: Sequence[Ranked], by: Criterion, judge: Yardstick | None) -> str:
    """Say what to be careful about when choosing the first of a ranking by this rule."""
    if by == "table" and judge is not None:
        return _caution_of_table(judge)
    return _CAUTIONS.get(by) or _of_part(ranking, by)


def _of_part(ranking: Sequence[Ranked], by: Criterion) -> str:
    """Say whether what the loss was taken on had trained α: in all searches a third part, or in some not."""
    if by == "valid_loss" and ranking[0].trial.proposed:
        return _CHOSEN_IN_TABLE
    thirds = [each.trial.deciding and each.trial.deciding.select_loss is not None for each in ranking]
    return _FRESH if by != "valid_loss" and all(thirds) else _OPTIMISTIC


def _caution_of_table(judge: Yardstick) -> str:
    source = f"The errors are those of {judge.column} of {judge.table.name}"
    if judge.table.predicts:
        source += ", which are predicted, not measured"
    if judge.tests:
        return (
            f"{source}: it has no validation accuracies, so this chooses on the test set, and what it states "
            "of the winner is optimistic."
        )
    return f"{source}: a choice that no search can make where there is no table."
