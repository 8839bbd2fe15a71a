"""Tensors of all lanes as one matrix [lanes, numbers]; optimisers and norms work on those.

One matrix makes a per-search learning rate or clip a column of numbers, and an update a handful of kernels
instead of a few per tensor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """Return [lanes, numbers] from tensors that each lead with the lanes."""
    return torch.cat([tensor.flatten(1) for tensor in tensors], 1)


def unflatten(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Cut [lanes, numbers] into tensors shaped as ``like``."""
    pieces = torch.split(flat, [tensor.numel() // len(tensor) for tensor in like], 1)
    return [piece.reshape(tensor.shape) for piece, tensor in zip(pieces, like, strict=True)]


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """Return one number per lane as [lanes, 1], to be broadcast over a flat matrix."""
    return torch.tensor(values, dtype=like.dtype, device=like.device).unsqueeze(1)
