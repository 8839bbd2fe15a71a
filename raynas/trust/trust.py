"""All that can be said of a sweep's choice: rules beside truths, what more searches buy, random cells."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Any

from raynas.errors import RaynasError
from raynas.sweep.budget import excess
from raynas.sweep.control import drawn_for
from raynas.sweep.folder import SweepFolder, TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.ranking import OF_KINDS, Selection
from raynas.sweep.record import VALIDATED, TrialRecord
from raynas.sweep.sections import CRITERIA, Criterion
from raynas.tables.table import Yardstick
from raynas.train.recipe import load_recipe
from raynas.trust.agreement import Agreement, agreement
from raynas.trust.control import RandomCells, inherited, looked_up, trained
from raynas.trust.curve import Point, curve
from raynas.trust.judged import Truth, scores_of, truths_of


@dataclass(frozen=True)
class RuleRow:
    """One rule beside one truth; of validation losses, which compare within their kind only, one kind's."""

    rule: Criterion
    kind: str
    agreement: Agreement
    choice: str


@dataclass(frozen=True)
class Bench:
    """One truth about a sweep's cells, and what it says of every rule.

    ``curves`` has, by rule, the expected error of its choice among n searches; ``best`` the same of a choice
    by the truth itself, ``mean`` the mean error of the searches' cells.
    """

    truth: Truth
    rows: tuple[RuleRow, ...]
    curves: Mapping[Criterion, list[Point]]
    best: list[Point]
    mean: float
    random: RandomCells | None


