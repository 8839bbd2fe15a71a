"""Terms that weight steps add to the loss, which depend on the weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, InstanceOf
from torch import Tensor

from raynas.bilevel.settings import number
from raynas.bilevel.slots import Schedule, WeightPenalty


@dataclass(frozen=True)
class Lasso(WeightPenalty):
    """The lasso on all weights: strength·Σ |w|, which leaves few of them large (Tibshirani 1996).

    Norms' scales and the classifier's weights count as any other.
    """

    use: ClassVar[str] = "lasso"
    strength: Annotated[float, Field(ge=0)] | InstanceOf[Schedule] = 1e-6

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Sum the absolute values of each lane, [lanes]."""
        each = [tensor.abs().flatten(1).sum(1) for tensor in weights.values()]
        return number(self.strength) * torch.stack(each).sum(0)
