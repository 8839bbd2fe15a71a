"""A trained network as it is used: its weights and everything it needs to be given an image or a text.

A folder holds it: ``network.json`` says what it is (cell, size, class names, how images are normalised) and
``weights.pt`` holds its state, without the auxiliary head.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy

from raynas.config import Frozen
from raynas.data.augment import normalise_pixels
from raynas.data.split import Data
from raynas.data.text_feed import read_through, reading
from raynas.disk import read_json, write_atomic
from raynas.errors import FileProblems, RaynasError
from raynas.nets.network import Network
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.nets.ops.plain import noise_from
from raynas.search.checkpoint import dump, load
from raynas.spaces.genotype import Genotype
from raynas.spaces.library import explain
from raynas.spaces.reading import genotype_from_json
from raynas.train.config import TrainData
from raynas.train.records import CARD, WEIGHTS

FORMAT = "raynas.network"
VERSION = 1

AnyNetwork = Network | RecurrentNetwork
"""Of images or of texts."""

_AGAIN = "`raynas resume` of its sweep makes it again from its checkpoint; or copy it anew"

Side = Annotated[int, Field(ge=1, le=4096)]
"""Pixels of an image's side, or channels: within what a training takes."""


class Card(Frozen):
    """What a trained network is: all that its weights do not say.

    ``shape`` is (channels, height, width) of an image, ``mean`` and ``std`` one number per channel on the
    0..1 scale; of a language model they are empty, and ``class_names`` is its vocabulary. ``trained`` tells
    how it came to be: configuration, last report, sweep and trial.
    """

    genotype: dict[str, Any]
    shape: tuple[Side, Side, Side] | tuple[()]
    class_names: tuple[str, ...] = Field(min_length=2)
    channels: Side
    cells: Annotated[int, Field(ge=1, le=1000)]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    data: str
    trained: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits(self) -> "Card":
        colours = self.shape[0] if self.shape else 0
        if len(self.mean) != colours or len(self.std) != colours or min(self.std, default=1) <= 0:
            raise ValueError(f"mean and std need {colours} numbers each, std above 0")
        return self

    @property
    def kept(self) -> float | None:
        """The share of an image's shorter side that it was tested on; None where that is all of it."""
        data = self._data()
        return data.kept if data else None

    @property
    def fitted(self) -> bool:
        """Whether its own images were scaled and cropped at the centre, so that others may be too."""
        data = self._data()
        return data is not None and data.name == "folder" and data.size is not None

    def _data(self) -> TrainData | None:
        config = self.trained.get("config")
        try:
            return TrainData.model_validate(config.get("data") if isinstance(config, dict) else {})
        except ValidationError:
            return None  # of another version: what it says of its data is not ours to judge

    @property
    def texts(self) -> bool:
        """Whether its network reads texts."""
        return not self.shape

    def image_shape(self) -> tuple[int, int, int]:
        """Return (channels, height, width) of an image; raises `RaynasError` for a network of texts."""
        if not self.shape:
            raise RaynasError(
                "this network reads texts, not images",
                got=f"a language model of {self.data}",
                next_step="raynas evaluate tells its perplexity",
            )
        return self.shape


@dataclass(frozen=True)
class Prediction:
    """What a network says of one image: the class, its probability, and those of all classes in order."""

    label: int
    name: str
    probability: float
    probabilities: tuple[float, ...]


