"""The two mixed terms of second order: how far apart they are, and which of them foretells the unrolled loss.

What both estimate is the gradient of L_valid(w'(α), α), w' one step of the weights ahead. So its change along
random steps of α is computed, and held against what first order, the exact term and the published difference
foretell. On handwritten digits in float64, at the start of a search and some steps into it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.lines import Line
from benchmarks.setting import Setting
from benchmarks.sizes import SPACE
from raynas.bilevel.slots import Estimator
from raynas.config import SearchConfig
from raynas.data.batch import Batch
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.nets.ops.flat import column, flatten
from raynas.parts.estimators import FirstOrder, SecondOrder
from raynas.search.loop import Pack
from raynas.spaces.library import load_space

STEPS = (0, 60)
"""Steps of the search before it is looked at."""
MOVE = 3e-3
"""What each number of α moves by, up or down: ten steps of DARTS'."""
MOVES = 16
ESTIMATORS: dict[str, Estimator] = {
    "first order": FirstOrder(),
    "exact": SecondOrder("exact"),
    "difference": SecondOrder("difference"),
}


def run(setting: Setting) -> Iterator[Line]:
    """Yield the distance of the terms and each estimator's error, at the start and later."""
    size = setting.size
    shape = {"channels": size.channels, "cells": size.cells, "batch": size.batch}
    config = SearchConfig(space=SPACE, method="darts-2nd", data="digits", **shape)
    pack = Pack(
        [config],
        load_space(SPACE),
        split(load_data(config.data), config.data),
        setting.device,
        dtype=torch.float64,
    )
    rates = column([config.learning_rate], pack.problem.values)
    done = 0
    for steps in STEPS:
        batches = pack.batches()
        while done < steps:
            for train, valid in batches:
                pack.step(train, valid, rates, move_alphas=True)
                done += 1
            batches = pack.batches()
        yield from _compare(pack, *next(batches), rates, done)


def _compare(pack: Pack, train: Batch, valid: Batch, rates: Tensor, done: int) -> Iterator[Line]:
    problem, sgd = pack.problem, pack.trainer.sgd
    found = {name: each(problem, train, valid, sgd, rates) for name, each in ESTIMATORS.items()}
    apart = (found["difference"] - found["exact"]).norm() / found["exact"].norm()
    yield Line(f"after {done} steps: |difference - exact| / |exact|", float(apart), "share")

    def ahead(alphas: Tensor) -> Tensor:
        slope = flatten(grad(problem.losses(train, alphas).sum(), problem.parameters, materialize_grads=True))
        values = problem.values - rates * sgd.direction(problem.values, slope)
        with torch.no_grad():
            return problem.losses(valid, alphas, values=values)

    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (MOVES, problem.alphas.shape[1]), generator=generator)
    moves = (2.0 * signs - 1).to(problem.alphas) * MOVE
    before = ahead(problem.alphas)
    true = torch.stack([ahead(problem.alphas + move) - before for move in moves])[:, 0]
    for name, gradient in found.items():
        error = (moves @ gradient[0] - true).norm() / true.norm()
        yield Line(f"after {done} steps: error of a change foretold, {name}", float(error), "share")
