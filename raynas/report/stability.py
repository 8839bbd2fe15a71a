"""How steady searches are: over the epochs of one, over seeds, and in their order among each other."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev

import numpy as np
from scipy.stats import kendalltau, permutation_test

from raynas.bilevel.records import EpochReport
from raynas.report.facts import Facts, MethodSetting
from raynas.report.stats import Spread, common_share
from raynas.report.text import spread_count, spread_percent
from raynas.spaces.genotype import Genotype
from raynas.sweep.ranking import comparable
from raynas.sweep.reasons import FEWEST_RANKED
from raynas.sweep.record import VALIDATED, TrialRecord

HEADERS = (
    "setting",
    "epochs in which the cell changed / %",
    "last change after epochs",
    "changed since halfway / %",
)

STEADY = 0.9
"""Kendall's τ to the last epoch's order from which an order counts as decided."""

FEWEST_PAIRS = 4
"""Seeds below which a paired test can find nothing: of 3 signs, equal ones come with chance 1/4."""


STABLE = (
    "Over a search’s epochs: in how many the derived cell was another than before, after how many it last "
    "changed, and which share of its choices halfway are not in the last one. Mean ± sample standard "
    "deviation over seeds."
)


@dataclass(frozen=True)
class StabilityRow:
    """One setting: over its searches, in which share of epochs the derived cell became another one, after how
    many epochs it last did, and which share of it halfway is not in the last one."""

    label: str
    changes: Spread | None
    settled: Spread | None
    halfway: Spread | None

    def cells(self) -> list[str]:
        """Return the row as texts, in the order of `HEADERS`."""
        shares = spread_percent(self.changes), spread_count(self.settled), spread_percent(self.halfway)
        return [self.label, *shares]


@dataclass(frozen=True)
class Stability:
    """How steady the searches of a sweep are: a row for each setting, and what follows in sentences."""

    rows: list[StabilityRow]
    remarks: list[str]
    headers: tuple[str, ...] = HEADERS


def stability_of(facts: Facts) -> Stability:
    """Return how steady a sweep's finished searches are; without rows where none has two epochs."""
    finished = [record for record in facts.records if record.status == "finished"]
    return Stability(stability_rows(facts), [*_orders(finished), *_seeds(facts)])


def _orders(records: Sequence[TrialRecord]) -> Iterator[str]:
    """Say, for each kind of validation loss, from when on the order of the searches is that of the end."""
    kinds: dict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        kinds[record.validated].append(record)
    for kind, alike in kinds.items():
        if (after := order_settled(alike)) is not None:
            of = f" ({VALIDATED[kind]})" if len(kinds) > 1 else ""
            yield (
                f"The order of {len(alike)} searches by validation loss{of} is that of the end (Kendall’s τ "
                f"of {STEADY:g} or more) from epoch {after} of {len(alike[0].reports)} on."
            )


def _seeds(facts: Facts) -> Iterator[str]:
    """Compare what selects over seeds and settings, of those that compare with the winner."""
    alike = comparable(facts.selection.ranking, facts.selection.by)
    numbers = {ranked.trial.id: ranked.value for ranked in alike}
    if words := seeds_beside_settings(by_setting(facts, numbers)):
        yield words


def stability_rows(facts: Facts) -> list[StabilityRow]:
    """Return a row for each setting with a search of two epochs or more."""
    groups: dict[MethodSetting, list[TrialRecord]] = {}
    for record, setting in zip(facts.records, facts.settings, strict=True):
        if record.status == "finished" and len(record.reports) > 1:
            groups.setdefault(setting, []).append(record)
    return [
        StabilityRow(
            " ".join((setting.method, *setting.strength)),
            Spread.of(changed(record.reports) for record in records),
            Spread.of(float(settled(record.reports)) for record in records),
            Spread.of(1 - common_share(_halfway(record), record.reports[-1].genotype) for record in records),
        )
        for setting, records in groups.items()
    ]


def changed(reports: Sequence[EpochReport]) -> float:
    """Return the share of epochs, the first apart, after which the derived cell is another than before."""
    return fmean(float(one.genotype != other.genotype) for one, other in pairwise(reports))


def settled(reports: Sequence[EpochReport]) -> int:
    """Return after how many epochs the derived cell was that of the end, and stayed so."""
    last = reports[-1].genotype
    different = [place for place, report in enumerate(reports, start=1) if report.genotype != last]
    return max(different, default=0) + 1


def _halfway(record: TrialRecord) -> Genotype:
    return record.reports[(len(record.reports) - 1) // 2].genotype


def order_settled(records: Sequence[TrialRecord]) -> int | None:
    """Return after how many epochs the trials' order by validation loss is that of the end (τ ≥ `STEADY`).

    Of searches of one kind of validation loss that all have as many epochs; None for fewer than four.
    """
    told = [[report.valid_loss for report in record.reports] for record in records]
    losses = [[loss for loss in each if loss is not None] for each in told]
    if not all(losses):
        return None  # proposals have none
    if len(losses) < FEWEST_RANKED or len(set(map(len, losses))) > 1 or not np.isfinite(losses).all():
        return None
    table = np.array(losses)
    agreeing = [float(kendalltau(column, table[:, -1])[0]) for column in table.T]
    different = [place for place, tau in enumerate(agreeing, start=1) if not tau >= STEADY]
    return max(different, default=0) + 1


def seeds_beside_settings(values: Mapping[MethodSetting, Mapping[int, float]]) -> str:
    """Say whether seeds differ more than settings do, with a paired test of the best two; else empty.

    ``values`` are numbers by setting and seed, the lowest best. Seeds that two settings share are pairs: the
    test flips the signs of their differences, all ways or 10,000 (a permutation test, two-sided).
    """
    groups = [list(by_seed.values()) for by_seed in values.values() if len(by_seed) > 1]
    if len(groups) < 2:
        return ""
    within = fmean(stdev(group) for group in groups)
    between = stdev(fmean(group) for group in groups)
    if within <= between:
        return ""
    words = (
        f"Seeds differ more than settings: sd {within:.4f} over seeds, {between:.4f} between settings’ means."
    )
    (best, ours), (second, theirs) = sorted(values.items(), key=lambda each: fmean(each[1].values()))[:2]
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < FEWEST_PAIRS:
        return words
    difference = np.array([theirs[seed] - ours[seed] for seed in shared])
    test = permutation_test(
        (difference,), np.mean, permutation_type="samples", n_resamples=10_000, rng=np.random.default_rng(0)
    )
    name, other = (" ".join((each.method, *each.strength)) for each in (best, second))
    return (
        f"{words} Paired by {len(shared)} seeds, {name} is lower than {other} by {difference.mean():.4f} "
        f"(p = {float(test.pvalue):.2g})."
    )


def by_setting(facts: Facts, numbers: Mapping[str, float]) -> dict[MethodSetting, dict[int, float]]:
    """Return numbers of trials, given by id, by setting and seed."""
    found: dict[MethodSetting, dict[int, float]] = defaultdict(dict)
    for record, setting in zip(facts.records, facts.settings, strict=True):
        if record.id in numbers:
            found[setting][record.config.seed] = numbers[record.id]
    return dict(found)
