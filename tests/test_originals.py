"""DARTS, second order and DARTS-PT beside the code of their authors, on equal weights, batches and α.

That code was run in float64, its calls patched for a present torch, on the weights, images and α that
`prepared` makes of sines; the numbers here are what it gave. Sources: quark0/darts f276dd34 (cnn),
automl/RobustDARTS 3dec3fed (src/search), ruocwang/darts-pt 4ec3149d (nasbench201).
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from raynas.bilevel.bilevel import accuracy, cross_entropy
from raynas.bilevel.hessian import curvature
from raynas.bilevel.progress import Progress
from raynas.config import SearchConfig
from raynas.data.batch import Batch
from raynas.data.dataset import from_arrays
from raynas.data.split import split
from raynas.nets.ops.lanes import Statistics
from raynas.parts.stages import perturb_and_project as projection
from raynas.search.loop import Search
from raynas.search.report import cell_at
from raynas.spaces.library import load_space

DOUBLE = torch.float64
IMAGES, CLASSES = 6, 3


def wave(count, step, shift, size=1.0):
    return size * torch.sin(step * torch.arange(count, dtype=DOUBLE) + shift)


def batch(shift):
    """Six images of 3 × 8 × 8 numbers with their classes."""
    count = IMAGES * 3 * 64
    fine, slow, quick = wave(count, 0.9, shift), wave(count, 0.013, shift), wave(count, 5.1, 0.0)
    labels = (torch.arange(IMAGES) * 2 + int(shift)) % CLASSES
    return Batch((fine + 0.3 * slow * quick).view(1, IMAGES, 3, 8, 8), labels[None])


def prepared(space, method, cells=3, **more):
    """Return a search of 4 channels on weights, α and velocity that are sines of their place."""
    data = from_arrays("zeros", np.zeros((64, 8, 8, 3), np.uint8), np.arange(64) % CLASSES, classes=CLASSES)
    size = {"channels": 4, "cells": cells, "batch": IMAGES}
    config = SearchConfig(space=space, method=method, **size, **more)
    search = Search(config, load_space(space), split(data, config.data), dtype=DOUBLE)
    problem = search.pack.problem
    problem.values.copy_(wave(problem.values.numel(), 1.7, 0.3, 0.5))
    problem.publish()
    problem.alphas.copy_(wave(problem.alphas.numel(), 2.3, 1.0, 0.3))
    search.pack.trainer.sgd.velocity = wave(problem.values.numel(), 0.7, 2.0, 0.01)[None].clone()
    return search


GENOTYPES = {
    "tiny": {
        "normal": "sep_conv_3x3 0, skip_connect 1, sep_conv_3x3 0, skip_connect 1",
        "reduce": "skip_connect 0, max_pool_3x3 1, skip_connect 0, max_pool_3x3 1",
    },
    "s2": {
        "normal": "skip_connect 0, sep_conv_3x3 1, sep_conv_3x3 0, skip_connect 1, sep_conv_3x3 0, "
        "skip_connect 2, sep_conv_3x3 0, skip_connect 2",
        "reduce": "skip_connect 0, skip_connect 1, sep_conv_3x3 0, skip_connect 2, sep_conv_3x3 1, "
        "skip_connect 3, sep_conv_3x3 1, sep_conv_3x3 4",
    },
}


@pytest.mark.parametrize(
    ("space", "method", "losses", "norm", "slopes", "alphas", "weights"),
    [
        pytest.param(
            "tiny",
            "darts",
            (1.088530870676, 1.175885852200),
            0.264702998469,
            (0.00909357018738, -0.0249586871915, -0.0390398381678),
            (0.252141295763, 0.29998240243, 0.118832824398),
            -0.329290023948,
            id="quark0/darts, first order",
        ),
        pytest.param(
            "tiny",
            "darts-2nd",
            (1.088530870676, 1.176341450638),
            2.629289335086,
            (0.105368080437, -0.507523250639, -0.102827554588),
            (0.252141295471, 0.299982402546, 0.118832824446),
            -0.329100948807,
            id="quark0/darts, second order",
        ),
        pytest.param(
            "s2",
            "darts-2nd",
            (1.328203090031, 1.069042252114),
            17.246079339356,
            (2.33886285172, -0.684884061335, -1.65941247571),
            (0.252141295444, 0.299982402548, 0.289788622145),
            0.311825871653,
            id="automl/RobustDARTS",
        ),
        pytest.param(
            "s2",
            "r-darts-l2",
            (1.328203090031, 1.069042252114),
            17.246455830611,
            (2.33893119237, -0.684894287026, -1.65946903487),
            (0.252141295444, 0.299982402548, 0.289788622145),
            0.311808525705,
            id="automl/RobustDARTS, weight decay 2.7e-3",
        ),
    ],
)
def test_a_step_is_that_of_the_authors(space, method, losses, norm, slopes, alphas, weights):
    """Validation loss, gradient of α, α after it, training loss at that α, the weights after their step."""
    search = prepared(space, method, hessian={"every": 0})
    problem, trainer = search.pack.problem, search.pack.trainer
    train, valid, rates = batch(0.0), batch(1.0), torch.full((1, 1), 0.025, dtype=DOUBLE)
    assert problem.losses(valid, problem.alphas).item() == pytest.approx(losses[0], abs=1e-11)
    gradient = search.pack.method.estimator(problem, train, valid, trainer.sgd, rates)[0]
    assert float(gradient.norm()) == pytest.approx(norm, abs=1e-10)
    assert gradient[[0, 3, -1]].tolist() == pytest.approx(slopes, abs=1e-10)
    seen = search.pack.step(train, valid, rates, move_alphas=True)
    assert problem.alphas[0, [0, 3, -1]].tolist() == pytest.approx(alphas, abs=1e-11)
    assert float(seen[0]) == pytest.approx(losses[1], abs=1e-11)
    values = problem.values[0]
    assert float(values @ wave(len(values), 1.0, 0.0)) == pytest.approx(weights, abs=1e-10)
    genotype = cell_at(search.pack.method, problem.space, problem.mean(), 0)
    chosen = {kind: genotype.cell(kind) for kind in ("normal", "reduce")}
    assert GENOTYPES[space] == {
        kind: ", ".join(f"{each.op} {each.source}" for each in choices) for kind, choices in chosen.items()
    }


def test_curvature_is_that_of_the_authors_without_their_decay():
    """Of automl/RobustDARTS' whole matrix, whose diagonal is larger by α's weight decay of 1e-3."""
    problem = (search := prepared("s2", "darts-2nd", hessian={"every": 0})).pack.problem
    [found] = curvature(
        lambda flat: problem.loss_at_logits(batch(1.0), flat),
        problem.alphas,
        search.pack.evaluator.basis,
        [torch.Generator().manual_seed(0)],
        zeros=problem.policy.layout.rows,
    )
    assert found.eig_max == pytest.approx(1.383198455384552 - 1e-3, rel=1e-4)
    assert found.eig_min == pytest.approx(-1.076164756682283 - 1e-3, rel=1e-4)
    assert found.eig_gap == pytest.approx(0.2892762640100539, rel=1e-3)


def test_projection_on_nas_bench_201_is_that_of_the_authors(monkeypatch):
    """Six decisions by loss with fine tuning in between, a step of α and one of the weights an epoch."""
    stages = {"use": "perturb-and-project", "interval": 2, "criterion": "loss"}
    more = {"epochs": 3, "weight_decay": 5e-4, "hessian": {"every": 0}}
    search = prepared("nas-bench-201", {"base": "darts-pt", "stages": stages}, cells=1, **more)
    problem, policy, controller = search.pack.problem, search.pack.problem.policy, search.pack.method.stages
    train, valid, rates = batch(0.0), batch(1.0), torch.full((1, 1), 0.0025, dtype=DOUBLE)
    drawn = iter(range(1, 7))
    monkeypatch.setattr(projection._Trial, "_pick", lambda self, lane, n: (2 * next(drawn) + 1) % n)
    scores, decided, losses = [], [], []

    def score(draw):
        logits = problem.forward(valid, draw, Statistics.BATCH)
        scores.append(float(cross_entropy(logits, valid.labels)))
        return cross_entropy(logits, valid.labels), accuracy(logits, valid.labels)

    search.pack.trainer.forget_momentum()
    epochs = search.pack.stages[1].epochs
    for epoch in range(3, 3 + epochs):
        problem.begin(Progress(epoch, 3, 1, 3, 3 + epochs))
        before = policy.alive["normal"][0].sum(-1)
        if (alive := controller(policy, [[]], SimpleNamespace(score=score))) is not None:
            policy.prune(alive)
        rows = ((before > 1) & (policy.alive["normal"][0].sum(-1) == 1)).nonzero().flatten().tolist()
        decided += [(row, int(policy.alive["normal"][0, row].nonzero())) for row in rows]
        losses.append(float(search.pack.step(train, valid, rates, move_alphas=True)[0]))
    assert scores[:5] == pytest.approx(
        [1.532859654511, 1.542245805457, 1.533178184012, 1.519318511905, 1.549473061630], abs=1e-11
    )
    assert decided == [(3, 4), (0, 1), (5, 3), (1, 3), (4, 1), (2, 2)]
    assert (len(losses), len(scores)) == (10, 30)
    assert [losses[0], losses[-1]] == pytest.approx([1.577527418276, 1.517412927518], abs=1e-10)
