"""Random resized crops of whole batches on their device."""

import torch
from torch import Tensor

from raynas.data.boxes import boxes

_CHUNK = 64
"""Images that are scaled at once: the weights of one of 256 pixels a side take half a MiB."""


def places(uniform: Tensor, height: int, width: int) -> Tensor:
    """Return `boxes` of random numbers [b, NUMBERS] as a tensor int64 [b, 4]."""
    return torch.from_numpy(boxes(uniform.numpy(), height, width))


def resample(pixels: Tensor, parts: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a part of each image uint8 [b, C, H, W], top, left, height and width [b, 4], at ``size``.

    Antialiased bilinear, as Pillow scales a crop, here for a whole batch on its device. Pillow rounds between
    columns and rows as well: a fifth of the values is one level apart, none is two.
    """
    each = zip(torch.split(pixels, _CHUNK), torch.split(parts, _CHUNK), strict=True)
    return torch.cat([_resample(images, part, size) for images, part in each])


def _resample(pixels: Tensor, parts: Tensor, size: tuple[int, int]) -> Tensor:
    top, left, height, width = parts.to(pixels.device, torch.float32).unbind(1)
    columns = _weights(left, width, pixels.shape[3], size[1]).mT[:, None]
    rows = _weights(top, height, pixels.shape[2], size[0])[:, None]
    return (rows @ (pixels.float() @ columns)).add_(0.5).clamp_(0, 255).to(torch.uint8)


def _weights(start: Tensor, length: Tensor, full: int, size: int) -> Tensor:
    """Return how much each of ``full`` pixels counts in each of ``size`` [b, size, full]; rows sum to 1."""
    scale = (length / size)[:, None, None]
    centre = (torch.arange(size, device=start.device)[:, None] + 0.5) * scale
    place = torch.arange(full, device=start.device) - start[:, None, None] + 0.5
    weights = (1 - (place - centre).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights = weights * ((place > 0) & (place < length[:, None, None]))
    return weights / weights.sum(2, keepdim=True)
