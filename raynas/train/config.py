"""What one training from scratch is: every number that decides its outcome, typed and checked."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from raynas.config import LANE, MOST_BATCH, MOST_EPOCHS, MOST_SEED, MOST_THREADS, DataConfig, Frozen, Hint

Schedule = Literal["cosine", "linear", "exponential", "constant"]


class TrainData(DataConfig):
    """The images, or the text, a network is trained and tested on.

    All training images train, unless a share ``valid`` is held out to be looked at after every epoch; the
    test images are looked at only once, after the last epoch. So it is with the words of a text; of one that
    comes in a single piece a share ``test`` at its end is kept for the test, and ``valid`` precedes it.
    """

    valid: Annotated[
        float, Hint("valid_share valid_portion val val_split validation holdout", "share", 0.1)
    ] = Field(0.0, ge=0, lt=1, description="share of the training images or words held out, to select by")
    select: Annotated[float, Hint("select_share selection_share", "share", 0.1)] = Field(
        0.0,
        ge=0,
        lt=1,
        description="share that searches hold out to choose by: the same images or words; the test is then "
        "not looked at",
    )
    crop: Annotated[Literal["padded", "resized"], Hint("random_crop random_resized_crop")] = Field(
        "padded",
        description="random crop: `padded` as the data set's recipe has it, or `resized`, 8 to 100 % of the "
        "area scaled to the image's size",
    )
    centre: Annotated[float, Hint("center_crop centre_crop center", "share")] = Field(
        0.875,
        gt=0,
        le=1,
        description="with `crop: resized`, the share of an image file's side that is tested: 224 of 256",
    )
    brightness: Annotated[float, Hint("color_jitter colour_jitter jitter", "share", 0.4)] = Field(
        0.0, ge=0, le=1, description="most change of an image's brightness, either way"
    )
    contrast: Annotated[float, Hint(unit="share", example=0.4)] = Field(
        0.0, ge=0, le=1, description="the same of its contrast"
    )
    saturation: Annotated[float, Hint(unit="share", example=0.4)] = Field(
        0.0, ge=0, le=1, description="the same of its saturation"
    )
    hue: Annotated[float, Hint(unit="share", example=0.1)] = Field(
        0.0, ge=0, le=0.5, description="most turn of its hue, as a share of the circle"
    )

    @model_validator(mode="after")
    def _one_part_is_held_out(self) -> "TrainData":
        if self.valid and self.select:
            raise ValueError("valid and select both say what is held out, to validate on: give one of them")
        return self

    @model_validator(mode="after")
    def _parts_are_of_files(self) -> "TrainData":
        if self.kept is not None and self.name == "folder" and self.storage == "memory":
            raise ValueError(
                "crop: resized reads every file anew in each epoch, so storage is stream or auto"
            )
        return self

    @property
    def kept(self) -> float | None:
        """The share of an image file's side that is tested where training scales random parts of it."""
        return self.centre if self.crop == "resized" else None

    @property
    def jitter(self) -> tuple[float, float, float, float]:
        """The most by which brightness, contrast, saturation and hue change."""
        return self.brightness, self.contrast, self.saturation, self.hue


class TextTraining(Frozen):
    """What a language model's training has beyond an image network's.

    Defaults are those of DARTS on Penn Treebank (Liu et al. 2019, A.3.2; quark0/darts f276dd3, rnn/train.py;
    the regularisers are AWD-LSTM's, Merity et al. 2018). A mask is drawn once a segment and holds for all of
    its words (variational dropout).
    """

    drop_words: Annotated[float, Hint("dropoute", "share")] = Field(
        0.1, ge=0, lt=1, description="chance to blank a word of the vocabulary"
    )
    drop_embedding: Annotated[float, Hint("dropouti", "share")] = Field(
        0.2, ge=0, lt=1, description="dropout of the embedded words, per stream"
    )
    drop_input: Annotated[float, Hint("dropoutx", "share")] = Field(
        0.75, ge=0, lt=1, description="dropout of what the cell reads of a word"
    )
    drop_hidden: Annotated[float, Hint("dropouth", "share")] = Field(
        0.25, ge=0, lt=1, description="dropout of what each node reads of a state"
    )
    drop_output: Annotated[float, Hint("dropout", "share")] = Field(
        0.75, ge=0, lt=1, description="dropout of the cell's output"
    )
    slowness: Annotated[float, Hint("beta")] = Field(
        1e-3, ge=0, description="β, strength on how far the output moves from word to word"
    )
    activation: Annotated[float, Hint("alpha_reg")] = Field(
        0.0, ge=0, description="α, strength on the square of the output after dropout"
    )
    random_segments: Annotated[bool, Hint("random_bptt")] = Field(
        True,
        description="lengths from N(bptt, 5), one in 20 from N(bptt/2, 5), the rate in proportion; "
        "false for bptt words each",
    )
    patience: Annotated[PositiveInt | None, Hint("nonmono nonmonotone asgd", "epochs")] = Field(
        5,
        le=MOST_EPOCHS,
        description="averaging (ASGD) begins when an epoch validates worse than the best of those more than "
        "so many epochs before it; null for never",
    )


