"""Settings of parts whose value depends on the progress of a search.

A part's field of type `Value` takes a number or a schedule. Before every epoch `now` replaces the schedules
by their numbers, so no part has to know what an epoch is.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from pydantic import Field, InstanceOf

from raynas.bilevel.progress import Progress
from raynas.bilevel.slots import Schedule

Value = float | InstanceOf[Schedule]
"""A setting: a number, or a schedule that gives one."""

Positive = Annotated[float, Field(gt=0)] | InstanceOf[Schedule]
"""A setting above 0."""

Chance = Annotated[float, Field(ge=0, lt=1)] | InstanceOf[Schedule]
"""A setting from 0 up to but not including 1."""

T = TypeVar("T")


def now(part: T, progress: Progress) -> T:
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
