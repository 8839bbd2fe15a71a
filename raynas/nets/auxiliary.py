"""Auxiliary skips: one more skip on every edge, which α does not weigh and no genotype names.

In DARTS- it carries the gradient that a skip connection would otherwise gain weight for, and is gone in the
end (Chu et al. 2021); where the skeleton has ``skips``, it stays.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from raynas.nets.ops.fused import Source, fused
from raynas.nets.ops.lanes import Lanes
from raynas.nets.ops.paths import Path


class SuperAuxiliarySkip(nn.Module):
    """One more skip on every edge that leaves a state.

    ``edges`` holds None for each target that no edge leads to.
    """

    ones: Tensor
    spread: Tensor
    targets: Tensor

    def __init__(self, lanes: Lanes, edges: Sequence[int | None], channels: int, stride: int) -> None:
        super().__init__()
        positions = [position for position, edge in enumerate(edges) if edge is not None]
        pairs = [(lane, position) for lane in range(len(lanes)) for position in positions]
        self.operation = fused(lanes, "skip_connect", len(positions), channels, stride)
        self.lanes, self.everywhere = len(lanes), len(positions) == len(edges)
        sums = [lane * len(edges) + position for lane, position in pairs]
        self.register_buffer("targets", torch.tensor(sums), persistent=False)
        self.register_buffer("spread", torch.tensor([lane for lane, _ in pairs]), persistent=False)
        ones = torch.ones(len(pairs) * channels, dtype=lanes.dtype)
        self.register_buffer("ones", ones, persistent=False)

    def forward(self, source: Source, scale: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the scaled skips [N, pairs·channels, H', W'], and where they lead to (None: everywhere).

        `Pass.auxiliary` scales them all, ``scale`` [lanes, targets, 1] each.
        """
        path = Path(self.lanes, spread=self.spread)
        scales = self.ones * source.run.auxiliary
        if scale is not None:
            each = scale.flatten().index_select(0, self.targets)
            scales = scales * each.repeat_interleave(len(scales) // len(each))
        z = self.operation(source, scales, path).to(source.x.dtype)
        return z, None if self.everywhere else self.targets
