"""From α to the mean architecture weights: deterministic, differentiable, zero wherever the mask is false.

``shift_free`` says that a common shift of a row's logits changes nothing: curvature leaves those directions
out, and a row with one operation left has nothing to learn. ``zeros``, that a weight can become exactly 0.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.bilevel.progress import Positive, number


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Normalise each row over its true entries; a row without any is all zeros, as is its gradient."""
    some = mask.any(-1, keepdim=True)
    weights: Tensor = logits.masked_fill(~mask & some, -float("inf")).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class Softmax:
    """The mixture of DARTS: each edge's weights are the softmax of its logits (Liu et al. 2019, eq. 2).

    ``temperature`` divides the logits first: ASAP anneals it, so that the mixture becomes a choice.
    """

    shift_free: ClassVar[bool] = True
    shares: ClassVar[bool] = True
    temperature: Positive = 1.0

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Normalise over what the mask allows, [rows, options] for all lanes or [lanes, rows, options]."""
        return masked_softmax(logits / number(self.temperature), mask)


@dataclass(frozen=True)
class MaxWeight:
    """The Max-W of sharpDARTS: 1 − max p + p, so that the leading operation always has weight 1.

    With ``detach`` no gradient flows through the maximum, as the authors' comments say; their code lets it
    flow (Hundt, Jain, Hager 2019).
    """

    shift_free: ClassVar[bool] = True
    detach: bool = False

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Lift each row of the softmax until its largest entry is 1."""
        weights = masked_softmax(logits, mask)
        largest = weights.amax(-1, keepdim=True)
        lifted = 1 - (largest.detach() if self.detach else largest) + weights
        return lifted.masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class Sigmoid:
    """Every operation for itself, without competition (FairDARTS, Chu et al. 2020)."""

    shift_free: ClassVar[bool] = False

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Squash each logit to (0, 1)."""
        return logits.sigmoid().masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class Scales:
    """The learned numbers themselves: scales (DSO-NAS), a box (NASP) or probabilities (ASNG-NAS)."""

    shift_free: ClassVar[bool] = False
    zeros: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the numbers the mask allows."""
        return logits.masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class ReluShare:
    """Each operation's share of the positive logits (DATA, Chang et al. 2019); uniform without any."""

    shift_free: ClassVar[bool] = False
    shares: ClassVar[bool] = True
    zeros: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Divide the rectified logits by their sum."""
        positive = F.relu(logits).masked_fill(~mask, 0.0)
        total = positive.sum(-1, keepdim=True)
        uniform = mask / mask.sum(-1, keepdim=True).clamp_min(1)
        return torch.where(total > 0, positive / torch.where(total > 0, total, 1.0), uniform)


def concentration(logits: Tensor) -> Tensor:
    """Return DrNAS' Dirichlet concentrations elu(α) + 1: positive, and 1 (uniform) at α = 0."""
    return F.elu(logits) + 1


@dataclass(frozen=True)
class DirichletMean:
    """The mean of DrNAS' Dirichlet distribution, β/Σβ with β = elu(α) + 1 (Chen et al. 2021)."""

    shift_free: ClassVar[bool] = False
    shares: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Divide the concentrations the mask allows by their sum."""
        allowed = concentration(logits).masked_fill(~mask, 0.0)
        total = allowed.sum(-1, keepdim=True)
        return allowed / torch.where(total > 0, total, 1.0)
