"""Images that stay on disk, decoded by worker processes in an order that the caller gives."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from raynas.data.folder import ImageFiles
from raynas.errors import RaynasError

_Request = tuple[NDArray[np.int64], NDArray[np.float32] | None]
"""Which images a batch has, and the part of each that is read."""


class StreamedImages:
    """Reads images from files with ``workers`` processes for every iteration that is under way.

    ``workers`` 0 decodes in this process. Loaders and their workers are kept for the next iteration.
    """

    def __init__(self, files: ImageFiles, workers: int) -> None:
        self._files = files
        self._workers = workers
        self._idle: list[_Loader] = []

    def read(self, batches: Sequence[Tensor], parts: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield uint8 [b, C, H, W] on the CPU for every tensor of indices int64 [b].

        ``parts`` [b, NUMBERS] choose the part of each image that is read, all of it without them.
        """
        # One loader for each iteration under way: training and validation halves are read in turns.
        loader = self._idle.pop() if self._idle else _Loader(self._files, self._workers)
        try:
            yield from loader.read(batches, parts)
        finally:
            self._idle.append(loader)


class _Loader:
    """One DataLoader; what it yields next is whatever batches of indices were put into its sampler."""

    def __init__(self, files: ImageFiles, workers: int) -> None:
        self._batches: list[_Request] = []
        self._loader: DataLoader[NDArray[np.uint8] | RaynasError] = DataLoader(
            _Decoder(files),
            batch_sampler=self._batches,  # type: ignore[arg-type]  # a batch is asked for as one
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
            # A DataLoader draws a seed for its workers; from torch's global generator unless it has its own.
            generator=torch.Generator(),
        )

    def read(self, batches: Sequence[Tensor], parts: Sequence[Tensor] | None) -> Iterator[Tensor]:
        chosen = [None] * len(batches) if parts is None else [part.numpy() for part in parts]
        # In place: the DataLoader holds this very list. Workers never see it; they are sent indices, so they
        # outlive it.
        self._batches[:] = [(batch.numpy(), part) for batch, part in zip(batches, chosen, strict=True)]
        for pixels in self._loader:
            if isinstance(pixels, RaynasError):
                raise pixels
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2)


class _Decoder(TorchDataset[NDArray[np.uint8] | RaynasError]):
    """Decodes a batch at a time, to numpy: torch tensors would go through /dev/shm, small in containers.

    An error is handed over like a batch: raised in a worker, it would arrive as the text of its traceback.
    """

    def __init__(self, files: ImageFiles) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitems__(self, request: _Request) -> NDArray[np.uint8] | RaynasError:
        indices, parts = request
        try:
            return self._files[indices].decode(parts)
        except RaynasError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch
