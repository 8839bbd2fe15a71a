"""Image folders: listing the files of every class, and decoding them at one size."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raynas.cpus import whole_cpus
from raynas.data.pixels import (
    MOST_BAD,
    cut_out,
    fitted,
    open_image,
    to_colour,
    together,
    turned,
    unreadable,
)
from raynas.data.tree import class_folders, image_files
from raynas.errors import RaynasError

_CHUNK = 256
"""Images a thread decodes before it takes the next task."""


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images left on disk: ``len(names)`` files below ``root``, read as colour at ``size`` (height, width).

    ``names`` are relative paths as a fixed-width bytes array and ``file_bytes`` their sizes, so that a
    million of them travel between processes without a copy. With ``fit``, a file of another size is scaled
    until it covers ``size`` and cropped at the centre; without, it is an error. With ``kept`` that crop is
    tighter: it has this share of the image's shorter side.
    """

    root: str
    names: NDArray[np.bytes_]
    file_bytes: NDArray[np.int64]
    size: tuple[int, int]
    fit: bool
    kept: float | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Images, height, width, channels: what a resident array would have as its shape."""
        return (len(self.names), *self.size, 3)

    def __getitem__(self, index: NDArray[np.int64] | slice) -> "ImageFiles":
        return replace(self, names=self.names[index], file_bytes=self.file_bytes[index])

    def path(self, index: int) -> Path:
        """Return the file of one image."""
        return Path(self.root, os.fsdecode(bytes(self.names[index])))

    def decode(self, parts: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
        """Decode all of them, here and now: uint8 [n, H, W, 3]; raises `RaynasError` naming a bad file.

        With ``parts`` [n, NUMBERS] it is the part of each that these numbers choose (`raynas.data.boxes`).
        """
        out = np.empty(self.shape, np.uint8)
        for index in range(len(self)):
            self._decode_into(out[index], self.path(index), None if parts is None else parts[index])
        return out

    def decode_in_threads(self) -> NDArray[np.uint8]:
        """Decode all of them on every core, as `decode` does; the error names all bad files."""
        out = np.empty(self.shape, np.uint8)
        _in_threads(lambda index: self._decode_into(out[index], self.path(index)), len(self))
        return out

    def check_sizes(self) -> None:
        """Read every file's header; raises `RaynasError` naming the first file that is not of ``size``."""

        def check(index: int) -> None:
            with open_image(self.path(index)) as image:
                self._check_size(turned(image, self.path(index)), self.path(index))

        if not self.fit:
            _in_threads(check, len(self))

    def _decode_into(
        self, out: NDArray[np.uint8], path: Path, part: NDArray[np.float32] | None = None
    ) -> None:
        height, width = self.size
        with open_image(path) as image:
            colour = to_colour(image, path)
        if not self.fit:
            self._check_size(colour.size, path)
        if part is not None:
            colour = cut_out(colour, part, self.size)
        elif self.kept is not None or colour.size != (width, height):
            colour = fitted(colour, self.size, self.kept)
        out[:] = np.asarray(colour)

    def _check_size(self, size: tuple[int, int], path: Path) -> None:
        height, width = self.size
        if size != (width, height):
            raise RaynasError(
                "the images of the folder differ in size",
                got=f"{size[0]}×{size[1]} pixels in {path}",
                expected=f"{width}×{height}, as the first image has",
                next_step="set data.size to resize and crop them all",
            )


def list_images(folder: Path, classes: list[str]) -> tuple[list[Path], NDArray[np.int64]]:
    """List the image files of the class sub-folders of ``folder``, and their labels int64 [n].

    Files are ordered by class, then path; a label is the class' place in ``classes``.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for class_folder in class_folders(folder):
        found = list(image_files(class_folder))
        paths += found
        labels += [classes.index(class_folder.name)] * len(found)
    return paths, np.array(labels, np.int64)


def image_files_of(
    folder: Path,
    paths: list[Path],
    size: int | None,
    like: ImageFiles | None = None,
    kept: float | None = None,
) -> ImageFiles:
    """Collect ``paths`` below ``folder`` at ``size`` pixels per side, or as large as ``like`` or the first.

    ``kept`` is the share of a side that is seen where no part is drawn. Raises `RaynasError` for a first file
    that cannot be read.
    """
    if like is not None:
        target = like.size
    elif size is not None:
        target = (size, size)
    else:
        with open_image(paths[0]) as image:
            width, height = turned(image, paths[0])
            target = (height, width)
    names = np.array([os.fsencode(path.relative_to(folder)) for path in paths])
    try:
        sizes = np.array([path.stat().st_size for path in paths], np.int64)
    except OSError as error:  # gone since it was listed
        raise unreadable(error.filename, error) from None
    return ImageFiles(str(folder.absolute()), names, sizes, target, size is not None, kept)


def _in_threads(task: Callable[[int], None], count: int) -> None:
    """Do a task for each of ``count`` images, on every core; raises what `together` makes of its errors."""
    failed: list[RaynasError] = []

    def some(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            if len(failed) >= MOST_BAD:
                return
            try:
                task(index)
            except RaynasError as error:
                failed.append(error)

    # Pillow lets go of the interpreter lock while it decodes, so threads are enough.
    with ThreadPoolExecutor(whole_cpus()) as pool:
        list(pool.map(some, range(0, count, _CHUNK)))
    if failed:
        raise together(failed)
