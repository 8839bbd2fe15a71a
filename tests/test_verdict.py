"""The verdict on a sweep: what it says of choices, and that it never grades what it cannot know."""

import math
from dataclasses import replace
from statistics import stdev

import pytest
from helpers.sweeping import record, report

from raynas.cli.trust import print_curves
from raynas.sweep.record import VALIDATED, TrialRecord
from raynas.sweep.sections import Select
from raynas.sweep.select import rank
from raynas.trust.agreement import agreement
from raynas.trust.control import RandomCells
from raynas.trust.curve import curve
from raynas.trust.judged import Truth
from raynas.trust.margin import margin_of, settings_of
from raynas.trust.trust import Bench, RuleRow, Trust, _bench
from raynas.trust.verdict import verdict_of


def search(setting: float, seed: int, loss: float, **changes) -> TrialRecord:
    found = record(f"wd{setting:g}-s{seed}", weight_decay=setting, seed=seed)
    return replace(found, reports=(report(0, loss, loss + 1),), **changes)


CLEAR = [search(1e-3, 0, 1.0), search(1e-3, 1, 1.1), search(1e-2, 0, 2.0), search(1e-2, 1, 2.1)]
NOISY = [search(1e-3, 0, 1.0), search(1e-3, 1, 3.0), search(1e-2, 0, 1.1), search(1e-2, 1, 2.9)]
GOOD = RandomCells("looked up", 0.05, tuple(0.06 + n / 1000 for n in range(100)), errors=True)
FAIR, CHANCE = replace(GOOD, chosen=0.08), replace(GOOD, chosen=0.11)
SHARED = replace(GOOD, errors=False)


def bench(scores: list[float], truths: list[float]) -> Bench:
    found = agreement(scores, truths)
    return Bench(Truth("trained by quick", {}), (RuleRow("valid_loss", "", found, ""),), {}, [], 0.1, None)


FOLLOWS = bench([*range(10)], [n / 100 for n in range(10)])
BLIND = bench([3, 1, 2, 0, 4, 5], [0.3, 0.1, 0.5, 0.4, 0.6, 0.2])
FEW = bench([1, 2, 3], [0.1, 0.2, 0.3])


def verdict(records, trust: Trust, by="valid_loss"):
    return verdict_of(rank(records, Select(by=by)), trust, "mine", "validation loss")


def trust(*benches: Bench, random: RandomCells | None = None, seconds: float = 60.0, training: float = 0.0):
    return Trust(benches, random, seconds, training=training)


def test_margin_and_spread_are_plain_arithmetic():
    found = margin_of(settings_of(rank(NOISY, Select())))
    assert found.value == pytest.approx(0.1)
    assert found.spread == pytest.approx(math.sqrt((stdev([1, 3]) ** 2 + stdev([1.1, 2.9]) ** 2) / 2))
    assert found.noise
    single = margin_of(settings_of(rank(CLEAR[::2], Select())))
    assert (single.value, single.spread, single.noise) == (pytest.approx(1.0), None, False)
    assert margin_of(settings_of(rank(CLEAR[:2], Select()))) is None


def test_what_all_supports_is_fairly_sure():
    found = verdict(CLEAR, trust(FOLLOWS, random=GOOD))
    assert found.winner == "wd0.001-s0 is chosen by validation loss, of 4 searches that compare."
    assert found.sure.startswith(
        "Fairly sure: its lead of 1 is above the spread over seeds, 0.071; 0 % of 100 "
    )
    assert (
        "the rule follows the true errors (τ = +1.00 over 10 searches, choosing by it costs 0.00 points)"
        in found.sure
    )
    assert found.settle == ""
    # Unless it learned nothing, or whatever else stands below.
    warned = verdict_of(rank(CLEAR, Select()), trust(FOLLOWS, random=GOOD), "mine", "validation loss", 1)
    assert warned.sure == "Not sure: there is 1 reason to be careful, below."


@pytest.mark.parametrize(
    ("records", "trusted", "says", "settles"),
    [
        (NOISY, trust(FOLLOWS, random=GOOD), "its lead of 0.1 is below the spread over seeds", "more seeds"),
        (
            [*CLEAR[::2], search(0.1, 0, 3.0), search(0.2, 0, 4.0)],
            trust(FOLLOWS, random=GOOD),
            "its lead stands on one seed of each setting",
            "“raynas sweep sweep.yaml name=mine-seeds 'grid.seed=[0, 1, 2, 3]'” in the sweep’s folder; "
            "about 16 minutes",
        ),
        (CLEAR, trust(FOLLOWS, random=CHANCE), "nothing tells it from a random cell", "control:"),
        (CLEAR, trust(FOLLOWS, random=FAIR), "21 % of 100 random cells are as good", "control:"),
        (CLEAR, trust(BLIND, random=GOOD), "nothing tells the rule from chance here", "retrain: {top: 4"),
        (NOISY, trust(random=SHARED), "below the spread", "“raynas retrain mine --seeds 0,1,2”"),
    ],
)
def test_a_doubt_is_named_with_what_would_settle_it(records, trusted, says, settles):
    found = verdict(records, trusted)
    assert found.sure.startswith("Not sure: ")
    assert says in found.sure
    assert settles in found.settle


