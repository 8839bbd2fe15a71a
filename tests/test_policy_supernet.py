"""A policy's draws in a real supernet: what is computed, whose gradients exist, what moves."""

import pytest
import torch
from helpers.policies import make_policy, randomly
from helpers.problems import bilevel
from torch.autograd import grad

from raynas.bilevel.bilevel import cross_entropy
from raynas.bilevel.exchange import Draw
from raynas.data.batch import Batch
from raynas.nets.ops.flat import flatten
from raynas.nets.ops.lanes import Statistics
from raynas.nets.supernet import Supernet
from raynas.parts.cell_samplers import Categorical, Pair
from raynas.parts.perturbations import Attack, UniformNoise
from raynas.parts.stages.base import DropWeak
from raynas.spaces.library import load_space


@pytest.fixture
def problem():
    space = load_space("tiny")
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    return bilevel(space, Supernet(space, (1, 8, 8), 3, 4, 3, generators, torch.float64), generators)


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(1)
    images = torch.randn(2, 6, 1, 8, 8, generator=g, dtype=torch.float64)
    return Batch(images, torch.randint(0, 3, (2, 6), generator=g))


def losses(problem, batch, draw, statistics=Statistics.BATCH):
    logits = problem.forward(batch, draw, statistics)
    return cross_entropy(logits, batch.labels)


def gradients(problem, batch, draw, flat):
    targets = [flat, *problem.parameters]
    loss = losses(problem, batch, draw).sum()
    found = grad(loss, targets, retain_graph=True, allow_unused=True, materialize_grads=True)
    return found[0], flatten(found[1:])


@pytest.mark.parametrize("sampler", [Categorical("score"), Pair()], ids=str)
def test_leaving_out_what_is_not_drawn_changes_no_number(problem, batch, sampler):
    policy = randomly(make_policy(sampler=sampler))
    flat = policy.alphas.clone().requires_grad_()
    draw = policy.draw(flat)
    sparse = gradients(problem, batch, draw, flat)
    whole = gradients(problem, batch, draw._replace(active=None), flat)
    for one, other in zip(sparse, whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
    assert bool(sparse[0].any())


def test_pruned_operations_are_not_computed_and_get_no_gradient(problem, batch):
    policy = randomly(make_policy(), 3.0)
    policy.prune(DropWeak(0.4)(policy, [[], []], None))
    draw = policy.mean(policy.alphas)
    assert draw.active is not None
    _, sparse = gradients(problem, batch, draw, policy.alphas.clone().requires_grad_())
    _, whole = gradients(problem, batch, draw._replace(active=None), policy.alphas.clone().requires_grad_())
    torch.testing.assert_close(sparse, whole, rtol=1e-9, atol=1e-12)
    assert int((sparse == 0).sum()) > 0


def test_an_attack_raises_the_loss_and_leaves_the_supernet_alone(problem, batch):
    policy = randomly(make_policy())
    before = [tensor.clone() for tensor in problem.supernet.state_dict().values()]

    def loss(tables):
        return losses(problem, batch, policy.finish(Draw(tables), policy.alphas), Statistics.RUNNING)

    clean = loss(policy.mean(policy.alphas).weights)
    worst = loss(policy.draw(policy.alphas, Attack(0.3), loss).weights)
    chance = loss(policy.draw(policy.alphas, UniformNoise(0.3)).weights)
    assert bool((worst >= clean).all())
    assert bool(worst.sum() > chance.sum())
    after = problem.supernet.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in problem.parameters)
