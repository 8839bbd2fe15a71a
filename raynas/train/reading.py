"""Image files as a trained network reads them: each by itself, so that a bad one hides no other."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raynas.cpus import whole_cpus
from raynas.data.pixels import fitted, open_image, to_colour
from raynas.data.tree import image_files
from raynas.errors import RaynasError
from raynas.train.deployed import Deployed, Prediction


@dataclass(frozen=True)
class Told:
    """What a network says of one file, or why it says nothing."""

    path: Path
    prediction: Prediction | None = None
    problem: RaynasError | None = None


def predict_files(
    deployed: Deployed, places: Iterable[Path], *, fit: bool = False, batch: int = 256
) -> Iterator[Told]:
    """Yield what a network says of every file, in order; of a folder, of the images anywhere below it.

    Files are read as training reads folders (8 bits, upright), gray where the network takes one channel. With
    ``fit`` those of another size are scaled to cover the network's and cropped at the centre (as its tests
    were, where it was trained on random parts: then all are); without, and where a file cannot be read, its
    problem is told and the others go on. At most ``batch`` images are in memory.
    Raises `RaynasError` for a network of texts.
    """
    shape = deployed.card.image_shape()
    found = _listed(places)
    with ThreadPoolExecutor(whole_cpus()) as pool:
        while chunk := list(islice(found, batch)):
            read = pool.map(lambda told: _read(told, shape, deployed.card.kept, fit), chunk)
            yield from _answered(deployed, chunk, list(read))


def _listed(places: Iterable[Path]) -> Iterator[Told]:
    for place in places:
        if not place.is_dir():
            yield Told(place)
            continue
        amiss: list[RaynasError] = []
        count = 0
        for path in image_files(place, amiss.append):
            yield Told(path)
            count += 1
        yield from (Told(place, problem=error) for error in amiss)
        if not count and not amiss:
            yield Told(place, problem=RaynasError(f"no images in {place}"))


def _read(
    told: Told, shape: tuple[int, int, int], kept: float | None, fit: bool
) -> NDArray[np.uint8] | RaynasError:
    """Return one image uint8 [H, W, C], or what is wrong with it."""
    if told.problem is not None:
        return told.problem
    try:
        return read_image(told.path, shape, fit=fit, kept=kept)
    except RaynasError as error:
        return error


def read_image(
    path: Path, shape: tuple[int, int, int], *, fit: bool = False, kept: float | None = None
) -> NDArray[np.uint8]:
    """Return an image file as uint8 [H, W, C] for a network that takes ``shape`` (channels, height, width).

    With ``fit`` it is scaled and cropped at the centre, to a share ``kept`` of its shorter side. Raises
    `RaynasError` for a file that cannot be read, and without ``fit`` for one of another size.
    """
    channels, height, width = shape
    with open_image(path) as image:
        colour = to_colour(image, path)
    if fit and kept is not None:
        colour = fitted(colour, (height, width), kept)
    elif colour.size != (width, height):
        if not fit:
            raise RaynasError(
                f"the image {path} does not fit the network",
                got=f"{colour.width}×{colour.height} pixels",
                expected=f"{width}×{height}",
                next_step="add `--fit` to scale and crop images at the centre",
            )
        colour = fitted(colour, (height, width))
    if channels == 1:
        return np.asarray(colour.convert("L"))[..., None]
    return np.asarray(colour)


def _answered(
    deployed: Deployed, chunk: Sequence[Told], read: Sequence[NDArray[np.uint8] | RaynasError]
) -> Iterator[Told]:
    pixels = [each for each in read if not isinstance(each, RaynasError)]
    predictions = iter(deployed.predict(np.stack(pixels), len(chunk)) if pixels else ())
    for told, each in zip(chunk, read, strict=True):
        if isinstance(each, RaynasError):
            yield Told(told.path, problem=each)
        else:
            yield Told(told.path, next(predictions))
