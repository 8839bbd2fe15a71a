"""Several rules at once, and short trainings that choose: what each needs, what it chooses, what is said."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.cli_folders import IDS, TINY, make_sweep, play, raynas
from helpers.sweeping import record, report
from helpers.train_folders import play as play_training

from raynas.errors import FileProblems, RaynasError
from raynas.report.build import build_report
from raynas.report.facts import gather
from raynas.report.results import load_results
from raynas.report.trained import trained_rows
from raynas.spaces.draw import draw_cells
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json
from raynas.sweep.file.load import load_sweep
from raynas.sweep.file.training import resolve_training
from raynas.sweep.folder import SweepFolder, TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.sections import Control, Select
from raynas.sweep.select import rank
from raynas.sweep.short import short_content, short_folder, untrained
from raynas.trust.trust import trust_of


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def searched(trial: str, valid: float, discrete: float, short: float | None = None):
    found = record(trial)
    return replace(found, reports=(report(0, valid, discrete),), short=short)


THREE = [searched("a", 1.0, 3.0, 0.5), searched("b", 2.0, 1.0, 0.4), searched("c", 3.0, 2.0)]


def test_of_several_rules_the_first_selects_and_each_says_its_own():
    found = rank(THREE, Select(by=("valid_loss", "discrete_loss", "short_training", "eig_max")))
    assert (found.by, found.winner.trial.id) == ("valid_loss", "a")
    told = [(c.rule, c.first and c.first.trial.id, c.ranked, c.place) for c in found.choices]
    assert told == [
        ("valid_loss", "a", 3, 1),
        ("discrete_loss", "b", 3, 3),
        ("short_training", "b", 2, 2),
        ("eig_max", None, 0, None),
    ]
    assert found.disagreement == (
        "The rules disagree: a by valid_loss; b by discrete_loss, short_training. eig_max can rank none."
    )
    assert [each["trial"] for each in found.to_json()["rules"]] == ["a", "b", "b", None]
    # One rule is told as before; rules that agree say so, and so do rules without a choice.
    alone = rank(THREE, Select(by="valid_loss"))
    assert (alone.choices, alone.disagreement, "rules" in alone.to_json()) == ((), "", False)
    assert alone.ranking == found.ranking
    assert alone.reasons == found.reasons
    same = rank([THREE[0], THREE[2]], Select(by=("valid_loss", "short_training")))
    assert same.disagreement == "All rules that can rank choose a."
    none = rank([], Select(by=("valid_loss", "eig_max")))
    assert none.disagreement == "valid_loss, eig_max can rank none."


def test_a_rule_is_written_as_it_was_given_and_recorded_sweeps_as_before():
    assert Select(by="eig_max").model_dump(mode="json") == {"by": "eig_max", "top": 1}
    several = Select.model_validate({"by": ["eig_max", "table"], "epochs": 3})
    assert several.model_dump(mode="json") == {"by": ["eig_max", "table"], "top": 1, "epochs": 3}
    assert Select.model_validate(several.model_dump(mode="json")) == several
    assert (several.rule, several.rules) == ("eig_max", ("eig_max", "table"))


FILE = "space: tiny\ndata: {name: digits, limit: 64}\ntrack: {mlflow: null}\ngrid: {seed: [0, 1]}\n"


def problems(text: str) -> dict[str, str]:
    Path("two.yaml").write_text(FILE + text)
    with pytest.raises(FileProblems) as caught:
        load_sweep(Path("two.yaml"))
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("select: {by: []}", "select.by", "at least 1"),
        ("select: {by: [table, table]}", "select.by", "a rule is listed twice"),
        ("select: {by: [valid_loss, tabel]}", "select.by[1]", "nearest: table"),
        ("select: {by: [valid_loss, table]}", "select.by", "the sweep has no `benchmark"),
        ("select: {by: [valid_loss, select_loss]}", "select.by", "a part of the data that trains nothing"),
        ("select: {by: [valid_loss, eig_max]}\nhessian: {every: 0}", "select.by", "curvature"),
        ("select: {epochs: 3}", "select.epochs", "short_training, which is not asked for"),
        ("select: {by: short_training, recipe: quik}", "select.recipe", "nearest:  quick"),
        (
            "select: {by: short_training}\nstrategy: optuna\nsamples: 2\nsample: {clip: {uniform: [1, 5]}}",
            "select.by",
            "put short_training second",
        ),
        (
            "select: {by: short_training}\nzip: {data.limit: [50, 60], batch: [8, 9]}",
            "select.by",
            "one data set",
        ),
    ],
)
def test_a_rule_without_its_data_is_told_before_anything_runs(text, path, words):
    if "zip" in text:
        text = text.replace("{data.limit: [50, 60], batch: [8, 9]}", "{data: [digits, svhn], batch: [8, 9]}")
    assert words in problems(text)[path]


OTHER = genotype_from_json(json.loads(json.dumps(TINY["genotype"].to_json()).replace("max_pool", "avg_pool")))


def three_cells(*words: str) -> SweepFolder:
    """A sweep of four whose first two searches found one cell, the third another, and the last diverged."""
    folder = make_sweep(Path("runs"), words or ["select.by=short_training"])
    for trial, loss in zip(IDS[:2], (0.9, 0.5), strict=True):
        play(folder, trial, [loss])
    spool = folder.trial(IDS[2]).spool
    spool.append("start", trial=IDS[2], attempt=1)
    made = replace(report(0, 0.7), genotype=OTHER, weights=TINY["weights"]).to_json()
    spool.append("epoch", report=made)
    spool.append("end", status="finished", reason="")
    play(folder, IDS[3], [9.0], status="diverged", reason="it diverged")
    for trial in IDS[:3]:
        final = folder.trial(trial).record().deciding
        final.genotype.save(folder.trial(trial).path / "genotype.json")
    return folder


def shortly(folder: SweepFolder) -> TrainSweep:
    content = short_content(folder, folder.sweep().select, {"mlflow": None})
    trained = short_folder(folder)
    trained.create(resolve_training(content, "short", command="raynas sweep"), "")
    return trained


def test_equal_cells_are_trained_once_on_what_the_searches_left_alone():
    folder = three_cells()
    configs = [trial.config for trial in shortly(folder).sweep().trials]
    assert [Path(config.cell).parent.name for config in configs] == [IDS[0], IDS[2]]
    assert {(c.epochs, c.recipe, c.seed, c.data.select, c.data.name) for c in configs} == {
        (5, "quick", 0, 0.1, "digits")
    }
    words = ["name=five", "data.select=0.25", "data.split_seed=3", "select.epochs=2"]
    folder = make_sweep(Path("runs"), [*words, "select.by=short_training"])
    play(folder, IDS[0], [0.9])
    content = short_content(folder, folder.sweep().select, {})
    assert (content["data"]["select"], content["data"]["split_seed"], content["epochs"]) == (0.25, 3, 2)


def test_cells_that_short_trainings_lack_are_named():
    """Of a search that ended after they were planned: it had failed, and was run again."""
    whole = three_cells()
    trained = shortly(whole)
    assert untrained(whole, trained) == []
    fewer = replace(trained.sweep(), cells=dict([*trained.sweep().cells.items()][:1]))
    assert untrained(whole, SimpleNamespace(sweep=lambda: fewer)) == [IDS[2]]


def test_what_short_trainings_came_to_ranks_the_searches(capsys):
    folder = three_cells()
    before = rank(folder.records(), folder.sweep().select)
    assert before.winner is None
    assert "raynas retrain SWEEP --short" in before.reasons[0]
    output = raynas(capsys, "select", "four")
    assert (output.code, "raynas retrain SWEEP --short" in output.out) == (0, True)
    trained = shortly(folder)
    first, second = (trial.id for trial in trained.sweep().trials)
    play_training(trained, first, valid_loss=1.0, valid_accuracy=0.5)
    play_training(trained, second, valid_loss=1.0, valid_accuracy=0.75)
    folder = SweepFolder(folder.path)
    assert [each.short for each in folder.records()] == [0.5, 0.5, 0.25, None]
    found = rank(folder.records(), folder.sweep().select)
    assert [each.trial.id for each in found.ranking] == [IDS[2], IDS[0], IDS[1]]
    assert "after a few epochs from scratch" in found.reasons[-1]
    html, markdown = (path.read_text() for path in build_report(folder))
    for page in (html, markdown):
        assert "error after a short training from scratch" in page
        assert "Trained from scratch:" not in page
        assert page.count("50.00") >= 2
    assert "Error after a short training, which chose: 25.00 %" in markdown
    assert [row["short_training"] for row in load_results(folder.path).rows()[:3]] == [0.5, 0.5, 0.25]
    told = json.loads(
        raynas(capsys, "select", "four", "--by", "valid_loss", "--by", "short_training", "--json").out
    )
    assert [each["trial"] for each in told["rules"]] == [IDS[1], IDS[2]]
    shown = " ".join(
        raynas(capsys, "select", "four", "--by", "valid_loss", "--by", "short_training").out.split()
    )
    assert f"The rules disagree: {IDS[1]} by valid_loss; {IDS[2]} by short_training." in shown


def test_the_report_shows_what_each_rule_chooses():
    folder = three_cells("select.by=[valid_loss, discrete_loss]")
    html, markdown = (path.read_text() for path in build_report(folder))
    for page in (html, markdown):
        assert "hat each rule chooses" in page
        assert "has the" in page
    assert json.loads((folder.path / "selection.json").read_text())["rules"][0]["trial"] == IDS[1]
    assert Sweep.from_json(folder.sweep().to_json()).select.rules == ("valid_loss", "discrete_loss")


def test_short_trainings_need_a_cell_and_one_data_set():
    folder = make_sweep(Path("runs"), ["select.by=short_training"])
    with pytest.raises(RaynasError, match="no search of 'four' has finished"):
        short_content(folder, folder.sweep().select, {})


RECIPE = "title: as short as can be\nsource: here\nepochs: 3\nchannels: 2\nbatch: 32\n"


@pytest.mark.drill
def test_a_sweep_ends_with_short_trainings_and_a_resume_goes_on_with_them(capsys, monkeypatch):
    """Killed within the first training, the sweep is resumed, and tests nothing on the way."""
    Path("tiny.yaml").write_text(RECIPE)
    words = ["epochs=1", "channels=2", "cells=3", "data.limit=64", "hessian.every=0", "data.select=0.25"]
    words += ["select={by: [short_training, select_loss], recipe: ./tiny.yaml, epochs: 2}", "batch=16"]
    words += ["control={random: 2, by: training}", "retrain={top: 1, seeds: [0], recipe: ./tiny.yaml}"]
    folder = make_sweep(Path("runs"), words)
    with monkeypatch.context() as patch:
        patch.setattr(
            "raynas.train.loop.Training.advance", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert raynas(capsys, "resume", "four", "--local").code == 130
    assert short_folder(folder).exists
    done = raynas(capsys, "resume", "four", "--local")
    assert done.code == 0, done.err
    records = SweepFolder(folder.path).records()
    assert all(record.short is not None for record in records)
    for trained in short_folder(folder).records():
        assert (trained.status, trained.newest.test_accuracy, len(trained.reports)) == ("finished", None, 2)
        assert trained.start["data"]["valid"] == 16
    assert "has the lowest error after a short training" in done.out
    # The random cells are trained in both, shortly and beside the winner, and only there they are tested.
    [winner, *others] = TrainSweep(folder.path / "trained" / "tiny").records()
    assert [Path(each.config.cell).parent.name for each in others] == ["random-0", "random-1"]
    assert all(each.tested.test_accuracy is not None for each in (winner, *others))
    assert "of 2 random cells are as good or better" in done.out.partition("2 random cells")[2]
    assert "No test image was looked at" in done.out
    assert "short_training" in (folder.path / "selection.json").read_text()
    again = raynas(capsys, "resume", "four", "--local").out
    assert "training the cells" not in again
    refused = raynas(capsys, "retrain", "four", "--short", "epochs=3", "--local")
    assert "there are short trainings of 'four' already" in refused.err


def test_random_cells_are_trained_beside_the_others_and_told_as_one_row(capsys):
    """Five random cells, one of which diverges: place, mean and share are those of plain arithmetic."""
    words = ["select.by=short_training", "control={random: 5, by: training}"]
    folder = three_cells(*words)
    trained = shortly(folder)
    names = [Path(trial.config.cell).parent.name for trial in trained.sweep().trials]
    assert names == [IDS[0], IDS[2], *(f"random-{n}" for n in range(5))]
    drawn = draw_cells(load_space("tiny"), 5, "control/0")
    assert [trained.sweep().cells[trial.config.cell] for trial in trained.sweep().trials[2:]] == drawn
    accuracies = [0.8, 0.6, 0.7, 0.9, 0.8, 0.5]
    for trial, accuracy in zip(trained.sweep().trials, accuracies, strict=False):
        play_training(trained, trial.id, valid_loss=1.0, valid_accuracy=accuracy)
    play_training(trained, trained.sweep().trials[-1].id, status="diverged")
    folder = SweepFolder(folder.path)
    facts = gather(folder)
    random = trust_of(folder, facts.sweep, facts.records, facts.selection).random
    assert random.how == "trained shortly (1 more did not finish)"
    assert random.values == pytest.approx((0.3, 0.1, 0.2, 0.5))
    assert (random.chosen, random.place, random.as_good) == (pytest.approx(0.2), 3, 0.5)
    # (0.8 - 0.725) / 0.725, with sd of .3, .1, .2, .5 by hand: √(.0875 / 3).
    assert random.improvement == pytest.approx(0.075 / 0.725)
    assert random.sd == pytest.approx((0.0875 / 3) ** 0.5)
    rows = trained_rows(trained, trained.records())
    assert [row.label for row in rows] == [IDS[0], IDS[2], "5 random cells"]
    assert (rows[-1].planned, rows[-1].finished) == (5, 4)
    assert rows[-1].held_out.mean == pytest.approx(0.275)
    html, _ = (path.read_text() for path in build_report(folder))
    assert "50.0 % of 4 random cells are as good or better" in html
    assert (
        "A random cell has 27.50 ± 17.08 % error on average, this one 20.00 %: +10.3 % of their accuracy"
        in html
    )
    assert "it is number 3 of all 5" in html


def test_a_control_by_training_says_where_nothing_is_trained(capsys):
    Path("two.yaml").write_text(f"{FILE}control: {{by: training}}\n")
    assert "control.by=training trains nothing" in " ".join(raynas(capsys, "check", "two.yaml").out.split())
    output = raynas(capsys, "check", "two.yaml", "retrain={top: 1}").out
    assert "trains nothing" not in output
    assert Sweep.from_json(three_cells().sweep().to_json()).control.by == "weights"
    assert Control().model_dump() == {"random": 20}
    assert Control.model_validate(Control(by="training").model_dump()).by == "training"
