"""Inputs that are written out as waves, so that numbers which original code gave on them can be held.

Nothing here depends on a generator of random numbers: weights, α, images and noise are sines.
"""

import math

import torch

from helpers.problems import bilevel
from raynas.bilevel.bilevel import Bilevel
from raynas.data.batch import Batch
from raynas.methods import resolve
from raynas.nets.ops.flat import flatten
from raynas.nets.supernet import Supernet
from raynas.parts.updaters import Sgd, clip_norm
from raynas.spaces.library import load_space

RATES = {"rate": 0.025, "momentum": 0.9, "decay": 3e-4, "clip": 5.0, "alpha_rate": 3e-4, "alpha_decay": 1e-3}
"""DARTS': of the weights, and of α."""


def wave(*shape, step, size=1.0):
    """Return size·sin(step·k) for k = 1, 2, …, in float64."""
    return (size * torch.sin(step * torch.arange(1, math.prod(shape) + 1, dtype=torch.float64))).view(shape)


class Given:
    """Dice that give what they are told to, one tensor of numbers in (0, 1) after the other."""

    generators = ()

    def __init__(self, step):
        self.step, self.count = step, 0

    def uniform(self, like):
        self.count += 1
        return 0.5 + wave(*like.shape, step=self.step + 0.1 * self.count, size=0.499).to(like)


def problem_of(space, method, channels=4, cells=3, side=8, classes=3) -> Bilevel:
    """Return a method's problem on a small supernet of waves, in float64."""
    space = load_space(space)
    built = {
        name: value for each in resolve(method).modifiers for name, value in each.build().given().items()
    }
    seed = [torch.Generator().manual_seed(0)]
    net = Supernet(space, (3, side, side), classes, channels, cells, seed, torch.float64, **built)
    problem = bilevel(space, net, [torch.Generator().manual_seed(0)], method)
    problem.values.copy_(wave(*problem.values.shape, step=1.3, size=0.5))
    problem.publish()
    problem.policy.alphas.copy_(wave(*problem.alphas.shape, step=0.9, size=0.5))
    problem.policy.dice = Given(0.7)
    return problem


def batches(side=8, count=4, classes=3):
    """Return a batch for the weights and one for α."""
    labels = (torch.arange(count) % classes).view(1, count)
    return [Batch(wave(1, count, 3, side, side, step=step), labels) for step in (0.37, 0.61)]


def one_step(problem, method, **rates):
    """Move α once and then the weights once, as a search does; return what can be compared.

    ``valid`` and ``train`` are the losses, ``slope`` is the sum of all |∂loss/∂α|, ``alphas`` that of |α|
    after its step, ``moved`` that of how far each weight went.
    """
    method = resolve(method)
    rates = {name: torch.full((1, 1), value, dtype=torch.float64) for name, value in (RATES | rates).items()}
    train, valid = batches()
    sgd = Sgd(problem.values, rates["momentum"], rates["decay"])
    loss = float(problem.losses(valid, problem.alphas).detach())
    slope = method.estimator(problem, train, valid, sgd, rates["rate"])
    updater = method.updater.start(problem.policy, rates["alpha_rate"], rates["alpha_decay"])
    updater.step(slope)
    losses, _ = problem.weight_loss(train)
    before = problem.values.clone()
    gradient = flatten(torch.autograd.grad(losses.sum(), problem.parameters, materialize_grads=True))
    sgd.step(problem.values, clip_norm(gradient, rates["clip"]), rates["rate"])
    return {
        "valid": loss,
        "slope": float(slope.abs().sum()),
        "alphas": float(problem.alphas.abs().sum()),
        "train": float(losses.detach()),
        "moved": float((problem.values - before).abs().sum()),
    }
