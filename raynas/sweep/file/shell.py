"""What a sweep adds to the keys of its searches: how they vary, where they run, what is told of them."""

from typing import Annotated, Any

from pydantic import Field, PositiveInt, field_validator

from raynas.config import Frozen, Hint, folder_name
from raynas.errors import nearest, quoted
from raynas.sweep.plan import Strategy
from raynas.sweep.sections import MOST_TRIALS, Benchmark, Control, Resources, Retrain, Select, Track

OBJECTIVES_KEY = "objectives"
"""The key in `sample` that is no range: what the suggestions are to lower."""

_REFUSED = {
    "asha": "it stops trials by early accuracy, which hides the late collapse that a search is watched for",
    "pbt": "it copies α between trials, so seed, method and genotype lose their identity",
    **dict.fromkeys(
        ("nsga", "nsga2", "nsga-2", "nsga-ii", "nsgaii"),
        "a study is built anew for each suggestion, so that a resume asks the very same question, and "
        "NSGA-II, whose generations would have to live in one study, then draws at random; TPE takes several "
        "objectives: strategy: optuna, sample: {objectives: [valid_loss, parameters]}",
    ),
}


class SweepConfig(Frozen):
    """A sweep file: the keys of a search in ``base``, and what a sweep adds to them."""

    name: Annotated[str, Hint("experiment experiment_name title", example="mine")] = Field(
        description="of the sweep and its folder"
    )
    base: dict[str, Any] = Field(default_factory=dict, description="what all searches share")
    grid: Annotated[
        dict[str, Any],
        Hint("grid_search axes vary product", example={"method": ["darts", "drnas"], "seed": [0, 1, 2]}),
    ] = Field(default_factory=dict, description="lists; every combination is a trial")
    zip: Annotated[
        dict[str, Any],
        Hint("paired together", example={"method": ["darts", "drnas"], "arch_learning_rate": [3e-4, 6e-4]}),
    ] = Field(default_factory=dict, description="lists that advance together")
    sample: Annotated[
        dict[str, Any],
        Hint("param_space distributions ranges random", example={"weight_decay": {"log": [1e-4, 1e-2]}}),
    ] = Field(
        default_factory=dict,
        description="ranges that values are drawn from; `objectives` in it lists what optuna is to lower, "
        "where that is more than `select.by`: [valid_loss, parameters]",
    )
    samples: Annotated[PositiveInt | None, Hint("n_trials num_trials draws points", "draws", 20)] = Field(
        None, le=MOST_TRIALS, description="how many points are drawn"
    )
    strategy: Annotated[Strategy, Hint("search_alg sampler_type", example="optuna")] = Field(
        "grid", description="grid, random-paired or optuna"
    )
    resources: Annotated[
        Resources, Hint("resource resources_per_trial compute", example={"cpu": 2, "gpu": 0.25})
    ] = Field(default_factory=Resources, description="what each trial gets, and how many run at once")
    select: Annotated[Select, Hint("selection choose", example={"by": "discrete_loss", "top": 3})] = Field(
        default_factory=Select, description="how the winner is chosen"
    )
    track: Annotated[Track, Hint("tracker trackers logging", example={"mlflow": None})] = Field(
        default_factory=Track, description="where the runs are recorded: a setting for each tracker"
    )
    benchmark: Annotated[
        Benchmark | None, Hint("tabular_benchmark", example={"table": "accuracy.csv", "data": "cifar10"})
    ] = Field(None, description="the table that each epoch's cell is looked up in")
    retrain: Annotated[Retrain | None, Hint("finetune evaluation", example={"top": 2})] = Field(
        None, description="train the best cells from scratch afterwards"
    )
    control: Annotated[Control, Hint("random_control baseline random_cells", example={"random": 50})] = Field(
        default_factory=Control, description="random cells that are judged beside those found"
    )

    @property
    def ranges(self) -> dict[str, Any]:
        """What is drawn from, by key."""
        return {key: value for key, value in self.sample.items() if key != OBJECTIVES_KEY}

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
