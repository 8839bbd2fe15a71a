"""AmoebaNet's 1×k and k×1 convolutions on a quarter of the channels, in the supernet and alone.

ReLU, 1×1 convolution, batch norm; ReLU, 1×k, batch norm; ReLU, k×1, batch norm; ReLU, 1×1 back to all
channels, batch norm (Real et al. 2019; tensorflow/tpu 7dc921f, amoeba_net/network_utils.py,
`_apply_operation`). With fewer than four channels there is no quarter, and no 1×1 convolution.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.ops.fused import FusedOperation, Source
from raynas.nets.ops.lanes import Lanes, Norm
from raynas.nets.ops.paths import Path, chosen, normalise
from raynas.nets.ops.plain import ReluConvNorm
from raynas.spaces.operations import Operation


class SuperBottleneck(FusedOperation):
    """The operation on all edges out of a state; each convolution but the first reads each edge's own map."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        size, inner = self.kernel, channels // 4 or channels
        sizes = [(inner, inner, 1, size), (inner, inner, size, 1)]
        if channels >= 4:
            sizes = [(inner, channels, 1, 1), *sizes, (channels, inner, 1, 1)]
        self.widths = [outputs for outputs, *_ in sizes]
        self.weights = nn.ParameterList(
            lanes.uniform(edges, *each, fan_in=each[1] * each[2] * each[3]) for each in sizes
        )
        self.norms = nn.ModuleList(Norm(lanes, edges * width) for width in self.widths)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Return [N, pairs·channels, H', W']; each of the two convolutions strides along its own side."""
        z, groups = source.rectified(path).x, path.groups
        for place, (weight, norm, width) in enumerate(
            zip(self.weights, self.norms, self.widths, strict=True)
        ):
            kernel = chosen(weight, path).flatten(0, -4)
            high, wide = kernel.shape[2:]
            stride = (self.stride if high > 1 else 1, self.stride if wide > 1 else 1)
            z = F.relu(z) if place else z
            z = source.run.convolve(z, kernel, stride, (high // 2, wide // 2), groups=groups)
            groups = z.shape[1] // width
            last = scale if place == len(self.widths) - 1 else None
            z = normalise(norm, z, source.run, path, width, last)  # type: ignore[arg-type]
        return z


def bottleneck(
    operation: Operation, channels: int, stride: int, affine: bool, outputs: int | None = None
) -> nn.Module:
    """Build the operation on one edge; ``outputs`` are its channels where they are not those it reads."""
    size, far, wide = operation.kernel, operation.kernel // 2, outputs or channels
    inner = wide // 4 or wide
    narrow = [ReluConvNorm(channels, inner, affine)] if wide >= 4 else []
    return nn.Sequential(
        *narrow,
        nn.ReLU(),
        nn.Conv2d(inner if narrow else channels, inner, (1, size), (1, stride), (0, far), bias=False),
        nn.BatchNorm2d(inner, affine=affine),
        nn.ReLU(),
        nn.Conv2d(inner, inner, (size, 1), (stride, 1), (far, 0), bias=False),
        nn.BatchNorm2d(inner, affine=affine),
        *([ReluConvNorm(inner, wide, affine)] if narrow else []),
    )
