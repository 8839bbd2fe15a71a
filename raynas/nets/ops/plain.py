"""Every operation as an ordinary module on one edge, as the discrete network uses it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from raynas.errors import RaynasError
from raynas.nets.ops.lanes import shifted
from raynas.spaces.operations import FAMILIES, OPERATIONS, Operation
from raynas.spaces.outside import load_dotted


class _Dense(Function):
    """The identity, whose gradient is dense in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.layout = (
            torch.channels_last
            if x.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=ctx.layout)


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Return feature maps [N, C, H, W] side by side as [N, sum of C, H, W].

    The gradient of each part is made dense: a slice of the whole's is not where channels lie side by side in
    memory, and batch norm's and ReLU's backward are 3 to 5 times as slow on such (a step of DARTS V2, 16
    channels, 8 cells, batch 32, one core: 0.80 s against 0.50).
    """
    if not torch.is_grad_enabled():
        return torch.cat(list(parts), 1)
    return torch.cat([_Dense.apply(part) for part in parts], 1)


class ReluConvNorm(nn.Sequential):
    """ReLU, convolution, batch norm."""

    def __init__(self, inputs: int, outputs: int, affine: bool, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class ConvNormRelu(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, affine: bool, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
            nn.ReLU(),
        )


class NormedRelu6(nn.Sequential):
    """Convolution, batch norm, ReLU6; ``groups`` as PyTorch has them."""

    def __init__(
        self, inputs: int, outputs: int, affine: bool, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
            nn.ReLU6(),
        )


class Inverted(nn.Sequential):
    """An inverted bottleneck: 1×1 convolution (none for ratio 1), depthwise convolution, linear 1×1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, ratio: int, affine: bool) -> None:
        wide = ratio * inputs
        super().__init__(
            *([NormedRelu6(inputs, wide, affine)] if ratio > 1 else []),
            NormedRelu6(wide, wide, affine, kernel, stride, wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, affine=affine),
        )


class FactorizedReduce(nn.Module):
    """Halve the resolution: two 1×1 convolutions of stride 2 on pixels that are one apart, concatenated.

    With another ``stride``, divide the resolution by that. A ReLU comes first unless it is not ``rectified``.
    """

    def __init__(
        self, inputs: int, outputs: int, affine: bool, stride: int = 2, *, rectified: bool = True
    ) -> None:
        super().__init__()
        self.rectified = rectified
        self.near = nn.Conv2d(inputs, outputs // 2, 1, stride, bias=False)
        self.far = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H/2, W/2]."""
        x = F.relu(x) if self.rectified else x
        normed: Tensor = self.norm(concatenated([self.near(x), self.far(shifted(x))]))
        return normed


class Noise(nn.Module):
    """Standard normal noise of the (strided) input's shape.

    It comes from ``generator``, on the network's device, which whoever wants it again sets, owns and saves;
    by default from PyTorch's own.
    """

    generator: torch.Generator | None = None

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return noise [N, C, H', W'] for ``x`` [N, C, H, W], whose values do not matter."""
        like = x[:, :, :: self.stride, :: self.stride]
        return torch.randn(like.shape, generator=self.generator, dtype=x.dtype, device=x.device)


class Zero(nn.Module):
    """Zeros of the (strided) input's shape: no connection."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros [N, C, H', W'] for ``x`` [N, C, H, W], whose values do not matter."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, beside average pooling and a 1×1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            ReluConvNorm(inputs, outputs, True, 3, 2), ReluConvNorm(outputs, outputs, True, 3)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H/2, W/2], rounded up."""
        out: Tensor = self.way(x) + self.shortcut(x)
        return out


def _separable(
    operation: Operation, channels: int, stride: int, affine: bool, outputs: int | None = None
) -> list[nn.Module]:
    wide = outputs or channels
    padding = operation.dilation * (operation.kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, operation.kernel, stride, padding, operation.dilation, channels, bias=False
        ),
        nn.Conv2d(channels, wide, 1, bias=False),
        nn.BatchNorm2d(wide, affine=affine),
    ]


def _normed_relu(window: list[nn.Module], channels: int, affine: bool) -> nn.Sequential:
    return nn.Sequential(*window, nn.BatchNorm2d(channels, affine=affine), nn.ReLU())


def noise_from(network: nn.Module, generator: torch.Generator | None) -> None:
    """Let every random operation of a network draw from a generator, on the network's device."""
    for module in network.modules():
        if isinstance(module, Noise):
            module.generator = generator


def plain(name: str, channels: int, stride: int, affine: bool, outputs: int | None = None) -> nn.Module:
    """Build one operation on one edge of images; separable and inverted ones may have other ``outputs``."""
    operation = OPERATIONS[name]
    match operation.family:
        case "skip":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)
        case "max_pool":
            return nn.MaxPool2d(operation.kernel, stride, operation.kernel // 2)
        case "avg_pool":
            return nn.AvgPool2d(operation.kernel, stride, operation.kernel // 2, count_include_pad=False)
        case "separable":
            first = _separable(operation, channels, stride, affine, outputs)
            return nn.Sequential(*first, *_separable(operation, outputs or channels, 1, affine))
        case "dilated":
            return nn.Sequential(*_separable(operation, channels, stride, affine))
        case "convolution":
            return ReluConvNorm(channels, channels, affine, operation.kernel, stride)
        case "crossed":
            size, far = operation.kernel, operation.kernel // 2
            return nn.Sequential(
                nn.ReLU(),
                nn.Conv2d(channels, channels, (1, size), (1, stride), (0, far), bias=False),
                nn.Conv2d(channels, channels, (size, 1), (stride, 1), (far, 0), bias=False),
                nn.BatchNorm2d(channels, affine=affine),
            )
        case "rectified":
            return ConvNormRelu(channels, channels, affine, operation.kernel, stride)
        case "normed_separable":
            return _normed_relu(_separable(operation, channels, stride, affine)[1:3], channels, affine)
        case "normed_max_pool":
            pool: nn.Module = nn.MaxPool2d(operation.kernel, stride, operation.kernel // 2)
            return _normed_relu([pool], channels, affine)
        case "normed_avg_pool":
            pool = nn.AvgPool2d(operation.kernel, stride, operation.kernel // 2)
            return _normed_relu([pool], channels, affine)
        case "inverted":
            sizes = (channels, outputs or channels, operation.kernel, stride, operation.ratio)
            return Inverted(*sizes, affine)
        case "noise":
            return Noise(stride)
        case "none":
            return Zero(stride)
        case "activation":
            raise RaynasError(f"{name} belongs in recurrent cells only")
        case family:
            build = load_dotted(FAMILIES[family].plain, f"the family {family} of operations")
            module: nn.Module = build(operation, channels, stride, affine)
            return module
