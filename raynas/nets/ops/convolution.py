"""Convolution that is cheap to differentiate twice.

PyTorch's own second derivative of a grouped convolution loops over the groups. A convolution is linear in its
input and in its weight, so its derivatives are convolutions again: with C(x, w) the convolution, I(g, w) its
input gradient and W(g, x) its weight gradient, those of I are C(·, w) and W(g, ·), those of W are C(x, ·) and
I(g, ·). Three functions that name each other close the circle, each one fast kernel.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

Sides = int | tuple[int, int]
"""One number for height and width, or one for each."""


class Geometry(NamedTuple):
    """The numbers of a convolution, and whether the second differentiation may ask for the weight."""

    stride: Sides
    padding: Sides
    dilation: Sides
    groups: int
    weight_twice: bool

    @property
    def weight_wanted(self) -> bool:
        """Tell, in a backward pass, whether it should reach the weight.

        Autograd tells a function which inputs have a gradient, not which are asked for, and only the last
        differentiation runs with gradients disabled.
        """
        return self.weight_twice or torch.is_grad_enabled()


def convolve_twice(
    x: Tensor,
    weight: Tensor,
    stride: Sides = 1,
    padding: Sides = 0,
    dilation: Sides = 1,
    groups: int = 1,
    weight_twice: bool = True,
) -> Tensor:
    """Convolve as `torch.conv2d` does, for passes whose gradient will itself be differentiated.

    ``x`` is [N, inputs, H, W], ``weight`` [outputs, inputs/groups, k, k], the result [N, outputs, H', W'].

    With ``weight_twice`` False the second differentiation does not reach the weight, which halves its work:
    the gradient in the weight must then be taken with ``create_graph`` and differentiated in other tensors.
    """
    geometry = Geometry(stride, padding, dilation, groups, weight_twice)
    out: Tensor = _Convolution.apply(x, weight, geometry)
    return out


def _derivative(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry, which: int) -> Tensor:
    """Return the gradient of the input (``which`` 0) or of the weight (1)."""
    stride, padding, dilation = ([n, n] if isinstance(n, int) else list(n) for n in geometry[:3])
    # Each of the two gradients costs about a forward pass, so only the one that is asked for is computed.
    mask = [which == 0, which == 1, False]
    both = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, [0, 0], geometry.groups, mask
    )
    found: Tensor = both[which]
    return found


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return torch.conv2d(x, weight, None, *geometry[:4])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        return (
            _InputGradient.apply(gradient, weight, x, ctx.geometry) if needs_x else None,
            _WeightGradient.apply(gradient, x, weight, ctx.geometry)
            if needs_weight and ctx.geometry.weight_wanted
            else None,
            None,
        )


class _InputGradient(Function):
    """I(g, w); of ``x`` only shape and memory format are used."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weight: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _derivative(gradient, x, weight, geometry, 0)

    @staticmethod
    def backward(ctx: Any, along: Tensor) -> Any:
        gradient, weight = ctx.saved_tensors
        needs_gradient, needs_weight, *_ = ctx.needs_input_grad
        return (
            _Convolution.apply(along, weight, ctx.geometry) if needs_gradient else None,
            _WeightGradient.apply(gradient, along, weight, ctx.geometry)
            if needs_weight and ctx.geometry.weight_wanted
            else None,
            None,
            None,
        )


class _WeightGradient(Function):
    """W(g, x); of ``weight`` only the shape is used."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.geometry = geometry
        return _derivative(gradient, x, weight, geometry, 1)

    @staticmethod
    def backward(ctx: Any, along: Tensor) -> Any:
        gradient, x = ctx.saved_tensors
        needs_gradient, needs_x, *_ = ctx.needs_input_grad
        return (
            _Convolution.apply(x, along, ctx.geometry) if needs_gradient else None,
            _InputGradient.apply(gradient, along, x, ctx.geometry) if needs_x else None,
            None,
            None,
        )
