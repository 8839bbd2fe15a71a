"""Cells side by side: one protocol a column, differences paired by seed, sizes, latency and edges."""

import csv
import io
import json
import math
import random
import time
import warnings
from pathlib import Path

import pytest
import torch
from helpers.cli_folders import raynas
from helpers.simulated_sweep import simulate
from helpers.train_folders import make_trainings, play
from scipy.stats import ttest_rel
from torch import nn

from raynas.nets.latency import Latency, latencies
from raynas.spaces.literature import load_cell
from raynas.train.deployed import Card
from raynas.trust.paired import paired

SMALL = {"cells": 3, "data": {"name": "digits", "limit": 64}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    return tmp_path


def train(name: str, accuracies: dict[int, float], cell: str = "darts-v2", **content) -> None:
    """Leave a sweep of trainings of one cell behind, with a test accuracy for each seed."""
    grid = {"cell": [cell], "seed": list(accuracies)}
    folder = make_trainings(Path("runs") / name, **{**SMALL, "grid": grid, **content})
    for trial, accuracy in zip(folder.sweep().trials, accuracies.values(), strict=True):
        play(folder, trial.id, test_accuracy=accuracy)


def compared(capsys, *words: str) -> dict:
    outcome = raynas(capsys, "compare", *words, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_differences_are_those_of_a_paired_t_test():
    draw = random.Random(0)
    for count in (2, 3, 10):
        one = {seed: draw.random() for seed in range(count)}
        other = {seed: draw.random() for seed in range(count)}
        found = paired(one, other)
        expected = ttest_rel(list(one.values()), list(other.values())).confidence_interval(0.95)
        assert found.interval == pytest.approx((expected.low, expected.high))
        assert found.mean == pytest.approx(sum(one[s] - other[s] for s in one) / count)
    assert paired({0: 0.5, 1: 0.7}, {0: 0.25, 1: 0.45}).interval == pytest.approx((0.25, 0.25))  # all alike
    assert paired({0: 0.5, 2: 1}, {0: 0.25, 1: 1}) == paired({0: 0.5}, {0: 0.25})
    assert paired({0: 0.5}, {0: 0.25}).interval is None
    assert paired({0: 0.5}, {1: 0.5}) is None
    assert paired({0: math.nan}, {0: 0.5}) is None


def test_errors_under_one_protocol_are_paired_by_seed(capsys):
    train("one", {0: 0.9, 1: 0.92, 2: 0.94})
    train("other", {1: 0.9, 2: 0.91, 3: 0.99}, "darts-v1")
    told = compared(capsys, "darts-v2", "darts-v1")
    v2, v1 = told["cells"]
    assert v2["error_mean"] == pytest.approx(0.08)
    assert v2["error_sd"] == pytest.approx(0.02)
    assert (v1["seeds"], v1["paired_seeds"]) == ([1, 2, 3], [1, 2])
    assert v1["difference"] == pytest.approx(0.025)
    assert v1["difference_low"] < 0 < v1["difference_high"]
    assert told["protocol"]["epochs"] == 3
    assert any("other seeds" in note for note in told["notes"])
    assert (v2["parameters"], v2["multiply_adds"]) == (1234, 5678)  # as its records say
    assert v1["in_common"] == pytest.approx(11 / 16)
    out = raynas(capsys, "compare", "darts-v2", "darts-v1").out
    assert "8.00 ± 2.00" in out
    assert "recipe quick: data.name digits, epochs 3" in out


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": 4}, "epochs 3 and 4"),
        ({"batch": 7}, "and 7"),
        ({"data": {"name": "digits", "limit": 65}}, "data.limit 64 and 65"),
        ({"learning_rate": 0.5}, "learning_rate"),
    ],
)
def test_protocols_are_not_mixed(capsys, changes, told):
    train("one", {0: 0.9})
    train("other", {0: 0.9}, "darts-v1", **changes)
    refused = raynas(capsys, "compare", "darts-v2", "darts-v1")
    assert refused.code == 2
    assert "different protocols" in refused.err
    assert told in refused.err
    # What one of them was trained by as well is common ground.
    train("third", {0: 0.8, 1: 0.7}, "darts-v1")
    assert compared(capsys, "darts-v2", "darts-v1")["cells"][1]["error_mean"] == pytest.approx(0.25)


def test_a_sweep_of_trainings_stands_for_each_of_its_cells(capsys):
    grid = {"cell": ["darts-v2", "darts-v1"], "seed": [0]}
    folder = make_trainings(Path("runs/both"), **SMALL, grid=grid)
    for trial in folder.sweep().trials:
        play(folder, trial.id, test_accuracy=0.9 if "v2" in trial.id else 0.8)
    cells = compared(capsys, "both")["cells"]
    assert [(each["label"], round(each["error_mean"], 6)) for each in cells] == [
        ("darts-v2", 0.1), ("darts-v1", 0.2),
    ]  # fmt: skip
    assert [each["on_front"] for each in cells] == [True, False]  # their sizes are equal here


