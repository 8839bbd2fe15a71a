"""Training from scratch: one network per lane, each trained as if it were alone.

`Training` advances the networks of one or several like-shaped configurations epoch by epoch, as
`raynas.search` does searches: the same iteration, the same exact state. Lanes share the data and the process
and nothing else, so what one gives does not depend on its company, to the bit.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raynas.data.corpus import Corpus
from raynas.data.dataset import Dataset
from raynas.data.feed import Images
from raynas.data.feeds import Content, content_of
from raynas.data.split import Data
from raynas.errors import Diverged, RaynasError
from raynas.search.abilities import check_abilities
from raynas.search.memory import peak_memory, reset_peak_memory
from raynas.search.searches import Tell, nobody
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.train.config import TrainConfig
from raynas.train.lane import Lane, build, divided
from raynas.train.records import TrainReport
from raynas.train.schedule import learning_rate
from raynas.train.text_lane import TextLane

STATE_VERSION = 1


AnyLane = Lane | TextLane
"""Of images or of a text."""


def lane_of(
    config: TrainConfig,
    genotype: Genotype,
    data: Data,
    content: Content,
    device: torch.device,
    dtype: torch.dtype,
) -> AnyLane:
    """Return the lane of one training; raises `RaynasError` for what cannot be built or goes not together."""
    texts = skeletons.of(genotype).texts
    if isinstance(data, Corpus) and isinstance(content, Tensor) and texts:
        return TextLane(config, genotype, data, content, device, dtype)
    if isinstance(data, Dataset) and isinstance(content, Images) and not texts and config.text is None:
        return Lane(config, genotype, data, content, device, dtype)
    reads = [
        f"a cell that reads {'a text' if texts else 'images'}",
        f"{data.name}, which is {'a text' if isinstance(data, Corpus) else 'images'}",
        f"the recipe {config.recipe} for {'images' if config.text is None else 'texts'}",
    ]
    raise RaynasError(
        "cell, data and recipe do not go together",
        got=", ".join(reads),
        next_step="raynas ls data; of recipes quick-text, darts-ptb and darts-wt2 are for texts",
    )


def check_lane(config: TrainConfig, genotype: Genotype, data: Data) -> None:
    """Build what a training builds and forget it; raises `RaynasError` for what cannot be, as `lane_of`."""
    if isinstance(data, Dataset) and not skeletons.of(genotype).texts and config.text is None:
        divided(len(data.labels), config)
        build(config, genotype, data, torch.Generator())
    else:
        cpu = torch.device("cpu")
        lane_of(config, genotype, data, content_of(data, cpu), cpu, torch.float32)


class Training:
    """The trainings of K like-shaped configurations of one cell; lanes never influence each other.

    Iterating yields, per epoch, one `TrainReport` or `Diverged` for each in order; the last epoch's report
    holds what the test part says, which is looked at then and never before. ``images`` (or tokens) may be
    shared with other trainings of the process. ``clock`` returns seconds.
    """

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        genotype: Genotype,
        dataset: Data,
        device: torch.device | str = "cpu",
        *,
        images: Content | None = None,
        dtype: torch.dtype = torch.float32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        check_abilities(configs[0], torch.device(device))
        self.configs, self.config, self.genotype = tuple(configs), configs[0], genotype
        self.dataset, self.device, self.dtype, self.clock = dataset, torch.device(device), dtype, clock
        self.images = content_of(dataset, self.device) if images is None else images
        self.lanes = [
            lane_of(config, genotype, dataset, self.images, self.device, dtype) for config in configs
        ]
        self.epoch, self.epochs = 0, self.config.epochs
        self.history: list[list[TrainReport]] = [[] for _ in configs]
        self.tell: Tell = nobody

    @property
    def parameters_count(self) -> int:
        """How many weights the deployed network has, without the auxiliary head's."""
        return sum(p.numel() for p in self.lanes[0].trained.network.parameters())

    def __iter__(self) -> Iterator[list[TrainReport | Diverged]]:
        while self.epoch < self.epochs:
            yield self.advance()

    def advance(self) -> list[TrainReport | Diverged]:
        """Train one epoch; return what each training has to say."""
        outcomes = [self._advance(number, lane) for number, lane in enumerate(self.lanes)]
        self.epoch += 1
        return outcomes

    def _advance(self, number: int, lane: AnyLane) -> TrainReport | Diverged:
        started = self.clock()
        reset_peak_memory(self.device)
        lane.begin(self.history[number])
        loss, accuracy = lane.train_epoch(self.epoch, self._tell_of(number))
        rate = learning_rate(lane.config, self.epoch)
        if not np.isfinite(loss):
            return Diverged(
                f"the training diverged in epoch {self.epoch + 1}",
                got=f"training loss {loss:.6g} at learning rate {rate:.4g}",
                expected="a finite loss",
                next_step=f"lower learning_rate ({lane.config.learning_rate}) or clip ({lane.config.clip})",
            )
        report = TrainReport(self.epoch, loss, accuracy, rate, lane.trained.chance, **self._looks(lane))
        report = replace(report, seconds=self.clock() - started, peak_memory=peak_memory(self.device))
        self.history[number].append(report)
        return report

    def _tell_of(self, number: int) -> Tell:
        """Return what hears of one lane; they take turns, each a part of the epoch."""
        return lambda doing, share: self.tell(doing, (number + share) / len(self.lanes))

    def _looks(self, lane: AnyLane) -> dict[str, float]:
        """Look at what is held out, and after the last epoch at the test part, unless this chooses cells."""
        found: dict[str, float] = {}
        if lane.valid is not None:
            found["valid_loss"], found["valid_accuracy"] = lane.evaluate(lane.valid)  # type: ignore[arg-type]
        # What chooses among cells (data.select) must not have seen what the chosen one is tested on.
        if self.epoch == self.epochs - 1 and self.dataset.tests and not self.config.data.select:
            found["test_loss"], found["test_accuracy"] = lane.look(self._tests)  # type: ignore[arg-type]
        return found

    @cached_property
    def _tests(self) -> Content:
        """The test part on the device, brought there once for all lanes."""
        return content_of(self.dataset, self.device, "test")

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return everything one training needs to go on from here, as tensors and plain values."""
        return {
            "version": STATE_VERSION,
            "identity": self._identity(lane),
            "epoch": self.epoch,
            **self.lanes[lane].state(),
            "history": [report.to_json() for report in self.history[lane]],
        }

    def load_state_dict(self, state: Mapping[str, Any], lane: int = 0) -> None:
        """Put one training back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        if state.get("version") != STATE_VERSION:
            raise _another(f"version: {state.get('version')}", f"version: {STATE_VERSION}")
        identity, own = _completed(state["identity"]), self._identity(lane)
        for key in sorted({*identity, *own}):
            if identity.get(key) != own.get(key):
                raise _another(f"{key}: {identity.get(key)}", f"{key}: {own.get(key)}")
        self.epoch = state["epoch"]
        self.lanes[lane].restore(state)
        self.history[lane] = [TrainReport.from_json(report) for report in state["history"]]

    def keep(self, lanes: Sequence[int]) -> "Training":
        """Return a training of some of these, each going on from where it is."""
        kept = Training(
            [self.configs[lane] for lane in lanes],
            self.genotype,
            self.dataset,
            self.device,
            images=self.images,
            dtype=self.dtype,
            clock=self.clock,
        )
        kept.tell = self.tell
        for place, lane in enumerate(lanes):
            kept.load_state_dict(self.state_dict(lane), place)
        return kept

    def _identity(self, lane: int) -> dict[str, Any]:
        """Return what must be equal for a checkpoint to fit."""
        config = self.configs[lane].plain()
        return {**config, "genotype": self.genotype.digest(), "data_fingerprint": self.dataset.fingerprint()}


def _completed(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity with the defaults of the keys that its version did not have."""
    usual = TrainConfig(cell="any").plain()
    return {**usual, **identity, "data": {**usual["data"], **identity["data"]}}


def _another(got: str, expected: str) -> RaynasError:
    return RaynasError(
        "the checkpoint is of another training",
        got=got,
        expected=expected,
        next_step="train with the values it was begun with, or in a folder of its own",
    )
