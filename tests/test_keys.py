"""Keys that people guess: each wrong word is told the one right key, in its own place and words."""

import json
from pathlib import Path

import pytest
import yaml
from helpers.cli_folders import raynas

from benchmarks import keys as page
from raynas.errors import FileProblems
from raynas.spaces.library import load_space
from raynas.sweep.file.load import load_any, load_sweep
from raynas.sweep.file.schema_file import shipped
from raynas.sweep.file.words import SEARCHES, TRAININGS, Vocabulary

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "keys.md"

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
    "drop_path_prob": "drop_path (",
    "unrolled": "here it is method (",
    "patience": "here it is method (",
    "protocoll": "`raynas ls keys` lists all",
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
    assert "resources.gpu (GPUs per trial" in said["grid.gpu"]
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


def test_a_name_that_is_nothing_is_told_its_neighbours_and_no_list(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = raynas(capsys, "show", "conv_3x3").err
    assert "sep_conv_3x3" in told
    assert len(told) < 300
    assert "nearest:  pc-darts\n" in raynas(capsys, "show", "pcdarts", "--kind", "method").err
    assert "nearest" not in raynas(capsys, "show", "zzzzzzzz").err


def test_examples_of_keys_are_values_that_they_take(tmp_path: Path) -> None:
    company = {"benchmark", "strategy", "samples", "sample", "zip", "grid", "precision", "data", "retrain"}
    file = tmp_path / "examples.yaml"
    for name, word in SEARCHES.items():
        if word.key.example is None or {name, word.group} & company or isinstance(word.key.example, dict):
            continue
        values = {name: word.key.example} if word.group in ("", "data", "hessian") else {}
        for part in [] if values else reversed(name.split(".")):
            values = {part: values or word.key.example}
        file.write_text(yaml.safe_dump({"space": "tiny", **values}), encoding="utf-8")
        try:
            load_sweep(file)
        except FileProblems as error:
            assert {problem.path for problem in error.problems} == {"data.path"}, error  # noqa: PT017


def test_the_page_and_the_schema_are_current(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page.page(), "run: python -m benchmarks.keys --write docs/keys.md …, as the page says"
    assert shipped() == page.schema_text(), "run it for raynas/sweep/file/trial.schema.json too"
    sections = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert sections == list(dict.fromkeys([*SEARCHES, "train", *TRAININGS]))
    assert page.main(["--write", str(tmp_path / "no" / "keys.md")]) == 2


def test_the_schema_passes_what_raynas_takes_and_marks_what_it_refuses() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(shipped()))
    for file in (ROOT / "trials").glob("*.yaml"):
        assert [error.message for error in check.iter_errors(yaml.safe_load(file.read_text()))] == []
    right = (
        {"train": "quick", "grid": {"cell": ["darts-v2"], "seed": [0, 1]}, "drop_path": 0.2},
        {"space": "my.yaml", "method": {"base": "darts", "sampler": {"use": "gumbel", "hard": True}}},
        {"space": "s2", "data": "mine:load", "data.valid": 0.1, "sample": {"clip": {"log": [1, 5]}}},
    )
    for data in right:
        assert [error.message for error in check.iter_errors(data)] == []
    wrong = (
        {"space": "tiny", "lr": 0.1},
        {"space": "tiny", "hessian": True},
        {"space": "tiny", "epochs": 0},
        {"space": "tiny", "grid": {"resources": [1]}},
        {"space": "tiny", "method": {"sampler": "gumbel"}},
        {"space": "tiny", "sample": {"seed": {"int": [0, 5]}}},
        {"train": "quick", "arch_learning_rate": 0.1},
        {"train": "quick", "grid": {"space": ["tiny"]}},
    )
    for data in wrong:
        assert list(check.iter_errors(data)), data


def test_a_key_is_shown_by_any_of_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    told = raynas(capsys, "show", "lr").out
    assert "a number above 0" in told
    assert "pc-darts, drnas, dso-nas, drnas-progressive, bayes-nas" in told
    assert "the space darts-rnn" in told
    facts = json.loads(raynas(capsys, "show", "subset", "--kind", "key", "--json").out)["key"]
    assert facts["name"] == "data.limit"
    assert facts["in"]["searches"]["unit"] == "images or tokens"
    warmup = json.loads(raynas(capsys, "show", "warmup", "--json").out)["key"]["in"]["searches"]["brought"]
    assert warmup["30% of the epochs"] == ["pc-darts"]
    assert raynas(capsys, "show", "learning_rat").err.startswith("unknown name")
    rows = json.loads(raynas(capsys, "ls", "keys", "--json").out)
    assert {"name": "data.valid", "default": "0.5", "title": SEARCHES["data.valid"].about} in rows


def test_a_file_is_shown_as_it_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("show", "quickstart", "grid.seed=[0]", "epochs=10")
    shown = raynas(capsys, *words, "method=drnas").out
    assert "warmup: 2\n" in shown  # a fifth, which the method brings along
    assert "learning_rate: 0.1\n" in shown
    facts = json.loads(raynas(capsys, *words, "grid.method=[drnas, darts]", "--json").out)["trial"]
    assert facts["resolved"]["epochs"] == 10
    assert "warmup" not in facts["resolved"]
    assert facts["brought"]["warmup"] == {"2": ["drnas"], "0": ["darts"]}
    told = raynas(capsys, "show", "darts", "--kind", "method", "seed=0")
    assert told.code == 2
    assert "only trial files take key=value" in told.err


def test_a_copied_trial_file_explains_its_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in sorted(path.stem for path in (ROOT / "trials").glob("*.yaml")):
        copy = tmp_path / f"my-{name}.yaml"
        assert raynas(capsys, "cp", name, str(copy), "--kind", "trial").code == 0
        original = yaml.safe_load((ROOT / "trials" / f"{name}.yaml").read_text(encoding="utf-8"))
        text = copy.read_text(encoding="utf-8")
        assert yaml.safe_load(text) == {**original, "name": f"my-{name}"}
        for line in text.splitlines():
            if line.startswith(("epochs:", "batch:", "select:", "warmup:")):
                assert " # " in line
