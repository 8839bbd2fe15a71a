"""Objectives: one loss per lane of one or several draws, to be differentiated in α and in the weights.

Every objective has the value of a mean cross entropy; how its gradient in α comes about is what differs. So
the α-step, the weight step and a joint step can treat all of them alike. Those that weigh several draws need
the memory of one (see `raynas.bilevel.slots.Objective`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Draw, Outcome, Score
from raynas.bilevel.slots import Objective
from raynas.bilevel.views import PolicyView


@dataclass(frozen=True)
class OneDraw(Objective):
    """The loss of a single draw: what every method does whose draws are differentiable."""

    use: ClassVar[str] = "one-draw"

    def __call__(self, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome:
        """Draw once and run once; losses [lanes]."""
        return score(draw())


@dataclass(frozen=True)
class Importance(Objective):
    """PARSEC: −log of the mean likelihood of ``samples`` draws (Casale, Gordon, Fusi 2019).

    Its gradients weigh draws by ω = softmax over them of the batch's log-likelihood: Σ ω ∇_w loss for the
    weights, −Σ ω ∇_α log p(draw) for α, divided by ``sharpness``. The log-likelihood is −``sharpness`` times
    the mean loss; null stands for the number of images (or words) of the batch, which makes it the batch's
    own, the product over its images. The larger it is, the more ω belongs to the best draw alone; with 1, the
    mean, all draws weigh nearly the same and α stays uniform. Simulated with losses that deviate by 0.06
    between draws on 14 edges of 8 operations, 8,000 steps at α's default rate leave 2.077 of 2.079 nats and
    find 64 % of the best operations with 1, and leave 1.99 and find 93 % with 64. One draw would
    always be pulled towards itself, so at least two are needed.
    """

    use: ClassVar[str] = "importance"
    apart: ClassVar[bool] = True
    version: ClassVar[int] = 2
    weighs_draws: ClassVar[bool] = True
    samples: Annotated[int, Field(ge=2)] = 16
    sharpness: Annotated[float, Field(gt=0)] | None = None

    def __call__(self, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome:
        """Return −log mean exp(−sharpness·loss)/sharpness over the draws, [lanes]."""
        losses, likelihoods, outcomes = _several(self.samples, policy, flat, draw, score)
        sharpness = self.sharpness or outcomes[0].logits[0, ..., 0].numel()
        # p/sg(p) is 1, but carries ∇ log p.
        evidence = (likelihoods - likelihoods.detach() - sharpness * losses).logsumexp(0)
        return Outcome((math.log(self.samples) - evidence) / sharpness, outcomes[0].logits)


@dataclass(frozen=True)
class Reinforce(Objective):
    """The score-function gradient, (loss − baseline)·∇ log p (Williams 1992); the baseline: the others' mean.

    The baseline does not depend on its own draw, so the gradient has no bias; ProxylessNAS' moving average is
    nearly the current mean as well.
    """

    use: ClassVar[str] = "reinforce"
    apart: ClassVar[bool] = True
    weighs_draws: ClassVar[bool] = True
    samples: Annotated[int, Field(ge=2)] = 10

    def __call__(self, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome:
        """Return the mean loss [lanes] of the draws."""
        losses, likelihoods, outcomes = _several(self.samples, policy, flat, draw, score)
        fixed = losses.detach()
        advantage = (fixed - fixed.mean(0)) * self.samples / (self.samples - 1)
        chance = (advantage * (likelihoods - likelihoods.detach())).mean(0)
        return Outcome(losses.mean(0) + chance, outcomes[0].logits)


@dataclass(frozen=True)
class Natural(Objective):
    """ASNG-NAS: the natural gradient on the simplex, the mean of u·(θ − draw) (Akimoto et al. 2019).

    The best quarter of the draws (at least one) has utility u = 1 and the worst −1, all others and all draws
    of equal loss 0. Its gradient means anything only where the relaxed weights are α itself.
    """

    use: ClassVar[str] = "natural"
    natural: ClassVar[bool] = True
    apart: ClassVar[bool] = True
    weighs_draws: ClassVar[bool] = True
    samples: Annotated[int, Field(ge=2)] = 2

    def __call__(self, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome:
        """Return the mean loss [lanes] of the draws."""
        draws = [draw() for _ in range(self.samples)]
        outcomes = [score(each) for each in draws]
        losses = torch.stack([outcome.losses for outcome in outcomes])
        utilities = self._utilities(losses.detach())
        tables = policy.layout.tables(flat)
        pull = torch.zeros_like(losses[0])
        for utility, each in zip(utilities, draws, strict=True):
            for name, theta in tables.items():
                away = (each.weights[name].detach() - theta.detach()) * (theta - theta.detach())
                pull = pull - utility * away.flatten(1).sum(1) / self.samples
        return Outcome(losses.mean(0) + pull, outcomes[0].logits)

    def _utilities(self, losses: Tensor) -> Tensor:
        """Rank the draws of each lane; ``losses`` is [samples, lanes]."""
        extreme = math.ceil(self.samples / 4)
        order = losses.argsort(dim=0, stable=True)
        utilities = torch.zeros_like(losses)
        utilities.scatter_(0, order[:extreme], 1.0)
        utilities.scatter_(0, order[-extreme:], -1.0)
        return utilities.masked_fill((losses == losses[0]).all(0), 0.0)


def log_probability(policy: PolicyView, flat: Tensor, draw: Draw) -> Tensor:
    """Return each lane's log p of a one-hot draw, [lanes], with the relaxed weights as probabilities."""
    total = flat.new_zeros(len(flat))
    for name, weights in policy.relax(flat).items():
        chosen = draw.weights[name].detach() > 0
        tiny = torch.finfo(weights.dtype).tiny
        total = total + torch.where(chosen, weights.clamp_min(tiny).log(), 0.0).flatten(1).sum(1)
    return total


def _several(
    samples: int, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score
) -> tuple[Tensor, Tensor, list[Outcome]]:
    """Return the losses and log-probabilities of several draws, both [samples, lanes], and all outcomes."""
    draws = [draw() for _ in range(samples)]
    outcomes = [score(each) for each in draws]
    likelihoods = torch.stack([log_probability(policy, flat, each) for each in draws])
    return torch.stack([outcome.losses for outcome in outcomes]), likelihoods, outcomes
