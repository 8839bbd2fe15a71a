"""Seeded choices of images: the halves that train weights and α, a third part to choose by, smaller sets."""

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

    They count images, or the tokens of a text. ``select`` are those that train neither, None where all do.
    """

    dataset: Data
    train: NDArray[np.int64]
    valid: NDArray[np.int64]
    split_seed: int
    select: NDArray[np.int64] | None = None

    def record(self) -> dict[str, object]:
        """Return what every run's record keeps of its data."""
        return {
            "name": self.dataset.name,
            "classes": self.dataset.classes,
            "hash": self.dataset.fingerprint(),
            "split_seed": self.split_seed,
            "train": len(self.train),
            "valid": len(self.valid),
            **({} if self.select is None else {"select": len(self.select)}),
        }


def split(dataset: Data, config: DataConfig) -> Splits:
    """Split the training images by ``split_seed``: a share ``valid`` for α, the rest for the weights.

    A share ``select`` of all trains neither, and ``valid`` is of what that leaves. A text is cut where its
    corpus says: the vocabulary is that of the part that trains the weights. The test images stay out of a
    search. Raises `RaynasError` when a part would be empty.
    """
    if isinstance(dataset, Corpus):
        train, valid, third = np.split(np.arange(len(dataset.tokens)), dataset.cuts)
        return Splits(dataset, train, valid, config.split_seed, third if len(third) else None)
    count = len(dataset.labels)
    third = third_part(count, config)
    rest = count - len(third)
    held_out = round(rest * config.valid)
    if not 0 < held_out < rest:
        raise RaynasError(
            f"data.valid={config.valid} of {rest} training images leaves one half of the split empty",
            got=f"{rest - held_out} for the weights and {held_out} for α",
            expected="1 or more each",
        )
    order = permutation(count, config.split_seed)[:rest]
    halves = np.sort(order[held_out:]), np.sort(order[:held_out])
    return Splits(dataset, *halves, config.split_seed, third if len(third) else None)


def third_part(count: int, config: DataConfig) -> NDArray[np.int64]:
    """Return which of ``count`` images train neither weights nor α, ascending: a share ``select``.

    The same ones in a search and in a training with equal ``select`` and ``split_seed``. Raises `RaynasError`
    where a share leaves none of them.
    """
    held_out = round(count * config.select)
    if config.select and not 0 < held_out < count:
        raise RaynasError(
            f"data.select={config.select} of {count} training images leaves one part empty",
            got=f"{held_out} to choose by and {count - held_out} to train on",
            expected="1 or more each",
        )
    return np.sort(permutation(count, config.split_seed)[count - held_out :])


def steps_per_epoch(dataset: Data, config: SearchConfig) -> int:
    """Return about how many steps an epoch of a search has, at least 1."""
    if isinstance(dataset, Corpus):
        return max(dataset.train // (config.batch * config.data.bptt), 1)
    return max(int(len(dataset.labels) * config.data.trains_weights) // config.batch, 1)


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
