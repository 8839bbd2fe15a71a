"""Keys that people guess: each wrong word is told the one right key, in its own place and words."""

import json
from pathlib import Path

import pytest
import yaml

from raynas.errors import FileProblems
from raynas.spaces.library import load_space
from raynas.sweep.file.load import load_any, load_sweep
from raynas.sweep.file.words import SEARCHES, TRAININGS, Vocabulary

GUESSES = {
    "lr": "here it is learning_rate (",
    "arch_lr": "here it is arch_learning_rate (",
    "l2": "here it is weight_decay (",
    "layers": "here it is cells (",
    "init_channels": "here it is channels (",
    "dataset": "here it is data (",
    "batch_size": "here it is batch (",
    "Batch-Size": "here it is batch (",
    "seeds": "here it is seed (",
    "gpus": "at this place: it is resources.gpu (",
    "eigenvalues": "here it is hessian (",
    "subset": "at this place: it is data.limit (",
    "every": "at this place: it is hessian.every (",
    "mlflow": "at this place: it is track.mlflow (",
    "epoch": "here it is epochs (",
    "momentun": "nearest: momentum",
    "estimator": "is a part, as in `method: {base: darts, estimator: …}`",
    "label_smoothing": "is one of trainings",
    "zzzzzz": "`raynas ls keys` lists all",
}


def told(path: Path, data: dict[str, object], *overrides: str) -> dict[str, str]:
    """Return what is wrong with a file, by place."""
    file = path / "guess.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(FileProblems) as caught:
        load_any(file, overrides)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_guess_at_a_key_is_told_the_right_one(tmp_path: Path) -> None:
    said = told(tmp_path, {"space": "tiny", **dict.fromkeys(GUESSES, 3)})
    assert {key: right for key, right in GUESSES.items() if right not in said[key]} == {}
    assert not any("known:" in message for message in said.values())  # no list to read through


def test_a_guess_is_told_right_wherever_it_stands(tmp_path: Path) -> None:
    data = {
        "space": "tiny",
        "seeds": [0, 1],
        "hessian": True,
        "data": {"subset": 3, "batch": 3},
        "resources": {"gpus": 1, "seed": 0},
        "grid": {"lr": [0.1], "gpu": [1], "select": [1]},
        "strategy": "optuna",
        "samples": 2,
        "sample": {"l2": {"log": [1e-4, 1e-2]}},
    }
    said = told(tmp_path, data, "data.cifar=3", "hessian.evry=2", "wd=3")
    assert said["seeds"].endswith("several values go under `grid: {seed: [...]}`")
    assert "`{every: 1}` measures after each epoch" in said["hessian"]
    assert "here it is data.limit (" in said["data.subset"]
    assert "at this place: it is batch (" in said["data.batch"]
    assert "here it is resources.gpu (" in said["resources.gpus"]
    assert "at this place: it is seed (" in said["resources.seed"]
    assert "here it is learning_rate (" in said["grid.lr"]
    assert "resources.gpu (GPUs a trial" in said["grid.gpu"]
    assert "does not vary" in said["grid.gpu"]
    assert "stands elsewhere" in said["grid.select"]
    assert "here it is weight_decay (" in said["sample.l2"]
    assert "here it is weight_decay (" in said["wd"]
    assert said["hessian.evry"] == "unknown key; nearest: hessian.every"


def test_trainings_have_their_own_keys(tmp_path: Path) -> None:
    data = {"train": "quick", "cell": "darts-v2", "lr": 1, "arch_learning_rate": 1, "drop_path_prob": 0.2}
    said = told(tmp_path, {**data, "data": {"subset": 3}, "resources": {"gpus": 1}})
    assert "here it is learning_rate (the largest)" in said["lr"]
    assert "is one of searches" in said["arch_learning_rate"]
    assert "here it is drop_path (" in said["drop_path_prob"]


@pytest.mark.parametrize("words", [SEARCHES, TRAININGS], ids=["searches", "trainings"])
def test_every_key_says_what_it_is_and_no_guess_means_two(words: Vocabulary) -> None:
    assert [name for name, word in words.items() if not word.about] == []
    for word in words.values():
        for also in word.also:
            assert f"{word.group}.{also}".lstrip(".") not in words, f"{also} of {word.name} is a key itself"
            twins = [each.name for each in words.values() if also in each.also and each.group == word.group]
            assert twins == [word.name], f"{also} means {twins}"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("conv_3x3", "sep_conv_3x3, dil_conv_3x3, nor_conv_3x3"),
        ("Conv3x3", "sep_conv_3x3, dil_conv_3x3, nor_conv_3x3"),
        ("maxpool", "max_pool_3x3, max_pool_5x5, max_pool_7x7"),
        ("skip_conect", "skip_connect"),
    ],
)
def test_a_wrong_operation_is_told_its_neighbours(tmp_path: Path, wrong: str, right: str) -> None:
    file = tmp_path / "mine.yaml"
    space = load_space("tiny").model_dump(mode="json", exclude={"cells"})
    cells = {kind: {"ops": [wrong, "skip_connect"]} for kind in ("normal", "reduce")}
    file.write_text(json.dumps({**space, "cells": cells}), encoding="utf-8")
    with pytest.raises(FileProblems) as caught:
        load_space(str(file))
    messages = {problem.path: problem.message for problem in caught.value.problems}
    assert f"(nearest: {right})" in messages["cells.normal.ops"]


def test_examples_of_keys_are_values_that_they_take(tmp_path: Path) -> None:
    company = {"benchmark", "strategy", "samples", "sample", "zip", "grid", "precision", "data", "retrain"}
    file = tmp_path / "examples.yaml"
    for name, word in SEARCHES.items():
        if word.key.example is None or {name, word.group} & company or name.endswith("data.path"):
            continue
        values = {name: word.key.example} if word.group in ("", "data", "hessian") else {}
        values = values or {word.group: {word.last: word.key.example}}
        file.write_text(yaml.safe_dump({"space": "tiny", **values}), encoding="utf-8")
        try:
            load_sweep(file)
        except FileProblems as error:
            assert {problem.path for problem in error.problems} == {"data.path"}, error  # noqa: PT017
