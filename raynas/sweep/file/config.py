"""The shell of a sweep file, typed: what it adds to the keys of a search."""

from typing import Any

from pydantic import Field, PositiveInt, field_validator

from raynas.config import Frozen, folder_name
from raynas.errors import nearest, quoted
from raynas.sweep.plan import MOST_TRIALS, Benchmark, Resources, Select, Strategy, Track

_REFUSED = {
    "asha": "it stops trials by early accuracy, which hides the late collapse that a search is watched for",
    "pbt": "it copies α between trials, so seed, method and genotype lose their identity",
}


class SweepConfig(Frozen):
    """A sweep file: the keys of a search in ``base``, and what a sweep adds to them."""

    name: str = Field(description="of the sweep and its folder")
    base: dict[str, Any] = Field(default_factory=dict, description="what all searches share")
    grid: dict[str, Any] = Field(default_factory=dict, description="lists; every combination is a trial")
    zip: dict[str, Any] = Field(default_factory=dict, description="lists that advance together")
    sample: dict[str, Any] = Field(default_factory=dict, description="ranges that values are drawn from")
    samples: PositiveInt | None = Field(None, le=MOST_TRIALS, description="how many points are drawn")
    strategy: Strategy = Field("grid", description="grid, random-paired or optuna")
    resources: Resources = Field(default_factory=Resources)
    select: Select = Field(default_factory=Select)
    track: Track = Field(default_factory=Track)
    benchmark: Benchmark | None = Field(None, description="the table that each epoch's cell is looked up in")

    @field_validator("name")
    @classmethod
    def _name_of_a_folder(cls, value: str) -> str:
        return folder_name(value)

    @field_validator("strategy", mode="before")
    @classmethod
    def _known_strategy(cls, value: object) -> object:
        names = ("grid", "random-paired", "optuna")
        if value in names:
            return value
        if reason := _REFUSED.get(str(value).lower()):
            raise ValueError(f"{value} is not offered: {reason}; choose one of {', '.join(names)}")
        near = nearest(value, names)
        raise ValueError(
            f"unknown strategy {quoted(value)}; " + (f"nearest: {near}" if near else ", ".join(names))
        )


SWEEP_KEYS = tuple(key for key in SweepConfig.model_fields if key != "base")
