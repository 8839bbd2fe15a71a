"""What a sweep's file says besides its searches: resources, choice, control, trainings, tracker, table."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from raynas.config import MOST_EPOCHS, MOST_SEED, Frozen, Hint
from raynas.disk import expanded
from raynas.spaces.space import Space
from raynas.sweep.where import Where
from raynas.tables.open import open_table
from raynas.tables.table import Yardstick

Criterion = Literal["valid_loss", "select_loss", "discrete_loss", "short_training", "eig_max", "table"]

CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

SHORT_EPOCHS = 5
"""Epochs of a short training where the file says none."""

MOST_TRIALS = 10_000
"""Searches of one sweep."""


class Resources(Frozen):
    """What each trial gets, and how many run at once."""

    cpu: Annotated[float | None, Hint("cpus num_cpus cpus_per_trial", "CPUs", 2)] = Field(
        None, gt=0, le=1024, description="CPUs per trial; the search's `threads` if left out"
    )
    gpu: Annotated[float, Hint("gpus num_gpus gpus_per_trial device cuda", "GPUs", 0.25)] = Field(
        0, ge=0, le=1024, description="GPUs per trial: 0, a share 1/n, or a whole number"
    )
    max_concurrent: Annotated[
        PositiveInt | None,
        Hint("concurrency max_concurrent_trials parallel workers jobs n_jobs", "trials", 4),
    ] = Field(None, le=MOST_TRIALS, description="most trials at once; as many as fit")
    retries: Annotated[NonNegativeInt, Hint("max_failures retry", "times")] = Field(
        3, le=1000, description="how often a crashed trial is started again"
    )
    pack: Annotated[
        Annotated[int, Field(ge=1, le=MOST_TRIALS)] | Literal["auto"],
        Hint("packs pack_size vmap", "trials", 8),
    ] = Field(
        "auto", description="most like-shaped trials that advance together in one process; auto measures"
    )

    @field_validator("gpu")
    @classmethod
    def _share(cls, gpu: float) -> float:
        if gpu >= 1:
            if gpu != int(gpu):
                raise ValueError(f"{gpu:g} GPUs cannot be given to one trial: {int(gpu)} or {int(gpu) + 1}")
        elif gpu > 0:
            fit = int(1 / gpu + 1e-9)
            if 1 / fit - gpu > 1e-3:
                raise ValueError(f"{gpu:g} does not divide a GPU: {1 / (fit + 1):.3g} or {1 / fit:.3g}")
        return gpu


class Select(Frozen):
    """How the winner is chosen."""

    by: Annotated[
        Criterion | Annotated[tuple[Criterion, ...], Field(min_length=1)],
        Hint("metric criterion select_by rules", example="discrete_loss"),
    ] = Field(
        "valid_loss",
        description="the supernet's validation loss (of a method's mixture, or the mean over cells that it "
        "draws), the same on the part of the data that `data.select` holds out, the loss of its derived cell "
        "alone, the error after a short training of that cell from scratch, the largest eigenvalue of the "
        "Hessian in α where it was last measured, or the validation accuracy in the benchmark's table; of "
        "several in a list the first selects, and what the others would choose is shown",
    )
    top: Annotated[PositiveInt, Hint("top_k k n_best best", "cells", 3)] = Field(
        1, le=MOST_TRIALS, description="how many of the best are named"
    )
    where: Annotated[
        Where | None,
        Hint(
            "constraints constraint budget budgets small largest", example={"parameters": {"most": 3_500_000}}
        ),
    ] = Field(None, description="how large the network of a chosen cell may be; any if left out")
    recipe: Annotated[
        str | None, Hint("short_recipe", example={"by": "short_training", "recipe": "quick"})
    ] = Field(None, description="how `short_training` trains (`raynas ls recipes`), or a file; quick")
    epochs: Annotated[
        PositiveInt | None, Hint("short_epochs", "epochs", {"by": "short_training", "epochs": 5})
    ] = Field(None, le=MOST_EPOCHS, description=f"how long `short_training` trains; {SHORT_EPOCHS}")

    @property
    def rules(self) -> tuple[Criterion, ...]:
        """All rules that are asked for."""
        return (self.by,) if isinstance(self.by, str) else self.by

    @property
    def rule(self) -> Criterion:
        """The one that selects."""
        return self.rules[0]

    @field_validator("by")
    @classmethod
    def _rules_differ(cls, by: Criterion | tuple[Criterion, ...]) -> Criterion | tuple[Criterion, ...]:
        if isinstance(by, tuple) and len(set(by)) < len(by):
            raise ValueError("a rule is listed twice")
        return by

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write newer keys only where they are given: sweeps that were recorded before have none."""
        return {key: value for key, value in handler(self).items() if value is not None}


