"""Terms that α-steps add to the loss."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Dirichlet as DirichletDistribution
from torch.distributions import kl_divergence

from raynas.core.objective import Costs
from raynas.core.policy import Draw, Policy
from raynas.parts.relaxations import concentration

Strength = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class ZeroOne:
    """FairDARTS: pushes every weight away from ½, towards 0 or 1 (Chu et al. 2020, eq. 9).

    −strength·mean (A − ½)², or with ``power`` 1 −strength·mean |A − ½|.
    """

    strength: Strength = 10.0
    power: Literal[1, 2] = 2

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Average over all weights that are alive."""
        weights = policy.relax(flat)
        total = torch.zeros_like(losses)
        count = torch.zeros_like(losses)
        for name, rows in weights.items():
            away = (rows - 0.5).abs().pow(self.power).masked_fill(~policy.masks[name], 0.0)
            total = total + away.flatten(1).sum(1)
            count = count + policy.masks[name].flatten(1).sum(1)
        return losses - self.strength * total / count


@dataclass(frozen=True)
class Anchor:
    """DrNAS with KL: strength·Σ KL(Dir(β) ‖ Dir(1)), 0 where every β is 1 (Chen et al. 2021, eq. 5)."""

    strength: Strength = 1e-3

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Sum over rows; what is not alive keeps β = 1, so it adds nothing of its own."""
        for name, logits in policy.layout.tables(flat).items():
            beta = torch.where(policy.masks[name], concentration(logits), 1.0)
            distance = kl_divergence(
                DirichletDistribution(beta), DirichletDistribution(torch.ones_like(beta))
            )
            losses = losses + self.strength * distance.sum(1)
        return losses


@dataclass(frozen=True)
class SampleDistance:
    """DATA: the mean distance between probabilities and the sampled weights, strength·Σ|p − A|/rows."""

    strength: Strength = 1.0

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """The sample is taken as it is; only the probabilities are pulled."""
        for name, weights in policy.relax(flat).items():
            distance = (weights - draw.weights[name].detach()).abs().flatten(1).sum(1)
            losses = losses + self.strength * distance / policy.layout.rows
        return losses


@dataclass(frozen=True)
class Cost:
    """The expected cost Σ p·cost of the cell, in proportion to that of the uniform mixture (E₀).

    ``add`` gives loss + strength·(E − E₀)/E₀, ``multiply`` the form of ProxylessNAS' code,
    loss·(log E/log E₀)^strength with E in single operations. ``measure`` says what is counted.
    """

    strength: Strength = 0.1
    form: Literal["add", "multiply"] = "add"
    measure: Literal["flops", "parameters"] = "flops"

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Differentiate through the relaxed weights, whatever was drawn; raises `TypeError` without costs."""
        if costs is None:
            raise TypeError("expected costs need the cost of every operation")
        expected = torch.zeros_like(losses)
        uniform = torch.zeros_like(losses)
        for name, weights in policy.relax(flat).items():
            price, mask = costs[name].to(weights), policy.masks[name]
            even = mask / mask.sum(-1, keepdim=True).clamp_min(1)
            expected = expected + (weights * price).flatten(1).sum(1)
            uniform = uniform + (even * price).flatten(1).sum(1)
        if self.form == "add":
            return losses + self.strength * (expected - uniform) / uniform
        return losses * ((expected * 1e6).log() / (uniform * 1e6).log()).pow(self.strength)
