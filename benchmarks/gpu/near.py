"""How far two results are apart: one number for tensors, outputs with all their gradients included."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

SMALL = 1e-3
"""A tensor whose largest entry is below this part of the largest of all is compared with that part instead:
what is 0 but for rounding has no relative error."""


def apart(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return the largest difference of equal-shaped tensors, relative to each one's own largest entry.

    NaN anywhere gives NaN, so that it meets no target.
    """
    pairs = [
        (a.detach().double().cpu(), b.detach().double().cpu())
        for a, b in zip(ours, theirs, strict=True)
        if a.numel()
    ]
    if not all(bool(tensor.isfinite().all()) for pair in pairs for tensor in pair):
        return float("nan")
    sizes = [float(b.abs().max()) for _, b in pairs]
    floor = max(SMALL * max(sizes, default=0.0), torch.finfo(torch.float64).tiny)
    return max(
        (float((a - b).abs().max()) / max(size, floor) for (a, b), size in zip(pairs, sizes, strict=True)),
        default=0.0,
    )


def gradients(loss: Tensor, net: nn.Module, more: Iterable[Tensor] = ()) -> list[Tensor]:
    """Return the gradients of a scalar in a network's parameters and in ``more``."""
    wanted = [*net.parameters(), *more]
    return list(torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True))


def short(problem: Exception) -> str:
    """Return an exception as one line of a table."""
    first = str(problem).strip().splitlines() or [""]
    return f"{type(problem).__name__}: {first[0][:140]}".replace("|", "/")
