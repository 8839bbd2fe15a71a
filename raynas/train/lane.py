"""One training of an image network: its weights, optimiser, data and random streams; a step, a look.

That of a language model is `raynas.train.text_lane`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from raynas.data.augment import Augment
from raynas.data.dataset import Dataset
from raynas.data.feed import ImageFeed, Images
from raynas.data.jitter import Jitter
from raynas.data.portion import ALONE
from raynas.data.split import permutation, third_part
from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.ops.plain import noise_from
from raynas.search.searches import Tell, nobody
from raynas.search.streams import stream
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.train.config import TrainConfig
from raynas.train.network import TrainedNetwork, check_smallest_batch
from raynas.train.records import TrainReport
from raynas.train.schedule import drop_path, learning_rate

EVALUATION_BATCH = 500
"""Images per step when a network is only looked at; the last batch has the rest."""


class Lane:
    """One network with its optimiser, its data and its random streams."""

    def __init__(
        self,
        config: TrainConfig,
        genotype: Genotype,
        dataset: Dataset,
        images: Images,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.config, self.device = config, device
        self.drops = stream(config.seed, "drops", device)
        trained = build(config, genotype, dataset, self.drops).to(device, dtype)
        # A random operation draws where drop path does, so that it gives the same again after a resume.
        noise_from(trained, self.drops)
        self.layout = torch.channels_last if config.channels_last else torch.contiguous_format
        self.trained = trained.to(memory_format=self.layout)
        self.forward: Any = torch.compile(trained) if config.compile else trained
        self.optimiser = torch.optim.SGD(
            trained.parameters(),
            config.learning_rate,
            config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
        )
        self.order, self.portion = stream(config.seed, "train"), ALONE
        self.moved: list[nn.Parameter] = []
        train, held_out = divided(len(dataset.labels), config)
        augment = Augment.of(dataset.recipe, config.data, Jitter(*config.data.jitter))
        self.feed = ImageFeed(images, train, config.batch, self.order, augment, dtype)
        self.valid = (
            ImageFeed(images, held_out, EVALUATION_BATCH, self.order, dtype=dtype) if len(held_out) else None
        )

    def begin(self, reports: Sequence[TrainReport]) -> None:
        """Take in what the training has said so far: nothing follows from it for images."""

    def train_epoch(self, epoch: int, tell: Tell = nobody) -> tuple[float, float]:
        """Move the weights once per batch; return the mean loss and accuracy over the epoch's images."""
        config = self.config
        self.trained.train()
        self.trained.chance = drop_path(config, epoch)
        if self.portion.parts > 1:
            # A stream for each portion and epoch: no state but the first's has to be kept.
            own = stream(config.seed, f"drops {epoch} {self.portion.number}")
            self.drops.manual_seed(own.initial_seed())
        batches, steps = self.feed.whole_epoch(self.portion), self.feed.whole_steps
        seen = torch.zeros(2, dtype=torch.float64, device=self.device)
        for step, (images, labels) in enumerate(batches):
            tell("training", step / steps)
            for group in self.optimiser.param_groups:
                group["lr"] = learning_rate(config, epoch, step / steps)
            if not len(labels):
                self._stand_by()
                continue
            loss, logits = self._step(images, labels, len(labels) / self.feed.size_of(step))
            seen += torch.stack([loss * len(labels), (logits.argmax(1) == labels).sum()])
        self.portion.add_up([seen])
        loss, accuracy = (seen / self.feed.count).tolist()
        return loss, accuracy

    def _step(self, images: Tensor, labels: Tensor, share: float = 1.0) -> tuple[Tensor, Tensor]:
        """Move the weights by images that are a ``share`` of a batch; other portions have the rest."""
        config = self.config
        self.optimiser.zero_grad(set_to_none=True)
        if config.compile:
            self.trained.draw(len(images))
        with self._arithmetic():
            logits, second = self.forward(images.contiguous(memory_format=self.layout))
            loss = total = cross_entropy(logits, labels, label_smoothing=config.label_smoothing)
            if second is not None:
                smoothing = config.label_smoothing
                total = loss + config.auxiliary * cross_entropy(second, labels, label_smoothing=smoothing)
        (total * share).backward()  # type: ignore[no-untyped-call]
        self.moved = [p for p in self.trained.parameters() if p.grad is not None]
        self._move()
        return loss.detach(), logits.detach()

    def _stand_by(self) -> None:
        """Move the weights by what the other portions say of a batch of which this one has no image."""
        for parameter in self.moved:
            parameter.grad = torch.zeros_like(parameter)
        self._move()

    def _move(self) -> None:
        self.portion.add_up([p.grad for p in self.moved if p.grad is not None])
        if self.config.clip is not None:
            nn.utils.clip_grad_norm_(self.trained.parameters(), self.config.clip)
        self.optimiser.step()

    @torch.no_grad()
    def evaluate(self, feed: ImageFeed) -> tuple[float, float]:
        """Return mean loss and accuracy over all images of a feed, as the deployed network has them."""
        self.trained.eval()
        seen = torch.zeros(2, dtype=torch.float64, device=self.device)
        for images, labels in feed.plain():
            with self._arithmetic():
                logits = self.trained.network(images.contiguous(memory_format=self.layout))
                losses = cross_entropy(logits, labels, reduction="sum")
            seen += torch.stack([losses, (logits.argmax(1) == labels).sum()])
        loss, accuracy = (seen / feed.count).tolist()
        return loss, accuracy

    def look(self, tests: Images) -> tuple[float, float]:
        """Return mean loss and accuracy over the test images."""
        every, dtype = np.arange(len(tests)), self.trained.network.head.weight.dtype
        return self.evaluate(ImageFeed(tests, every, EVALUATION_BATCH, self.order, dtype=dtype))

    def result(self) -> Network:
        """Return the network as it is kept."""
        return self.trained.network

    def _arithmetic(self) -> torch.autocast:
        low = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low)

    def state(self) -> dict[str, Any]:
        """Return everything that steps change, as tensors."""
        return {
            "network": {name: tensor.clone() for name, tensor in self.trained.state_dict().items()},
            "momentum": {name: buffer.clone() for name, buffer in self._momentum()},
            "order": self.order.get_state(),
            "drops": self.drops.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        self.trained.load_state_dict(state["network"])
        parameters = dict(self.trained.named_parameters())
        for name, buffer in state["momentum"].items():
            self.optimiser.state[parameters[name]]["momentum_buffer"] = buffer.to(self.device).clone()
        self.order.set_state(state["order"])
        self.drops.set_state(state["drops"])

    def _momentum(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the momentum of every parameter that has one: not of those that nothing has moved so far."""
        for name, parameter in self.trained.named_parameters():
            if (buffer := self.optimiser.state[parameter].get("momentum_buffer")) is not None:
                yield name, buffer


def build(
    config: TrainConfig, genotype: Genotype, dataset: Dataset, drops: torch.Generator
) -> TrainedNetwork:
    """Build a cell's network as it is trained, every weight of it drawn for the configuration's seed.

    ``drops`` decides what drop path drops. Raises `RaynasError` for what cannot be built.
    """
    usual = skeletons.of(genotype).usually(genotype, dataset.shape[1])
    seed = int(stream(config.seed, "weights").initial_seed())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(
            genotype,
            dataset.shape,
            dataset.classes,
            config.channels or usual.channels,
            config.cells or usual.cells,
        )
        trained = TrainedNetwork(network, drops, auxiliary=config.auxiliary > 0, shape=dataset.shape)
        train, _ = divided(len(dataset.labels), config)
        check_smallest_batch(trained, len(train) % config.batch or config.batch, dataset.shape)
        return trained


def divided(count: int, config: TrainConfig) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the indices that train and those held out, both ascending; raises where none would train."""
    if config.data.select:
        third = third_part(count, config.data)
        return np.setdiff1d(np.arange(count), third), third
    held_out = round(count * config.data.valid)
    if config.data.valid and not 0 < held_out < count:
        raise RaynasError(
            f"data.valid={config.data.valid} of {count} training images leaves one part empty",
            got=f"{count - held_out} to train on and {held_out} held out",
            expected="1 or more each",
        )
    order = permutation(count, config.data.split_seed)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
