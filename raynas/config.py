"""What one search is: every number that decides its outcome, typed and checked.

Two searches with equal configurations give equal results on the same kind of device, so nothing that
changes the numbers may live elsewhere (which is why the thread count is here and not in ``resources``).
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from raynas.errors import RaynasError, quoted

MOST_EPOCHS, MOST_BATCH, MOST_THREADS, MOST_SEED = 100_000, 100_000, 256, 2**63 - 1
"""Every count has a bound: a slip of the hand is told at once, and does not fill a machine first."""

LONGEST_FOLDER_NAME = 80
"""Letters of a name that becomes a folder's; file systems end at 255, and a trial's id is added to it."""

_WINDOWS = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def folder_name(value: str) -> str:
    """Return a name that every file system takes as a folder's; raises `ValueError` for any other."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is None:
        raise ValueError(f"expected letters, digits, '.', '-' and '_' only; got {quoted(value)}")
    if len(value) > LONGEST_FOLDER_NAME:
        raise ValueError(f"expected at most {LONGEST_FOLDER_NAME} letters; got {len(value)}: {quoted(value)}")
    if _WINDOWS.fullmatch(value) or value.endswith("."):
        raise ValueError(f"Windows, which may share the folder, can hold no {value!r}; add a letter")
    return value


LOOP_VERSION = 2
"""Raised when a search gives other numbers for a reason outside its method's parts, which have versions of
their own: validation, curvature, the order of the data.

2: curvature's ends keep their tolerance, no stop rule is asked after the last epoch, and stems for images of
96 pixels and more are as wide as their source's."""


