"""A trained network on labelled images: its loss, its accuracy, and which classes it takes for which.

A language model on a text: its loss and its perplexity.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raynas.bilevel.records import perplexity
from raynas.config import DataConfig
from raynas.data.corpus import Corpus
from raynas.data.dataset import Dataset, Pixels
from raynas.data.folder import ImageFiles
from raynas.data.split import stratified
from raynas.data.text import UNKNOWN
from raynas.errors import RaynasError, plural
from raynas.train.config import TrainConfig, TrainData
from raynas.train.deployed import Deployed
from raynas.train.lane import divided

Part = Literal["test", "train"]

_PIECE = 2048
"""Images of a data set on disk that are decoded at once."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a network makes of a data set's part.

    ``confusion`` counts images int64 [classes, classes], a row per true class and a column per predicted one;
    ``loss`` is the mean cross-entropy in nats.
    """

    data: str
    part: Part
    class_names: tuple[str, ...]
    confusion: NDArray[np.int64]
    loss: float

    @property
    def images(self) -> int:
        """How many images there are."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of images whose class is predicted."""
        return float(np.trace(self.confusion) / self.images)

    @property
    def class_accuracies(self) -> tuple[float | None, ...]:
        """The share of each true class that is predicted; None for a class without images."""
        rows = zip(np.diag(self.confusion).tolist(), self.confusion.sum(1).tolist(), strict=True)
        return tuple(right / count if count else None for right, count in rows)


def evaluation_of(
    deployed: Deployed,
    dataset: Dataset,
    part: Part = "test",
    batch: int = 256,
    *,
    trained_on: TrainData | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Evaluate a network on a part of a data set, whose classes are told apart by name where they have names.

    With ``trained_on``, the data of the network's own training, the part ``train`` are the images that it
    trained on: those held out are not among them. ``limit`` images of the part are taken, in the same
    proportions of the classes. Raises `RaynasError` for a part that is missing, and for images or classes
    that are not the network's.
    """
    images, labels = _part(dataset, part)
    if part == "train" and trained_on is not None:
        used, _ = divided(len(labels), TrainConfig(cell="any", data=trained_on))
        images, labels = images[used], labels[used]
    if limit is not None:
        chosen = _limited(labels, limit, f"{part} images of {dataset.name}")
        images, labels = images[chosen], labels[chosen]
    card, shape = deployed.card, deployed.card.image_shape()
    if dataset.shape != shape:
        raise RaynasError(
            f"the images of {dataset.name} do not fit the network",
            got=f"{dataset.shape} (channels, height, width)",
            expected=f"{shape}",
            next_step=f"of a folder of images: add data.size={shape[1]}",
        )
    labels = _places(dataset, card.class_names)[labels]
    losses, confusion = 0.0, np.zeros((len(card.class_names),) * 2, np.int64)
    for start in range(0, len(labels), _PIECE):
        piece, answers = images[start : start + _PIECE], labels[start : start + _PIECE]
        pixels = piece.decode_in_threads() if isinstance(piece, ImageFiles) else piece
        found, predicted = deployed.losses(pixels, answers, batch)
        losses += float(found.sum())
        np.add.at(confusion, (answers, predicted), 1)
    return Evaluation(dataset.name, part, card.class_names, confusion, losses / len(labels))


def _limited(labels: NDArray[np.int64], limit: int, of: str) -> NDArray[np.int64]:
    if limit > len(labels):
        raise RaynasError(f"there are fewer {of}", got=f"limit={limit}", expected=f"at most {len(labels)}")
    return stratified(labels, limit, DataConfig.model_fields["split_seed"].default)


@dataclass(frozen=True)
class TextEvaluation:
    """What a language model makes of a text's part: of so many ``words`` those that are predicted.

    ``loss`` is the mean cross-entropy per word in nats, ``unknown`` the share of words that its vocabulary
    does not have.
    """

    data: str
    part: Part
    words: int
    unknown: float
    loss: float
    accuracy: float

    @property
    def perplexity(self) -> float:
        """e to the power of the loss."""
        return perplexity(self.loss)


def text_evaluation_of(deployed: Deployed, corpus: Corpus, part: Part = "test") -> TextEvaluation:
    """Evaluate a language model on a part of a text, read in one stream from its beginning.

    ``corpus`` is numbered by the network's vocabulary. Raises `RaynasError` for a part that is missing, and
    for a network of images.
    """
    tokens = corpus.tokens[: corpus.train] if part == "train" else corpus.test
    if tokens is None:
        raise RaynasError(
            f"{corpus.name} has no words to test on",
            expected="a text in parts, as ptb, or a share of it: data.test=0.1",
            next_step="add `--part train` to evaluate on all that is not held out",
        )
    loss, accuracy = deployed.read(tokens)
    unknown = float(np.mean(tokens == corpus.words.index(UNKNOWN)))
    return TextEvaluation(corpus.name, part, len(tokens) - 1, unknown, loss, accuracy)


def _part(dataset: Dataset, part: Part) -> tuple[Pixels, NDArray[np.int64]]:
    if part == "train":
        return dataset.images, dataset.labels
    if dataset.test_images is None or dataset.test_labels is None or not len(dataset.test_labels):
        raise RaynasError(
            f"{dataset.name} has no test images",
            expected="a data set with a test part; a folder with train/ and test/",
            next_step="add `--part train` to evaluate on all of its images",
        )
    return dataset.test_images, dataset.test_labels


def _places(dataset: Dataset, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the place of each of the data's classes int64 [classes] among the network's."""
    own = dataset.class_names or tuple(map(str, range(dataset.classes)))
    if dataset.classes != len(names):
        raise RaynasError(
            f"the classes of {dataset.name} are not the network's",
            got=plural(dataset.classes, "class", "classes"),
            expected=f"{len(names)}: {_few(names)}",
        )
    if not dataset.class_names:
        return np.arange(len(names))
    if strange := [name for name in own if name not in names]:
        raise RaynasError(
            f"the classes of {dataset.name} are not the network's",
            got=_few(strange),
            expected=_few([name for name in names if name not in own]),
            next_step="rename the classes, or their folders, as the network calls them",
        )
    return np.array([names.index(name) for name in own])


def _few(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    more = f", … ({len(names)})" if len(names) > most else ""
    return ", ".join(names[:most]) + more