@pytest.mark.parametrize(
    ("trusted", "says"),
    [
        (trust(), "no random cell was judged beside it; no cell of this sweep has been trained"),
        (trust(random=SHARED), "no cell of this sweep has been trained, and no table has them"),
        (trust(FEW, random=GOOD), "the true errors of 3 cells are too few to judge the rule by"),
        (trust(FOLLOWS), "no random cell was judged beside it"),
    ],
)
def test_without_control_or_truth_there_is_no_grade(trusted, says):
    found = verdict(CLEAR, trusted)
    assert found.sure.startswith("How sure that is cannot be said: ")
    assert says in found.sure
    assert "sure: its" not in found.sure
    assert found.settle


def test_too_few_ties_nothing_and_failures_are_said_plainly():
    everything = trust(FOLLOWS, random=GOOD)
    one = verdict(CLEAR[:1], everything)
    assert (one.winner.count("1 search "), "no choice" in one.sure) == (1, True)
    three = verdict(CLEAR[:3], everything)
    assert three.sure == "3 searches are too few to say how sure that is."
    tied = verdict([search(1e-3, seed, 1.0) for seed in range(5)], everything)
    assert tied.sure == "All 5 have the same value, so nothing was chosen: the first of the plan stands here."
    nan = verdict([search(1e-3, seed, math.nan) for seed in range(5)], everything)
    assert nan.winner == "No winner: No trial finished with a finite loss, so there is no winner."
    failed = verdict([replace(each, status="failed", reason="it broke") for each in CLEAR], everything)
    assert failed.sentences[-1] == "“raynas status mine” says what became of each."
    assert verdict([], everything).winner == "No winner: no trial has ended."
    # A rule without its data.
    lacking = verdict(CLEAR, everything, by="select_loss")
    assert "a third part of the data (data.select)" in lacking.winner
    # One of five is not finite: left out, and of the others' number.
    mixed = verdict([*CLEAR, search(1e-3, 7, math.nan)], everything)
    assert "of 4 searches" in mixed.winner
    # A rule that no truth has been held against, as a table's that chooses itself.
    noisy = verdict(CLEAR, everything, by="discrete_loss")
    assert "no true error is known that this rule could be held against" in noisy.sure


def test_times_are_those_on_record():
    known = verdict(CLEAR, trust(random=GOOD, training=2400.0)).settle
    assert known.endswith("; about 2 hours, at the pace of the trainings on record.")
    assert verdict(CLEAR, trust(random=GOOD)).settle.endswith("; how long that takes is not on record.")


def of_kind(kind: str, record):
    return replace(record, start={"validated": kind})


def test_a_winner_of_one_kind_is_not_vouched_for_by_searches_of_another():
    """More mixtures than single cells are known, and their losses follow the truth."""
    rows = [(VALIDATED["mixture"], FOLLOWS), (VALIDATED["cells"], BLIND)]
    both = replace(BLIND, rows=tuple(replace(each.rows[0], kind=kind) for kind, each in rows))
    found = verdict([of_kind("cells", each) for each in CLEAR], trust(both, random=GOOD))
    assert "nothing tells the rule from chance here" in found.sure
    assert "over 6 searches" in found.sure


def test_there_is_no_curve_of_losses_of_two_kinds():
    kinds = ["mixture", "mixture", "cells", "cells"]
    records = [
        replace(of_kind(kind, each), status="finished") for kind, each in zip(kinds, CLEAR, strict=True)
    ]
    truth = Truth("a table", {each.id: n / 10 for n, each in enumerate(records)})
    found = _bench(truth, records, None)
    assert {row.kind for row in found.rows if row.rule == "valid_loss"} == {VALIDATED[kind] for kind in kinds}
    assert "valid_loss" not in found.curves
    assert [point.size for point in found.curves["discrete_loss"]] == [1, 2, 4]


def test_a_rule_that_ranks_fewer_stands_in_the_rows_of_its_own_sizes(capsys):
    six, eight = ([n / 100 for n in range(count)] for count in (6, 8))
    curves = {"discrete_loss": curve(six, six)}
    print_curves(trust(replace(FOLLOWS, curves=curves, best=curve(eight, eight))))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    [last] = [row for row in rows if row[:1] == ["8"]]
    assert last[-2:] == ["–", "0.00"]
