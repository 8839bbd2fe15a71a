"""Sweep files that are wrong: every mistake at once, each where it stands, with the nearest right name."""

from pathlib import Path

import pytest
from helpers.sweeping import sweep_of

from raynas.config import SearchConfig
from raynas.errors import FileProblems, RaynasError
from raynas.sweep.file.load import load_sweep

GOOD = "space: tiny\n"


def problems(folder: Path, text: str, *overrides: str) -> dict[str, str]:
    """Return the problems of a sweep file: path to message."""
    with pytest.raises(FileProblems) as caught:
        sweep_of(folder, text, *overrides)
    found = caught.value.problems
    assert len({problem.path for problem in found}) == len(found), found
    return {problem.path: problem.message for problem in found}


def only(folder: Path, text: str, path: str, *overrides: str) -> str:
    """Return the message of the one problem, which stands at ``path``."""
    found = problems(folder, text, *overrides)
    assert list(found) == [path]
    return found[path]


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    text = """
name: a name
spce: tiny
warmup: 90
learning_rate: fast
cells: 0
data: {name: digits, vlaid: 0.2}
grid: {method: [darts, dartz, 3], weight_decay: [3e-4, -1], data.valid: [2.0]}
zip: {batch: [1, 2], channels: [3]}
sample: {clip: {lg: [1, 2]}}
strategy: pbt
resources: {gpu: 0.3, cpus: 2}
select: {by: loss}
track: {mlflow: 3}
"""
    found = problems(tmp_path, text, "weight_decy=1", "seed")
    assert set(found) == {
        "weight_decy", "seed", "name", "spce", "warmup", "learning_rate", "cells", "data.vlaid",
        "grid.method[1]", "grid.method[2]", "grid.weight_decay[1]", "grid.data.valid[0]", "zip",
        "sample.clip.lg", "sample", "strategy", "resources.gpu", "resources.cpus", "select.by",
        "track.mlflow", "space",
    }  # fmt: skip
    assert "nearest: space" in found["spce"]
    assert "nearest: valid" in found["data.vlaid"]
    assert "nearest:  darts" in found["grid.method[1]"]
    assert "-1" in found["grid.weight_decay[1]"]
    assert "copies α between trials" in found["strategy"]


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("weigth_decay: 1", "weigth_decay", "nearest: weight_decay"),
        ("stop: {}", "stop", "unknown key"),
        ("retrian: {}", "retrian", "nearest: retrain"),
        ("retrain: {top: 0}", "retrain.top", "greater than 0"),
        ("retrain: {recipe: quik}", "retrain.recipe", "quick"),
        ("retrain: {seeds: [1, 1]}", "retrain.seeds", "listed twice"),
        ("3: 4", "3", "unknown key"),
        ("data: {pth: x}", "data.pth", "nearest: path"),
        ("hessian: 5", "hessian", "expected a mapping of keys; got 5"),
        ("hessian: {every: -1}", "hessian.every", "got -1"),
        ("method: 5", "method", "name or a mapping"),
        ("method: {name: x}", "method", "needs `base:`"),
        ("method: dart", "method", "nearest:  darts"),
        ("seed: yes", "seed", "expected a number; got True"),
        ("seed: 1.5", "seed", "got 1.5"),
        ("learning_rate: .inf", "learning_rate", "got inf"),
        ("epochs: [1, 2]", "epochs", "grid: {epochs: [1, 2]}"),
        ("cells: 2", "cells", "at least 3 cells"),
        ("warmup: 50", "warmup", "50 of 50"),
        ("data: {options: {when: .nan}}", "data", "expected numbers"),
        ("data: {name: digit}", "data.name", "nearest:  digits"),
        ("data: {name: cifar10, path: /no/such/folder}", "data.path", "does not exist"),
        ("grid: {lr: [1]}", "grid.lr", "unknown key"),
        ("grid: {data.vald: [0.5]}", "grid.data.vald", "nearest: data.valid"),
        ("grid: {seed: 3}", "grid.seed", "expected a list"),
        ("grid: {seed: []}", "grid.seed", "empty"),
        ("grid: {seed: [0, 1, 0]}", "grid.seed[2]", "also at grid.seed[0]"),
        ("grid: {weight_decay: [3e-4, 0.0003]}", "grid.weight_decay[1]", "also at grid.weight_decay[0]"),
        ("grid: {cells: [3, 2, 4]}", "grid.cells[1]", "at least 3 cells"),
        ("grid: {warmup: [0, 60, 10], seed: [0, 1]}", "grid.warmup[1]", "60 of 50"),
        ("grid: {data: [digits, {name: digits, limt: 3}]}", "grid.data[1].limt", "nearest: limit"),
        ("grid: {data: [digits, cifr10]}", "grid.data[1]", "nearest:  cifar10"),
        ("grid: {data: [digits, {name: cifar10, path: /no/such}]}", "grid.data[1].path", "does not exist"),
        ("seed: 0\ngrid: {seed: [0, 1]}", "grid.seed[0]", "also given at seed"),
        ("data: {valid: 0.3}\ngrid: {data.valid: [0.5]}", "grid.data.valid[0]", "also given at data.valid"),
        ("grid: {seed: [0]}\nzip: {seed: [1]}", "zip.seed[0]", "also given at grid.seed[0]"),
        ("grid: {data: [digits, {name: digits}]}", "grid.data[1]", "also at grid.data[0]"),
        ("grid: {data: [{name: digits, limit: 9}, {limit: 9, name: digits}]}", "grid.data[1]", "also at"),
        ("grid: {data: [digits, {valid: 0.5}]}", "grid.data", "are the same search"),
        ("zip: {data: [digits, {name: digits}], clip: [1, 1]}", "zip", "the same values twice"),
        ("zip: {batch: [1, 2, 3], epochs: [1, 2]}", "zip", "batch has 3, epochs has 2"),
        ("zip: {batch: [1, 2, 1], epochs: [1, 2, 1]}", "zip", "the same values twice"),
        ("grid: 5", "grid", "expected a mapping of keys; got 5"),
        ("track: {mlflow: foo}", "track.mlflow", "not an MLflow tracking address"),
        ("track: {mlflow: ''}", "track.mlflow", "not an MLflow tracking address"),
        ("select: {by: discrete}", "select.by", "nearest: discrete_loss"),
        ("grid: {seed: [0], weight_decay: [1], clip: [x]}", "grid.clip[0]", "got 'x'"),
        ("resources: {gpu: 0.3}", "resources.gpu", "0.3 does not divide a GPU: 0.25 or 0.333"),
        ("resources: {gpu: 0.334}", "resources.gpu", "0.334 does not divide a GPU: 0.333 or 0.5"),
        ("resources: {gpu: 1.5}", "resources.gpu", "1 or 2"),
        ("resources: {gpu: auto}", "resources.gpu", "got 'auto'"),
        ("resources: {cpu: 0}", "resources.cpu", "got 0"),
        ("resources: {retries: -1}", "resources.retries", "got -1"),
        ("resources: {max_concurent: 1}", "resources.max_concurent", "nearest: max_concurrent"),
        ("select: {top: 0}", "select.top", "got 0"),
        ("track: off", "track", "got False"),
        ("strategy: asha", "strategy", "late collapse"),
        ("strategy: optune", "strategy", "nearest: optuna"),
        ("sample: {clip: {uniform: [1, 2]}}", "sample", "only strategy"),
        ("samples: 3", "samples", "only strategy"),
    ],
)  # fmt: skip
def test_one_problem_stands_where_it_belongs(tmp_path: Path, text: str, path: str, message: str) -> None:
    assert message in only(tmp_path, f"{GOOD}{text}\n", path)


