"""Colour jitter of whole batches: brightness, contrast, saturation and hue, in an order drawn per image."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

NUMBERS = 8
"""Random numbers of one image: a factor of each change, then what their order is by."""

_GRAY = (0.2989, 0.587, 0.114)
_UP = 255.999
"""What torchvision multiplies by where it makes bytes of 0..1, and cuts off."""


class Jitter(NamedTuple):
    """How far each is changed at most: a factor in 1 ± strength, or a turn of ± strength of the hue."""

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(self, pixels: Tensor, uniform: Tensor) -> Tensor:
        """Return pixels uint8 [b, C, H, W] changed by numbers [b, NUMBERS] in [0, 1), on the CPU.

        With equal factors and orders these are torchvision's ColorJitter's (0.29, its functions of uint8
        tensors), image by image. Gray images have neither saturation nor hue.
        """
        order = uniform[:, 4:].argsort(1)
        changed = pixels.float()
        for place in range(4):
            for number, change in enumerate(_CHANGES):
                if not self[number] or (pixels.shape[1] == 1 and number > 1):
                    continue
                # Chosen on the CPU, where the order is known: no batch waits for the device.
                rows = (order[:, place] == number).nonzero()[:, 0]
                factors = self._factor(number, uniform[rows, number]).to(pixels.device)
                rows = rows.to(pixels.device)
                changed[rows] = change(changed[rows], factors.view(-1, 1, 1, 1))
        return changed.to(torch.uint8)

    def _factor(self, number: int, uniform: Tensor) -> Tensor:
        strength = self[number]
        low, high = (-strength, strength) if number == 3 else (max(0.0, 1 - strength), 1 + strength)
        return low + (high - low) * uniform


def _gray(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    red, green, blue = x.unbind(1)
    return (red * _GRAY[0] + green * _GRAY[1] + blue * _GRAY[2]).floor_().unsqueeze(1)


def _blend(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (x * factor + other * (1 - factor)).clamp_(0, 255).floor_()


def _brightness(x: Tensor, factor: Tensor) -> Tensor:
    return (x * factor).clamp_(0, 255).floor_()


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _gray(x).mean((1, 2, 3), keepdim=True), factor)


def _saturation(x: Tensor, factor: Tensor) -> Tensor:
    return _blend(x, _gray(x), factor)


def _hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of x [b, 3, H, W] in 0..255 by a share of the circle; grays have none and stay."""
    x = x / 255
    low, high = torch.aminmax(x, dim=1)
    spread = high - low
    red, green, blue = x.unbind(1)
    apart = torch.where(spread > 0, spread, 1)
    sixth = torch.where(
        high == red,
        (green - blue) / apart,
        torch.where(high == green, (blue - red) / apart + 2, (red - green) / apart + 4),
    )
    sixth = (sixth / 6 + turn[:, 0]).remainder_(1).mul_(6)
    # Red, green and blue are one wave over the circle, a third apart (Smith 1978, written without cases).
    found = [
        high - spread * torch.minimum(k, 4 - k).clamp(0, 1)
        for k in ((start + sixth).remainder(6) for start in (5, 3, 1))
    ]
    return (torch.stack(found, 1) * _UP).floor_()


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_brightness, _contrast, _saturation, _hue)
