"""The base of all skeletons' supernets: how layers are made, fed with weights and run."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.fan import Fan, Weights
from raynas.nets.fixed import NoStem, Stem, SuperResidualBlock, Tail
from raynas.nets.ops.lanes import Lanes, Pass
from raynas.spaces.skeletons.plan import HalfPlan, LayerPlan, Plan
from raynas.spaces.space import Space


class Priced(NamedTuple):
    """An operation of a layer as α weighs it, for its cost.

    ``entries`` are its places among a row's options (or among all of the group's), counted from the row
    ``first``; the rest is what `raynas.nets.ops.plain` builds it from. ``module`` is what reads its input.
    """

    group: str
    first: int
    entries: Sequence[int]
    name: str
    inputs: int
    outputs: int
    stride: int
    module: nn.Module


def priced_fan(group: str, first: int, fan: Fan) -> Iterator[Priced]:
    """Yield a fan's operations, whose rows of α count from ``first``."""
    for row in fan.plan.rows:
        yield Priced(group, first, row.entries, row.name, fan.channels, fan.channels, fan.stride, fan)


class Layer(nn.Module):
    """One layer of a supernet's stack; it reads the output of the two layers before.

    ``searched`` says that it has weights of α, and is worth computing twice to save memory.
    """

    searched: ClassVar[bool] = True

    def mix(self, weights: Weights, run: Pass, shared: dict[Any, Any]) -> Any:
        """Return what `forward` takes of the weights; ``shared`` keeps what layers share in a pass."""
        return weights

    @abstractmethod
    def forward(self, before: Tensor, previous: Tensor, mix: Any, run: Pass) -> Tensor:
        """Return the next state, [N, lanes·channels, H, W]."""

    def priced(self) -> Iterator[Priced]:
        """Yield the operations that α chooses among and that cost something; here none."""
        yield from ()


class SuperHalve(Layer):
    """The layer between two stages: a residual block, or 2×2 max pooling on a border of padding."""

    searched = False

    def __init__(self, lanes: Lanes, plan: HalfPlan) -> None:
        super().__init__()
        self.block = SuperResidualBlock(lanes, plan.inputs, plan.channels) if plan.residual else None

    def forward(self, before: Tensor, previous: Tensor, mix: Any, run: Pass) -> Tensor:
        """Halve the last state's resolution, [N, lanes·channels, H', W']; the ``mix`` weighs nothing here."""
        if self.block is None:
            return F.max_pool2d(previous, 2, padding=1)
        return self.block(previous, run)  # type: ignore[no-any-return]


class Builder(ABC):
    """Makes the layers of one skeleton's supernet, drawing their first values from ``lanes``, in order.

    ``partial`` is what `Supernet` was given; only builders of skeletons with ``extras`` see one above 1.
    """

    def __init__(self, lanes: Lanes, space: Space, partial: int = 1) -> None:
        self.lanes, self.space, self.partial = lanes, space, partial

    def stem(self, plan: Plan, image_channels: int) -> nn.Module:
        """Return what maps (images, pass) to the two states that the first layer reads."""
        return NoStem() if plan.stem == "none" else Stem(self.lanes, plan, image_channels)

    def layer(self, plan: LayerPlan) -> Layer:
        """Return one layer of the stack."""
        return SuperHalve(self.lanes, plan) if isinstance(plan, HalfPlan) else self.cell(plan)

    @abstractmethod
    def cell(self, plan: Any) -> Layer:
        """Return one cell, or whatever else the skeleton's plan holds."""

    def tail(self, plan: Plan) -> nn.Module:
        """Return what maps (last state, pass) to the features that are averaged."""
        return Tail(self.lanes, plan)