@pytest.mark.parametrize(
    ("sample", "path", "message"),
    [
        ("{weight_deca: {log: [1, 2]}}", "sample.weight_deca", "nearest: weight_decay"),
        ("{seed: {int: [0, 9]}}", "sample.seed", "under `grid`"),
        ("{method: {choice: [darts]}}", "sample.method", "under `grid`"),
        ("{data.valid: {uniform: [0.1, 0.9]}}", "sample.data.valid", "under `grid`"),
        ("{clip: 5}", "sample.clip", "expected one of"),
        ("{clip: {log: [1, 2], int: [1, 2]}}", "sample.clip", "expected one of"),
        ("{clip: {choices: [1, 2]}}", "sample.clip.choices", "nearest: choice"),
        ("{clip: {choice: []}}", "sample.clip.choice", "got []"),
        ("{clip: {choice: [1, 1]}}", "sample.clip.choice", "listed twice"),
        ("{clip: {log: [1]}}", "sample.clip.log", "two numbers"),
        ("{clip: {log: [2, 1]}}", "sample.clip.log", "low below high"),
        ("{weight_decay: {log: [0, 1]}}", "sample.weight_decay.log", "above 0"),
        ("{clip: {uniform: [1, x]}}", "sample.clip.uniform[1]", "got 'x'"),
        ("{clip: {int: [1, 2.5]}}", "sample.clip.int", "whole numbers"),
        ("{epochs: {uniform: [10, 20]}}", "sample.epochs.uniform", "use {int: [10, 20]}"),
        ("{warmup: {int: [0, 50]}}", "warmup", "50 of 50"),
        ("{deterministic: {choice: [true]}}", "samples", "only 1 different"),
    ],
)  # fmt: skip
def test_distributions_are_checked(tmp_path: Path, sample: str, path: str, message: str) -> None:
    text = f"{GOOD}strategy: random-paired\nsamples: 2\nsample: {sample}\n"
    assert message in only(tmp_path, text, path)