def test_a_sweep_s_winner_has_the_trainings_below_it(capsys):
    swept = simulate(Path("runs/robust"))
    winner = next(r for r in swept.records() if r.id == "drnas-wd0.0027-s0").deciding.genotype
    winner.save(Path("winner.json"))
    train("robust/trained/quick", {0: 0.75}, "winner.json")
    cells = compared(capsys, "robust", "darts-v2")["cells"]
    assert (cells[0]["label"], cells[0]["error_mean"]) == ("robust", 0.25)
    assert cells[1]["error_mean"] is None


def test_a_trained_folder_brings_its_own_training(capsys):
    train("one", {0: 0.9, 1: 0.8})
    config = json.loads(Path("runs/one/trials/darts-v2-s0/trial.json").read_text())["config"]
    last = {"epoch": 2, "train_loss": 1.0, "train_accuracy": 0.5, "learning_rate": 0.1, "drop_path": 0.0}
    card = Card(
        genotype=load_cell("darts-v1").genotype.to_json(), shape=(1, 8, 8),
        class_names=tuple("0123456789"), channels=2, cells=3, mean=(0.5,), std=(0.5,), data="digits",
        trained={"config": config, "report": {**last, "test_accuracy": 0.7}},
    )  # fmt: skip
    Path("network").mkdir()
    told = {"format": "raynas.network", "version": 1} | card.model_dump()
    Path("network/network.json").write_text(json.dumps(told))
    refused = raynas(capsys, "compare", "darts-v2", "network")
    assert "hash of the data 'abc' and None" in refused.err
    cells = compared(capsys, "network", "darts-v1", "--recipe", "robust-darts")["cells"]
    assert (cells[0]["error_mean"], cells[1]["same_network"]) == (None, True)  # of another recipe


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["darts-v2"], "needs two cells"),
        (["darts-v2", "darts-v3"], "nearest:  darts-v2"),
        (["darts-v2", "darts-rnn-v1"], "cells of images and of texts do not compare"),
        (["darts-rnn-v1", "darts-rnn-v2", "--latency"], "latency is measured for images"),
        (["darts-v2", "darts-v1", "--draw", "cells.pdf"], ".html or .png"),
        (["darts-v2", "darts-v1", "--recipe", "quik"], "nearest:  quick"),
    ],
)
def test_what_cannot_be_compared_says_why(capsys, words, told):
    refused = raynas(capsys, "compare", *words)
    assert refused.code == 2
    assert told in refused.err


def test_cells_are_drawn_side_by_side_and_told_as_csv(capsys):
    words = ("compare", "darts-v2", "darts-v2", "darts-v1")
    assert raynas(capsys, *words, "--draw", "cells.png").code == 0
    assert Path("cells.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(raynas(capsys, *words, "--draw", "cells.html", "--csv").out)))
    assert [row["label"] for row in rows] == ["darts-v2 (1)", "darts-v2 (2)", "darts-v1"]
    assert [row["same_network"] for row in rows] == ["False", "True", "False"]
    assert (rows[0]["parameters"], rows[0]["multiply_adds"]) == ("3349342", "528359040")
    page = Path("cells.html").read_text()
    assert page.count("<svg") == 6
    assert "<script" not in page


class Sleeper(nn.Module):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.seen = seconds, set()

    def forward(self, images):
        self.seen.add((tuple(images.shape), self.training, torch.is_grad_enabled()))
        time.sleep(self.seconds)
        return images


def test_latency_is_of_a_batch_in_evaluation():
    networks = [Sleeper(0.001), Sleeper(0.004)]
    found = latencies(networks, [(3, 8, 8), (1, 4, 4)], 5, torch.device("cpu"), rounds=3)
    for network, each, shape in zip(networks, found, [(3, 8, 8), (1, 4, 4)], strict=True):
        assert network.seen == {((5, *shape), False, False)}
        assert network.seconds <= each.low <= each.median <= each.high


def test_latency_is_measured_for_one_image_and_the_recipe_s_batch(capsys, monkeypatch):
    Path("small.yaml").write_text("title: small\nsource: tests\nchannels: 4\ncells: 3\nbatch: 7\n")
    asked = []

    def measured(networks, shapes, batch, device):
        asked.append((batch, shapes[0]))
        return [Latency(0.002, 0.001, 0.003), Latency(0.004, 0.003, 0.005)]

    monkeypatch.setattr("raynas.nets.latency.latencies", measured)
    words = ("compare", "darts-v2", "darts-v1", "--latency", "--recipe", "small.yaml", "--device", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "2 (1 … 3)" in raynas(capsys, *words).out
    assert asked == [(1, (3, 32, 32)), (7, (3, 32, 32))]
