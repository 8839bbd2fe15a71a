"""From α to the mean architecture weights: deterministic, differentiable, zero wherever the mask is false.

What each of them says of itself (``shift_free``, ``sums_to_one``, …) is told in `Relaxation`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.bilevel.part import Composition
from raynas.bilevel.settings import Positive, number
from raynas.bilevel.slots import Relaxation
from raynas.spaces.space import Space


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Normalise [..., options] over true entries; a row without any is all zeros, as is its gradient."""
    some = mask.any(-1, keepdim=True)
    # A row of −∞ alone has a softmax of NaN, and so has its gradient: it keeps its logits and is cut
    # afterwards.
    weights: Tensor = logits.masked_fill(~mask & some, -float("inf")).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class Softmax(Relaxation):
    """The mixture of DARTS: each edge's weights are the softmax of its logits (Liu et al. 2019, eq. 2).

    ``temperature`` divides the logits first: ASAP anneals it, so that the mixture becomes a choice.
    """

    use: ClassVar[str] = "softmax"
    softmax: ClassVar[bool] = True
    shift_free: ClassVar[bool] = True
    sums_to_one: ClassVar[bool] = True
    temperature: Positive = 1.0

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Normalise over what the mask allows, [rows, options] for all lanes or [lanes, rows, options]."""
        return masked_softmax(logits / number(self.temperature), mask)


@dataclass(frozen=True)
class MaxWeight(Relaxation):
    """The Max-W of sharpDARTS: 1 − max p + p, so that the leading operation always has weight 1.

    With ``detach`` no gradient flows through the maximum, as the authors' comments say; their code lets it
    flow (Hundt, Jain, Hager 2019).
    """

    use: ClassVar[str] = "max-weight"
    shift_free: ClassVar[bool] = True
    detach: bool = False

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Lift each row of the softmax [lanes, rows, options] until its largest entry is 1."""
        weights = masked_softmax(logits, mask)
        largest = weights.amax(-1, keepdim=True)
        lifted = 1 - (largest.detach() if self.detach else largest) + weights
        return lifted.masked_fill(~mask, 0.0)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Its rows are not probabilities that a sampler could draw by."""
        if method.sampler.random:
            yield "max-weight gives weights and no probabilities: it needs the sampler mean"


@dataclass(frozen=True)
class Sigmoid(Relaxation):
    """Every operation for itself, without competition (FairDARTS, Chu et al. 2020)."""

    use: ClassVar[str] = "sigmoid"
    shift_free: ClassVar[bool] = False

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Squash each logit [lanes, rows, options] to (0, 1)."""
        return logits.sigmoid().masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class Scales(Relaxation):
    """The learned numbers themselves: scales (DSO-NAS), a box (NASP) or probabilities (ASNG-NAS)."""

    use: ClassVar[str] = "scales"
    identity: ClassVar[bool] = True
    shift_free: ClassVar[bool] = False
    zeros: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the numbers [lanes, rows, options] that the mask allows."""
        return logits.masked_fill(~mask, 0.0)


@dataclass(frozen=True)
class ReluShare(Relaxation):
    """Each operation's share of the positive logits (DATA, Chang et al. 2019); uniform without any."""

    use: ClassVar[str] = "relu-share"
    shift_free: ClassVar[bool] = False
    sums_to_one: ClassVar[bool] = True
    zeros: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Divide the rectified logits [lanes, rows, options] by their sum over the options."""
        positive = F.relu(logits).masked_fill(~mask, 0.0)
        total = positive.sum(-1, keepdim=True)
        uniform = mask / mask.sum(-1, keepdim=True).clamp_min(1)
        # The inner `where` is for the gradient: `torch.where` alone would pass on the NaN of 0/0.
        return torch.where(total > 0, positive / torch.where(total > 0, total, 1.0), uniform)


def concentration(logits: Tensor) -> Tensor:
    """Return DrNAS' Dirichlet concentrations [...] elu(α) + 1: positive, and 1 (uniform) at α = 0."""
    return F.elu(logits) + 1


@dataclass(frozen=True)
class DirichletMean(Relaxation):
    """The mean of DrNAS' Dirichlet distribution, β/Σβ with β = elu(α) + 1 (Chen et al. 2021)."""

    use: ClassVar[str] = "dirichlet-mean"
    dirichlet: ClassVar[bool] = True
    shift_free: ClassVar[bool] = False
    sums_to_one: ClassVar[bool] = True

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Divide the concentrations [lanes, rows, options] that the mask allows by their sum."""
        allowed = concentration(logits).masked_fill(~mask, 0.0)
        total = allowed.sum(-1, keepdim=True)
        return allowed / torch.where(total > 0, total, 1.0)
