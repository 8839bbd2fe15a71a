"""Which part of an image is looked at: random ones to train on, the centre to test on."""

import numpy as np
from numpy.typing import NDArray

AREA = (0.08, 1.0)
"""Part of an image's area that a crop has, least and most (torchvision, RandomResizedCrop)."""

RATIO = (3 / 4, 4 / 3)
"""Width over height of a crop, least and most."""

TRIES = 10
NUMBERS = 2 * TRIES + 2
"""Random numbers of one image: area and ratio of each try, then the crop's place."""


def boxes(numbers: NDArray[np.float32], height: int, width: int) -> NDArray[np.int64]:
    """Return top, left, height and width [b, 4] of crops from images of one size.

    ``numbers`` [b, NUMBERS] are uniform in [0, 1). As torchvision's RandomResizedCrop.get_params: the first
    try that fits into the image counts; where none does, the largest centred part of an allowed ratio.
    """
    uniform = numbers.astype(np.float64)
    areas, ratios = uniform[:, :TRIES], uniform[:, TRIES : 2 * TRIES]
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * areas)
    low, high = np.log(RATIO)
    ratio = np.exp(low + (high - low) * ratios)
    heights, widths = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    chosen = np.arange(len(uniform)), fits.argmax(1)
    tops, lefts = (
        uniform[:, -2] * (height - heights[chosen] + 1),
        uniform[:, -1] * (width - widths[chosen] + 1),
    )
    found = np.stack([np.floor(tops), np.floor(lefts), heights[chosen], widths[chosen]], 1).astype(np.int64)
    found[~fits.any(1)] = _central(height, width)
    return found


def _central(height: int, width: int) -> tuple[int, int, int, int]:
    tall, wide = height, width
    if width / height < RATIO[0]:
        tall = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        wide = round(height * RATIO[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def around_centre(height: int, width: int, size: tuple[int, int], kept: float) -> tuple[int, int]:
    """Return the size (height, width) to which an image is scaled before ``size`` is cut from its centre.

    ``kept`` is the share of the tighter side that is then seen: with 224 of 256 pixels as torchvision's
    Resize(256).
    """
    tall, wide = (round(side / kept) for side in size)
    if tall * width <= wide * height:
        return int(wide * height / width), wide
    return tall, int(tall * width / height)
