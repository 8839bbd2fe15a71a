"""That no step of a search makes the host wait for a GPU, unless the method says why it must."""

import pytest
from helpers.meta import meta  # noqa: F401 - a fixture

from raynas.config import SearchConfig
from raynas.methods import method_names, resolve
from raynas.nets.ops.flat import column
from raynas.search.measure import random_pack
from raynas.spaces.library import load_space

TRAINING = {name for name in method_names() if resolve(name).proposals is None}
WAITING = sorted(name for name in TRAINING if resolve(name).waits)
FREE = sorted(TRAINING - set(WAITING))
OTHER_SPACES = ("nas-bench-201", "nb1shot1-1", "enas-micro", "s4", "dso-nas")


def pack_of(method, lanes, device, space="tiny"):
    # A rule that ends searches has no part in a step, but may refuse a small space.
    method = {"base": method, "name": method, "stop": None}
    config = {"space": space, "channels": 12, "cells": 3, "batch": 8, "method": method}
    configs = [SearchConfig(**config, seed=seed) for seed in range(lanes)]
    return random_pack(configs, load_space(space), (3, 16, 16), 10, device)


def step(pack):
    train, valid = next(iter(pack.batches()))
    rates = column([config.learning_rate for config in pack.configs], pack.problem.values)
    pack.step_alphas(train, valid, rates)
    pack.step_weights(train, rates)


FEW = {"darts", "darts-2nd", "drnas", "pc-darts", "snas"} & set(FREE)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.slow) for name in FREE]
)
def test_a_step_alone_and_in_a_pack_waits_for_nothing_and_leaves_nothing_elsewhere(meta, name):  # noqa: F811
    for lanes in (1,) if resolve(name).solo else (1, 3):
        step(pack_of(name, lanes, meta))


@pytest.mark.parametrize("name", WAITING)
def test_what_a_method_says_it_waits_for_is_true(meta, name):  # noqa: F811
    assert all(resolve(name).waits)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta"):
        step(pack_of(name, 1, meta))


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_neither_does_a_step_in_other_spaces(meta, space):  # noqa: F811
    step(pack_of("darts", 2, meta, space))
