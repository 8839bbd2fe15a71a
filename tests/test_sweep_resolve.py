"""From a sweep file to trials: how many, in which order, under which ids, and the exact way back."""

import itertools
import json
import random
import re
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from helpers.sweeping import sweep_of

from raynas.errors import FileProblems
from raynas.sweep.file.axes import paired_draws
from raynas.sweep.file.load import load_sweep
from raynas.sweep.file.resolve import axis_label, group_labels, method_label
from raynas.sweep.plan import Distribution, Sweep

PACKAGED = sorted(Path(str(files("raynas.trials"))).glob("*.yaml"))


def ids(sweep: Sweep) -> list[str]:
    return [trial.id for trial in sweep.trials]


def test_golden_ids(tmp_path: Path) -> None:
    text = """
space: tiny
grid: {method: [darts, darts-2nd], weight_decay: [3e-4, 2.7e-3], seed: [0, 1]}
"""
    assert ids(sweep_of(tmp_path, text)) == [
        "darts-wd0.0003-s0", "darts-wd0.0003-s1", "darts-wd0.0027-s0", "darts-wd0.0027-s1",
        "darts-2nd-wd0.0003-s0", "darts-2nd-wd0.0003-s1", "darts-2nd-wd0.0027-s0", "darts-2nd-wd0.0027-s1",
    ]  # fmt: skip


def test_only_what_varies_is_in_ids_and_axes(tmp_path: Path) -> None:
    text = "grid: {space: [tiny], data: [digits], batch: [32], method: [darts], seed: [3]}\n"
    [trial] = sweep_of(tmp_path, text).trials
    assert (trial.id, trial.axes) == ("darts-s3", {})
    assert trial.config is not None
    assert (trial.config.seed, trial.config.batch) == (3, 32)


def test_without_axes_there_is_one_trial_named_after_the_file(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "space: tiny\nseed: 5\n", name="mine.yaml")
    assert (sweep.name, ids(sweep)) == ("mine", ["darts-s5"])


def test_zip_advances_together_and_multiplies_with_the_grid(tmp_path: Path) -> None:
    text = "space: tiny\nzip: {epochs: [4, 8], batch: [64, 32]}\ngrid: {clip: [1, 5], seed: [0, 1]}\n"
    sweep = sweep_of(tmp_path, text)
    assert len(sweep.trials) == 8
    pairs = {(t.config.epochs, t.config.batch, t.config.clip) for t in sweep.trials if t.config}
    assert pairs == {(4, 64, 1.0), (4, 64, 5.0), (8, 32, 1.0), (8, 32, 5.0)}
    assert ids(sweep)[0] == "darts-e4-b64-clip1-s0"


def test_a_zipped_seed_stays_with_its_row(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "space: tiny\nzip: {seed: [3, 4], batch: [1, 2]}\n")
    assert [(t.id, t.config.batch) for t in sweep.trials if t.config] == [
        ("darts-b1-s3", 1),
        ("darts-b2-s4", 2),
    ]
    assert ids(sweep_of(tmp_path, "space: tiny\nzip: {seed: [3, 4]}\n")) == ["darts-s3", "darts-s4"]


def test_groups_merge_with_the_top_level(tmp_path: Path) -> None:
    text = """
space: tiny
data: {valid: 0.3}
grid: {data: [digits, {name: digits, limit: 50}], hessian.every: [1, 0]}
"""
    sweep = sweep_of(tmp_path, text)
    found = [
        (t.config.data.limit, t.config.data.valid, t.config.hessian.every) for t in sweep.trials if t.config
    ]
    assert found == [(None, 0.3, 1), (None, 0.3, 0), (50, 0.3, 1), (50, 0.3, 0)]
    assert len(set(ids(sweep))) == 4
    assert all(re.fullmatch(r"darts-digits-every[01]-[0-9a-f]{8}-s0", name) for name in ids(sweep))


def test_an_empty_group_is_the_default(tmp_path: Path) -> None:
    text = "space: tiny\ngrid: {hessian: [{}, {every: 2}]}\ndata: {}\n"
    configs = [trial.config for trial in sweep_of(tmp_path, text).trials]
    assert [config.hessian.every for config in configs if config] == [1, 2]