class TrainConfig(Frozen):
    """One training of one cell's network from scratch.

    Defaults are those of DARTS (Liu et al. 2019, section A.2.1; quark0/darts f276dd3, cnn/train.py).
    """

    cell: Annotated[str, Hint("genotype arch architecture cell_name", example="darts-v2")] = Field(
        description="a cell's name (`raynas ls cells`), a file, a text, or a sweep's folder"
    )
    recipe: Annotated[str, Hint("protocol", example="darts-cifar")] = Field(
        "darts-cifar", description="the recipe whose values stand where none is given"
    )
    seed: Annotated[NonNegativeInt, LANE, Hint("seeds random_seed manual_seed rng")] = Field(
        0, le=MOST_SEED, description="seed of weights, data order, augmentation and drop path"
    )
    data: Annotated[
        TrainData, Hint("dataset data_set datasets", example={"name": "cifar10", "path": "~/data"})
    ] = Field(
        default_factory=lambda: TrainData(),
        description="what is learned from; a name alone means `data.name`",
    )
    text: Annotated[TextTraining | None, Hint("language_model rnn lm", example={"drop_hidden": 0.3})] = Field(
        None, description="of a language model; nothing for images"
    )
    epochs: Annotated[PositiveInt, Hint("epoch num_epochs n_epochs max_epochs", "epochs")] = Field(
        600, le=MOST_EPOCHS, description="passes over the training images or words"
    )
    batch: Annotated[PositiveInt, Hint("batch_size batchsize bs", "images")] = Field(
        96, le=MOST_BATCH, description="images per step, an epoch's last has the rest; or streams of a text"
    )
    channels: Annotated[
        PositiveInt | None, Hint("init_channels initial_channels num_channels width filters", "channels", 36)
    ] = Field(None, le=4096, description="channels of the first cell; the skeleton's usual ones if left out")
    cells: Annotated[PositiveInt | None, Hint("layers num_layers num_cells n_cells depth", "cells", 20)] = (
        Field(None, le=1000, description="depth of the network, counted as its skeleton counts cells")
    )
    learning_rate: Annotated[float, LANE, Hint("lr rate eta max_lr")] = Field(
        0.025, gt=0, description="the largest"
    )
    learning_rate_min: Annotated[float, LANE, Hint("lr_min min_lr eta_min final_lr")] = Field(
        0.0, ge=0, description="at the end of the cosine"
    )
    schedule: Annotated[Schedule, Hint("scheduler lr_schedule lr_scheduler")] = Field(
        "cosine", description="how the learning rate falls"
    )
    decay: Annotated[float, Hint("gamma lr_decay", "per epoch")] = Field(
        0.97, gt=0, le=1, description="factor per epoch of the schedule `exponential`"
    )
    warmup: Annotated[NonNegativeInt, Hint("warm_up warmup_epochs", "epochs", 5)] = Field(
        0, le=MOST_EPOCHS, description="first epochs in which the rate rises"
    )
    momentum: Annotated[float, LANE, Hint("mu sgd_momentum", "share")] = Field(
        0.9, ge=0, lt=1, description="what a step of the weights keeps of the last"
    )
    nesterov: bool = Field(False, description="let momentum look one step ahead")
    weight_decay: Annotated[float, LANE, Hint("l2 wd l2_strength regularisation regularization")] = Field(
        3e-4, ge=0, description="L2 strength on all weights"
    )
    clip: Annotated[float | None, LANE, Hint("grad_clip gradient_clip clip_norm max_norm")] = Field(
        5.0, gt=0, description="largest norm of the gradient; null for no limit"
    )
    drop_path: Annotated[
        float, LANE, Hint("drop_path_prob drop_path_rate droppath stochastic_depth", "share", 0.2)
    ] = Field(
        0.0, ge=0, lt=1, description="chance to drop an operation's output for an image, reached at the end"
    )
    auxiliary: Annotated[float, Hint("auxiliary_weight aux aux_weight auxiliary_head", example=0.4)] = Field(
        0.0, ge=0, description="weight of the auxiliary head's loss; 0 for no head"
    )
    label_smoothing: Annotated[float, LANE, Hint("label_smooth smoothing", "share", 0.1)] = Field(
        0.0, ge=0, lt=1, description="share of the target that is spread over all classes"
    )
    precision: Annotated[
        Literal["float32", "bfloat16"],
        Hint("dtype amp fp16 bf16 bfloat16 mixed_precision", example="bfloat16"),
    ] = Field("float32", description="of the network's arithmetic")
    channels_last: Annotated[bool, Hint("nhwc memory_format")] = Field(
        True, description="keep a pixel's channels side by side in memory"
    )
    compile: Annotated[bool, Hint("torch_compile")] = Field(
        False, description="let torch.compile fuse the network; for long runs on a GPU"
    )
    devices: Annotated[PositiveInt, Hint("num_devices world_size ddp data_parallel", "processes", 4)] = Field(
        1,
        le=64,
        description="processes, each with a device, that share each batch and normalise by their own part; "
        "as many as `resources.gpu` says where left out",
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

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "TrainConfig":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        if self.warmup >= self.epochs and self.warmup:
            raise ValueError(f"warmup takes {self.warmup} of {self.epochs} epochs: none is left to train in")
        return self

    @model_validator(mode="after")
    def _each_device_has_images(self) -> "TrainConfig":
        if self.devices > 1 and self.batch < 2 * self.devices:
            raise ValueError(f"a batch of {self.batch} gives {self.devices} devices fewer than 2 images each")
        return self

    @model_validator(mode="after")
    def _text_is_no_image(self) -> "TrainConfig":
        if self.text is None:
            return self
        for name in ("auxiliary", "drop_path", "label_smoothing", "nesterov", "compile"):
            if getattr(self, name):
                raise ValueError(f"{name} is for images; the training of a language model has none")
        if self.devices > 1:
            raise ValueError("several devices are for images; a language model is trained on one")
        return self

    @property
    def cpus(self) -> int:
        """The CPUs that a trial asks for where nothing is said of them."""
        return self.threads * self.devices

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain JSON data."""
        return self.model_dump(mode="json")
