"""Augmentation of whole batches on the device: random crop, mirroring, colours, cutout, normalisation.

The random numbers are drawn on the CPU, a row per image, so that they are the same on every device and
wherever the images come from.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_zeros

from raynas.config import DataConfig
from raynas.data import boxes, jitter
from raynas.data.catalogue import ImageRecipe
from raynas.data.jitter import Jitter

TOP, LEFT, MIRRORED, ROW, COLUMN = range(5)
"""Columns of the draws: crop offset, whether mirrored, centre of the cutout."""

NUMBERS = boxes.NUMBERS + jitter.NUMBERS
"""Columns of what is drawn besides: a resized crop's, then those of colours."""

_NONE = Jitter()


@dataclass(frozen=True)
class Augment:
    """Crop after padding ``pad`` zero pixels per side, mirror half of them, blank squares of ``cutout``.

    With ``resized`` a random part is scaled to an image's size instead of that crop, and ``jitter`` changes
    colours.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    resized: bool = False
    jitter: Jitter = _NONE

    @classmethod
    def of(cls, recipe: ImageRecipe, config: DataConfig, jitter: Jitter = _NONE) -> "Augment | None":
        """Return what ``config`` asks of a data set with this recipe; None when that is nothing."""
        pad, flip, resized = recipe.pad, recipe.flip, config.kept is not None
        if not config.augment:
            pad, flip, resized, jitter = 0, False, False, _NONE
        augment = cls(0 if resized else pad, flip, config.cutout, resized, jitter)
        return None if augment == cls() else augment

    def draw(
        self, count: int, height: int, width: int, generator: torch.Generator, chance: float = 1.0
    ) -> Tensor:
        """Draw the numbers of ``count`` images: int64 [count, 5], on the CPU.

        Every column is drawn whatever is switched on, so that switching on one does not change the others.
        Below a ``chance`` of 1 each image gets its cutout with that chance; all others have it out of sight.
        """
        limits = (2 * self.pad + 1, 2 * self.pad + 1, 2, height, width)
        drawn = torch.stack([torch.randint(limit, (count,), generator=generator) for limit in limits], dim=1)
        if self.cutout and chance < 1:
            spared = torch.rand(count, generator=generator) >= chance
            drawn[spared, ROW] = height + self.cutout
        return drawn

    def draw_more(self, count: int, generator: torch.Generator) -> Tensor | None:
        """Draw what a resized crop and colours take: float32 [count, NUMBERS] in [0, 1), on the CPU.

        All is drawn if either is switched on, and nothing if none is.
        """
        if not self.resized and self.jitter == _NONE:
            return None
        return torch.rand(count, NUMBERS, generator=generator)

    def move(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Crop and mirror the pixels [b, C, H, W], of any type, before they are normalised."""
        if not (self.pad or self.flip):
            return pixels
        mirrored = draws[:, MIRRORED] if self.flip else None
        return crop(pixels, self.pad, draws[:, TOP], draws[:, LEFT], mirrored)

    def recolour(self, pixels: Tensor, more: Tensor | None) -> Tensor:
        """Change the colours of pixels uint8 [b, C, H, W] by their numbers [b, NUMBERS]."""
        if more is None or self.jitter == _NONE:
            return pixels
        return self.jitter(pixels, more[:, boxes.NUMBERS :])

    def blank(self, images: Tensor, draws: Tensor) -> Tensor:
        """Cut the square out of normalised images [b, C, H, W]."""
        return cutout(images, self.cutout, draws[:, ROW], draws[:, COLUMN]) if self.cutout else images


def crop(pixels: Tensor, pad: int, top: Tensor, left: Tensor, mirrored: Tensor | None = None) -> Tensor:
    """Cut [b, C, H, W] out of itself with ``pad`` zeros a side; ``top``, ``left`` int64 [b] in 0..2·pad.

    What is cut out is then mirrored left to right where ``mirrored`` int64 [b] is 1.
    """
    count, _, height, width = pixels.shape
    rows = torch.arange(count, device=pixels.device)
    if mirrored is not None:
        # The mirror images go below the images, so that one indexing does both: on a CPU this is twice as
        # fast as choosing between two crops with torch.where.
        pixels = torch.cat([pixels, pixels.flip(3)])
        rows = rows + count * mirrored
        left = torch.where(mirrored.bool(), 2 * pad - left, left)
    padded = pad_zeros(pixels, (pad, pad, pad, pad))
    return padded.unfold(2, height, 1).unfold(3, width, 1)[rows, :, top, left]


def cutout(images: Tensor, side: int, row: Tensor, column: Tensor) -> Tensor:
    """Set to zero a square of ``side`` pixels around (row, column) [b], clipped at the borders.

    Source: DeVries and Taylor 2017, as in the code of Liu et al. 2019.
    """

    def inside(length: int, centre: Tensor) -> Tensor:
        offset = torch.arange(length, device=images.device) - (centre[:, None] - side // 2)
        return (offset >= 0) & (offset < side)

    rows, columns = inside(images.shape[2], row), inside(images.shape[3], column)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def normalise_pixels(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (pixels − mean) / std of uint8 [b, C, H, W].

    ``mean`` and ``std``, [C, 1, 1] or larger, are on the scale of the pixels, 0..255; the result has their
    type.
    """
    return pixels.to(mean.dtype).sub_(mean).div_(std)