def test_counts_and_unique_ids_for_any_grid_and_zip(tmp_path: Path) -> None:
    values = {
        "method": [
            "darts",
            "darts-2nd",
            {"base": "darts", "updater": {"use": "adam", "betas": [0, 0.9]}},
            {"base": "darts", "name": "x"},
        ],
        "weight_decay": [0.1, 0.10000001, 0.2, "3e-4"],
        "seed": [0, 1, 2, 3],
        "data.valid": [0.25, 0.5, 0.75, 0.3],
        "data.augment": [True, False],
        "channels": [None, 8, 16, 4],
        "space": ["tiny", "s2", "darts", "s3"],
    }
    stream = random.Random(0)
    for _ in range(30):
        keys = stream.sample(sorted(values), stream.randint(1, 4))
        grid, zipped = {}, {}
        width = stream.randint(1, 2)
        for key in keys:
            if stream.random() < 0.5:
                grid[key] = values[key][: stream.randint(1, len(values[key]))]
            else:
                zipped[key] = values[key][:width]
        text = yaml.safe_dump({"grid": grid, "zip": zipped} | ({} if "space" in keys else {"space": "tiny"}))
        sweep = sweep_of(tmp_path, text)
        expected = (width if zipped else 1) * len(list(itertools.product(*grid.values())))
        assert len(sweep.trials) == expected
        assert len(set(ids(sweep))) == expected
        assert len({trial.config.model_dump_json() for trial in sweep.trials if trial.config}) == expected
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", name) for name in ids(sweep))
        assert ids(sweep_of(tmp_path, text)) == ids(sweep)


@pytest.mark.parametrize(
    ("key", "value", "label"),
    [
        ("weight_decay", 3e-4, "wd0.0003"),
        ("weight_decay", 0.0027, "wd0.0027"),
        ("learning_rate", 1e-5, "lr1e-05"),
        ("arch_learning_rate", 1e20, "alr1e20"),
        ("arch_weight_decay", 2.0, "awd2"),
        ("batch", 64, "b64"),
        ("channels", None, "cnone"),
        ("cells", 8, "n8"),
        ("epochs", 50, "e50"),
        ("hessian.every", 2, "every2"),
        ("data.augment", True, "augmenttrue"),
        ("data", "cifar10", "cifar10"),
        ("data", {"name": "cifar10", "valid": 0.5}, "cifar10"),
        ("data.name", "my.module:function", "my.module-function"),
        ("space", "/a b/mine.yaml", "mine"),
        ("space", "s2", "s2"),
        ("data.path", "../x y/z", "path..-x-y-z"),
    ],
)
def test_labels_of_values(key: str, value: object, label: str) -> None:
    assert axis_label(key, value) == label


def test_labels_of_methods() -> None:
    assert method_label("darts") == "darts"
    assert method_label({"base": "darts", "name": "es"}) == "darts-es"
    assert method_label({"base": "darts", "name": "darts-es"}) == "darts-es"
    unnamed = method_label({"base": "darts", "every": 2, "estimator": "x"})
    assert re.fullmatch(r"darts-[0-9a-f]{8}", unnamed)
    assert unnamed == method_label({"estimator": "x", "every": 2, "base": "darts"})


def test_a_very_long_label_is_cut_and_stays_unique() -> None:
    config = {"method": "darts", "space": "tiny"}
    groups = [(config | {"x": i}, {"data.path": "/p" * 100 + str(i)}) for i in range(3)]
    labels = group_labels(groups)
    assert len(set(labels)) == 3
    assert max(map(len, labels)) < 140


def test_spaces_of_your_own_become_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = Path(str(files("raynas.search_spaces")))
    (tmp_path / "search_spaces").mkdir()
    for name in ("mine", "s2"):
        text = (packaged / "tiny.yaml").read_text().replace("name: tiny", f"name: {name}")
        (tmp_path / "search_spaces" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    sweep = sweep_of(tmp_path, "grid: {space: [tiny, mine, s2]}\n")
    spaces = [trial.config.space for trial in sweep.trials if trial.config]
    folder = tmp_path.resolve() / "search_spaces"
    assert spaces == ["tiny", str(folder / "mine.yaml"), str(folder / "s2.yaml")]
    assert ids(sweep) == ["darts-tiny-s0", "darts-mine-s0", "darts-s2-s0"]
    with pytest.raises(FileProblems, match="1 problem") as caught:
        sweep_of(tmp_path, "grid: {space: [mine, search_spaces/mine.yaml]}\n")
    assert "also at grid.space[0]" in str(caught.value)


def test_a_relative_data_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images" / "train" / "a").mkdir(parents=True)
    (tmp_path / "images" / "train" / "b").mkdir()
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "images" / "train" / name).touch()
    monkeypatch.chdir(tmp_path)
    [trial] = sweep_of(tmp_path, "space: tiny\ndata: {name: folder, path: images, size: 8}\n").trials
    assert trial.config is not None
    assert trial.config.data.path == str(tmp_path / "images")


RANDOM = """
space: tiny
strategy: random-paired
samples: 5
sample:
  weight_decay: {log: [1e-4, 1e-2]}
  clip: {uniform: [1, 5]}
  batch: {int: [16, 64]}
  momentum: {choice: [0.5, 0.9]}
grid: {method: [darts, darts-2nd], seed: [0, 1]}
"""


