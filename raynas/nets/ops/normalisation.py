"""Batch normalisation with the batch's own statistics, cheap to differentiate twice.

PyTorch's own second derivative of it is a composite of some forty elementwise kernels. Here both derivatives
are closed forms of a few passes over the feature map. Per channel of n numbers, with x̂ = (x − mean)·r,
r = 1/√(variance + ε) and P(d) = d − mean(d) − x̂·mean(d·x̂):

    first     for the gradient δ of the output: ∂x = w·r·P(δ), ∂w = Σ δ·x̂, ∂b = Σ δ
    second    for the gradients u, s, t of those three, with a = mean(u·x̂), b = mean(δ·x̂), q = mean(u·P(δ)):
              ∂δ = w·r·P(u) + s·x̂ + t, ∂w = n·r·q, ∂x = r·P(s·δ − w·r·(a·δ + b·u)) − w·r²·q·x̂
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

MOMENTUM = 0.1
"""PyTorch's, and so that of DARTS' code: a batch's share of the running statistics."""
EPSILON = 1e-5
"""PyTorch's; skeletons whose source has another say so."""


def normalise_twice(
    x: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    epsilon: float = EPSILON,
) -> Tensor:
    """Normalise ``x`` [N, C, H, W] as `torch.nn.functional.batch_norm` does in training.

    For passes whose gradient will itself be differentiated, once. The running ``mean`` and ``variance`` [C],
    if given, are moved towards the batch's; ``scale`` and ``shift`` hold C numbers.
    """
    out: Tensor = _Normalise.apply(x, scale, shift, mean, variance, epsilon)
    return out


class _Normalise(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor | None,
        shift: Tensor | None,
        running_mean: Tensor | None,
        running_variance: Tensor | None,
        epsilon: float,
    ) -> Tensor:
        out, mean, inverse = torch.native_batch_norm(
            x, scale, shift, running_mean, running_variance, True, MOMENTUM, epsilon
        )
        ctx.save_for_backward(x, scale, mean, inverse)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, scale, mean, inverse = ctx.saved_tensors
        found = _Gradient.apply(gradient, x, scale, mean, inverse)
        wanted = (each if need else None for each, need in zip(found, ctx.needs_input_grad, strict=False))
        return *wanted, None, None, None


class _Gradient(Function):
    """The first derivative, as a function of the output's gradient, the input and the scale.

    That mean and deviation depend on the input is accounted for in the input's derivative.
    """

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, scale: Tensor | None, mean: Tensor, inverse: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # else absent ones were zeros, one a map as large as x
        gradient = _laid_out(gradient, x)
        found = _derivative(gradient, x, scale, mean, inverse, ctx.needs_input_grad[1])
        ctx.save_for_backward(gradient, x, scale, mean, inverse, *found[1:])
        # Filled by the first backward pass, which may be followed by many through the same graph.
        ctx.table = None
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor | None, s: Tensor | None, t: Tensor | None) -> Any:
        gradient, x, scale, mean, inverse, of_scale, of_shift = ctx.saved_tensors
        _, needs_x, needs_scale, *_ = ctx.needs_input_grad
        if ctx.table is None:  # once for the 17 products with one Hessian that a measurement takes on average
            ctx.table = _table(x.numel() // x.shape[1], scale, mean, inverse, of_scale, of_shift)
        table, by_u, by_u_in_x, zero = ctx.table
        s, t = zero if s is None else s, zero if t is None else t
        if u is None and not needs_x:
            return _mix(t - s * inverse * mean, (x, s * inverse)), None, None, None, None
        u = torch.zeros_like(x) if u is None else _laid_out(u, x)
        _, normal, total = _derivative(u, x, None, mean, inverse, False)
        both = (u * gradient).sum((0, 2, 3), dtype=mean.dtype)
        numbers = (table * torch.stack([normal, total, both, s, t])).sum(1)
        k, by_x, constant, constant_in_x, along_scale = numbers.unbind()
        return (
            _mix(constant, (u, by_u), (x, k)),
            _mix(constant_in_x, (gradient, k), (u, by_u_in_x), (x, by_x)) if needs_x else None,
            along_scale if needs_scale else None,
            None,
            None,
        )


def _table(
    count: int, scale: Tensor | None, mean: Tensor, inverse: Tensor, of_scale: Tensor, of_shift: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what turns u, s and t into the second derivative, per channel.

    The factors of x and δ, the constants and ∂w are linear in Σ u·x̂, Σ u, Σ u·δ, s and t: the first result
    holds their coefficients, [5 wanted, 5 given, C]. The others are the factors of u in ∂δ and ∂x, and zeros.
    """
    zero, r = torch.zeros_like(mean), inverse
    b, g = of_scale / count, of_shift / count
    wr = (r if scale is None else r * scale) / count
    one, u_in_x = torch.ones_like(mean), -wr * r * b * count
    k = torch.stack([-wr * r, zero, zero, r, zero])
    along_scale = torch.stack([-r * b, -r * g, r, zero, zero])
    by_x = torch.stack([2 * wr * r * r * b, zero, zero, -r * r * b, zero]) - wr * r * along_scale
    constant = torch.stack([zero, -wr, zero, zero, one]) - mean * k
    constant_in_x = -g * k - mean * by_x
    # u enters ∂x through P, which takes its mean off: Σ u/n times u's own factor.
    constant_in_x[1] -= u_in_x / count
    table = torch.stack([k, by_x, constant, constant_in_x, along_scale])
    return table, wr * count, u_in_x, zero


def _derivative(
    gradient: Tensor, x: Tensor, scale: Tensor | None, mean: Tensor, inverse: Tensor, of_x: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return ∂x (undefined unless ``of_x``), ∂w and ∂b."""
    # In training ε is in `inverse` and nowhere else, so its value here does not matter.
    weight = torch.ones_like(mean) if scale is None else scale  # CUDA sums for ∂w and ∂b only if there is one
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.native_batch_norm_backward(
        gradient, x, weight, None, None, mean, inverse, True, EPSILON, [of_x, True, True]
    )
    return found


def _mix(constant: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return constant + Σ coefficient·tensor; constant and coefficients hold one number per channel."""
    (first, coefficient), *rest = terms
    mixed = torch.addcmul(_wide(constant), first, _wide(coefficient))
    for tensor, coefficient in rest:
        mixed.addcmul_(tensor, _wide(coefficient))
    return mixed


def _wide(numbers: Tensor) -> Tensor:
    return numbers.view(1, -1, 1, 1)


def _laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """Return ``tensor`` in the memory format of ``like``; kernels are several times slower on mixed ones."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    return tensor.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
