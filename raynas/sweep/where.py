"""Which networks may be chosen: limits on what they take, as a trial file says them."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from raynas.config import Frozen, Hint

COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds"}
"""What a network costs, by the names of `raynas.nets.size.Size`, in words."""


class AtMost(Frozen):
    """A bound on one number of a network."""

    most: Annotated[float, Hint("max maximum at_most limit upper", example=3_500_000)] = Field(
        gt=0, le=1e18, description="the largest that is allowed"
    )


class Where(Frozen):
    """The networks that may be chosen: those of trials beyond a limit are left out."""

    parameters: Annotated[
        AtMost | None,
        Hint("params n_params num_params num_parameters model_size", "weights", {"most": 3_500_000}),
    ] = Field(None, description="of the network that the cell becomes")
    multiply_adds: Annotated[
        AtMost | None,
        Hint("macs madds mult_adds flops multadds", "multiply-adds of an image", {"most": 600_000_000}),
    ] = Field(None, description="of the network that the cell becomes")
    recipe: Annotated[
        str | None, Hint("protocol", example={"parameters": {"most": 3_500_000}, "recipe": "darts-cifar"})
    ] = Field(
        None,
        description="whose network is counted, as `raynas size` counts it; that of `retrain`, or the "
        "usual one of such cells",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.parameters is None and self.multiply_adds is None:
            raise ValueError(
                "expected a limit, as {parameters: {most: 3.5e6}} or {multiply_adds: {most: 6e8}}"
            )
        return self