def test_random_draws_are_paired_and_stable(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, RANDOM)
    assert len(sweep.trials) == 20
    assert ids(sweep_of(tmp_path, RANDOM)) == ids(sweep)
    draws: dict[tuple[object, object], list[tuple[float, ...]]] = {}
    for trial in sweep.trials:
        c = trial.config
        assert c is not None
        assert 1e-4 <= c.weight_decay <= 1e-2
        assert 1 <= c.clip <= 5
        assert 16 <= c.batch <= 64
        assert c.momentum in (0.5, 0.9)
        assert trial.axes["weight_decay"] == c.weight_decay
        assert f"wd{c.weight_decay:.6g}" in trial.id
        draws.setdefault((c.method, c.seed), []).append((c.weight_decay, c.clip, c.batch, c.momentum))
    first, *others = draws.values()
    assert len(draws) == 4
    assert len(set(first)) == 5
    assert all(other == first for other in others)


def test_another_key_leaves_the_draws_of_the_first_alone() -> None:
    clip = {"clip": Distribution("uniform", (1.0, 5.0))}
    both = clip | {"batch": Distribution("int", (1, 1000))}
    assert [p["clip"] for p in paired_draws(both, 8)] == [p["clip"] for p in paired_draws(clip, 8)]


def test_draws_fill_a_logarithmic_range_evenly() -> None:
    values = [p["x"] for p in paired_draws({"x": Distribution("log", (1e-4, 1.0))}, 2000)]
    shares = [sum(10**-k <= v < 10 ** (1 - k) for v in values) / 2000 for k in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.25] * 4, abs=0.04)


def test_optuna_slots_are_planned_without_values(tmp_path: Path) -> None:
    text = RANDOM.replace("random-paired", "optuna").replace("samples: 5", "samples: 2")
    sweep = sweep_of(tmp_path, text)
    assert ids(sweep) == [
        f"{method}-try{i}-s{seed}" for i in (0, 1) for method in ("darts", "darts-2nd") for seed in (0, 1)
    ]
    assert all(trial.config is None for trial in sweep.trials)
    assert [trial.slot for trial in sweep.trials[:3]] == [("darts", 0), ("darts", 0), ("darts-2nd", 0)]
    assert set(sweep.base) == {"darts", "darts-2nd"}


@pytest.mark.parametrize("text", [RANDOM, RANDOM.replace("random-paired", "optuna")])
def test_json_gives_the_sweep_back_exactly(tmp_path: Path, text: str) -> None:
    sweep = sweep_of(tmp_path, text, "clip=0.30000000000000004", "grid.seed=[0]")
    again = Sweep.from_json(json.loads(json.dumps(sweep.to_json())))
    assert again == sweep
    assert json.dumps(again.to_json()) == json.dumps(sweep.to_json())


@pytest.mark.parametrize("text", [RANDOM, "space: tiny\nzip: {batch: [1, 2], data: [digits, {limit: 9}]}\n"])
def test_the_echo_is_a_sweep_file_that_resolves_to_the_same(tmp_path: Path, text: str) -> None:
    sweep = sweep_of(tmp_path, text, "seed=3", "resources.gpu=0.5")
    again = sweep_of(tmp_path, yaml.safe_dump(sweep.resolved, sort_keys=False), name="echo.yaml")
    assert again.trials == sweep.trials
    assert again.resolved == sweep.resolved
    assert (again.name, again.resources) == (sweep.name, sweep.resources)


def test_where_it_came_from(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, "space: tiny\n", "seed=1")
    assert sweep.command == f"raynas sweep {tmp_path / 'try.yaml'} seed=1"
    assert set(sweep.versions) == {"raynas", "python", "torch", "torchvision", "ray", "optuna", "mlflow"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", sweep.created)
    assert load_sweep(tmp_path / "try.yaml", [], command="typed").command == "typed"


def test_git_is_noted_where_there_is_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert sweep_of(tmp_path, "space: tiny\n").git is None
    (tmp_path / "file").write_text("1")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "file"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    git = sweep_of(tmp_path, "space: tiny\n").git
    assert git is not None
    assert re.fullmatch("[0-9a-f]{40}", git["commit"])
    assert git["dirty"] is False
    (tmp_path / "file").write_text("2")
    assert sweep_of(tmp_path, "space: tiny\n").git == {"commit": git["commit"], "dirty": True}
    monkeypatch.setenv("PATH", "")
    assert sweep_of(tmp_path, "space: tiny\n").git is None


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_packaged_trials_resolve(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    digits = "{name: digits, select: 0.1}" if "select: 0.1" in text else "digits"
    overrides = [] if path.stem == "recurrent" else [f"data={digits}"]
    if "\nbenchmark:" in text:
        table = tmp_path / "accuracy.csv"
        cells = ("|none~0|+|nor_conv_3x3~0|skip_connect~1|", "|nor_conv_1x1~0|avg_pool_3x3~1|none~2|,10.0")
        table.write_text(f"arch,cifar10_test_200\n{'+'.join(cells)}\n")
        overrides.append(f"benchmark.table={table}")
    sweep = load_sweep(path, overrides)
    assert sweep.name == path.stem
    assert f"raynas sweep {path.stem}" in text.partition("\n")[0]
    count = re.search(r"= (\d+) ", path.read_text())
    assert count is not None, "the first line says how many searches it is"
    assert len(sweep.trials) == int(count[1])
