"""The configuration of a search: every number that decides its outcome, typed and checked.

Two searches with equal configurations give equal results on the same kind of device, so nothing that
changes the numbers may live elsewhere (which is why the thread count is here and not in ``resources``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

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


@dataclass(frozen=True)
class Hint:
    """What a field says of its key beside the description: it stands where the field is declared.

    ``also`` are words, with spaces between, under which other programs have it and people look for it;
    ``unit`` is its value's; ``example`` is a value, where the default shows little, or the whole group.
    """

    also: str = ""
    unit: str = ""
    example: Any = None


class Frozen(BaseModel):
    """Base of all configuration: immutable, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(Frozen):
    """Which images or which text, how they are split, and how images are augmented."""

    name: Annotated[str, Hint("dataset_name", example="cifar10")] = Field(
        "digits", description="a data set's name (`raynas ls data`) or `module:function`"
    )
    path: Annotated[str | None, Hint("root data_dir data_root data_path dir folder", example="~/data")] = (
        Field(None, description="where the files are; needed by all but `digits`")
    )
    download: Annotated[bool, Hint("fetch")] = Field(
        False, description="let torchvision fetch the files when they are missing"
    )
    valid: Annotated[
        float, Hint("valid_share valid_portion valid_size val val_split validation holdout", "share")
    ] = Field(0.5, gt=0, lt=1, description="share of the training images or tokens that trains α")
    test: Annotated[
        float,
        Hint(
            "test_share test_size test_split holdout_test",
            "share",
            {"name": "folder", "path": "photos", "test": 0.2},
        ),
    ] = Field(
        0.0,
        ge=0,
        lt=1,
        description="share held out to test, where none is: of images always the same, of a text its end",
    )
    select: Annotated[
        float, Hint("select_share selection_share choose third_part holdout_select", "share", 0.1)
    ] = Field(
        0.0,
        ge=0,
        lt=1,
        description="share that trains neither weights nor α, to choose among searches by; `valid` is of the "
        "rest",
    )
    split_seed: Annotated[NonNegativeInt, Hint("data_seed")] = Field(
        0,
        le=MOST_SEED,
        description="seed of the split; one for the whole sweep, so validation losses compare",
    )
    limit: Annotated[
        PositiveInt | None, Hint("subset max_images n_images num_samples n_samples", "images or tokens", 2560)
    ] = Field(
        None,
        le=1_000_000_000,
        description="use only this many training images, seeded, or the first so many tokens of a text",
    )
    size: Annotated[
        PositiveInt | None,
        Hint(
            "resize image_size img_size resolution",
            "pixels",
            {"name": "folder", "path": "photos", "size": 64},
        ),
    ] = Field(None, le=4096, description="resize folder images to this many pixels per side")
    augment: Annotated[bool, Hint("augmentation flip transforms")] = Field(
        True, description="random crop and flip as the data set's recipe has them"
    )
    cutout: Annotated[NonNegativeInt, Hint("cutout_length", "pixels", 16)] = Field(
        0, le=4096, description="side of the square that cutout blanks; 0 for none"
    )
    storage: Annotated[Literal["auto", "memory", "stream"], Hint("cache in_memory loader")] = Field(
        "auto", description="keep all images as one tensor, or stream them from disk with a DataLoader"
    )
    options: Annotated[
        dict[str, Any],
        Hint("arguments args kwargs", example={"name": "mymodule:load", "options": {"count": 80}}),
    ] = Field(default_factory=dict, description="arguments of a `module:function`")
    words: Annotated[PositiveInt, Hint("vocabulary vocab vocab_size", "words")] = Field(
        10_000, le=10_000_000, description="most words in a text's vocabulary; others are `<unk>`"
    )
    min_count: Annotated[PositiveInt, Hint("min_freq", "times")] = Field(
        2, le=1_000_000_000, description="occurrences below which a word counts as `<unk>`"
    )
    bptt: Annotated[PositiveInt, Hint("seq_len sequence_length", "tokens")] = Field(
        35, le=10_000, description="tokens of a text that a step reads of each stream"
    )

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `test` and `select` only where given: what was recorded before there were such stays so."""
        written: dict[str, Any] = handler(self)
        return {key: value for key, value in written.items() if value or key not in ("test", "select")}

    @property
    def trains_weights(self) -> float:
        """The share of the images that trains a search's weights."""
        return (1 - self.select) * (1 - self.valid)

    @property
    def kept(self) -> float | None:
        """The share of an image file's side that is tested where training scales random parts of it.

        None where it does not, as in every search.
        """
        return None


class HessianConfig(Frozen):
    """How often and how exactly the curvature of the validation loss in α is measured."""

    every: Annotated[NonNegativeInt, Hint("hessian_every eigenvalues_every", "epochs")] = Field(
        1, le=MOST_EPOCHS, description="epochs between two measurements; 0 for never"
    )
    batches: Annotated[PositiveInt, Hint("num_batches n_batches", "batches")] = Field(
        1, le=10_000, description="validation batches in the fixed probe set"
    )
    batch: Annotated[PositiveInt | None, Hint(unit="images", example=128)] = Field(
        None, le=MOST_BATCH, description="images a probe batch; the search's batch if left out"
    )
    steps: Annotated[PositiveInt, Hint("lanczos lanczos_steps iterations", "steps")] = Field(
        32, le=100_000, description="most Lanczos steps; stops earlier once converged"
    )
    tolerance: Annotated[float, Hint("tol", "share")] = Field(
        1e-2, gt=0, lt=1, description="relative error allowed at both ends"
    )
    spectrum: Annotated[bool, Hint("full_spectrum all_eigenvalues")] = Field(
        False, description="also compute every eigenvalue, exactly"
    )


