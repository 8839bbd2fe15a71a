"""Where a search stands, and settings whose value depends on it.

A part's field of type `Value` takes a number or a schedule. Before every epoch `now` replaces the schedules
by their numbers, so no part has to know what an epoch is.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, InstanceOf


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


class Schedule(ABC):
    """A number that changes from epoch to epoch."""

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """Return its value in this epoch."""


Value = float | InstanceOf[Schedule]
"""A setting: a number, or a schedule that gives one."""

Positive = Annotated[float, Field(gt=0)] | InstanceOf[Schedule]
"""A setting above 0."""

Chance = Annotated[float, Field(ge=0, lt=1)] | InstanceOf[Schedule]
"""A setting from 0 up to but not including 1."""

Part = TypeVar("Part")


def now(part: Part, progress: Progress) -> Part:
    """Return a copy of a part in which every schedule is the number it has in this epoch."""
    numbers = scheduled(part, progress)
    return replace(part, **numbers) if numbers else part  # type: ignore[type-var]


def scheduled(part: object, progress: Progress) -> Mapping[str, float]:
    """Return the present numbers of a part's schedules by the names of its settings."""
    if not is_dataclass(part):
        return {}
    values: dict[str, Any] = {field.name: getattr(part, field.name) for field in fields(part)}
    return {name: value(progress) for name, value in values.items() if isinstance(value, Schedule)}


def number(value: Value) -> float:
    """Return a setting that `now` has turned into a number."""
    if isinstance(value, Schedule):
        raise TypeError("a schedule has no number of its own; ask `now` for the part in an epoch")
    return value
