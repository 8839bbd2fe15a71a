"""The third part of the data: it trains nothing, moves nothing, and what is judged is judged on it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli_folders import IDS, TINY, make_sweep, play, raynas
from helpers.track_folders import end, epochs, start
from helpers.track_folders import report as track_report

from raynas.bilevel.records import EpochReport
from raynas.config import DataConfig, SearchConfig
from raynas.data.load import load_data
from raynas.data.split import Splits, permutation, split
from raynas.errors import RaynasError
from raynas.launch.trial import run_trials
from raynas.report.build import build_report
from raynas.report.results import load_results
from raynas.search.loop import Pack, Search
from raynas.spaces.library import load_space
from raynas.sweep.file.load import load_any
from raynas.sweep.folder import TrialFolder
from raynas.sweep.plan import Trial
from raynas.sweep.sections import Select
from raynas.sweep.select import rank
from raynas.track.content import metrics
from raynas.train.config import TrainConfig
from raynas.train.lane import divided

CPU = torch.device("cpu")
DATA = DataConfig(name="digits", limit=100, select=0.2)
SETTINGS = {"space": "tiny", "epochs": 2, "batch": 16, "channels": 4, "cells": 3, "hessian": {"every": 0}}
THIRD = ("select_loss", "select_accuracy", "discrete_loss", "discrete_accuracy")


def config(data: DataConfig = DATA, **more) -> SearchConfig:
    return SearchConfig(**{**SETTINGS, "data": data.model_dump(), **more})


def searched(splits: Splits, *configs: SearchConfig) -> list[list[EpochReport]]:
    pack = Pack(configs, load_space("tiny"), splits, CPU)
    return [list(each) for each in zip(*pack, strict=True)]


def without_third(reports: list[EpochReport]) -> list[EpochReport]:
    return [replace(report, **dict.fromkeys(THIRD, 0.0)) for report in reports]


def test_three_parts_are_disjoint_and_whole_and_two_are_what_they_were():
    dataset = load_data(DATA)
    found = split(dataset, DATA)
    assert (len(found.train), len(found.valid), len(found.select)) == (40, 40, 20)
    assert sorted(np.concatenate([found.train, found.valid, found.select])) == list(range(100))
    assert found.record()["select"] == 20
    before = split(dataset, DATA.model_copy(update={"select": 0.0, "valid": 0.3}))
    order = permutation(100, 0)
    assert before.select is None
    assert "select" not in before.record()
    assert (list(before.valid), list(before.train)) == (sorted(order[:30]), sorted(order[30:]))
    # A training that is given the same share looks at the same images, and trains on all others.
    training = TrainConfig(cell="any", data={"name": "digits", "limit": 100, "select": 0.2})
    train, held_out = divided(100, training)
    assert list(held_out) == list(found.select)
    assert list(train) == sorted([*found.train, *found.valid])


def test_a_configuration_without_a_third_part_is_written_as_before():
    assert "select" not in config(DATA.model_copy(update={"select": 0.0})).model_dump()["data"]
    assert config().model_dump()["data"]["select"] == 0.2


@pytest.mark.parametrize("method", ["darts", "gdas"])
def test_it_trains_nothing_and_looking_at_it_changes_no_search(method):
    """Other labels of the third part, or none at all, leave all but its own numbers as they are."""
    dataset, ours = load_data(DATA), config(method=method)
    splits = split(dataset, DATA)
    labels = dataset.labels.copy()
    labels[splits.select] = (labels[splits.select] + 1) % 10
    other = split(replace(dataset, labels=labels), DATA)
    alone = Splits(dataset, splits.train, splits.valid, 0)
    [found], [changed], [plain] = (searched(each, ours) for each in (splits, other, alone))
    assert without_third(found) == without_third(changed) == without_third(plain)
    for one, two, three in zip(found, changed, plain, strict=True):
        assert one.select_loss != two.select_loss
        assert one.discrete_loss != two.discrete_loss
        assert three.select_loss is None
        assert three.discrete_loss != one.discrete_loss


def test_its_loss_is_the_validation_loss_taken_on_it_alone_and_in_packs():
    splits = split(load_data(DATA), DATA)
    pack = Pack([config(), config(seed=1)], load_space("tiny"), splits, CPU)
    reports = [list(each) for each in zip(*pack, strict=True)]
    look = pack.evaluator
    look.feeds = look.third
    assert [(r[-1].select_loss, r[-1].select_accuracy) for r in reports] == look.validate(1)
    [alone] = searched(splits, config(seed=1))
    assert [r.select_loss for r in alone] == pytest.approx([r.select_loss for r in reports[1]], rel=1e-4)


def test_a_search_goes_on_from_a_checkpoint_to_the_same_numbers():
    splits = split(load_data(DATA), DATA)
    whole = Search(config(), load_space("tiny"), splits)
    first = whole.advance()
    state = whole.state_dict()
    second = whole.advance()
    again = Search(config(), load_space("tiny"), splits)
    again.load_state_dict(state)
    assert again.advance() == second
    assert second.select_loss != first.select_loss
    assert again.pack.history[0][0] == first


def test_reports_say_it_where_there_is_one_and_only_there():
    [[report, _]] = searched(split(load_data(DATA), DATA), config())
    assert EpochReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    sent = metrics(report)
    assert (sent["loss/select"], sent["acc/select"]) == (report.select_loss, report.select_accuracy)
    plain = replace(report, select_loss=None, select_accuracy=None)
    assert not {"select_loss", "select_accuracy"} & set(plain.to_json())
    assert not {"loss/select", "acc/select"} & set(metrics(plain))


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_share_that_leaves_a_part_empty_is_refused(share):
    data = DATA.model_copy(update={"select": share})
    with pytest.raises(RaynasError, match=r"data.select=0.\d+ of 100 training images leaves one part empty"):
        split(load_data(data), data)


def test_a_text_is_cut_before_its_test(tmp_path):
    (tmp_path / "text.txt").write_text(" ".join(f"w{n % 7}" for n in range(200)), encoding="utf-8")
    data = DataConfig(name="text", path=str(tmp_path / "text.txt"), select=0.1, test=0.2, valid=0.5)
    corpus = load_data(data)
    found = split(corpus, data)
    # Of 200 words 40 to test, 20 to choose by, and of the 180 others half for α.
    assert (len(found.train), len(found.valid), len(found.select), corpus.tests) == (50, 90, 20, 40)
    assert list(found.select) == list(range(140, 160))
    assert (found.train[-1], found.valid[0]) == (49, 50)


def test_random_cells_are_judged_on_it_and_select_chooses_by_it(tmp_path, capsys):
    folders = []
    for seed in (0, 1):
        folders.append(TrialFolder(tmp_path / "trials" / f"s{seed}"))
        folders[-1].write(Trial(f"s{seed}", config(seed=seed, epochs=1), {}), control=2)
    run_trials(folders, dataset=load_data(DATA), device=CPU, heartbeat=lambda epoch: None)
    records = [folder.record() for folder in folders]
    for record in records:
        last = record.newest
        assert record.control.own == pytest.approx((last.discrete_loss, last.discrete_accuracy))
    found = rank(records, Select(by="select_loss"))
    assert found.winner.value == min(record.newest.select_loss for record in records)
    assert "trained neither weights nor α" in found.reasons[-1]
    assert "trained neither weights nor α" in rank(records, Select(by="discrete_loss")).reasons[-1]
    assert "optimistic: only training" in rank(records, Select(by="valid_loss")).reasons[-1]
    # A search without it is not ranked by it, and a ranking that mixes both is not called fresh.
    plain = replace(records[0], reports=(replace(records[0].newest, select_loss=None),))
    mixed = rank([plain, records[1]], Select(by="select_loss"))
    assert mixed.left_out == (("s0", "its data have no third part (data.select)"),)
    assert "is optimistic" in rank([plain, records[1]], Select(by="discrete_loss")).reasons[-1]


def test_report_status_and_rows_have_it_where_there_is_one(tmp_path, capsys):
    folder = make_sweep(tmp_path / "runs", ["data.select=0.25", "select.by=select_loss"])
    for number, trial in enumerate(folder.trials()):
        start(folder, trial.id)
        third = {"select_loss": 1.2345 - number / 10, "select_accuracy": 0.5, "curvature": None}
        epochs(folder, trial.id, track_report(0, **TINY, **third))
        end(folder, trial.id)
    pages = [path.read_text(encoding="utf-8") for path in build_report(folder)]
    for page in pages:
        assert "Chosen by the supernet’s loss on the third part of the data" in page
        assert "1.2345" in page
        assert "0.9345" in page
    # Of one row all cells: a column too many or too few shifts what follows.
    wanted = ("| place", "|---:|:---|:---|", "| 1 |")
    [head, rule, first] = [line for line in pages[1].splitlines() if line.startswith(wanted)]
    assert first.count("|") == head.count("|") == rule.count("|")
    runs = ["--runs", str(tmp_path / "runs")]
    assert "select_loss" in raynas(capsys, "status", "four", "--csv", *runs).out.splitlines()[0]
    assert load_results(folder.path).frame()["select_loss"].min() == pytest.approx(0.9345)
    assert list(load_results(folder.path).history()["select_accuracy"]) == [0.5] * 4
    plain = make_sweep(tmp_path / "runs", ["name=plain"])
    play(plain, IDS[0], [0.5])
    assert "third part" not in build_report(plain)[0].read_text(encoding="utf-8")
    assert "select_loss" not in raynas(capsys, "status", "plain", "--csv", *runs).out


FILE = "space: tiny\ndata: {name: digits, limit: 64}\ngrid: {seed: [0, 1]}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "; optimistic: chosen on the half that trains α (data.select=0.1"),
        (["data.select=0.1"], "on the half that trains α (select: {by: select_loss} is not)"),
        (["data.select=0.1", "select.by=select_loss"], "; not optimistic: chosen on a third part"),
        (["data.select=0.1", "select.by=discrete_loss"], "; not optimistic: chosen on a third part"),
    ],
)
def test_check_says_whether_the_choice_is_optimistic(tmp_path, capsys, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    Path("two.yaml").write_text(FILE)
    assert says in " ".join(raynas(capsys, "check", "two.yaml", *words).out.split())


def test_choosing_by_a_part_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "two.yaml"
    path.write_text(f"{FILE}select: {{by: select_loss}}\n")
    with pytest.raises(RaynasError, match="select_loss is of a part of the data that trains nothing"):
        load_any(path)
    assert load_any(path, ["data.select=0.1"]).select.by == "select_loss"


def test_a_training_holds_out_one_part():
    with pytest.raises(ValueError, match="valid and select both say what is held out"):
        TrainConfig(cell="any", data={"name": "digits", "valid": 0.1, "select": 0.1})