class Frozen(BaseModel):
    """Base of all configuration: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Frozen):
    """Which images or which text, how they are split, and how images are augmented."""

    name: str = Field("digits", description="a data set's name (`raynas ls data`) or `module:function`")
    path: str | None = Field(None, description="where the files are; needed by all but `digits`")
    download: bool = Field(False, description="let torchvision fetch the files when they are missing")
    valid: float = Field(0.5, gt=0, lt=1, description="share of the training images or tokens that trains α")
    split_seed: NonNegativeInt = Field(
        0,
        le=MOST_SEED,
        description="seed of the split; one for the whole sweep, so validation losses compare",
    )
    limit: PositiveInt | None = Field(
        None,
        le=1_000_000_000,
        description="use only this many training images, seeded, or the first so many tokens of a text",
    )
    size: PositiveInt | None = Field(
        None, le=4096, description="resize folder images to this many pixels a side"
    )
    augment: bool = Field(True, description="random crop and flip as the data set's recipe has them")
    cutout: NonNegativeInt = Field(
        0, le=4096, description="side of the square that cutout blanks; 0 for none"
    )
    storage: Literal["auto", "memory", "stream"] = Field(
        "auto", description="keep all images as one tensor, or stream them from disk with a DataLoader"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of a `module:function`")
    words: PositiveInt = Field(
        10_000, le=10_000_000, description="most words in a text's vocabulary; others are `<unk>`"
    )
    min_count: PositiveInt = Field(
        2, le=1_000_000_000, description="how often a word occurs at least that is no `<unk>`"
    )
    bptt: PositiveInt = Field(35, le=10_000, description="tokens of a text that a step reads of each stream")

    @property
    def test_share(self) -> float:
        """The share of a text in one piece that is kept for a test: a search tests nothing."""
        return 0.0


class HessianConfig(Frozen):
    """How often and how exactly the curvature of the validation loss in α is measured."""

    every: NonNegativeInt = Field(
        1, le=MOST_EPOCHS, description="epochs between two measurements; 0 for never"
    )
    batches: PositiveInt = Field(1, le=10_000, description="validation batches in the fixed probe set")
    batch: PositiveInt | None = Field(
        None, le=MOST_BATCH, description="images a probe batch; the search's batch if left out"
    )
    steps: PositiveInt = Field(32, le=100_000, description="most Lanczos steps; stops earlier once converged")
    tolerance: float = Field(1e-2, gt=0, lt=1, description="relative error allowed at both ends")
    spectrum: bool = Field(False, description="also compute every eigenvalue, exactly")


LANE = "may differ between the searches of a pack"
"""Marks such a field where it is declared."""


class SearchConfig(Frozen):
    """One differentiable search: space, method, data and the numbers of the bilevel loop.

    Defaults are those of DARTS (Liu et al. 2019, section A.1).
    """

    space: str = Field(description="a search space's name (`raynas ls spaces`) or a path to its YAML")
    method: str | dict[str, Any] = Field(
        "darts", description="a method's name (`raynas ls methods`), or a mapping: base and overrides"
    )
    seed: Annotated[NonNegativeInt, LANE] = Field(
        0, le=MOST_SEED, description="seed of weights, α, data order and augmentation"
    )
    data: DataConfig = Field(default_factory=DataConfig)
    epochs: PositiveInt = Field(50, le=MOST_EPOCHS)
    warmup: NonNegativeInt = Field(0, le=MOST_EPOCHS, description="first epochs that train the weights only")
    batch: PositiveInt = Field(
        64, le=MOST_BATCH, description="images, or parallel streams of a text, a step, for weights and for α"
    )
    channels: PositiveInt | None = Field(
        None, le=4096, description="channels of the first cell; the space's own"
    )
    cells: PositiveInt | None = Field(
        None,
        le=1000,
        description="cells in the supernet (of `nas-bench-201`: in each stage); the space's own",
    )
    learning_rate: Annotated[float, LANE] = Field(0.025, gt=0, description="of the weights, at the start")
    learning_rate_min: Annotated[float, LANE] = Field(
        0.001, ge=0, description="of the weights, at the end of the cosine"
    )
    momentum: Annotated[float, LANE] = Field(0.9, ge=0, lt=1)
    weight_decay: Annotated[float, LANE] = Field(3e-4, ge=0, description="L2 strength on the weights")
    clip: Annotated[float, LANE] = Field(5.0, gt=0, description="largest norm of the weights' gradient")
    arch_learning_rate: Annotated[float, LANE] = Field(3e-4, gt=0, description="Adam's, on α")
    arch_weight_decay: Annotated[float, LANE] = Field(1e-3, ge=0, description="L2 strength on α")
    hessian: HessianConfig = Field(default_factory=HessianConfig)
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the supernet's arithmetic; weights, α, second order and curvature stay float32",
    )
    compile: bool = Field(
        False, description="let torch.compile fuse the supernet; for long searches on a GPU"
    )
    recompute: bool = Field(
        False, description="keep no activations of a cell, compute them again; less memory, more time"
    )
    threads: PositiveInt = Field(
        1, le=MOST_THREADS, description="CPU threads; other counts give other roundings"
    )
    deterministic: bool = Field(True, description="let torch use deterministic algorithms only")

    @field_validator("data", mode="before")
    @classmethod
    def _data_by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("method")
    @classmethod
    def _method_has_base(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, dict) and not isinstance(value.get("base"), str):
            raise ValueError("a method given as a mapping needs `base:`, the method it starts from")
        return value


def lane_fields(model: type[Frozen]) -> frozenset[str]:
    """Return what trials of one pack may differ in, of a kind of configuration."""
    return frozenset(name for name, field in model.model_fields.items() if LANE in field.metadata)


LANE_FIELDS = lane_fields(SearchConfig)
"""What searches of one pack may differ in; everything else decides a shape or the course of the loop."""


def shape_of(config: Frozen) -> str:
    """Return a text that is the same for exactly those searches (trainings) that can advance in one pack."""
    return config.model_dump_json(exclude=set(lane_fields(type(config))))


def check_alike(configs: Sequence[SearchConfig]) -> None:
    """Raise `RaynasError` unless the searches can advance in one pack: equal but for `LANE_FIELDS`."""
    first = configs[0].model_dump(exclude=set(LANE_FIELDS))
    for config in configs[1:]:
        for key, value in config.model_dump(exclude=set(LANE_FIELDS)).items():
            if value != first[key]:
                raise RaynasError(
                    "searches of one pack must have the same shape",
                    got=f"{key}: {value}",
                    expected=f"{key}: {first[key]}, as the first has",
                    next_step=f"let them differ only in {', '.join(sorted(LANE_FIELDS))}",
                )
