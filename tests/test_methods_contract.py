"""What every registered method must do: run, resume, pack, isolate, normalise, derive, learn."""

import json
import math
from functools import cache

import pytest
import torch
from helpers.planted import Planted, PlantedFeatures, SkipDominates, operations, planted_search
from helpers.validated import CELLS, plainly_validated

from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.methods import method_names, reasons, resolve
from raynas.parts.cost import Cost, ResourceCost
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.spaces.library import load_space
from raynas.spaces.library import names as library_names
from raynas.testing.parts import check_derivation

METHODS = [name for name in method_names() if resolve(name).proposals is None]
TOGETHER = [name for name in METHODS if not resolve(name).solo]
SETTINGS = {"epochs": 2, "batch": 16, "channels": 4, "cells": 3, "hessian": {"every": 2, "steps": 6}}


SHORT = {
    "darts-pt": {"use": "perturb-and-project", "interval": 1},
    "darts-pt-fixed": {"use": "perturb-and-project", "interval": 1},
    "p-darts": {"use": "deepen", "cells": [3, 5], "keep": [4, 2]},
    "drnas-progressive": {"use": "widen", "partial": [4, 2], "keep": [3, 2]},
    "te-nas": {"use": "training-free", "prunes": 3, "images": 4, "crops": 60, "repeats": 1},
    "rsps": {"use": "rank-in-rounds", "samples": 4, "batches": 1, "finalists": 2, "every": 3},
}
"""Stages of methods that have some, for small supernets and two epochs."""

SOON = {"use": "eigenvalue-growth", "window": 1, "delta": 1, "after": 0}
STOPS = {
    "r-darts-es": SOON,
    "r-darts-ada": {**SOON, "then": "regularise"},
    "darts-plus": {"use": "skip-count", "after": 1},
}
"""Stop rules that mean something in the small space and in few epochs."""


def quick(name):
    """Shorten the stages of methods that have some; the method is otherwise as it is registered."""
    changes = {slot: found[name] for slot, found in (("stages", SHORT), ("stop", STOPS)) if name in found}
    return {"base": name, **changes} if changes else name


def tiny(method, **changes):
    data = {"name": "digits", "limit": 64}
    settings = dict(SETTINGS)
    if isinstance(method, dict) and "stop" in method:
        settings |= {"epochs": 3, "hessian": {"every": 1, "steps": 6}}
    return SearchConfig(**{"space": "tiny", "method": method, "data": data, **settings, **changes})


@pytest.fixture(scope="module")
def setting():
    config = tiny("darts")
    return load_space("tiny"), split(load_data(config.data), config.data)


