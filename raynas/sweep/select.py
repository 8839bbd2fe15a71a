"""Ranking the trials of a sweep.

By losses, unless the sweep asks for `table`: then by the error (1 less the accuracy) that a public table
gives for the cell of the last epoch, its validation accuracies where it has some.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from raynas.errors import RaynasError
from raynas.spaces.space import Space
from raynas.sweep.budget import Excess, excess, nothing_fits
from raynas.sweep.ranking import OF_KINDS, Ranked, RuleChoice, Selection
from raynas.sweep.reasons import (
    agreement_reasons,
    caution,
    left_out_reasons,
    validated_reasons,
    why_left_out,
    winner_reasons,
)
from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Criterion, Select
from raynas.tables.table import Yardstick

UNMEASURED = "eig_max ranks by curvature, which is not measured: set hessian: {every: 1}"
UNSELECTED = "select_loss is of a part of the data that trains nothing, and there is none: data.select=0.1"
NO_BENCHMARK = "ranking by the table needs one: the sweep has no `benchmark: {table: ..., data: ...}`"


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
            left_out.append((record.id, why_left_out(record, by, judge)))
        elif config.where and (over := excess(record, config.where)):
            beyond[record.id] = over
            left_out.append((record.id, over.why))
        else:
            ranking.append(Ranked(record, value))
    # Stable, so that of equals the earlier in the plan comes first, whichever finished first.
    ranking.sort(key=lambda ranked: ranked.value)
    none = nothing_fits(list(beyond.values())) if beyond and not ranking else ""
    reasons = [none] if none else winner_reasons(ranking, by)
    reasons += left_out_reasons(records, ranking, by, beyond)
    if by in OF_KINDS:
        reasons += [*validated_reasons(ranking), *agreement_reasons(ranking)]
    if ranking:
        reasons.append(caution(ranking, by, judge))
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


def value_of(record: TrialRecord, by: Criterion, judge: Yardstick | None = None) -> float | None:
    """Return what a trial is ranked by, or None when it did not finish with a finite value."""
    if record.status != "finished" or record.deciding is None:
        return None
    if by == "table":
        return judge.error(record.deciding.genotype) if judge else None
    own = {"eig_max": record.eig_max, "short_training": record.short}
    value = own[by] if by in own else getattr(record.deciding, by)
    if by == "valid_loss" and record.proposed:
        value = 1 - record.deciding.valid_accuracy
    return value if value is not None and math.isfinite(value) else None