@dataclass(frozen=True)
class Trust:
    """What a sweep's choice is worth; ``seconds`` is the mean time of a finished search.

    ``inherited`` is the chosen cell beside random ones under its own search's weights, which favours it: the
    supernet was trained towards it. None where its search judged none. ``short`` is the same by the errors of
    short trainings, where random cells had them too. ``training`` is how many seconds one by the recipe
    `quick` would take at the pace of those on record, 0 where none is.
    """

    benches: tuple[Bench, ...]
    inherited: RandomCells | None
    seconds: float
    short: RandomCells | None = None
    training: float = 0.0

    def of_choice(self, selection: Selection) -> list[tuple[Truth, Agreement]]:
        """Return what each truth says of the rule that selects, over searches of the winner's kind."""
        kind = VALIDATED[selection.ranking[0].trial.validated]
        return [
            (bench.truth, row.agreement)
            for bench in self.benches
            for row in bench.rows
            if row.rule == selection.by and row.kind in ("", kind)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data: errors as fractions, intervals as pairs."""
        return {
            "seconds": self.seconds,
            "truths": [
                {
                    "source": bench.truth.source,
                    "errors": dict(bench.truth.errors),
                    "rules": [asdict(row) for row in bench.rows],
                    "curves": {
                        rule: [asdict(point) for point in each] for rule, each in bench.curves.items()
                    },
                    "best_possible": [asdict(point) for point in bench.best],
                    "mean": bench.mean,
                    "random": bench.random and bench.random.to_json(),
                }
                for bench in self.benches
            ],
            "inherited": self.inherited and self.inherited.to_json(),
            **({"short": self.short.to_json()} if self.short else {}),
        }

    @property
    def random(self) -> RandomCells | None:
        """The strongest control there is: trained errors before short trainings before inherited weights."""
        return next((bench.random for bench in self.benches if bench.random), self.short or self.inherited)


def trust_of(
    folder: SweepFolder,
    sweep: Sweep,
    records: Sequence[TrialRecord],
    selection: Selection,
    yardstick: Yardstick | None = None,
) -> Trust:
    """Hold a sweep's rules against every truth about its cells; ``yardstick`` is the table's column."""
    finished = [record for record in records if record.status == "finished"]
    winner = selection.winner.trial if selection.winner else None
    # Members of a pack share its time, which each of them has in its reports.
    times = [
        sum(report.seconds for report in record.reports) / max(len((record.start or {}).get("pack") or ()), 1)
        for record in finished
    ]
    judge = yardstick.judge() if yardstick else None
    where = sweep.select.where
    if where is not None:  # what may not be chosen is nothing that a rule misses
        finished = [record for record in finished if excess(record, where) is None]
    benches = [_bench(truth, finished, judge) for truth in truths_of(folder, finished, yardstick)]
    if winner is not None and sweep.control.random:
        least = sweep.control.random
        budget = sum(_cells_seen(record) for record in finished)
        benches = [_with_random(folder, bench, winner, budget, least) for bench in benches]
    seconds = fmean(times) if times else 0.0
    training = _training(folder)
    if winner is None or winner.deciding is None:
        return Trust(tuple(benches), None, seconds, training=training)
    drawn = drawn_for(folder, winner)
    short = trained(
        winner.deciding.genotype, drawn, folder.short_errors() if drawn else {}, "trained shortly"
    )
    return Trust(tuple(benches), inherited(winner), seconds, short, training)


def _training(folder: SweepFolder) -> float:
    """Return what a training by `quick` takes at the mean pace of an epoch of those that there are."""
    try:
        records = [
            each for name in folder.trained() for each in TrainSweep(folder.trained_path(name)).records()
        ]
    except RaynasError:
        return 0.0  # one is damaged, which its own report tells
    paces = [report.seconds for record in records for report in record.reports]
    return fmean(paces) * load_recipe("quick").config("any").epochs if paces else 0.0


def _cells_seen(record: TrialRecord) -> int:
    """Return how many cells a finished search has had judged: its own, or all that it proposed."""
    return int(record.deciding.extra.get("evaluations", 1)) if record.proposed and record.deciding else 1


def _bench(truth: Truth, records: Sequence[TrialRecord], judge: Yardstick | None) -> Bench:
    known = [record for record in records if record.id in truth.errors]
    errors = [truth.errors[record.id] for record in known]
    rows: list[RuleRow] = []
    curves: dict[Criterion, list[Point]] = {}
    for rule in CRITERIA:
        # What judges must not be the truth as well: it would agree with itself.
        itself = judge is not None and truth.yardstick is not None and judge.column == truth.yardstick.column
        if rule == "table" and (judge is None or itself or judge.tests):
            continue
        scores = scores_of(known, rule, judge)
        if rule == "valid_loss" and itself:  # cells that were proposed are ranked by that very column
            scores = {r.id: scores[r.id] for r in known if r.id in scores and not r.proposed}
        scored = [record for record in known if record.id in scores]
        if not scored:
            continue
        rows += _rows(rule, scored, scores, truth)
        # Losses of two kinds do not compare, so nothing can be chosen among both.
        if rule not in OF_KINDS or len({record.validated for record in scored}) == 1:
            own = [truth.errors[record.id] for record in scored]
            curves[rule] = curve([scores[record.id] for record in scored], own)
    return Bench(truth, tuple(rows), curves, curve(errors, errors), fmean(errors), None)


def _rows(
    rule: Criterion, records: Sequence[TrialRecord], scores: Mapping[str, float], truth: Truth
) -> list[RuleRow]:
    kinds: dict[str, list[TrialRecord]] = {}
    for record in records:
        kinds.setdefault(VALIDATED[record.validated] if rule in OF_KINDS else "", []).append(record)
    found = []
    for kind, alike in kinds.items():
        values = [scores[record.id] for record in alike]
        choice = min(alike, key=lambda record: scores[record.id])
        judged = agreement(values, [truth.errors[record.id] for record in alike])
        found.append(RuleRow(rule, kind if len(kinds) > 1 else "", judged, choice.id))
    return found


def _with_random(folder: SweepFolder, bench: Bench, winner: TrialRecord, searches: int, least: int) -> Bench:
    """Look random cells up where the truth is a table; else take those trained beside the others."""
    if winner.deciding is None:
        return bench
    if bench.truth.yardstick is None:
        drawn, known = drawn_for(folder, winner), bench.truth.networks
        return replace(bench, random=trained(winner.deciding.genotype, drawn, known, bench.truth.source))
    space = folder.trial(winner.id).space()
    found = looked_up(space, winner.deciding.genotype, bench.truth.yardstick, searches, least)
    return replace(bench, random=found)
