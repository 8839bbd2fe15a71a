"""Every space whose cells differ from DARTS' is searched, resumed and packed like any other."""

import pytest
import torch

from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space

SPACES = ["nas-bench-201", "nb1shot1-1", "nb1shot1-2", "nb1shot1-3", "enas-micro", "enas-macro"]
SPACES += ["suite-wide-all-skip", "suite-single-cell-no-skip", "suite-single-cell-all-skip"]
QUICK = ["nas-bench-201", "nb1shot1-1", "nb1shot1-2"]
"""Of which a pack takes seconds; the others, up to 10 s each, are drills."""

SECOND_ORDER = [(name, "darts-2nd") for name in ("nas-bench-201", "nb1shot1-1", "enas-micro", "enas-macro")]
"""Each skeleton whose rows are not edges of cells; the suite's differ from DARTS' in their wiring alone."""


def small(space):
    cells = skeletons.of(load_space(space)).fewest_cells
    return {
        "space": space,
        "epochs": 2,
        "cells": cells,
        "data": {"limit": 64},
        "hessian": {"every": 2, "steps": 6},
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), [*((name, "darts") for name in SPACES), *SECOND_ORDER])
def test_a_resumed_search_is_bit_identical(make_search_config, build, tmp_path, name, method):
    config = make_search_config(method=method, **small(name))
    space, splits = build(config)
    whole = list(Search(config, space, splits))
    first = Search(config, space, splits)
    begun = [next(iter(first))]
    (tmp_path / "checkpoint.pt").write_bytes(dump(first.state_dict()))
    second = Search(config, space, splits)
    second.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert begun + list(second) == whole
    assert whole[-1].genotype.space == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.drill) for name in SPACES]
)
def test_a_search_in_a_pack_gives_the_numbers_it_gives_alone(make_search_config, build, name):
    changes = [{"seed": 0}, {"seed": 3, "weight_decay": 1e-2, "clip": 0.5}]
    configs = [make_search_config(**small(name), **change) for change in changes]
    space, splits = build(configs[0])
    together = list(Pack(configs, space, splits, dtype=torch.float64))
    for lane, config in enumerate(configs):
        alone = Search(config, space, splits, dtype=torch.float64)
        for outcomes, report in zip(together, alone, strict=True):
            assert outcomes[lane].train_loss == pytest.approx(report.train_loss, rel=1e-9)
            assert outcomes[lane].valid_loss == pytest.approx(report.valid_loss, rel=1e-9)
            assert outcomes[lane].discrete_loss == pytest.approx(report.discrete_loss, rel=1e-9)
            if report.curvature is not None:
                assert outcomes[lane].curvature.eig_max == pytest.approx(report.curvature.eig_max, rel=1e-6)
            assert outcomes[lane].genotype == report.genotype
