"""The candidate operations by name: plain data, so that files can be checked without importing torch."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Family = Literal["none", "skip", "max_pool", "avg_pool", "separable", "dilated", "noise"]


@dataclass(frozen=True)
class Operation:
    """One candidate operation: the family that computes it and the family's numbers.

    ``kernel`` is the side of the window in pixels and ``dilation`` the distance between its taps.
    ``short`` labels an edge in a drawing.
    """

    name: str
    family: Family
    short: str
    title: str
    kernel: int = 1
    dilation: int = 1


_ALL = (
    Operation("none", "none", "none", "no connection: zeros"),
    Operation("max_pool_3x3", "max_pool", "max 3×3", "3×3 max pooling", 3),
    Operation("avg_pool_3x3", "avg_pool", "avg 3×3", "3×3 average pooling, padding not counted", 3),
    Operation("skip_connect", "skip", "skip", "identity; at stride 2 two shifted 1×1 convolutions"),
    Operation("sep_conv_3x3", "separable", "sep 3×3", "depthwise-separable 3×3 convolution, twice", 3),
    Operation("sep_conv_5x5", "separable", "sep 5×5", "depthwise-separable 5×5 convolution, twice", 5),
    Operation("dil_conv_3x3", "dilated", "dil 3×3", "depthwise-separable 3×3 convolution, dilation 2", 3, 2),
    Operation("dil_conv_5x5", "dilated", "dil 5×5", "depthwise-separable 5×5 convolution, dilation 2", 5, 2),
    Operation("noise", "noise", "noise", "standard normal noise that ignores its input (space S4)"),
)
OPERATIONS = MappingProxyType({operation.name: operation for operation in _ALL})
