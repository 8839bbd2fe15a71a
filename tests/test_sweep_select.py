"""Ranking: values, ties, what is left out and why, and the sentences."""

import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import pytest
from helpers.sweeping import record

from raynas.sweep.reasons import _rank_correlation
from raynas.sweep.sections import Select
from raynas.sweep.select import rank


def test_the_lowest_last_loss_wins() -> None:
    records = [record("a", losses=(0.1, 0.9)), record("b", losses=(2.0, 0.5)), record("c", losses=(1.0, 0.7))]
    selection = rank(records, Select(top=2))
    assert [(r.trial.id, r.value) for r in selection.ranking] == [("b", 0.5), ("c", 0.7), ("a", 0.9)]
    assert selection.winner is selection.ranking[0]
    assert selection.top == selection.ranking[:2]
    assert selection.margin == pytest.approx(0.2)
    assert selection.left_out == ()


def test_the_criterion_is_a_choice() -> None:
    assert rank([record("a", losses=(0.5,))], Select(by="discrete_loss")).ranking[0].value == 1.5


def test_ties_go_to_the_earlier_trial() -> None:
    selection = rank([record("b"), record("a"), record("c", losses=(3.0,))], Select())
    assert [r.trial.id for r in selection.ranking] == ["b", "a", "c"]
    assert selection.margin == 0
    assert any("exactly the same" in reason for reason in selection.reasons)


def test_what_cannot_be_ranked_is_left_out_with_the_reason() -> None:
    records = [
        record("good"),
        record("nan", losses=(0.1, math.nan)),
        record("inf", losses=(math.inf,)),
        record("silent", losses=()),
        record("running", "running", (0.1, 0.1), epochs=7),
        record("waiting", "waiting", ()),
        record("diverged", "diverged", (0.1,)),
        record("failed", "failed", (0.1,)),
    ]
    selection = rank(records, Select())
    assert [r.trial.id for r in selection.ranking] == ["good"]
    why = dict(selection.left_out)
    assert list(why) == [r.id for r in records[1:]]
    assert "nan at epoch 2" in why["nan"]
    assert why["running"] == "not finished: 2 of 7 epochs"
    assert (why["waiting"], why["failed"], why["diverged"]) == ("waiting", "failed", "diverged")
    left = next(reason for reason in selection.reasons if "left out" in reason)
    assert left.startswith("7 of 8 trials were left out: 3 without a finite loss, 1 running")
    assert selection.margin is None


@pytest.mark.parametrize("records", [[], [record("a", "failed", ())]])
def test_without_a_finished_trial_there_is_no_winner(records: list) -> None:
    selection = rank(records, Select())
    assert (selection.winner, selection.margin, selection.ranking) == (None, None, ())
    assert "no winner" in selection.reasons[0]
    assert json.loads(json.dumps(selection.to_json()))["winner"] is None


def test_the_reasons_tell_value_margin_spread_and_that_the_loss_is_optimistic() -> None:
    weak, strong = (0.40, 0.60), (0.45, 0.47)
    records = [record(f"darts-wd1-s{s}", losses=(v,), seed=s, weight_decay=1.0) for s, v in enumerate(weak)]
    records += [
        record(f"darts-wd2-s{s}", losses=(v,), seed=s, weight_decay=2.0) for s, v in enumerate(strong)
    ]
    text = "\n".join(rank(records, Select()).reasons)
    assert "darts-wd1-s0 has the lowest validation loss of the supernet: 0.4000 at epoch 1." in text
    assert "The second, darts-wd2-s0, has 0.4500: a margin of 0.0500." in text
    assert f"darts-wd1 has {fmean(weak):.4f} ± {stdev(weak):.4f} (2 seeds)" in text
    assert f"darts-wd2, {fmean(strong):.4f} ± {stdev(strong):.4f} (2 seeds)" in text
    assert "darts-wd2 is better, so the winner may be one lucky seed" in text
    assert "optimistic" in text


def test_one_setting_with_several_seeds_says_its_spread() -> None:
    text = "\n".join(rank([record(f"d-s{s}", losses=(s + 1.0,), seed=s) for s in range(2)], Select()).reasons)
    assert "1.5000 ± 0.7071 (2 seeds)" in text
    assert "lucky" not in text


def test_json_names_the_trials() -> None:
    data = rank([record("a", losses=(2.0,)), record("b")], Select()).to_json()
    assert data["winner"] == "b"
    assert data["ranking"] == [{"trial": "b", "value": 1.0}, {"trial": "a", "value": 2.0}]
    assert data["margin"] == 1.0
    assert json.loads(json.dumps(data)) == data


def test_two_kinds_of_validation_loss_have_a_best_each_and_are_said_not_to_compare() -> None:
    losses = {"darts": (0.1, 0.3, 0.2, 0.4), "gdas": (0.8, 0.7, 0.9)}
    records = [
        replace(record(f"{method}-s{seed}", losses=(loss,), seed=seed), start={"validated": kind})
        for method, kind in (("darts", "mixture"), ("gdas", "cells"))
        for seed, loss in enumerate(losses[method])
    ]
    both = rank(records, Select())
    text = "\n".join(both.reasons)
    assert "do not compare" in text
    assert "darts-s0 with 0.1000" in text
    assert "gdas-s1 with 0.7000" in text
    assert "Only training both cells from scratch, or a table" in text
    assert "best other setting" not in text  # darts and gdas are not held against each other
    assert both.to_json()["best_of_kinds"] == {"mixture": "darts-s0", "cells": "gdas-s1"}
    assert both.margin == pytest.approx(0.1)
    assert rank([*records[:1], *records[4:5]], Select()).margin is None
    # The derived cells of these records lose exactly 1 more than their supernets.
    assert "Rank correlation of this loss with that of the derived cell alone: +1.00 (4 trials" in text
    assert text.count("Rank correlation") == 1
    for alone, said in ((records[:4], "the mixture of all operations"), (records[4:], "the mean over cells")):
        text = "\n".join(rank(alone, Select()).reasons)
        assert said in text
        assert "do not compare" not in text
    assert "compare" not in "\n".join(rank(records, Select(by="discrete_loss")).reasons)


def test_the_rank_correlation_is_spearmans_with_ties() -> None:
    from scipy.stats import spearmanr

    pairs = [(0.1, 3.0), (0.2, 1.0), (0.2, 2.0), (0.5, 2.0), (0.7, 0.5)]
    assert _rank_correlation(pairs) == pytest.approx(spearmanr(*zip(*pairs, strict=True)).statistic)
    assert _rank_correlation([(1.0, 2.0), (1.0, 3.0)]) is None