@pytest.mark.parametrize("strategy", ["random-paired", "optuna"])
def test_sampling_needs_ranges_and_a_count(tmp_path: Path, strategy: str) -> None:
    assert set(problems(tmp_path, f"{GOOD}strategy: {strategy}\n")) == {"sample", "samples"}


@pytest.mark.parametrize(
    ("grid", "alone"),
    [
        ("{batch: [8, 16], channels: [4, 8]}", "batch, channels"),
        ("{batch: [8, 16], seed: [0, 1]}", None),
        ("{batch: [8, 16], weight_decay: [1e-4, 1e-3]}", None),
        ("{seed: [0, 1]}", None),
        ("{}", None),
    ],
)
def test_packs_of_unlike_shapes_are_told(tmp_path: Path, grid: str, alone: str | None) -> None:
    text = GOOD + f"grid: {grid}\nresources: {{pack: 4}}\n"
    if alone is None:
        assert sweep_of(tmp_path, text).resources.pack == 4
    else:
        message = only(tmp_path, text, "resources.pack")
        assert f"each differs in {alone}; " in message
        assert "weight_decay" in message
    assert sweep_of(tmp_path, text, "resources.pack=auto").resources.pack == "auto"


def test_packs_of_zipped_and_sampled_searches(tmp_path: Path) -> None:
    pack = GOOD + "resources: {pack: 2}\n"
    only(tmp_path, pack + "zip: {batch: [8, 16], clip: [1, 2]}\n", "resources.pack")
    sweep_of(tmp_path, pack + "zip: {batch: [8, 8], clip: [1, 2]}\n")
    sampled = pack + "strategy: random-paired\nsamples: 3\n"
    sweep_of(tmp_path, sampled + "sample: {clip: {log: [1, 2]}}\n")
    only(tmp_path, sampled + "sample: {batch: {int: [8, 80]}}\n", "resources.pack")