LANE = "may differ between the searches of a pack"
"""Marks such a field where it is declared."""


class SearchConfig(Frozen):
    """One differentiable search: space, method, data and the numbers of the bilevel loop.

    Defaults are those of DARTS (Liu et al. 2019, section A.1).
    """

    space: Annotated[str, Hint("search_space spaces", example="s2")] = Field(
        description="a search space's name (`raynas ls spaces`) or a path to its YAML"
    )
    method: Annotated[
        str | dict[str, Any],
        Hint(
            "methods algorithm optimizer optimiser search_method unrolled early_stopping patience",
            example="drnas",
        ),
    ] = Field("darts", description="a method's name (`raynas ls methods`), or a mapping: base and overrides")
    seed: Annotated[NonNegativeInt, LANE, Hint("seeds random_seed manual_seed rng")] = Field(
        0, le=MOST_SEED, description="seed of weights, α, data order and augmentation"
    )
    data: Annotated[
        DataConfig, Hint("dataset data_set datasets", example={"name": "cifar10", "path": "~/data"})
    ] = Field(default_factory=DataConfig, description="what is learned from; a name alone means `data.name`")
    epochs: Annotated[PositiveInt, Hint("epoch num_epochs n_epochs max_epochs", "epochs")] = Field(
        50, le=MOST_EPOCHS, description="passes over the half of the data that trains the weights"
    )
    warmup: Annotated[NonNegativeInt, Hint("warm_up warmup_epochs", "epochs", 15)] = Field(
        0, le=MOST_EPOCHS, description="first epochs that train the weights only"
    )
    batch: Annotated[PositiveInt, Hint("batch_size batchsize bs", "images or streams")] = Field(
        64, le=MOST_BATCH, description="images, or parallel streams of a text, a step, for weights and for α"
    )
    channels: Annotated[
        PositiveInt | None, Hint("init_channels initial_channels num_channels width filters", "channels", 16)
    ] = Field(None, le=4096, description="channels of the first cell; the space's own")
    cells: Annotated[PositiveInt | None, Hint("layers num_layers num_cells n_cells depth", "cells", 8)] = (
        Field(
            None,
            le=1000,
            description="cells in the supernet (of `nas-bench-201`: in each stage); the space's own",
        )
    )
    learning_rate: Annotated[float, LANE, Hint("lr rate eta w_lr weight_lr max_lr")] = Field(
        0.025, gt=0, description="of the weights, at the start"
    )
    learning_rate_min: Annotated[float, LANE, Hint("lr_min min_lr eta_min final_lr")] = Field(
        0.001, ge=0, description="of the weights, at the end of the cosine"
    )
    momentum: Annotated[float, LANE, Hint("mu sgd_momentum", "share")] = Field(
        0.9, ge=0, lt=1, description="what a step of the weights keeps of the last"
    )
    weight_decay: Annotated[float, LANE, Hint("l2 wd decay l2_strength regularisation regularization")] = (
        Field(3e-4, ge=0, description="L2 strength on the weights")
    )
    clip: Annotated[float, LANE, Hint("grad_clip gradient_clip clip_norm max_norm")] = Field(
        5.0, gt=0, description="largest norm of the weights' gradient"
    )
    arch_learning_rate: Annotated[float, LANE, Hint("arch_lr lr_arch a_lr alpha_lr alpha_learning_rate")] = (
        Field(3e-4, gt=0, description="Adam's, on α")
    )
    arch_weight_decay: Annotated[
        float, LANE, Hint("arch_l2 arch_wd alpha_l2 alpha_wd alpha_weight_decay")
    ] = Field(1e-3, ge=0, description="L2 strength on α")
    hessian: Annotated[
        HessianConfig, Hint("eigenvalues eigenvalue eigs curvature lambda_max", example={"every": 5})
    ] = Field(
        default_factory=HessianConfig, description="how often and how exactly curvature in α is measured"
    )
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Hint("dtype amp fp16 bf16 bfloat16 mixed_precision", example="bfloat16"),
    ] = Field(
        "float32",
        description="of the supernet's arithmetic; weights, α, second order and curvature stay float32",
    )
    compile: Annotated[bool, Hint("torch_compile")] = Field(
        False, description="let torch.compile fuse the supernet; for long searches on a GPU"
    )
    recompute: Annotated[bool, Hint("checkpointing gradient_checkpointing")] = Field(
        False, description="keep no activations of a cell, compute them again; less memory, more time"
    )
    threads: Annotated[PositiveInt, Hint("num_threads n_threads", "threads")] = Field(
        1, le=MOST_THREADS, description="CPU threads; other counts give other roundings"
    )
    deterministic: Annotated[bool, Hint("determinism reproducible")] = Field(
        True, description="let torch use deterministic algorithms only"
    )

    @field_validator("data", mode="before")
    @classmethod
    def _data_by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @property
    def cpus(self) -> int:
        """The CPUs that a trial asks for where nothing is said of them."""
        return self.threads

    @field_validator("hessian", mode="before")
    @classmethod
    def _hessian_is_a_mapping(cls, value: object) -> object:
        if isinstance(value, bool | int | float):
            raise ValueError(
                f"expected a mapping of keys; got {quoted(value)}: `{{every: 1}}` measures after each epoch, "
                "`{every: 0}` never"
            )
        return value

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
