"""Samplers for weight steps: weights a little off the mean (SDARTS, Chen & Hsieh 2020).

They act on probabilities, not on logits: the noisy weights are projected back on the simplex and α is
untouched.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd import grad

from raynas.core.policy import Draw, Losses, Policy, Tables
from raynas.core.progress import Chance, number
from raynas.parts.samplers import one_hot


def project(noisy: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    """Bring noisy weights back: clamp to [0, 1] and divide by the row's sum.

    A row that sums to 0 becomes one-hot where ``clean`` is largest.
    """
    clamped = noisy.clamp(0, 1).masked_fill(~mask, 0.0)
    total = clamped.sum(-1, keepdim=True)
    return torch.where(total > 0, clamped / torch.where(total > 0, total, 1.0), one_hot(clean, mask))


def _noise(policy: Policy, clean: Tables, epsilon: float) -> Tables:
    return {name: epsilon * (2 * policy.dice.uniform(rows) - 1) for name, rows in clean.items()}


def _project(policy: Policy, noise: Tables, clean: Tables) -> Tables:
    return {name: project(clean[name] + noise[name], clean[name], policy.masks[name]) for name in clean}


@dataclass(frozen=True)
class UniformNoise:
    """SDARTS-RS: uniform noise in ±``epsilon`` on every weight."""

    random: ClassVar[bool] = True
    off_the_mean: ClassVar[bool] = True
    version: ClassVar[int] = 2
    epsilon: Chance = 0.3

    def __call__(self, policy: Policy, flat: Tensor, loss: Losses | None = None) -> Draw:
        """Draw fresh noise; with ε = 0 the mean weights are returned, bit for bit."""
        clean = policy.relax(flat.detach())
        epsilon = number(self.epsilon)
        return Draw(_project(policy, _noise(policy, clean, epsilon), clean) if epsilon > 0 else clean)


@dataclass(frozen=True)
class Attack:
    """SDARTS-ADV: the weights within ±``epsilon`` that make the training loss worst, by projected ascent.

    ``steps`` signed gradient steps of 2ε/steps from a random start, with running statistics, so that batch
    normalisation remembers nothing of it. A lane whose loss did not rise keeps its mean weights.
    """

    random: ClassVar[bool] = True
    off_the_mean: ClassVar[bool] = True
    version: ClassVar[int] = 2
    epsilon: Chance = 0.3
    steps: Annotated[int, Field(ge=1)] = 7

    def __call__(self, policy: Policy, flat: Tensor, loss: Losses | None = None) -> Draw:
        """Ascend ``loss``; raises `TypeError` outside weight steps, where there is none."""
        if loss is None:
            raise TypeError("an attack needs the loss of a weight step")
        clean = policy.relax(flat.detach())
        epsilon = number(self.epsilon)
        if epsilon == 0:
            return Draw(clean)
        noise = _noise(policy, clean, epsilon)
        for _ in range(self.steps):
            at = {name: rows.requires_grad_() for name, rows in _project(policy, noise, clean).items()}
            slopes = grad(loss(at).sum(), list(at.values()))
            moved = zip(noise.items(), slopes, strict=True)
            noise = {
                name: (z + 2 * epsilon / self.steps * slope.sign()).clamp(-epsilon, epsilon)
                for (name, z), slope in moved
            }
        worst = _project(policy, noise, clean)
        with torch.no_grad():
            rose = (loss(worst) > loss(clean)).view(-1, 1, 1)
        return Draw({name: torch.where(rose, worst[name], clean[name]) for name in clean})
