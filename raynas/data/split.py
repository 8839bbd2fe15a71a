"""Seeded choices of images: the halves that train weights and α, and smaller sets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raynas.config import DataConfig, SearchConfig
from raynas.data.corpus import Corpus
from raynas.data.dataset import Dataset
from raynas.errors import RaynasError

Data = Dataset | Corpus
"""What a search learns from: images or a text."""


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set and the indices int64, ascending and disjoint, of what trains weights and α.

    They count images, or the tokens of a text.
    """

    dataset: Data
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    split_seed: int

    def record(self) -> dict[str, object]:
        """Return what every run's record keeps of its data."""
        return {
            "name": self.dataset.name,
            "classes": self.dataset.classes,
            "hash": self.dataset.fingerprint(),
            "split_seed": self.split_seed,
            "train": len(self.train),
            "valid": len(self.valid),
        }


def split(dataset: Data, config: DataConfig) -> Splits:
    """Split the training images by ``split_seed``: a share ``valid`` for α, the rest for the weights.

    A text is cut where its corpus says: the vocabulary is that of the part that trains the weights.
    The test images stay out of a search. Raises `RaynasError` when either half would be empty.
    """
    if isinstance(dataset, Corpus):
        places = np.arange(len(dataset.tokens))
        return Splits(dataset, places[: dataset.train], places[dataset.train :], config.split_seed)
    count = len(dataset.labels)
    held_out = round(count * config.valid)
    if not 0 < held_out < count:
        raise RaynasError(
            f"data.valid={config.valid} of {count} training images leaves one half of the split empty",
            got=f"{count - held_out} for the weights and {held_out} for α",
            expected="1 or more each",
        )
    order = permutation(count, config.split_seed)
    return Splits(dataset, np.sort(order[held_out:]), np.sort(order[:held_out]), config.split_seed)


def steps_per_epoch(dataset: Data, config: SearchConfig) -> int:
    """Return about how many steps an epoch of a search has, at least 1."""
    if isinstance(dataset, Corpus):
        return max(dataset.train // (config.batch * config.data.bptt), 1)
    return max(int(len(dataset.labels) * (1 - config.data.valid)) // config.batch, 1)


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose ``count`` indices, ascending, with every class in proportion as closely as rounding lets."""
    order = permutation(len(labels), seed)
    shuffled = labels[order]
    place = np.empty(len(labels))
    for label in np.unique(shuffled):
        members = shuffled == label
        size = np.count_nonzero(members)
        place[members] = (np.arange(size) + 0.5) / size
    return np.sort(order[np.argsort(place, kind="stable")[:count]])


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Return a seeded order of 0..count - 1."""
    # numpy promises the raw stream of a bit generator for ever, but not that of its `permutation`.
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")