def no_compiler() -> str:
    from torch._inductor.exc import InvalidCxxCompiler

    raise InvalidCxxCompiler


def test_what_the_device_cannot_do_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD + "grid: {precision: [float32, bfloat16]}\ncompile: true\n"
    sweep = sweep_of(tmp_path, text)
    assert [trial.config.precision for trial in sweep.trials if trial.config] == ["float32", "bfloat16"]
    monkeypatch.setattr("raynas.search.abilities.lacks_bfloat16", lambda kind: f"this {kind} cannot")
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", no_compiler)
    found = problems(tmp_path, text)
    assert found == {
        "grid.precision[1]": "this cpu cannot",
        "compile": "torch.compile needs a C++ compiler, and none is found (g++, or what CXX names)",
    }


def test_a_space_that_does_not_exist_is_told_once(tmp_path: Path) -> None:
    text = "grid: {space: [tiny, tinny], seed: [0, 1, 2], weight_decay: [1, 2]}\n"
    assert "nearest:  tiny" in only(tmp_path, text, "grid.space[1]")
    missing = only(tmp_path, "space: ./nowhere.yaml\n", "space")
    assert "no file" in missing
    assert f"looked in {Path.cwd()}" in missing


def test_the_mistakes_of_a_space_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nnodes: 2\n")
    assert "title" in only(tmp_path, f"space: {tmp_path}/mine.yaml\n", "space")


def test_too_many_trials_are_refused_quickly(tmp_path: Path) -> None:
    text = f"{GOOD}grid: {{seed: {list(range(200))}, data.split_seed: {list(range(200))}}}\n"
    assert "40000 trials" in only(tmp_path, text, "grid")


def test_numbers_written_as_text_are_numbers(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, f"{GOOD}learning_rate: 1e-2\ngrid: {{weight_decay: [3e-4, 2.7e-3]}}\n")
    assert [trial.axes for trial in sweep.trials] == [{"weight_decay": 0.0003}, {"weight_decay": 0.0027}]
    assert [trial.config.weight_decay for trial in sweep.trials if trial.config] == [3e-4, 2.7e-3]
    assert sweep.trials[0].config is not None
    assert sweep.trials[0].config.learning_rate == 0.01
    assert sweep.resolved["learning_rate"] == 0.01


@pytest.mark.parametrize("gpu", [0, 1, 2, 0.5, 0.25, 0.2, 0.333, 0.3333, 0.1, 0.0625])
def test_shares_that_divide_a_gpu(tmp_path: Path, gpu: float) -> None:
    assert sweep_of(tmp_path, f"{GOOD}resources: {{gpu: {gpu}}}\n").resources.gpu == gpu


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# nothing yet", "the file is empty"),
        ("a: [", "line 1"),
        ("a: 1\na: 2", "given twice"),
        ("- 1", "got list"),
        ("space: tiny\n? [a, b]\n: 3", "cannot be a key"),
        ("seed: 010", "write 10, or '010' for a text"),
        ("\tspace: tiny", "cannot start any token"),
    ],
)
def test_what_is_no_mapping_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RaynasError) as caught:
        sweep_of(tmp_path, text)
    assert message in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RaynasError, match="cannot read"):
        load_sweep(tmp_path / "none.yaml", [])


TEXT = """
space: tiny
data: {name: digits, valid: 0.4}
weight_decay: 1e-3
grid: {seed: [0, 1], clip: [1, 2]}
"""


def config(folder: Path, *overrides: str, text: str = TEXT) -> SearchConfig:
    """Return the configuration of the first trial."""
    first = sweep_of(folder, text, *overrides).trials[0].config
    assert first is not None
    return first


def test_an_override_sets_a_key_and_a_part_of_a_group(tmp_path: Path) -> None:
    changed = config(tmp_path, "epochs=3", "data.limit=40", "hessian.every=5", "learning_rate=1e-2")
    assert (changed.epochs, changed.data.limit, changed.data.valid, changed.hessian.every) == (3, 40, 0.4, 5)
    assert changed.learning_rate == 0.01


