"""What a sweep's choice is worth: random cells that searches judge, tables, and how it is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.cli_folders import raynas
from helpers.simulated_sweep import simulate

from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.launch.trial import run_trials
from raynas.report import facts as f
from raynas.report.build import build_report
from raynas.search.loop import Pack
from raynas.spaces.draw import draw_cells
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_to_text
from raynas.sweep.folder import SweepFolder, TrialFolder
from raynas.sweep.plan import Trial
from raynas.sweep.sections import Select
from raynas.sweep.select import rank
from raynas.trust.control import RandomCells, inherited, looked_up
from raynas.trust.trust import trust_of

CPU = torch.device("cpu")
SETTINGS = {"space": "tiny", "epochs": 2, "batch": 32, "channels": 4, "cells": 3, "hessian": {"every": 0}}


def config(**more) -> SearchConfig:
    return SearchConfig(**{**SETTINGS, "data": {"name": "digits", "limit": 64}, **more})


def folder_of(path: Path, name: str, config: SearchConfig, control: int) -> TrialFolder:
    folder = TrialFolder(path / "trials" / name)
    folder.write(Trial(name, config, {}), control=control)
    return folder


def run(*folders: TrialFolder) -> list:
    run_trials(folders, dataset=load_data(folders[0].config().data), device=CPU, heartbeat=lambda epoch: None)
    return [folder.record() for folder in folders]


def test_a_search_judges_random_cells_as_its_own_and_is_not_moved_by_it(tmp_path):
    with_it = run(folder_of(tmp_path / "a", "one", config(), 4))[0]
    without = run(folder_of(tmp_path / "b", "one", config(), 0))[0]
    assert (with_it.reports, without.control) == (without.reports, None)
    # The cell's own loss under the last weights is the discrete loss of the last epoch.
    judged = with_it.control
    assert judged.own == pytest.approx((with_it.newest.discrete_loss, with_it.newest.discrete_accuracy))
    pack = Pack([config()], load_space("tiny"), split(load_data(config().data), config().data), CPU)
    list(pack)
    cells = draw_cells(load_space("tiny"), 4, "control/0")
    expected = [pack.evaluator.judge([[cell]], 1)[0][0] for cell in cells]
    assert list(zip(judged.losses, judged.accuracies, strict=True)) == expected
    assert len(set(judged.losses)) == 4


def test_in_a_pack_each_judges_the_same_cells_with_its_own_weights(tmp_path):
    alone = [run(folder_of(tmp_path / str(seed), "one", config(seed=seed), 3))[0] for seed in (0, 1)]
    together = run(*(folder_of(tmp_path / "pack", f"s{seed}", config(seed=seed), 3) for seed in (0, 1)))
    for one, other in zip(alone, together, strict=True):
        assert other.control.losses == pytest.approx(one.control.losses, rel=1e-5)
    assert together[0].control.losses != together[1].control.losses


def test_what_is_killed_after_judging_judges_once(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, "one", config(), 2)
    with monkeypatch.context() as patch:
        patch.setattr("raynas.launch.trial.keep_result", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(folder)
    assert folder.record().status == "running"
    assert run(folder)[0].status == "finished"
    assert [event["kind"] for event in folder.spool.events()[0]].count("control") == 1


def test_a_method_that_prunes_says_why_it_judges_none(tmp_path):
    record = run(folder_of(tmp_path, "one", config(method="darts-pt", epochs=1), 2))[0]
    assert "takes operations away" in record.control.why
    assert inherited(record) is None


def test_place_share_and_improvement_are_what_they_say():
    cells = RandomCells("looked up", 0.08, (0.06, 0.08, 0.1, 0.16), errors=True)
    assert (cells.place, cells.as_good, cells.mean) == (3, 0.5, pytest.approx(0.1))
    assert cells.improvement == pytest.approx((0.92 - 0.90) / 0.90)
    low, high = cells.interval
    # Clopper and Pearson: P(X ≥ 2 | low) = P(X ≤ 2 | high) = .025 of 4.
    assert sum(p * low**k * (1 - low) ** (4 - k) for k, p in ((2, 6), (3, 4), (4, 1))) == pytest.approx(0.025)
    assert sum(p * high**k * (1 - high) ** (4 - k) for k, p in ((0, 1), (1, 4), (2, 6))) == pytest.approx(
        0.025
    )


@pytest.fixture
def swept(tmp_path: Path) -> SweepFolder:
    """A simulated sweep of NAS-Bench-201, and a table in which loss is no guide to the error."""
    folder = simulate(tmp_path / "runs" / "robust", "nas-bench-201")
    finals = {genotype_to_text(r.deciding.genotype) for r in folder.records() if r.deciding}
    drawn = {
        genotype_to_text(cell) for cell in draw_cells(load_space("nas-bench-201"), 1000, "control/table")
    }
    path = tmp_path / "table.csv"
    rows = [f"{c},{60 + n % 30 / 10},{50 + n % 7}" for n, c in enumerate(sorted(finals | drawn))]
    path.write_text("\n".join(["arch,cifar10_test_200,cifar10_val_12", *rows]), encoding="utf-8")
    data = json.loads((folder.path / "sweep.json").read_text())
    data["benchmark"] = {"table": str(path), "data": "cifar10"}
    (folder.path / "sweep.json").write_text(json.dumps(data))
    return SweepFolder(folder.path)


def test_the_report_holds_every_rule_against_the_table_and_random_cells(swept):
    facts = f.gather(swept)
    trust = trust_of(swept, facts.sweep, facts.records, facts.selection, facts.yardstick)
    [bench] = trust.benches
    finished = [record for record in facts.records if record.status == "finished"]
    assert {row.rule for row in bench.rows} == {"valid_loss", "discrete_loss", "eig_max", "table"}
    errors = [1 - facts.yardstick.accuracy(record.deciding.genotype) for record in finished]
    assert bench.mean == pytest.approx(sum(errors) / len(errors))
    winner = facts.selection.winner.trial
    assert bench.curves["valid_loss"][-1].error == pytest.approx(bench.truth.errors[winner.id])
    assert len(bench.random.values) == 1000
    html, markdown = (path.read_text() for path in build_report(swept))
    for page in (html, markdown):
        assert "Which rule to trust" in page
        assert "1,000 random cells are as good or better" in page
        assert "Random search, the best of" in page
    assert len(list((swept.path / "report").glob("choice-*.svg"))) == 1


def test_rules_are_held_against_what_may_be_chosen(swept):
    """Without a network within the budget there is nothing to choose, and so nothing to say of rules."""
    facts = f.gather(swept)
    small = replace(facts.sweep, select=Select.model_validate({"where": {"parameters": {"most": 1}}}))
    selection = rank(facts.records, small.select)
    assert selection.winner is None
    assert trust_of(swept, small, facts.records, selection, facts.yardstick).benches == ()


def test_a_cell_that_the_table_lacks_is_not_placed(swept):
    facts = f.gather(swept)
    other = draw_cells(load_space("nas-bench-201"), 3000, "others")
    lacking = next(cell for cell in other if facts.yardstick.accuracy(cell) is None)
    assert looked_up(load_space("nas-bench-201"), lacking, facts.yardstick, 4, 20) is None


def test_select_prints_the_worth_and_the_curve(swept, capsys):
    runs = str(swept.path.parent)
    output = flat(raynas(capsys, "select", "robust", "--curve", "--runs", runs).out)
    assert "1,000 random cells are as good or better" in output
    assert "expected error of the chosen cell / %" in output
    told = json.loads(raynas(capsys, "select", "robust", "--by", "eig_max", "--json", "--runs", runs).out)
    assert told["by"] == "eig_max"
    [truth] = told["trust"]["truths"]
    assert truth["random"]["budget"] == len(truth["errors"])


def test_without_a_truth_it_says_that_nothing_is_known(tmp_path, capsys):
    folder = simulate(tmp_path / "runs" / "robust")
    runs = str(folder.path.parent)
    output = flat(raynas(capsys, "select", "robust", "--runs", runs).out)
    assert "No random cell was judged beside it" in output
    assert "nothing says how good this rule is here" in output
    refused = raynas(capsys, "select", "robust", "--curve", "--runs", runs)
    assert refused.code == 2
    assert "no cell of this sweep has been trained" in refused.err


def test_curvature_that_is_not_measured_cannot_rank(tmp_path, capsys):
    trial = tmp_path / "flat.yaml"
    trial.write_text("space: tiny\ndata: digits\nselect: {by: eig_max}\nhessian: {every: 0}\n")
    refused = raynas(capsys, "check", str(trial))
    assert refused.code == 2
    assert "hessian: {every: 1}" in flat(refused.err)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_end_of_a_sweep_says_what_its_report_was_made_of(swept, capsys, monkeypatch):
    """What a choice is worth takes seconds with a table, so it is computed once for both."""
    calls = []
    monkeypatch.setattr(
        "raynas.report.trust.trust_of", lambda *given: calls.append(given) or trust_of(*given)
    )
    assert raynas(capsys, "resume", "robust", "--local", "--runs", str(swept.path.parent)).code in (0, 1)
    assert len(calls) == 1
    told = json.loads((swept.path / "trust.json").read_text())
    assert told["truths"][0]["random"]["budget"] == len(told["truths"][0]["errors"])


def test_the_verdict_stands_on_top_of_report_and_terminal(swept, capsys):
    build_report(swept)
    for name in ("report.html", "report.md"):
        page = " ".join((swept.path / name).read_text().split())
        assert page.index("searches that compare.") < page.index("What that is worth")
    told = json.loads(raynas(capsys, "select", "robust", "--json", "--runs", str(swept.path.parent)).out)
    shown = raynas(capsys, "select", "robust", "--runs", str(swept.path.parent)).out
    assert shown.startswith("verdict: ")
    assert flat(told["verdict"][1]) in flat(shown)