class Retrain(Frozen):
    """What is trained from scratch once all searches of a sweep have finished."""

    top: Annotated[PositiveInt, Hint("top_k n_best best", "cells", 3)] = Field(
        1, le=MOST_TRIALS, description="how many of the best cells"
    )
    seeds: Annotated[tuple[Annotated[NonNegativeInt, Field(le=MOST_SEED)], ...], Hint("retrain_seeds")] = (
        Field((0, 1, 2), min_length=1, description="the seeds of each cell's trainings")
    )
    recipe: Annotated[str, Hint("protocol", example="quick")] = Field(
        "quick", description="how they are trained (`raynas ls recipes`), or a file"
    )

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed is listed twice")
        return seeds


class Control(Frozen):
    """Random cells that are judged as the searches' own are, to say what a search was worth."""

    random: Annotated[NonNegativeInt, Hint("random_cells", "cells", 50)] = Field(
        20, le=10_000, description="cells that each search judges at its end with its weights; 0 for none"
    )
    by: Annotated[Literal["weights", "training"], Hint("control_by", example="training")] = Field(
        "weights",
        description="with `training`, so many random cells are also trained from scratch beside those that "
        "`retrain` or `short_training` trains, by the same recipe",
    )

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write `by` only where it is not the default: recorded sweeps have no such key."""
        return {key: value for key, value in handler(self).items() if (key, value) != ("by", "weights")}


TRACKERS_GROUP = "raynas.trackers"
"""The entry points under which other distributions offer trackers."""


class Track(Frozen):
    """Where the runs are recorded: a setting for each tracker by name, null for none.

    What trackers there are besides MLflow is known to who reads a trial file and to who runs a sweep, so that
    a recorded sweep can be read where its trackers are not installed.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    mlflow: Annotated[
        str | None, Hint("tracking tracking_uri mlflow_uri tracker logger", example="http://127.0.0.1:5000")
    ] = Field("sqlite:///mlflow.db", description="MLflow's address; null for none")

    @property
    def wanted(self) -> dict[str, Any]:
        """The settings of the trackers that are wanted, by name."""
        return {name: setting for name, setting in self.model_dump().items() if setting is not None}


class Benchmark(Frozen):
    """The public table in which each epoch's cell is looked up; it decides nothing unless asked to."""

    table: Annotated[str, Hint("tabular lookup api", example="accuracy.csv")] = Field(
        description="path of a .csv or .parquet file of trained accuracies, or of a surrogate's folder"
    )
    data: Annotated[str, Hint("dataset column", example="cifar10")] = Field(
        description="a data set of the table, for its test accuracies, or one of its columns by name"
    )

    @field_validator("table")
    @classmethod
    def _absolute(cls, table: str) -> str:
        return str(expanded(table).absolute())

    def open(self, spaces: Iterable[Space] = ()) -> Yardstick:
        """Read the table; regret is to the best of the ``spaces``' own cells.

        Raises `RaynasError` when the table is missing, damaged, or lacks the data set.
        """
        return Yardstick.of(open_table(Path(self.table)), self.data, spaces)
