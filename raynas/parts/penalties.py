"""Terms that α-steps add to the loss."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Costs, Draw, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Penalty
from raynas.bilevel.views import PolicyView
from raynas.parts.relaxations import concentration
from raynas.spaces.space import Space

Strength = Annotated[float, Field(ge=0)]


def shares(policy: PolicyView, flat: Tensor, draw: Draw) -> Tables:
    """Return what penalties charge, [lanes, rows, options]: the draw's own shares or relaxed weights."""
    return policy.relax(flat) if draw.shares is None else draw.shares


@dataclass(frozen=True)
class ZeroOne(Penalty):
    """FairDARTS: pushes every weight away from ½, towards 0 or 1 (Chu et al. 2020, eq. 9).

    −strength·mean (A − ½)², or with ``power`` 1 −strength·mean |A − ½|.
    """

    use: ClassVar[str] = "zero-one"
    strength: Strength = 10.0
    power: Literal[1, 2] = 2

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Average over all weights that are alive, to [lanes]."""
        weights = shares(policy, flat, draw)
        total = torch.zeros_like(losses)
        count = torch.zeros_like(losses)
        for name, rows in weights.items():
            away = (rows - 0.5).abs().pow(self.power).masked_fill(~policy.masks[name], 0.0)
            total = total + away.flatten(1).sum(1)
            count = count + policy.masks[name].flatten(1).sum(1)
        return losses - self.strength * total / count


@dataclass(frozen=True)
class Anchor(Penalty):
    """DrNAS with KL: strength·Σ KL(Dir(β) ‖ Dir(1)), 0 where every β is 1 (Chen et al. 2021, eq. 5).

    What has been pruned has β = 1, what the method never considers is not part of the distribution. The
    code's default is not this term but the weight decay 1e-3 on α, and with it the term takes the decay's
    place (`arch_weight_decay: 0`).
    """

    use: ClassVar[str] = "anchor"
    version: ClassVar[int] = 2
    strength: Strength = 1e-3

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Sum lgamma(Σβ) − lgamma(n) − Σ lgamma(β) + Σ (β − 1)(ψ(β) − ψ(Σβ)) over rows of n options.

        So one number per lane, [lanes]."""
        for name, logits in policy.layout.tables(flat).items():
            beta = torch.where(policy.masks[name], concentration(logits), 1.0)
            considered = policy.layout.alive[name].to(beta)
            total = (beta * considered).sum(-1, keepdim=True)
            each = (beta - 1) * (beta.digamma() - total.digamma()) - beta.lgamma()
            count = considered.sum(-1)
            distance = total.squeeze(-1).lgamma() - count.lgamma() + (each * considered).sum(-1)
            losses = losses + self.strength * distance.sum(1)
        return losses

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It is a distance of Dirichlet distributions."""
        if not method.relaxation.dirichlet:
            yield "anchor measures Dirichlet distributions: it needs dirichlet-mean"


@dataclass(frozen=True)
class SampleDistance(Penalty):
    """DATA: the mean distance of probabilities from sampled weights, strength·Σ over groups of mean |p − A|.

    Source: the code of Chang et al. 2019 (strength 0.1; the paper gives none).
    """

    use: ClassVar[str] = "sample-distance"
    strength: Strength = 0.1

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """The sample is taken as it is; only the probabilities [lanes, rows, options] are pulled."""
        for name, weights in shares(policy, flat, draw).items():
            distance = (weights - draw.weights[name].detach()).abs().flatten(1).sum(1)
            losses = losses + self.strength * distance / int(policy.layout.masks[name].sum())
        return losses
