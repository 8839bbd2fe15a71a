"""The progress of a search: its epoch, within all of them and within its stage."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One epoch of a search of ``epochs`` epochs, counted from 0.

    A search may have stages: this one is number ``stage`` and covers the epochs from ``first`` up to but not
    including ``last``, the first ``warmup`` of which train weights only. Epochs from ``epochs`` on are fine
    tuning: what a method adds to a search that is already over.
    """

    epoch: int
    epochs: int
    stage: int = 0
    first: int = 0
    last: int = 0
    warmup: int = 0

    @property
    def share(self) -> float:
        """How much of the search is behind it, in [0, 1]."""
        return min(self.epoch / self.epochs, 1.0)

    @property
    def stage_epoch(self) -> int:
        """This epoch counted from the start of its stage."""
        return self.epoch - self.first

    @property
    def stage_epochs(self) -> int:
        """How many epochs its stage has; the whole search is one stage unless it is said otherwise."""
        return (self.last or self.epochs) - self.first

    @property
    def fine_tuning(self) -> bool:
        """Whether the search itself is over."""
        return self.epoch >= self.epochs
