"""One image file as 8-bit colour: scaled rightly from whatever Pillow reads, or refused with its mode."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raynas.data.boxes import around_centre, boxes
from raynas.errors import RaynasError, short

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 100_000_000
"""Of one file; more is a scan or an attack, and decodes to 300 MB."""

MOST_BAD = 12
"""Bad files that are told together: whoever repairs or deletes files wants to do it once."""

_AS_THEY_ARE = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"})
_WITH_ALPHA = frozenset({"LA", "PA", "RGBA"})
_ORIENTATION = 0x0112
"""The tag of a photograph that says how the camera was held; 5 to 8 lie on their side."""


def open_image(path: Path) -> "Image.Image":
    """Open an image file and read its header; raises `RaynasError` naming a file that is not an image."""
    from PIL import Image

    try:
        image = Image.open(path)
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise unreadable(path, error) from error
    if image.width * image.height > MOST_PIXELS:
        raise RaynasError(
            f"the image {path} is too large",
            got=f"{image.width}×{image.height} pixels",
            expected=f"at most {MOST_PIXELS:,} pixels",
            next_step="scale or delete the file",
        )
    return image


def turned(image: "Image.Image", path: Path) -> tuple[int, int]:
    """Return width and height of an image as it is looked at, its orientation tag obeyed.

    Raises `RaynasError` naming a file whose tags cannot be read; a PNG's may come after its pixels.
    """
    try:
        lying = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except Exception as error:
        raise unreadable(path, error) from error
    return (image.height, image.width) if lying else image.size


def to_colour(image: "Image.Image", path: Path) -> "Image.Image":
    """Decode an image to RGB of 8 bits, upright.

    Greys of 16 bits are divided by 257, so that white stays white. An alpha channel goes where every pixel
    is opaque. Raises `RaynasError` naming file and mode for transparent pixels, whose colour nobody sees,
    and for numbers without a known white (32-bit integers, floats, Lab).
    """
    from PIL import Image, ImageOps

    try:
        image.load()
        if image.mode.startswith("I") and (image.mode != "I" or image.format in ("PNG", "PPM")):
            # PNG and PGM of 16 bits; older versions of Pillow read them into 32.
            grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
            image = _like(image, Image.fromarray(np.rint(grey / 257).astype(np.uint8)))
        elif image.mode in _WITH_ALPHA or "transparency" in image.info:
            if image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
                raise _refused(path, image, "transparent pixels", "flatten it onto a background")
        elif image.mode not in _AS_THEY_ARE:
            raise _refused(
                path, image, "no known white", "save it with 8 or 16 bits, or use a module:function"
            )
        upright = ImageOps.exif_transpose(image)
        return upright.convert("RGB")
    except RaynasError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def fitted(image: "Image.Image", size: tuple[int, int], kept: float | None = None) -> "Image.Image":
    """Return an image scaled until it covers ``size`` (height, width) and cropped at the centre.

    With ``kept`` it is scaled further, until the crop has this share of the tighter side, and rounded as
    torchvision's Resize and CenterCrop round.
    """
    from PIL import Image, ImageOps

    height, width = size
    if kept is None:
        return ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    tall, wide = around_centre(image.height, image.width, size, kept)
    top, left = round((tall - height) / 2), round((wide - width) / 2)
    scaled = image.resize((wide, tall), Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + width, top + height))


def cut_out(image: "Image.Image", part: NDArray[np.float32], size: tuple[int, int]) -> "Image.Image":
    """Return the part of an image that random numbers [NUMBERS] choose, at ``size`` (height, width)."""
    from PIL import Image

    [[top, left, tall, wide]] = boxes(part[None], image.height, image.width).tolist()
    piece = image.crop((left, top, left + wide, top + tall))
    return piece.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _like(image: "Image.Image", other: "Image.Image") -> "Image.Image":
    """Give another image the orientation tag of the first."""
    if (turn := image.getexif().get(_ORIENTATION)) is not None:
        other.getexif()[_ORIENTATION] = turn
    return other


def unreadable(path: Path | str, error: Exception) -> RaynasError:
    """Return the error of a file that cannot be read as an image."""
    return RaynasError(
        f"cannot read the image {path}",
        got=short(f"{type(error).__name__}: {error}", 200),
        next_step="check the path" if isinstance(error, FileNotFoundError) else "fix or delete the file",
    )


class BadImages(RaynasError):
    """Several files that cannot be read, told together; ``errors`` has the one of each."""

    errors: tuple[RaynasError, ...] = ()


def together(errors: Iterable[RaynasError]) -> RaynasError:
    """Return one error for those of several files; the first alone where they say the same of the folder."""
    each = [one for error in errors for one in (error.errors if isinstance(error, BadImages) else [error])]
    if len({one.what for one in each}) == 1:
        return each[0]
    bad = BadImages(
        f"{'at least ' if len(each) >= MOST_BAD else ''}{len(each)} images of the folder cannot be used",
        got=f"\n{' ' * 12}".join(sorted(f"{one.what}: {one.got}" for one in each)),
        next_step="fix or delete the files",
    )
    bad.errors = tuple(each)
    return bad


def _refused(path: Path, image: "Image.Image", why: str, step: str) -> RaynasError:
    return RaynasError(
        f"the image {path} cannot be read as 8-bit colour without guessing",
        got=f"{why} (mode {image.mode}, {image.format})",
        expected="gray or colour of 8 bits, or gray of 16",
        next_step=step,
    )
