"""What one training from scratch is: every number that decides its outcome, typed and checked."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from raynas.config import LANE, MOST_BATCH, MOST_EPOCHS, MOST_SEED, MOST_THREADS, DataConfig, Frozen

Schedule = Literal["cosine", "linear", "exponential", "constant"]


class TrainData(DataConfig):
    """The images a network is trained and tested on.

    All training images train, unless a share ``valid`` is held out to be looked at after every epoch; the
    test images are looked at only once, after the last epoch.
    """

    valid: float = Field(0.0, ge=0, lt=1, description="share of the training images held out, to select by")


class TrainConfig(Frozen):
    """One training of one cell's network from scratch.

    Defaults are those of DARTS (Liu et al. 2019, section A.2.1; quark0/darts f276dd3, cnn/train.py).
    """

    cell: str = Field(description="a cell's name (`raynas ls cells`), a file, a text, or a sweep's folder")
    recipe: str = Field("darts-cifar", description="the recipe whose values stand where none is given")
    seed: Annotated[NonNegativeInt, LANE] = Field(
        0, le=MOST_SEED, description="seed of weights, data order, augmentation and drop path"
    )
    data: TrainData = Field(default_factory=lambda: TrainData())
    epochs: PositiveInt = Field(600, le=MOST_EPOCHS)
    batch: PositiveInt = Field(96, le=MOST_BATCH, description="images per step; an epoch's last has the rest")
    channels: PositiveInt | None = Field(
        None, le=4096, description="channels of the first cell; the skeleton's usual ones if left out"
    )
    cells: PositiveInt | None = Field(
        None, le=1000, description="depth of the network, counted as its skeleton counts cells"
    )
    learning_rate: Annotated[float, LANE] = Field(0.025, gt=0, description="the largest")
    learning_rate_min: Annotated[float, LANE] = Field(0.0, ge=0, description="at the end of the cosine")
    schedule: Schedule = Field("cosine", description="how the learning rate falls")
    decay: float = Field(0.97, gt=0, le=1, description="factor per epoch of the schedule `exponential`")
    warmup: NonNegativeInt = Field(0, le=MOST_EPOCHS, description="first epochs in which the rate rises")
    momentum: Annotated[float, LANE] = Field(0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: Annotated[float, LANE] = Field(3e-4, ge=0, description="L2 strength on all weights")
    clip: Annotated[float | None, LANE] = Field(
        5.0, gt=0, description="largest norm of the gradient; null for no limit"
    )
    drop_path: Annotated[float, LANE] = Field(
        0.0, ge=0, lt=1, description="chance to drop an operation's output for an image, reached at the end"
    )
    auxiliary: float = Field(0.0, ge=0, description="weight of the auxiliary head's loss; 0 for no head")
    label_smoothing: Annotated[float, LANE] = Field(0.0, ge=0, lt=1)
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the network's arithmetic")
    channels_last: bool = Field(True, description="keep a pixel's channels side by side in memory")
    compile: bool = Field(False, description="let torch.compile fuse the network; for long runs on a GPU")
    threads: PositiveInt = Field(
        1, le=MOST_THREADS, description="CPU threads; other counts give other roundings"
    )
    deterministic: bool = Field(True, description="let torch use deterministic algorithms only")

    @field_validator("data", mode="before")
    @classmethod
    def _data_by_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "TrainConfig":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.warmup >= self.epochs and self.warmup:
            raise ValueError(f"warmup takes {self.warmup} of {self.epochs} epochs: none is left to train in")
        return self

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain JSON data."""
        return self.model_dump(mode="json")
