"""How searches are dealt out to packs: what is measured, chosen, recorded and kept."""

import json
from pathlib import Path

import pytest
import torch
from helpers.launching import make_sweep, starts, statuses

from raynas.config import DataConfig, SearchConfig, shape_of
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.launch.device import memory_share
from raynas.launch.driver import waiting_configs
from raynas.launch.local import LocalLauncher
from raynas.launch.packs import Packs, Steps, Task, choose_packs
from raynas.launch.recover import restore_packs
from raynas.search.abilities import check_abilities
from raynas.search.measure import measure_faster_forms, measure_packs
from raynas.spaces.library import load_space
from raynas.sweep.folder import SweepFolder
from raynas.sweep.propose import dealt

CPU = torch.device("cpu")
SMALL = {"data": {"name": "digits", "limit": 64}, "channels": 4, "cells": 3, "batch": 16, "space": "tiny"}


@pytest.mark.parametrize(
    ("count", "most", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [3, 3, 3]), (5, 2, [2, 2, 1]), (3, 8, [3]), (0, 2, [])],
)
def test_searches_are_dealt_out_evenly(count: int, most: int, sizes: list[int]) -> None:
    assert dealt(count, most) == sizes


def test_the_plan_that_ends_soonest_is_chosen() -> None:
    cheap = Steps("cpu", {1: 1.0, 2: 1.1, 4: 1.2, 8: 1.3})
    assert choose_packs({"a": (8, 10, cheap)}, slots=1) == {"a": 8}
    # Two packs of 4 beat one of 8 and an idle slot.
    assert choose_packs({"a": (8, 10, cheap)}, slots=2) == {"a": 4}
    assert choose_packs({"a": (8, 10, cheap)}, slots=8) == {"a": 1}
    dear = Steps("cpu", {1: 1.0, 2: 2.0, 4: 4.4})
    assert choose_packs({"a": (4, 10, dear), "b": (4, 10, cheap)}, slots=1) == {"a": 1, "b": 4}
    assert choose_packs({"a": (4, 10, Steps("cpu"))}, slots=2) == {"a": 1}
    assert choose_packs({}, slots=2) == {}


def test_seconds_between_the_measured_sizes() -> None:
    steps = Steps("cpu", {1: 1.0, 2: 1.2, 4: 2.0})
    assert [steps.of(size) for size in (1, 2, 3, 4, 8)] == pytest.approx([1.0, 1.2, 1.6, 2.0, 4.0])


def test_measuring_goes_up_to_what_is_of_use_and_fits() -> None:
    arguments = (SearchConfig(**SMALL), load_space("tiny"), (1, 8, 8), 10, CPU)
    seconds = measure_packs(*arguments, most=3, memory=1e6, patience=1e9)
    assert list(seconds)[:2] == [1, 2]
    assert set(seconds) <= {1, 2, 3}
    assert all(value > 0 for value in seconds.values())
    assert list(measure_packs(*arguments, most=8, memory=0.0, patience=1e9)) == [1]
    assert list(measure_packs(*arguments, most=8, memory=1e6, patience=0.0)) == [1]


def packs_of(folder: SweepFolder, slots: int) -> dict[str, Task]:
    configs = waiting_configs(folder, retry_failed=False)
    return Packs(folder, slots).tasks(configs, load_data, gpu=0)


