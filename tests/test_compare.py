"""What a method costs beside another one: what is counted against what happens, on the smallest searches."""

from typing import Any

import pytest
import torch

from raynas.config import SearchConfig
from raynas.methods import resolve
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.search import measure
from raynas.search.loop import Pack
from raynas.search.measure import Compared, compare, random_pack
from raynas.spaces.library import load_space


def config(method: Any, space: str = "tiny", **keys: Any) -> SearchConfig:
    values = {"channels": 4, "cells": 3, "batch": 2, "epochs": 2, "hessian": {"every": 0}} | keys
    if space == "nas-bench-201":
        values["cells"] = 1
    return SearchConfig(space=space, method=method, **values)


@pytest.mark.parametrize(("space", "expected"), [("tiny", None), ("nas-bench-201", 30), ("nb1shot1-1", None)])
def test_the_passes_of_decisions_are_those_that_happen(
    space: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = {"base": "darts-pt", "name": "x", "stages": {"use": "perturb-and-project", "interval": 1}}
    pack = random_pack([config(method, space)], load_space(space), (3, 8, 8), 2)
    looked = []
    look = pack.evaluator.look

    def counted(draw: Any, statistics: Any, purpose: str, epoch: int, part: Any) -> Any:
        looked.append(purpose)
        return look(draw, statistics, purpose, epoch, part)

    monkeypatch.setattr(pack.evaluator, "look", counted)
    for _ in pack:
        pass
    stages = resolve(method).stages
    assert isinstance(stages, PerturbAndProject)
    passes = stages.passes(load_space(space))
    assert looked.count("score") == passes > 0
    # 6 edges with 5 operations, of which the space excludes none, and no node to thin out.
    assert expected in (None, passes)


def test_the_passes_in_the_space_of_darts() -> None:
    # 2 cells of 14 edges with 7 operations, and 3 + (4 + 3) + (5 + 4 + 3) edges of each cell.
    assert PerturbAndProject().passes(load_space("darts")) == 2 * (14 * 7 + 22)


def test_searches_take_turns_and_the_first_epoch_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(1000))
    slow = {"proxyless": 10, "darts": 5}
    spent = [0.0]

    def advance(self: Pack) -> list[Any]:
        order.append(self.method.name)
        first = order.count(self.method.name) == 1
        spent[0] += 1000 if first else slow[self.method.name] + next(clock) % 2
        return []

    monkeypatch.setattr(Pack, "advance", advance)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: spent[0])
    monkeypatch.setattr(measure, "_measured_apart", lambda *_: measure.Measured(1, 1.0, 7.0))
    found = compare(config("proxyless"), config("darts"), load_space("tiny"), (3, 8, 8), 2, rounds=3)
    assert order == ["proxyless", "darts"] * 4
    # ProxylessNAS moves α in every fifth step: an epoch of five steps has the right mixture of both.
    assert found.seconds == (pytest.approx(10 / 5), pytest.approx(6 / 5))
    assert found.memory_mib == (7.0, 7.0)
    assert (found.more_epochs, found.more_seconds) == (0, 0.0)


def test_more_is_fine_tuning_and_decisions_in_epochs_of_the_other() -> None:
    found = Compared((3.0, 2.0), (90.0, 60.0), 10, 8.0)
    assert (found.time, found.memory, found.more) == (1.5, 1.5, (10 * 3 + 8) / 2)


@pytest.mark.drill
def test_memory_is_that_of_a_process_of_its_own() -> None:
    threads = torch.get_num_threads()
    few, many = (
        measure._measured_apart(
            config("darts", channels=c, batch=16), load_space("tiny"), (3, 32, 32), 2, "cpu"
        )
        for c in (4, 16)
    )
    assert torch.get_num_threads() == threads
    assert 0 < few.peak_memory_mib < many.peak_memory_mib
    assert few.parameters < many.parameters
