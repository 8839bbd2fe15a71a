"""The checklist: it answers what the records show, and says of the rest that it does not."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.simulated_sweep import plan, simulate, sweep_of
from helpers.sweeping import record
from helpers.train_folders import make_trainings, play

from raynas.report import facts as f
from raynas.report.checklist import QUESTIONS, Item, checklist_of, device_hours
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import Judged
from raynas.trust.trust import trust_of


def items(folder: SweepFolder) -> dict[str, Item]:
    """Return every item by the name of its question."""
    facts = f.gather(folder)
    trust = trust_of(folder, facts.sweep, facts.records, facts.selection, facts.yardstick)
    names = [question.__name__ for question in QUESTIONS]
    return dict(zip(names, checklist_of(folder, facts, trust), strict=True))


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    monkeypatch.chdir(tmp_path)
    return simulate(tmp_path / "runs" / "robust")


def test_what_the_records_do_not_show_is_not_answered(swept):
    found = items(swept)
    assert {name for name, item in found.items() if item.answered} == {
        "settings", "one_setup", "confounders", "over_time", "tuning", "setup",
    }  # fmt: skip
    assert "uncommitted changes" in found["code"].words
    assert found["final_training"].command == "raynas retrain robust --seeds 0,1,2"
    assert "each with 1 finished seed or more" in found["runs"].words
    # 6 trials of 6 epochs, those of 3 and of 2, 1.5 s each; a failed one's are on record too.
    assert f"{41 * 1.5 / 3600:.3g} CPU-hours" in found["cost"].words
    assert "method, weight_decay (grid) varied over 8 trials" in found["tuning"].words


def train(swept: SweepFolder, name: str, **content) -> None:
    grid = {"cell": ["darts-v2"], "seed": [0, 1]}
    folder = make_trainings(swept.path / "trained" / name, **content, grid=grid)
    for trial, accuracy in zip(folder.sweep().trials, (0.9, 0.94), strict=True):
        play(folder, trial.id, test_accuracy=accuracy)


def test_trainings_answer_protocol_and_cost(swept):
    train(swept, "quick")
    found = items(swept)
    assert found["final_training"].words.startswith("Recipe quick, seeds 0, 1")
    assert found["protocol"].answered
    # Two trainings of 3 epochs, 1.25 s each.
    assert f"training {7.5 / 3600:.3g} CPU-hours; test error of all that was trained 8.00 ± 2.83 %" in (
        found["cost"].words
    )
    train(swept, "longer", epochs=4)
    found = items(swept)
    assert not found["protocol"].answered
    assert "2 protocols" in found["protocol"].words


def test_different_devices_and_data_are_told(swept):
    facts = f.gather(swept)
    first, *rest = facts.records
    other = {**first.start, "device": "cuda (H200)", "data": {**first.start["data"], "hash": "beef"}}
    changed = replace(facts, records=(replace(first, start=other), *rest))
    trust = trust_of(swept, facts.sweep, facts.records, facts.selection)
    found = {item.question: item for item in checklist_of(swept, changed, trust)}
    assert not found["Did all run on the same hardware with the same versions?"].answered
    assert "2 hashes of the data" in (
        found["Do all methods search the same space on the same data and split?"].words
    )


def test_random_cells_under_inherited_weights_are_no_random_search(swept):
    facts = f.gather(swept)
    winner = facts.selection.winner
    judged = Judged(own=(0.5, 0.9), losses=(0.4, 0.6), accuracies=(0.9, 0.8))
    chosen = replace(winner, trial=replace(winner.trial, control=judged))
    selection = replace(facts.selection, ranking=(chosen, *facts.selection.ranking[1:]))
    trust = trust_of(swept, facts.sweep, facts.records, selection)
    item = next(i for i in checklist_of(swept, facts, trust) if "random search" in i.question)
    assert not item.answered
    assert "50.0 % of 2 random cells are as good" in item.words


def test_before_anything_ran_nothing_is_claimed(tmp_path):
    folder = SweepFolder(tmp_path / "runs" / "new")
    folder.create(sweep_of(plan()[:1], "new"), "name: new\n")
    assert {name for name, item in items(folder).items() if item.answered} == {
        "settings", "one_setup", "tuning",
    }  # fmt: skip
    assert "no time on record" in items(folder)["tuning"].words


@pytest.mark.parametrize(
    ("gpu", "cpu", "device", "hours"),
    [
        (0.25, None, "cuda (H200)", {"GPU-hours": 0.25}),
        (0, None, "cuda (H200)", {"GPU-hours": 1.0}),  # in one process, the whole device
        (0, None, "cpu", {"CPU-hours": 2.0}),  # as many as it has threads
        (0, 3, "cpu", {"CPU-hours": 3.0}),
    ],
)
def test_a_pack_shares_the_time_of_its_epochs(gpu, cpu, device, hours):
    def member(trial: str, epochs: int, pack: list[str]):
        found = record(trial, losses=[1.0] * epochs, threads=2)
        reports = tuple(replace(report, seconds=900.0) for report in found.reports)
        return replace(found, reports=reports, start={"pack": pack, "device": device})

    sweep = SimpleNamespace(resources=SimpleNamespace(gpu=gpu, cpu=cpu))
    # Two epochs of a pack of two, of which one member ends after the first, and two of one alone: an hour.
    records = [member("a", 2, ["a", "b"]), member("b", 1, ["b", "a"]), member("c", 2, [])]
    assert device_hours(sweep, records) == pytest.approx(hours)