def test_a_group_can_be_overridden_whole_or_by_name(tmp_path: Path) -> None:
    assert config(tmp_path, "data={name: digits, limit: 7}").data.valid == 0.5
    assert config(tmp_path, "data=digits", "data.limit=9").data.limit == 9


def test_one_value_takes_the_axis_out(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, TEXT, "seed=4")
    assert [trial.id for trial in sweep.trials] == ["darts-clip1-s4", "darts-clip2-s4"]
    assert all("seed" not in trial.axes for trial in sweep.trials)


def test_a_new_axis_takes_the_place_of_the_value(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, TEXT, "grid.weight_decay=[1,2,3]", "grid.seed=[7]")
    assert len(sweep.trials) == 6
    assert {trial.axes["weight_decay"] for trial in sweep.trials} == {1.0, 2.0, 3.0}


def test_sections_can_be_overridden(tmp_path: Path) -> None:
    sweep = sweep_of(
        tmp_path, TEXT, "name=other", "resources.gpu=0.5", "select.by=discrete_loss", "track.mlflow=null",
        "strategy=random-paired", "samples=2", "sample.weight_decay={log: [1e-4, 1e-2]}",
    )  # fmt: skip
    assert (sweep.name, sweep.resources.gpu, sweep.select.by, sweep.track.mlflow) == (
        "other", 0.5, "discrete_loss", None,
    )  # fmt: skip
    assert len(sweep.trials) == 8


def test_a_part_of_a_method_can_be_overridden(tmp_path: Path) -> None:
    changed = config(tmp_path, "method=darts-2nd", "method.estimator=first-order", "method.name=odd")
    assert changed.method == {"base": "darts-2nd", "estimator": "first-order", "name": "odd"}
    text = "space: tiny\ngrid: {method: [darts, darts-2nd]}\n"
    assert "override it whole" in only(tmp_path, text, "method.estimator", "method.estimator=first-order")


@pytest.mark.parametrize(
    ("override", "path", "message"),
    [
        ("sede=1", "sede", "nearest: seed"),
        ("data.vlaid=1", "data.vlaid", "nearest: data.valid"),
        ("grid.sede=[1]", "grid.sede", "nearest: seed"),
        ("grid.seed=3", "grid.seed", "expected a list"),
        ("resources.gpus=1", "resources.gpus", "here it is resources.gpu (GPUs per trial"),
        ("epochs=[1,2]", "epochs", "grid: {epochs: [1, 2]}"),
        ("epochs=many", "epochs", "got 'many'"),
        ("epochs", "epochs", "key=value"),
        ("=3", "=3", "key=value"),
        ("clip=[", "clip", "not a YAML value"),
        ("seed=2024-13-45", "seed", "expected a whole number"),
        ("seed=010", "seed", "not a YAML value"),
        ("grid.seed=[0] # one", "grid.seed", "for a comment"),
    ],
)
def test_a_wrong_override_is_named_as_it_was_typed(
    tmp_path: Path, override: str, path: str, message: str
) -> None:
    assert message in only(tmp_path, TEXT, path, override)


def test_the_file_itself_is_not_changed_by_overrides(tmp_path: Path) -> None:
    sweep_of(tmp_path, TEXT, "seed=0")
    assert (tmp_path / "try.yaml").read_text() == TEXT


def test_what_the_fewest_cells_are_is_up_to_the_space(tmp_path: Path) -> None:
    text = "grid: {space: [nas-bench-201, tiny], cells: [1, 3]}\n"
    assert "at least 3 cells (cells in all); got 1" in only(tmp_path, text, "grid.cells[0]")
    [trial] = sweep_of(tmp_path, "space: nas-bench-201\ncells: 1\n").trials
    assert trial.config is not None
    assert trial.config.cells == 1
