"""The feeds of a pack, one per search, whatever they deal out, and their batches side by side."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raynas.config import SearchConfig
from raynas.data.augment import Augment
from raynas.data.batch import Batch, Carried
from raynas.data.catalogue import ImageRecipe
from raynas.data.corpus import Corpus
from raynas.data.feed import ImageFeed, Images
from raynas.data.split import Data
from raynas.data.text_feed import TextFeed
from raynas.errors import RaynasError

Content = Images | Tensor
"""What a pack reads, on its device: images, or the tokens int64 [n] of a text."""


def content_of(data: Data, device: torch.device, part: Literal["train", "test"] = "train") -> Content:
    """Bring a part of a data set to a device; raises `RaynasError` when there is no such part."""
    if not isinstance(data, Corpus):
        return Images(data, device, part)
    tokens = data.tokens if part == "train" else data.test
    if tokens is None:
        raise RaynasError(f"{data.name} has no words to test on")
    return torch.tensor(tokens, device=device)


class Feeds:
    """What one part of the data, ``indices`` int64 [n], gives the searches of a pack.

    ``count`` is how many there are. ``generators``, one per search, shuffle images and draw their
    augmentation by ``recipe``; a text is read in order, and the same by all searches.
    """

    def __init__(
        self,
        content: Content,
        recipe: ImageRecipe,
        indices: NDArray[np.int64],
        config: SearchConfig,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype,
    ) -> None:
        self.lanes, self.count = len(generators), len(indices)
        self.each: Sequence[ImageFeed] | Sequence[TextFeed]
        if isinstance(content, Tensor):
            if config.batch < 2:
                raise RaynasError(
                    "a text needs several streams, to normalise over",
                    got=f"batch: {config.batch}",
                    next_step="set batch to 2 or more",
                )
            tokens = content[torch.as_tensor(indices, device=content.device)]
            # One feed for all: a text is read in order, so there is nothing that lanes could draw
            # differently.
            self.each = [TextFeed(tokens, config.batch, config.data.bptt)] * self.lanes
        else:
            augment = Augment.of(recipe, config.data)
            self.each = [
                ImageFeed(content, indices, config.batch, g, augment, dtype=dtype) for g in generators
            ]

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass."""
        return self.each[0].steps_per_epoch

    @property
    def smallest(self) -> int:
        """Images, or streams of a text, in the smallest batch of an epoch."""
        return self.each[0].batch

    def epoch(self, steps: int, cutout: float = 1.0, lengths: Sequence[int] | None = None) -> Iterator[Batch]:
        """Yield ``steps`` batches, each search's own side by side; a hidden state starts from zeros.

        An image gets its cutout with a chance of ``cutout``. With ``lengths``, which fit into one pass, a
        text's segments are so long, and as many.
        """
        carried = self._carried()
        first = self.each[0]
        if lengths is not None and isinstance(first, TextFeed):
            for tokens, following in first.cut(lengths):
                yield self._everyone(tokens, following, carried)._replace(share=tokens.shape[1] / first.bptt)
                if carried is not None:
                    carried.advance()
            return
        dealt = [
            feed.epoch(steps, cutout) if isinstance(feed, ImageFeed) else feed.epoch(steps)
            for feed in self.each
        ]
        for step, each in enumerate(zip(*dealt, strict=True), start=1):
            inputs, labels = zip(*each, strict=True)
            yield Batch(torch.stack(inputs), torch.stack(labels), carried)
            # At the end of the text the streams begin again, and a state from there says nothing of their
            # first words.
            if carried is not None and step % self.steps_per_epoch:
                carried.advance()
            elif carried is not None:
                carried.reset()

    def plain(self, batch: int) -> Iterator[Batch]:
        """Yield everything once, the same to every search, not augmented; a text in order.

        Batches of images hold mixed classes, see `ImageFeed.mixed`: their statistics are looked at.
        """
        carried, feed = self._carried(), self.each[0]
        batches = feed.mixed(batch) if isinstance(feed, ImageFeed) else feed.plain(batch)
        for inputs, labels in batches:
            yield self._everyone(inputs, labels, carried)
            if carried is not None:
                carried.advance()

    def probe(self, count: int, batch: int, generator: torch.Generator) -> Batch:
        """Return ``count`` random batches as one, the same to every search; a text's begin with zeros."""
        batches = self.each[0].probe(count, batch, generator)
        inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return self._everyone(inputs, labels)

    def crops(self, count: int, side: int, generator: torch.Generator) -> Tensor:
        """Return squares [count, 1, side, side] cut out of images, as `ImageFeed.crops` does.

        Raises `RaynasError` for a text.
        """
        feed = self.each[0]
        if isinstance(feed, TextFeed):
            raise RaynasError("a text has no squares to cut out")
        return feed.crops(count, side, generator)

    def _carried(self) -> Carried | None:
        """Return the hidden state of streams that have just begun; None for images."""
        return Carried() if isinstance(self.each[0], TextFeed) else None

    def _everyone(self, inputs: Tensor, labels: Tensor, carried: Carried | None = None) -> Batch:
        lanes = self.lanes
        return Batch(inputs.expand(lanes, *inputs.shape), labels.expand(lanes, *labels.shape), carried)
