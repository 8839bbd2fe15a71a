"""The calendar of a search: its epochs in stages, the rates in them, when α moves, when curvature is due."""

from collections.abc import Sequence
from dataclasses import dataclass

from raynas.bilevel.exchange import Stage
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.methods.record import Method


@dataclass(frozen=True)
class Calendar:
    """What is due when in like-shaped searches; epochs and steps are counted from 0."""

    config: SearchConfig
    method: Method
    stages: tuple[Stage, ...]

    @property
    def epochs(self) -> int:
        """How many epochs a search has that is not ended early, fine tuning included."""
        return sum(stage.epochs for stage in self.stages)

    def progress(self, epoch: int) -> Progress:
        """Return where a search stands in this epoch; that before the first is of the first stage."""
        first = index = 0
        while epoch >= first + self.stages[index].epochs and index < len(self.stages) - 1:
            first, index = first + self.stages[index].epochs, index + 1
        epochs = self.config.epochs
        # Every stage warms up anew, as α may have been drawn for it; fine tuning goes on with what there is.
        warmup = self.config.warmup if first < epochs else 0
        return Progress(epoch, epochs, index, first, first + self.stages[index].epochs, warmup)

    def rate(self, config: SearchConfig, progress: Progress, history: Sequence[EpochReport]) -> float:
        """Return the weights' learning rate of one search, which its own ``config`` bounds."""
        stage = self.stages[progress.stage]
        if stage.rate is not None:
            return config.learning_rate * stage.rate
        return self.method.annealing(config.learning_rate_min, config.learning_rate, progress, history)

    def weights_rest(self, progress: Progress) -> bool:
        """Tell whether the weights stay as they are in this stage, and only statistics move."""
        return self.stages[progress.stage].rate == 0

    def alphas_due(self, progress: Progress, step: int) -> bool:
        """Tell whether α moves in this step: after the warm-up, and in every so many steps only."""
        rests = self.method.estimator is None or progress.stage_epoch < progress.warmup
        return not rests and step % self.method.every == 0

    def curvature_due(self, epoch: int) -> bool:
        """Tell whether curvature is measured after this epoch: every so many, and always after the last."""
        every, last = self.config.hessian.every, epoch == self.epochs - 1
        return every > 0 and (last or epoch % every == 0)
