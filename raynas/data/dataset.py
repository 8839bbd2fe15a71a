"""A data set in memory or on disk, the same for every trial of a sweep."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.data.catalogue import AS_THEY_ARE, ImageRecipe
from raynas.data.folder import ImageFiles
from raynas.errors import RaynasError, short

Pixels = NDArray[np.uint8] | ImageFiles
"""Images as one array uint8 [n, H, W, C], or as files that are decoded when they are needed."""

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels of a training set and, optionally, a test set.

    ``images`` are uint8 [n, H, W, C] or files; ``labels`` int64 [n] in 0..classes - 1; ``mean`` and ``std``
    one number per channel on the 0..1 scale. ``class_names`` are in the order of the labels, empty where they
    have no names. Arrays may be read-only and shared between processes: never write to them. Raises
    `RaynasError` for arrays that do not fit together.
    """

    name: str
    classes: int
    images: Pixels
    labels: NDArray[np.int64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: ImageRecipe = AS_THEY_ARE
    test_images: Pixels | None = None
    test_labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check(self.name, "training", self.images, self.labels, self.classes)
        if self.test_images is not None and self.test_labels is not None:
            _check(self.name, "test", self.test_images, self.test_labels, self.classes)
            if self.test_images.shape[1:] != self.images.shape[1:]:
                raise RaynasError(
                    f"the test images of {self.name} differ from the training images in shape",
                    got=self.test_images.shape[1:],
                    expected=self.images.shape[1:],
                )
        elif self.test_images is not None or self.test_labels is not None:
            raise RaynasError(f"{self.name} has test images or test labels but not both")
        if self.class_names and len(self.class_names) != self.classes:
            raise RaynasError(
                f"the class names of {self.name}", got=len(self.class_names), expected=f"{self.classes}"
            )
        channels = self.images.shape[3]
        if len(self.mean) != channels or len(self.std) != channels or min(self.std) <= 0:
            raise RaynasError(
                f"mean and std of {self.name} do not fit its images",
                got=f"mean {self.mean}, std {self.std}",
                expected=f"{channels} numbers each, one per channel, std above 0",
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    @property
    def tests(self) -> int:
        """How many test images there are."""
        return 0 if self.test_labels is None else len(self.test_labels)

    @property
    def streamed(self) -> bool:
        """Whether the training images stay on disk."""
        return isinstance(self.images, ImageFiles)

    def fingerprint(self) -> str:
        """Return a short hash of the content: labels and pixels, or labels, file names and file sizes."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        # Kept because it is asked for by every trial and travels with the pickled data set.
        digest = hashlib.sha256()
        for images, labels in ((self.images, self.labels), (self.test_images, self.test_labels)):
            if images is None or labels is None:
                continue
            content = (images.names, images.file_bytes) if isinstance(images, ImageFiles) else (images,)
            for array in (labels, *content):
                digest.update(f"{array.dtype}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
            digest.update(str(images.shape).encode())
        return digest.hexdigest()[:12]


def from_arrays(
    name: str,
    images: Any,
    labels: Any,
    *,
    classes: int | None = None,
    test: tuple[Any, Any] | None = None,
    recipe: ImageRecipe = AS_THEY_ARE,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Build a data set from arrays, for a ``module:function`` too.

    ``images`` are uint8, or floats in 0..1, [n, H, W, C] or [n, H, W]; ``labels`` integers [n]. Without
    ``classes`` every label from 0 to the largest must occur; without ``mean`` and ``std`` they are computed
    from ``images``. Raises `RaynasError` for anything else.
    """
    pixels, targets = to_pixels(name, images), _to_labels(name, labels)
    if classes is None:
        classes = _count_classes(name, targets)
    if not mean:
        mean, std = channel_statistics(chunks(pixels))
    tested = None if test is None else (to_pixels(name, test[0]), _to_labels(name, test[1]))
    tests, answers = tested or (None, None)
    return Dataset(name, classes, pixels, targets, mean, std, recipe, tests, answers, class_names)


def to_pixels(name: str, images: Any) -> NDArray[np.uint8]:
    """Return images as contiguous uint8 [n, H, W, C]; raises `RaynasError` when they cannot be that."""
    array = _as_array(f"images of {name}", images)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape:
        raise RaynasError(
            f"images of {name}", got=f"shape {array.shape}", expected="[n, H, W, C] or [n, H, W]"
        )
    # An array [n, 3, 32, 32] would be read as images of 3×32 pixels with 32 channels, and a search of it
    # runs.
    if array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise RaynasError(
            f"images of {name} seem to have their channels first",
            got=f"shape {array.shape}",
            expected="[n, H, W, C]",
            next_step="return images.transpose(0, 2, 3, 1), or images.permute(0, 2, 3, 1)",
        )
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 1):
            raise RaynasError(f"images of {name}", got=f"floats from {low} to {high}", expected="from 0 to 1")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise RaynasError(f"images of {name}", got=str(array.dtype), expected="uint8, or floats from 0 to 1")
    return np.ascontiguousarray(array, np.uint8)


def chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in pieces small enough for a pass in 64 bits."""
    for start in range(0, len(images), _CHUNK):
        yield images[start : start + _CHUNK]


def channel_statistics(pieces: Iterable[NDArray[np.uint8]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel on the 0..1 scale, exactly, over all pixels.

    A channel of one value has the deviation 1, so that dividing by it changes nothing.
    """
    counts: list[NDArray[np.int64]] = []
    for piece in pieces:
        found = [np.bincount(piece[..., c].ravel(), minlength=256) for c in range(piece.shape[3])]
        counts = [old + new for old, new in zip(counts, found, strict=True)] if counts else found
    # By counts of the 256 values: exact in any order, where sums of a million pixels in float32 depend on it.
    values = np.arange(256) / 255
    means, deviations = [], []
    for count in counts:
        mean = float(values @ count / count.sum())
        variance = float((values - mean) ** 2 @ count / count.sum())
        means.append(mean)
        deviations.append(variance**0.5 if np.count_nonzero(count) > 1 else 1.0)
    return tuple(means), tuple(deviations)


def _as_array(what: str, values: Any) -> NDArray[Any]:
    """Return what a user's function gave as an array; whatever keeps it from being one is told."""
    try:
        return np.asarray(values)
    except Exception as error:  # ragged lists, tensors with gradients or on a GPU
        raise RaynasError(
            f"{what} cannot become an array",
            got=f"{type(values).__name__}: {short(f'{error}', 200)}",
            expected="a NumPy array, or what NumPy makes one of",
            next_step="of a tensor return tensor.detach().cpu().numpy()",
        ) from error


def _to_labels(name: str, labels: Any) -> NDArray[np.int64]:
    array = _as_array(f"labels of {name}", labels)
    if array.dtype.kind not in "iu":
        raise RaynasError(f"labels of {name}", got=str(array.dtype), expected="integers")
    return array.astype(np.int64, copy=False)


def _count_classes(name: str, labels: NDArray[np.int64]) -> int:
    present = np.unique(labels)
    if len(present) < 2 or not np.array_equal(present, np.arange(len(present))):
        raise RaynasError(
            f"labels of {name}",
            got=", ".join(map(str, present[:10].tolist())) + (", …" if len(present) > 10 else ""),
            expected="every number from 0 to classes - 1, and 2 classes or more",
        )
    return len(present)


def _check(name: str, part: str, images: Pixels, labels: NDArray[np.int64], classes: int) -> None:
    if isinstance(images, np.ndarray) and (images.ndim != 4 or images.dtype != np.uint8):
        got = f"{images.dtype} {images.shape}"
        raise RaynasError(f"{part} images of {name}", got=got, expected="uint8 [n, H, W, C]")
    if labels.shape != (len(images),) or labels.dtype != np.int64:
        got = f"{labels.dtype} {labels.shape}"
        raise RaynasError(
            f"{part} labels of {name}", got=got, expected=f"int64 ({len(images)},), one per image"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        got = f"{labels.min()} to {labels.max()}"
        raise RaynasError(f"{part} labels of {name}", got=got, expected=f"0 to {classes - 1}")