def test_what_takes_long_enough_is_measured(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["darts", "darts-2nd"], seeds=3, epochs=90, pack="auto", **SMALL)
    tasks = packs_of(folder, slots=1)
    assert [(task.config.method, task.count, task.most) for task in tasks.values()] == [
        ("darts", 3, 3), ("darts-2nd", 3, 3),
    ]  # fmt: skip
    assert {task.most for task in packs_of(folder, slots=4).values()} == {2}
    assert {task.most for task in packs_of(folder, slots=6).values()} == {1}
    fixed = make_sweep(tmp_path / "fixed", ["darts"], seeds=3, epochs=90, pack=2, **SMALL)
    assert packs_of(fixed, slots=1) == {}
    short = make_sweep(tmp_path / "short", ["darts"], seeds=3, epochs=3, pack="auto", **SMALL)
    assert packs_of(short, slots=1) == {}
    task = next(iter(tasks.values()))
    assert (task.shape, task.classes, task.steps) == ((1, 8, 8), 10, 90 * (32 // 16))
    assert task.patience == pytest.approx(0.03 * 180 * 3)


def test_forms_are_kept_when_they_make_a_step_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (SearchConfig(**SMALL), load_space("tiny"), (1, 8, 8), 10, CPU)
    times = iter([[2.0], [1.0], [1.0], [1.0]])
    monkeypatch.setattr("raynas.search.measure._seconds", lambda pack, steps: next(times))
    forms = measure_faster_forms(*arguments, size=2)
    assert forms
    assert set(forms.values()) <= {"dense", "separable"}
    assert measure_faster_forms(*arguments, size=1) == {}


def test_what_was_measured_is_kept_for_a_resume(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["darts"], seeds=3, epochs=90, pack="auto", **SMALL)
    config = waiting_configs(folder, retry_failed=False)[0]
    packs = Packs(folder, slots=1)
    [(shape, task)] = packs.tasks([config] * 3, load_data, gpu=0).items()
    steps = Steps("cpu", {1: 1.0, 2: 1.5, 3: 1.6}, {"k3d1s1 c4 8x8": "dense"})
    packs.record({shape: (task, steps)})
    again = Packs(folder, slots=7)
    assert again.size(config) == packs.size(config) == 3
    assert again.forms(config) == {"k3d1s1 c4 8x8": "dense"}
    assert again.tasks([config] * 30, load_data, gpu=0) == {}
    other = config.model_copy(update={"batch": 8})
    assert (again.size(other), again.forms(other)) == (1, {})
    assert shape_of(config) == shape_of(config.model_copy(update={"seed": 5, "weight_decay": 1.0}))


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"version": 2}', '{"version": 1, "shapes": [{"shape": "x", "pack": 0}]}'],
)
def test_a_damaged_record_of_packs_is_made_again_from_how_trials_have_started(
    tmp_path: Path, content: str
) -> None:
    folder = make_sweep(tmp_path / "s", ["darts"], seeds=3, pack="auto", **SMALL)
    config, other = waiting_configs(folder, retry_failed=False)[0], DataConfig(limit=9)
    forms = {"k3d1s1 c4 8x8": "dense"}
    for trial in folder.trials()[:2]:
        company = [each.id for each in folder.trials()[:2]]
        trial.spool.append("start", attempt=1, pack=company, forms=forms, device="cpu (x86_64)")
    folder.packs.write_text(content)
    assert Packs(folder, slots=1).size(config) == 1
    [done] = restore_packs(folder)
    assert "packs-damaged-1.json" in done
    assert (folder.path / "packs-damaged-1.json").read_text() == content
    packs = Packs(folder, slots=1)
    assert (packs.size(config), packs.forms(config)) == (2, forms)
    assert packs.size(config.model_copy(update={"data": other})) == 1
    assert restore_packs(folder) == []


@pytest.mark.drill
def test_a_local_sweep_in_packs_measured_here(tmp_path: Path) -> None:
    folder = make_sweep(
        tmp_path / "s", ["darts"], seeds=2, epochs=80, pack="auto", hessian={"every": 0}, **SMALL
    )
    LocalLauncher("cpu").run(folder, ())
    assert set(statuses(folder).values()) == {"finished"}
    [entry] = json.loads(folder.packs.read_text())["shapes"]
    assert entry["pack"] in (1, 2)
    assert len(starts(folder, "darts-s1")[0]["pack"]) == entry["pack"]


def test_a_share_of_the_memory() -> None:
    whole = memory_share(CPU, 1.0)
    assert whole > 100
    assert memory_share(CPU, 0.25) < 0.5 * whole


def no_compiler() -> str:
    from torch._inductor.exc import InvalidCxxCompiler

    raise InvalidCxxCompiler


def test_a_search_says_what_its_device_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    config = SearchConfig(space="tiny", compile=True)
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", no_compiler)
    with pytest.raises(RaynasError, match=r"C\+\+ compiler"):
        check_abilities(config, CPU)
    check_abilities(SearchConfig(space="tiny"), CPU)
