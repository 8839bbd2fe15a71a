"""The plan of a stack of layers: the same for the supernet and for the discrete network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from raynas.spaces.trunk import LARGE_INPUT

StemKind = Literal["small", "large", "unpadded", "strided", "none"]
TailKind = Literal["none", "norm", "relu", "projection"]


@dataclass(frozen=True)
class CellPlan:
    """One cell of the stack: its kind, its width, the widths of the states it reads.

    ``previous_reduced`` says that state 1 has half the resolution of state 0.
    """

    kind: str
    channels: int
    inputs: tuple[int, ...]
    previous_reduced: bool = False


@dataclass(frozen=True)
class HalfPlan:
    """A fixed layer between two stages, which halves the resolution.

    A ``residual`` one is a residual block that widens as well; the other is 2×2 max pooling.
    """

    inputs: int
    channels: int
    residual: bool


@dataclass(frozen=True)
class ConvolutionPlan:
    """A fixed convolution of a chain; ``kernel`` is the side of its window in pixels."""

    inputs: int
    outputs: int
    kernel: int
    stride: int


@dataclass(frozen=True)
class BlockPlan:
    """One block of a chain; ``row`` is its row of α, None for the fixed first one."""

    inputs: int
    outputs: int
    stride: int
    shortcut: bool
    row: int | None


@dataclass(frozen=True)
class DensePlan:
    """One dense block; the first of a stage adds its input ``projected`` by a 1×1 convolution."""

    channels: int
    projected: bool


@dataclass(frozen=True)
class DenseReductionPlan:
    """The fixed layer between two stages of dense blocks, which halves the resolution."""

    inputs: int
    channels: int


class Usual(NamedTuple):
    """How a field trains a derived network from scratch: on which data, how wide and how deep.

    ``image`` is the side of the images in pixels, 0 where the network reads texts; there ``classes`` counts
    the words and ``channels`` the units.
    """

    image: int
    classes: int
    channels: int
    cells: int


LayerPlan = CellPlan | HalfPlan | ConvolutionPlan | BlockPlan | DensePlan | DenseReductionPlan


@dataclass(frozen=True)
class Plan:
    """The whole stack: stem, layers, what follows the last one, and the features that reach the linear head.

    With the stem ``none`` the first layer reads the images; ``unpadded`` and ``strided`` ones are a 3×3
    convolution without padding, the latter of stride 2. ``rectified`` says that the stem ends in a ReLU,
    and ``last`` is what the last cell outputs in channels. The tail ``norm`` is a batch norm and a ReLU,
    ``relu`` that alone, ``projection`` a ReLU, a 1×1 convolution and a batch norm.
    """

    stem: StemKind
    stem_channels: int
    cells: tuple[LayerPlan, ...]
    last: int
    features: int
    tail: TailKind = "none"
    rectified: bool = False


def is_reduced(index: int, cells: int) -> bool:
    """Tell whether the resolution halves at this cell of ``cells``: at 1/3 and 2/3 of the depth."""
    return index in {cells // 3, 2 * cells // 3}


def input_strides(plan: CellPlan) -> tuple[int, int]:
    """Return by what each input of a cell is divided when they are halved before a reduction cell."""
    stride = 2 if plan.kind == "reduce" else 1
    return stride * (2 if plan.previous_reduced else 1), stride


def reducing_cells(
    side: int, cells: int, channels: int, states: Mapping[str, int], *, searched: bool
) -> Plan:
    """Stack normal cells with reduction cells at 1/3 and 2/3 of the depth, each doubling the channels.

    Each reads the two before; ``states`` is how many states a cell of each kind outputs side by side, and
    without normal cells among them all are reduction cells. Small images get a 3×3 stem with 3·channels
    outputs, large ones three convolutions of stride 2. These output 3·channels too in a supernet
    (``searched``: yuhuixu1993/PC-DARTS and xiangning-chen/DrNAS, model_search_imagenet), and as many as
    ``channels`` in the discrete network (quark0/darts, model.NetworkImageNet).
    """
    stem: StemKind = "large" if side >= LARGE_INPUT else "small"
    stem_channels = channels if stem == "large" and not searched else 3 * channels
    before, previous, width = stem_channels, stem_channels, channels
    # The large stem's two outputs differ: the second has been strided once more than the first.
    reduced = stem == "large"
    plans: list[LayerPlan] = []
    for index in range(cells):
        kind = "reduce" if is_reduced(index, cells) or "normal" not in states else "normal"
        width *= 2 if kind == "reduce" else 1
        plans.append(CellPlan(kind, width, (before, previous), reduced))
        before, previous, reduced = previous, states[kind] * width, kind == "reduce"
    return Plan(stem, stem_channels, tuple(plans), previous, previous)
