"""Batches for one search: shuffled, augmented and normalised on the device.

All randomness comes from the caller's generator and is drawn when an iteration is asked for, so between
two of them the state of that generator is the state of the whole pipeline.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from raynas.data.augment import Augment, normalise_pixels
from raynas.data.boxes import NUMBERS
from raynas.data.dataset import Dataset
from raynas.data.folder import ImageFiles
from raynas.data.portion import ALONE, Portion
from raynas.data.resized import places, resample
from raynas.data.stream import StreamedImages
from raynas.errors import RaynasError

ImageBatch = tuple[Tensor, Tensor]
"""Images float [b, C, H, W] and labels int64 [b], on the device."""


class Images:
    """The pixels and labels of a data set on a device, made once a process and shared by its feeds.

    Pixels in memory stay uint8; on a CPU they are the data set's own array, not a copy. Those of an image
    folder that is streamed are read by ``workers`` processes a feed. ``part`` is the training or test set;
    raises `RaynasError` when there is no test set.
    """

    def __init__(
        self,
        dataset: Dataset,
        device: torch.device | str = "cpu",
        part: Literal["train", "test"] = "train",
        workers: int = 2,
    ) -> None:
        images = dataset.images if part == "train" else dataset.test_images
        labels = dataset.labels if part == "train" else dataset.test_labels
        if images is None or labels is None:
            raise RaynasError(f"{dataset.name} has no test images")
        self.device = torch.device(device)
        self.shape = dataset.shape
        self.mean = dataset.mean
        self.std = dataset.std
        # Labels are in memory even where images stay on disk: 10 MB for the 1.28 million of ImageNet.
        self._labels = _as_tensor(labels).to(self.device)
        self._source: Tensor | StreamedImages = (
            StreamedImages(images, workers)
            if isinstance(images, ImageFiles)
            else _as_tensor(images).to(self.device)
        )

    def __len__(self) -> int:
        return len(self._labels)

    def labels_of(self, order: Tensor) -> Tensor:
        """Return the labels int64 [n], on the CPU, of the images ``order`` int64 [n] (CPU)."""
        return self._labels[order.to(self.device)].cpu()

    def read(
        self, order: Tensor, batch: int | list[int], parts: Tensor | None = None
    ) -> Iterator[ImageBatch]:
        """Yield pixels uint8 [b, C, H, W] and labels int64 [b] of the images ``order`` int64 [n] (CPU).

        ``batch`` is the size of all batches but the last, or of each. ``parts`` [n, NUMBERS] (CPU) choose a
        part of each image, scaled to the size of all.
        """
        rows = order.to(self.device)
        labels = torch.split(self._labels[rows], batch)
        chosen_parts = None if parts is None else torch.split(parts, batch)
        if isinstance(self._source, StreamedImages):
            pixels = self._source.read(torch.split(order, batch), chosen_parts)
            yield from ((x.to(self.device), y) for x, y in zip(pixels, labels, strict=True))
            return
        size = self.shape[1:]
        for step, (chosen, y) in enumerate(zip(torch.split(rows, batch), labels, strict=True)):
            x = self._source.index_select(0, chosen).permute(0, 3, 1, 2)
            yield (x if chosen_parts is None else resample(x, places(chosen_parts[step], *size), size)), y


class ImageFeed:
    """The batches of one search from a share of the images.

    ``indices`` int64 [n] say which; ``generator`` is a CPU generator that the caller owns, seeds and saves;
    ``augment`` None leaves the images as they are; ``dtype`` is that of the images that come out. With fewer
    images than ``batch``, a batch is all of them.
    """

    def __init__(
        self,
        images: Images,
        indices: NDArray[np.int64],
        batch: int,
        generator: torch.Generator,
        augment: Augment | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if len(indices) == 0:
            raise RaynasError("a feed needs images", got="0 indices")
        self.batch = min(batch, len(indices))
        self._images = images
        self._indices = _as_tensor(indices)
        self._generator = generator
        self._augment = augment
        self._mean, self._std = (
            _along_rows(values, images.shape[2]).to(images.device, dtype)
            for values in (images.mean, images.std)
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the images."""
        return len(self._indices) // self.batch

    def epoch(self, steps: int | None = None, cutout: float = 1.0) -> Iterator[ImageBatch]:
        """Yield full batches in a new random order, augmented: one pass, or ``steps`` > 0 batches.

        Each pass is a new permutation; an image gets its cutout with a chance of ``cutout``. All random
        numbers are drawn by this call, before the first batch is asked for.
        """
        steps = self.steps_per_epoch if steps is None else steps
        order = self._shuffled(steps, self.batch, self._generator)
        return self._drawn(order, ALONE, cutout)

    @property
    def count(self) -> int:
        """How many images there are."""
        return len(self._indices)

    @property
    def whole_steps(self) -> int:
        """Batches in one pass over all images, the last one with the rest."""
        return -(-len(self._indices) // self.batch)

    def size_of(self, step: int) -> int:
        """Images of a batch of `whole_epoch`, all portions together."""
        return min(self.batch, self.count - step * self.batch)

    def whole_epoch(self, portion: Portion = ALONE) -> Iterator[ImageBatch]:
        """Yield every image once, in a new random order, augmented; the last batch is the rest.

        Of every batch it is a ``portion``; all of them draw the same numbers.
        """
        order = self._indices[torch.randperm(len(self._indices), generator=self._generator)]
        return self._drawn(order, portion)

    def plain(self, batch: int | None = None) -> Iterator[ImageBatch]:
        """Yield every image once, in the order of the indices, not augmented; the last batch is the rest."""
        return self._plain(self._indices, batch or self.batch)

    def mixed(self, batch: int | None = None) -> Iterator[ImageBatch]:
        """Yield what `plain` does, with the classes mixed where the images are sorted by class.

        Batches of an image folder in order would hold one class each, and the statistics of such a batch
        take away what tells its class: a cell that is right for 40 % of images was right for 10 % of 10
        classes. Images that come mixed keep their order.
        """
        return self._plain(self._mixed, batch or self.batch)

    @cached_property
    def _mixed(self) -> Tensor:
        labels = self._images.labels_of(self._indices)
        alike = (labels[1:] == labels[:-1]).double().mean() if len(labels) > 1 else torch.tensor(0.0)
        chance = ((labels.bincount() / len(labels)) ** 2).sum()  # that two images are of one class
        if alike <= (1 + chance) / 2:
            return self._indices
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        return self._indices[order]

    def probe(self, count: int, batch: int, generator: torch.Generator) -> list[ImageBatch]:
        """Return ``count`` random batches, not augmented, that depend on ``generator`` alone.

        Within a batch no image comes twice; between batches only when there are too few images.
        """
        batch = min(batch, len(self._indices))
        return list(self._plain(self._shuffled(count, batch, generator), batch))

    def crops(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Return random squares of one random channel of random images, [count, 1, side, side], normalised.

        They depend on ``generator`` alone; no image comes again before all have.
        """
        order = self._shuffled(count, 1, generator)
        channels, height, width = self._images.shape
        most = torch.tensor([channels, height - side + 1, width - side + 1])
        places = (torch.rand(count, 3, generator=generator) * most).long().to(self._images.device)
        along = torch.arange(side, device=places.device)
        found = []
        batches = zip(self._plain(order, self.batch), torch.split(places, self.batch), strict=True)
        for (images, _), drawn in batches:
            channel, top, left = drawn.view(-1, 3, 1, 1).unbind(1)
            each = torch.arange(len(images), device=places.device).view(-1, 1, 1)
            found.append(images[each, channel, top + along.view(-1, 1), left + along])
        return torch.cat(found).unsqueeze(1)

    def _shuffled(self, steps: int, batch: int, generator: torch.Generator) -> Tensor:
        """Return the images of ``steps`` full batches; every pass is a new permutation."""
        count = len(self._indices)
        full = count // batch * batch
        passes = -(-steps * batch // full)
        # Whole batches of each permutation: a batch across two passes could hold an image twice.
        orders = [torch.randperm(count, generator=generator)[:full] for _ in range(passes)]
        return self._indices[torch.cat(orders)[: steps * batch]]

    def _plain(self, order: Tensor, batch: int | list[int]) -> Iterator[ImageBatch]:
        for pixels, labels in self._images.read(order, batch):
            yield self._normalise(pixels), labels

    def _drawn(self, order: Tensor, portion: Portion, cutout: float = 1.0) -> Iterator[ImageBatch]:
        """Draw what the images of ``order`` take; yield a portion of their batches, augmented."""
        rows, sizes = portion.deal(len(order), self.batch)
        augment = self._augment
        if augment is None:
            return self._plain(order[rows], sizes)
        _, height, width = self._images.shape
        draws = augment.draw(len(order), height, width, self._generator, cutout)
        more = augment.draw_more(len(order), self._generator)
        return self._augmented(augment, order[rows], sizes, draws[rows], None if more is None else more[rows])

    def _augmented(
        self, augment: Augment, order: Tensor, sizes: list[int], draws: Tensor, more: Tensor | None
    ) -> Iterator[ImageBatch]:
        drawn = torch.split(draws.to(self._images.device), sizes)
        others = [None] * len(sizes) if more is None else torch.split(more, sizes)
        parts = more[:, :NUMBERS] if more is not None and augment.resized else None
        batches = self._images.read(order, sizes, parts)
        for (pixels, labels), rows, numbers in zip(batches, drawn, others, strict=True):
            moved = augment.recolour(augment.move(pixels, rows), numbers)
            yield augment.blank(self._normalise(moved), rows), labels

    def _normalise(self, pixels: Tensor) -> Tensor:
        return normalise_pixels(pixels, self._mean, self._std)


def _along_rows(values: tuple[float, ...], width: int) -> Tensor:
    """Return a number per channel on the scale of the pixels as [C, 1, W], laid out in memory as a row is.

    With a stride of 0 along the row, arithmetic on channels-last images of few channels is 4 times as slow.
    """
    return torch.tensor(values, dtype=torch.float64).mul(255).repeat(width, 1).T[:, None]


def _as_tensor(array: NDArray[np.uint8] | NDArray[np.int64]) -> Tensor:
    # torch.from_numpy warns of read-only arrays, which is what Ray shares; nothing here writes to them.
    return from_dlpack(np.ascontiguousarray(array))