class Deployed:
    """A network with its card, in evaluation: what it says of an image depends on that image alone."""

    def __init__(self, card: Card, network: AnyNetwork, device: torch.device | str = "cpu") -> None:
        self.card, self.device = card, torch.device(device)
        # One layout whatever it was trained in: another one rounds otherwise.
        self.network = network.to(self.device).to(memory_format=torch.contiguous_format).eval()

    @classmethod
    def of(cls, network: AnyNetwork, genotype: Genotype, dataset: Data, **trained: Any) -> "Deployed":
        """Return the network of one training; ``trained`` is kept on its card."""
        names = dataset.class_names or tuple(map(str, range(dataset.classes)))
        card = Card(
            genotype=genotype.to_json(),
            shape=dataset.shape,
            class_names=names,
            channels=network.channels,
            cells=network.depth,
            mean=dataset.mean,
            std=dataset.std,
            data=dataset.name,
            trained=trained,
        )
        return cls(card, network)

    @classmethod
    def load(cls, folder: Path, device: torch.device | str = "cpu") -> "Deployed":
        """Load a network from its folder; raises `RaynasError` for what is missing, damaged or unfit."""
        card = read_card(folder)
        try:
            state = load(folder / WEIGHTS)
        except RaynasError as error:
            raise RaynasError(
                "the network's weights are missing or corrupt",
                got=error.got,
                expected=f"those of {folder / CARD}",
                next_step=_AGAIN,
            ) from None
        # Sizes first, without memory for them: a card may say anything.
        with torch.device("meta"):
            _fill(blank(card), state, folder, assign=True)
        network = blank(card)
        _fill(network, state, folder)
        return cls(card, network, device)

    def save(self, folder: Path) -> None:
        """Write card and weights, the weights first: a folder with a card is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu() for name, tensor in self.network.state_dict().items()}
        write_atomic(folder / WEIGHTS, dump(state))
        card = {"format": FORMAT, "version": VERSION, **self.card.model_dump(mode="json")}
        write_atomic(folder / CARD, json.dumps(card, indent=1).encode())

    def inputs(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Return images uint8 [n, H, W, C] as the network reads them: normalised [n, C, H, W].

        Raises `RaynasError` for images of another size or other colours.
        """
        channels, height, width = self.card.image_shape()
        if pixels.ndim != 4 or pixels.shape[1:] != (height, width, channels):
            raise RaynasError(
                "the images do not fit the network",
                got=f"{pixels.shape[1:]} (height, width, channels)",
                expected=f"{(height, width, channels)}",
            )
        mean, std = (
            torch.tensor(values, dtype=torch.float64).mul(255).float().view(-1, 1, 1).to(self.device)
            for values in (self.card.mean, self.card.std)
        )
        return normalise_pixels(torch.as_tensor(pixels).to(self.device).permute(0, 3, 1, 2), mean, std)

    @torch.no_grad()
    def read(self, tokens: NDArray[np.int64], streams: int = 1, bptt: int = 256) -> tuple[float, float]:
        """Return the mean loss in nats and the accuracy of what follows each token int64 [n] of a text.

        Tokens are places in the card's class names. Of several ``streams``, read side by side, each begins
        without a past; ``bptt`` is how many tokens are read at once, which changes nothing. Raises
        `RaynasError` for a text too short, and for a network of images.
        """
        if not isinstance(self.network, RecurrentNetwork):
            raise RaynasError("this network reads images, not texts", got=f"a network of {self.card.data}")
        feed = reading(torch.tensor(tokens, device=self.device), streams, bptt)
        start = self.network.embedding.new_zeros(feed.batch, self.card.channels)
        return read_through(self.network, feed, start)

    @torch.no_grad()
    def _logits(self, pixels: NDArray[np.uint8], batch: int) -> Iterator[Tensor]:
        # A random operation gives the same in every call, so that asking twice gives one answer.
        noise_from(self.network, torch.Generator(self.device).manual_seed(0))
        for start in range(0, len(pixels), batch):
            yield self.network(self.inputs(pixels[start : start + batch]))

    def probabilities(self, pixels: NDArray[np.uint8], batch: int = 256) -> NDArray[np.float32]:
        """Return the probabilities [n, classes] of images uint8 [n, H, W, C]."""
        found = [torch.softmax(logits, 1).cpu().numpy() for logits in self._logits(pixels, batch)]
        return np.concatenate(found) if found else np.zeros((0, len(self.card.class_names)), np.float32)

    def losses(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], batch: int = 256
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return each image's cross-entropy in nats [n] and the class that is predicted [n].

        ``pixels`` are uint8 [n, H, W, C], ``labels`` [n] places in the card's class names.
        """
        losses, predicted = [np.zeros(0)], [np.zeros(0, np.int64)]
        answers = torch.from_numpy(labels).to(self.device)
        for place, logits in enumerate(self._logits(pixels, batch)):
            answer = answers[place * batch : (place + 1) * batch]
            losses.append(cross_entropy(logits.double(), answer, reduction="none").cpu().numpy())
            predicted.append(logits.argmax(1).cpu().numpy())
        return np.concatenate(losses), np.concatenate(predicted)

    def predict(self, pixels: NDArray[np.uint8], batch: int = 256) -> list[Prediction]:
        """Return what the network says of images uint8 [n, H, W, C]."""
        return [_prediction(row, self.card.class_names) for row in self.probabilities(pixels, batch)]


def _fill(network: AnyNetwork, state: Mapping[str, Any], folder: Path, *, assign: bool = False) -> None:
    """Give a network its weights; raises `RaynasError` for those of another one."""
    try:
        network.load_state_dict(state, assign=assign)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise RaynasError(
            "the weights do not fit the network",
            got=str(error).splitlines()[-1].strip(),
            expected=f"those of {folder / CARD}",
            next_step="export or train the network again",
        ) from None


def blank(card: Card) -> AnyNetwork:
    """Return the network of a card, its weights drawn anew."""
    genotype = genotype_from_json(card.genotype)
    if card.texts:
        return RecurrentNetwork(genotype, len(card.class_names), card.channels)
    return Network(genotype, card.shape, len(card.class_names), card.channels, card.cells)


def read_card(folder: Path) -> Card:
    """Read a network's card; raises `RaynasError` for a folder that holds none, and for a damaged one."""
    path = folder / CARD
    if not path.is_file():
        raise RaynasError(
            f"no trained network in {folder}",
            expected=f"a folder with {CARD} and {WEIGHTS}",
            next_step="raynas ls sweeps",
        )
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise RaynasError(
            f"cannot read {path}", got=str(error), expected="a network's card", next_step=_AGAIN
        ) from None
    named = isinstance(content, dict) and (content.pop("format", None), content.pop("version", None))
    if named != (FORMAT, VERSION):
        raise RaynasError(
            f"{path} is not a network's card",
            expected=f"format {FORMAT}, version {VERSION}",
            next_step=_AGAIN,
        )
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        raise FileProblems(str(path), explain(error, Card)) from None


def _prediction(row: NDArray[np.float32], names: Sequence[str]) -> Prediction:
    label = int(row.argmax())
    return Prediction(label, names[label], float(row[label]), tuple(map(float, row)))
