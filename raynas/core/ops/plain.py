"""Every operation as an ordinary module on one edge, as the discrete network uses it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.core.ops.catalogue import OPERATIONS, Operation
from raynas.core.ops.lanes import shifted
from raynas.errors import RaynasError


class ReluConvNorm(nn.Sequential):
    """ReLU, 1×1 convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__(
            nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=affine)
        )


class FactorizedReduce(nn.Module):
    """Halve the resolution: two 1×1 convolutions of stride 2 on pixels that are one apart, concatenated."""

    def __init__(self, inputs: int, outputs: int, affine: bool) -> None:
        super().__init__()
        self.near = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.far = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H/2, W/2]."""
        x = F.relu(x)
        normed: Tensor = self.norm(torch.cat([self.near(x), self.far(shifted(x))], 1))
        return normed


class Noise(nn.Module):
    """Standard normal noise of the (strided) input's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Ignore the values of ``x``."""
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


def _separable(operation: Operation, channels: int, stride: int, affine: bool) -> list[nn.Module]:
    padding = operation.dilation * (operation.kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, operation.kernel, stride, padding, operation.dilation, channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def plain(name: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """Build one operation on one edge; `none` cannot be part of a derived cell and raises `RaynasError`."""
    operation = OPERATIONS[name]
    match operation.family:
        case "skip":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
        case "max_pool":
            return nn.MaxPool2d(operation.kernel, stride, operation.kernel // 2)
        case "avg_pool":
            return nn.AvgPool2d(operation.kernel, stride, operation.kernel // 2, count_include_pad=False)
        case "separable":
            first = _separable(operation, channels, stride, affine)
            return nn.Sequential(*first, *_separable(operation, channels, 1, affine))
        case "dilated":
            return nn.Sequential(*_separable(operation, channels, stride, affine))
        case "noise":
            return Noise(stride)
        case "none":
            raise RaynasError(
                "a derived cell cannot hold `none`", got=name, expected="an operation that computes"
            )
