"""The plan of a stack of layers: the same for the supernet and for the discrete network."""

from dataclasses import dataclass
from typing import Literal

LARGE_INPUT = 96
"""Images of at least this many pixels a side get the stem that divides their side by eight first."""

StemKind = Literal["small", "large"]
TailKind = Literal["none", "norm", "projection"]


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


LayerPlan = CellPlan | HalfPlan


@dataclass(frozen=True)
class Plan:
    """The whole stack: stem, layers, what follows the last one, and the features that reach the linear head.

    ``rectified`` says that the stem ends in a ReLU, and ``last`` is what the last cell puts out in channels.
    The tail ``norm`` is a batch norm and a ReLU, ``projection`` a ReLU, a 1×1 convolution and a batch norm.
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
