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

from raynas.bilevel.exchange import AttackedLoss, Draw, Tables
from raynas.bilevel.settings import Chance, number
from raynas.bilevel.slots import Sampler
from raynas.bilevel.views import PolicyView
from raynas.parts.samplers import one_hot


def project(noisy: Tensor, mask: Tensor) -> Tensor:
    """Bring noisy weights back: clamp to [0, 1] and divide by the row's sum.

    A row that sums to 0 becomes one-hot where the noisy weights are largest, as in the original code.
    """
    clamped = noisy.clamp(0, 1).masked_fill(~mask, 0.0)
    total = clamped.sum(-1, keepdim=True)
    return torch.where(total > 0, clamped / torch.where(total > 0, total, 1.0), one_hot(noisy, mask))


def _noise(policy: PolicyView, clean: Tables, epsilon: float) -> Tables:
    return {name: epsilon * (2 * policy.dice.uniform(rows) - 1) for name, rows in clean.items()}


def _project(policy: PolicyView, noise: Tables, clean: Tables) -> Tables:
    return {name: project(clean[name] + noise[name], policy.masks[name]) for name in clean}


@dataclass(frozen=True)
class UniformNoise(Sampler):
    """SDARTS-RS: uniform noise in ±``epsilon`` on every weight."""

    use: ClassVar[str] = "uniform-noise"
    random: ClassVar[bool] = True
    off_the_mean: ClassVar[bool] = True
    version: ClassVar[int] = 2
    epsilon: Chance = 0.3

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw fresh noise [lanes, rows, options]; with ε = 0 the mean weights are returned, bit for bit."""
        clean = policy.relax(flat.detach())
        epsilon = number(self.epsilon)
        return Draw(_project(policy, _noise(policy, clean, epsilon), clean) if epsilon > 0 else clean)


@dataclass(frozen=True)
class Attack(Sampler):
    """SDARTS-ADV: the weights within ±``epsilon`` that make the training loss worst, by projected ascent.

    ``steps`` signed gradient steps of 2ε/steps from a random start, each from the point that is projected on
    the simplex and back into ±ε around the mean weights, with running statistics, so that batch normalisation
    remembers nothing of it. A lane whose loss fell keeps its mean weights. Source: Chen & Hsieh 2020,
    algorithm 1, and its code, whose α steps move the running statistics as well: here no α step does.
    """

    use: ClassVar[str] = "attack"
    random: ClassVar[bool] = True
    off_the_mean: ClassVar[bool] = True
    version: ClassVar[int] = 2
    epsilon: Chance = 0.3
    steps: Annotated[int, Field(ge=1)] = 7

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Ascend ``loss`` [lanes]; raises `TypeError` outside weight steps, where there is none."""
        if loss is None:
            raise TypeError("an attack needs the loss of a weight step")
        clean = policy.relax(flat.detach())
        epsilon = number(self.epsilon)
        if epsilon == 0:
            return Draw(clean)
        worst = _project(policy, _noise(policy, clean, epsilon), clean)
        for _ in range(self.steps):
            at = {name: rows.requires_grad_() for name, rows in worst.items()}
            slopes = grad(loss(at).sum(), list(at.values()))
            noise = {
                name: (rows.detach() - clean[name] + 2 * epsilon / self.steps * slope.sign()).clamp(
                    -epsilon, epsilon
                )
                for (name, rows), slope in zip(at.items(), slopes, strict=True)
            }
            worst = _project(policy, noise, clean)
        with torch.no_grad():
            fell = (loss(worst) < loss(clean)).view(-1, 1, 1)
        return Draw({name: torch.where(fell, clean[name], worst[name]) for name in clean})