def same_states(a, b):
    """Tell whether two states are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_states(a[key], b[key]) for key in a)
    return a == b


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_search_runs_resumes_bit_for_bit_and_curvature_leaves_it_alone(setting, tmp_path, name):
    config = tiny(quick(name))
    whole = Search(config, *setting)
    reports = list(whole)
    assert reports[-1].epoch == whole.pack.epochs - 1 or reports[-1].ended
    assert all(math.isfinite(report.valid_loss) and report.entropy["normal"] >= 0 for report in reports)
    json.dumps([report.to_json() for report in reports], allow_nan=False)
    assert whole.pack.method.validated == ("cells" if name in CELLS else "mixture")
    assert reports[-1].valid_loss == pytest.approx(plainly_validated(whole), rel=1e-4)
    if len(reports) == 1:
        return
    first = Search(config, *setting)
    begun = [first.advance()]
    before = first.state_dict()
    first.pack.measure_curvature()
    assert same_states(before, first.state_dict())
    (tmp_path / "checkpoint.pt").write_bytes(dump(before))
    second = Search(config, *setting)
    second.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert begun + list(second) == reports


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_two_in_a_pack_give_what_each_gives_alone(setting, name):
    hessian = {"every": int("hessian.every" in resolve(name).defaults), "steps": 6}
    configs = [tiny(quick(name), seed=0, hessian=hessian)]
    configs.append(tiny(quick(name), seed=3, weight_decay=1e-2, hessian=hessian))
    together = list(Pack(configs, *setting, dtype=torch.float64))
    alone = list(Search(configs[1], *setting, dtype=torch.float64))
    for outcomes, report in zip(together, alone, strict=False):
        assert outcomes[1].train_loss == pytest.approx(report.train_loss, rel=1e-9)
        assert outcomes[1].valid_loss == pytest.approx(report.valid_loss, rel=1e-9)
        assert outcomes[1].genotype == report.genotype
        assert outcomes[1].ended == report.ended


@pytest.mark.parametrize("name", METHODS)
def test_a_step_moves_its_own_variables_only(setting, name):
    search = Search(tiny(quick(name)), *setting, dtype=torch.float64)
    trainer, problem = search.pack.trainer, search.pack.problem
    train, valid = next(search.pack.batches())
    rates = torch.full((1, 1), 0.025, dtype=torch.float64)
    alphas, values = problem.alphas.clone(), problem.values.clone()
    buffers = {key: buffer.clone() for key, buffer in problem.supernet.named_buffers()}
    if search.pack.method.order == "joint":
        search.pack.step_both(train, rates)
        assert not torch.equal(problem.alphas, alphas)
        assert not torch.equal(problem.values, values)
        return
    search.pack.step_alphas(train, valid, rates)
    assert torch.equal(problem.values, values)
    assert all(torch.equal(buffers[key], buffer) for key, buffer in problem.supernet.named_buffers())
    assert bool((trainer.sgd.velocity == 0).all())
    assert torch.equal(problem.alphas, alphas) == (search.pack.method.estimator is None)
    moved = problem.alphas.clone()
    search.pack.step_weights(train, rates)
    assert torch.equal(problem.alphas, moved)
    assert not torch.equal(problem.values, values)
    assert all(parameter.grad is None for parameter in problem.parameters)


@pytest.mark.parametrize("space", library_names("search_spaces"))
def test_derivation_never_fails(space):
    found = load_space(space)
    for rule in {resolve(name).derivation for name in METHODS if not any(reasons(resolve(name), found, {}))}:
        check_derivation(rule, found)


NEUTRAL = {
    "uniform noise of 0": (
        {"base": "sdarts-rs", "weight_sampler": {"use": "uniform-noise", "epsilon": 0}},
        "darts",
    ),
    "attack of 0": ({"base": "sdarts-adv", "weight_sampler": {"use": "attack", "epsilon": 0}}, "darts"),
    "gaussian of 0": ({"base": "darts", "sampler": {"use": "gaussian", "std": 0}}, "darts"),
    "vim without noise": ({"base": "vim-nas", "sampler": {"use": "gaussian", "std": 0}}, "vim-nas-p"),
    "temperature 1": (
        {
            "base": "darts",
            "relaxation": {"use": "softmax", "temperature": {"use": "linear", "start": 1, "end": 1}},
        },
        "darts",
    ),
    "nothing is weak": ({"base": "darts", "stages": {"use": "drop-weak", "share": 1e-9}}, "darts"),
    "no penalty": ({"base": "darts", "penalties": [{"use": "zero-one", "strength": 0}]}, "darts"),
    "straight through the mean": ({"base": "darts", "weight_sampler": "mean"}, "darts"),
}


@pytest.fixture(scope="module")
def reports_of(setting):
    """Return a function that gives the reports of a method's search, which is run once."""
    return cache(lambda name: list(Search(tiny(name, hessian={"steps": 6}), *setting)))


@pytest.mark.parametrize("case", NEUTRAL)
def test_a_neutral_setting_changes_no_bit(setting, reports_of, case):
    method, plain = NEUTRAL[case]
    search = Search(tiny(method, hessian={"steps": 6}), *setting)
    for report, expected in zip(search, reports_of(plain), strict=True):
        found = {**report.to_json(), "extra": {}, "seconds": 0, "peak_memory": 0}
        wanted = {**expected.to_json(), "extra": {}, "seconds": 0, "peak_memory": 0}
        for each in (found, wanted):
            each["curvature"] = {**each["curvature"], "seconds": 0}
            if "of 0" in case or case == "vim without noise":
                # A method that may have noise is validated under each batch's own statistics.
                each["valid_loss"] = each["valid_accuracy"] = 0
        assert found == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "rsps"])  # one cell in 6,561, by chance
def test_a_planted_winner_is_found(monkeypatch, name):
    method = {"base": name, "stop": None}
    if name in SHORT:
        method["stages"] = SHORT[name]
    if name.startswith("darts-pt"):
        method["stages"] = {**SHORT[name], "criterion": "loss"}
    if name == "te-nas":
        method["stages"] = {"use": "training-free", "images": 8, "crops": 200, "repeats": 1}
    if name == "proxyless":
        method["every"] = 1
    if any(isinstance(each, Cost | ResourceCost) for each in resolve(name).penalties):
        method["penalties"] = []  # the toy has no operations that could be counted
    net = PlantedFeatures if name == "te-nas" else Planted
    assert operations(planted_search(monkeypatch, net, method)) == {Planted.winner}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["darts", "darts-pt", "darts-pt-fixed"])
def test_where_skips_dominate_magnitude_fails_and_perturbation_does_not(monkeypatch, name, seed):
    method = {"base": name}
    if name in SHORT:
        method["stages"] = {**SHORT[name], "criterion": "loss"}
    found = operations(planted_search(monkeypatch, SkipDominates, method, seed=seed))
    assert found == {"skip_connect" if name == "darts" else "sep_conv_3x3"}


def test_no_registered_method_is_rejected_on_the_darts_space():
    for name in method_names():
        assert list(reasons(resolve(name), load_space("darts"), {"hessian.every": 1})) == [], name


def test_spaces_without_skips_reject_methods_that_count_them():
    found = load_space("s4")
    assert "s4" in library_names("search_spaces")
    assert any("skips" in reason for reason in reasons(resolve("darts-plus"), found, {}))
