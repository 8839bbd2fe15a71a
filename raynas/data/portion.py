"""A portion of every batch, where several processes share one training."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed

LEAST = 2
"""Images of a portion where a batch has that many for each: batch norm cannot normalise a single one."""


class Portion(NamedTuple):
    """The portion ``number`` of ``parts``, in which the rows of every batch are shared out in order."""

    number: int = 0
    parts: int = 1

    def deal(self, images: int, batch: int) -> tuple[Tensor, list[int]]:
        """Return the rows int64 [n] of this portion of all ``images``, and how many of each batch.

        Portions of a batch differ by one image at most. Of a short rest some have none, so that none is a
        single image.
        """
        rows, sizes = [], []
        for start in range(0, images, batch):
            size = min(batch, images - start)
            parts = min(self.parts, max(size // LEAST, 1))
            low, high = (
                start + min(number, parts) * size // parts for number in (self.number, self.number + 1)
            )
            rows.append(torch.arange(low, high))
            sizes.append(high - low)
        return torch.cat(rows), sizes

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put into each tensor, of one type and device, the sum of all portions', in one message."""
        if self.parts == 1:
            return
        whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(whole)
        pieces = torch.split(whole, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view(tensor.shape))


ALONE = Portion()
