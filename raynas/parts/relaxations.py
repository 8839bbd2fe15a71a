"""From α to architecture weights."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Softmax:
    """The mixture of DARTS: each edge's weights are the softmax of its logits (Liu et al. 2019, eq. 2)."""

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Normalise over the operations an edge has; ``mask`` is [edges, operations]."""
        return logits.masked_fill(~mask, -float("inf")).softmax(-1)
