"""Searches put together for a pack: their one problem, their data, their looks at it, and their state."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch

from raynas.bilevel.records import Curvature, EpochReport
from raynas.config import SearchConfig, check_alike
from raynas.data.batch import Batch
from raynas.data.feeds import Content, Feeds, content_of
from raynas.data.split import Splits
from raynas.data.text_feed import halved_lengths
from raynas.errors import RaynasError
from raynas.methods import check_search, lay_out, resolve, with_defaults
from raynas.search.abilities import check_abilities
from raynas.search.calendar import Calendar
from raynas.search.look import Evaluator
from raynas.search.state import State
from raynas.search.streams import stream
from raynas.search.trainer import Trainer
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Tell = Callable[[str, float], None]
"""Takes what is done within an epoch, in words, and the share of its steps that are over."""


def nobody(doing: str, share: float) -> None:
    """Tell nobody."""


class Searches:
    """K searches of one shape, put together and checked; `Pack` makes them advance.

    ``images`` may be shared with other packs of the process. ``clock`` returns seconds. Raises `RaynasError`
    when the searches differ in what `check_alike` forbids, when the device lacks what they ask for, and when
    the method cannot search the space. ``forms`` says how each shape of convolution is computed (see
    `raynas.nets.ops.forms`); it decides about rounding only, so a resumed search needs the same. ``tell`` may
    be set to a function that hears where in an epoch the searches are.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        space: Space,
        splits: Splits,
        device: torch.device | str = "cpu",
        *,
        images: Content | None = None,
        forms: Mapping[str, str] | None = None,
        dtype: torch.dtype = torch.float32,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        configs = tuple(with_defaults(config) for config in configs)
        check_alike(configs)
        check_abilities(configs[0], torch.device(device))
        check_search(configs[0], space)
        self.configs, self.space, self.splits = configs, space, splits
        self.config = configs[0]
        self.device, self.dtype, self.clock = torch.device(device), dtype, clock
        self.forms = forms
        self.tell: Tell = nobody
        self.method = resolve(self.config.method, space)
        if self.method.proposals is not None:
            raise RaynasError(
                f"{self.method.name} trains no supernet: it proposes cells that a table judges",
                next_step="run it as a sweep with `benchmark: {table: FILE, data: NAME}`, or from Python by "
                "raynas.search.proposing.Proposing",
            )
        if self.method.solo and len(configs) > 1:
            raise RaynasError(
                f"searches with {self.method.name} cannot advance in one pack", got=len(configs)
            )
        self.stages = lay_out(self.method, space, self.config.model_dump())
        self.calendar = Calendar(self.config, self.method, self.stages)
        self.progress = self.calendar.progress(0)
        self.trainer = Trainer(
            configs, self.method, space, splits.dataset, self.device, dtype, forms, self.stages
        )
        self.problem = self.trainer.problem
        self.problem.begin(self.progress)
        self.state = State(configs, space, splits, self.trainer, self.calendar)
        self.images = content_of(splits.dataset, self.device) if images is None else images
        self.train = self._feeds(splits.train, "train")
        self.valid = self._feeds(splits.valid, "valid")
        # Read in order only, so it shares the streams of the other part and moves none of them.
        third = None if splits.select is None else self._feeds(splits.select, "valid")
        self.evaluator = Evaluator(
            self.problem, self.configs, self.valid, self.method.relaxation.shift_free, clock, third
        )
        parts = [self.train, self.valid, *([third] if third else [])]
        smallest = min(*(part.smallest for part in parts), self.config.hessian.batch or 2)
        if smallest == 1 and not skeletons.of(space).texts:
            self.evaluator.check_statistics(self.problem.mean())

    def _feeds(self, indices: Any, name: str) -> Feeds:
        more = (self.config, self.state.streams[name], self.dtype)
        return Feeds(self.images, self.splits.dataset.recipe, indices, *more)

    @property
    def epoch(self) -> int:
        """How many epochs are over, and so the number of the next, from 0; a search may go back."""
        return self.state.epoch

    @property
    def epochs(self) -> int:
        """How many epochs a search has that is not ended early, fine tuning included."""
        return self.calendar.epochs

    @property
    def history(self) -> Sequence[Sequence[EpochReport]]:
        """Each search's reports so far, without those of epochs that it has gone back behind."""
        return self.state.history

    @property
    def parameters_count(self) -> int:
        """How many weights one search's supernet has now."""
        return self.problem.values.shape[1]

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Yield one epoch's pairs of a training and a validation batch, all lanes' side by side."""
        steps = self.train.steps_per_epoch
        modifiers = self.problem.policy.modifiers
        cutout = math.prod(modifier.cutout() for modifier in modifiers)
        lengths, halved = None, max((modifier.halved() for modifier in modifiers), default=0.0)
        if halved:
            # The lanes of a pack read segments of one length, so these do not depend on a search's seed.
            generator = stream(0, f"segments/{self.epoch}")
            lengths = halved_lengths(steps, self.config.data.bptt, halved, generator)
            steps = len(lengths)
        return zip(self.train.epoch(steps, cutout, lengths), self.valid.epoch(steps, cutout), strict=True)

    def measure_curvature(self) -> list[Curvature]:
        """Measure the validation loss's curvature in α on the probe images; changes nothing."""
        self.tell("measuring curvature", 1.0)
        return self.evaluator.measure_curvature(self.epoch)

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return everything one search needs to go on from here, as tensors and plain values."""
        return self.state.state_dict(lane)

    def load_state_dict(self, state: Mapping[str, Any], lane: int = 0) -> None:
        """Put one search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        self.state.load_state_dict(state, lane)

    def keep(self, lanes: Sequence[int]) -> Self:
        """Return a pack of some of these searches, each going on from where it stands."""
        pack = type(self)(
            [self.configs[lane] for lane in lanes],
            self.space,
            self.splits,
            self.device,
            images=self.images,
            forms=self.forms,
            dtype=self.dtype,
            clock=self.clock,
        )
        pack.tell = self.tell
        for place, lane in enumerate(lanes):
            pack.load_state_dict(self.state_dict(lane), place)
        return pack
