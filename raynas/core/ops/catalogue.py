"""The candidate operations by name: plain data, so that files can be checked without importing torch."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Family = Literal[
    "none",
    "skip",
    "max_pool",
    "avg_pool",
    "separable",
    "dilated",
    "convolution",
    "rectified",
    "noise",
    "activation",
]


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
    Operation(
        "nor_conv_1x1", "convolution", "conv 1×1", "ReLU, 1×1 convolution, batch norm (NAS-Bench-201)", 1
    ),
    Operation(
        "nor_conv_3x3", "convolution", "conv 3×3", "ReLU, 3×3 convolution, batch norm (NAS-Bench-201)", 3
    ),
    Operation("maxpool3x3", "max_pool", "max 3×3", "3×3 max pooling (NAS-Bench-101's name)", 3),
    Operation(
        "conv3x3-bn-relu", "rectified", "conv 3×3", "3×3 convolution, batch norm, ReLU (NAS-Bench-101)", 3
    ),
    Operation(
        "conv1x1-bn-relu", "rectified", "conv 1×1", "1×1 convolution, batch norm, ReLU (NAS-Bench-101)", 1
    ),
    Operation("identity", "skip", "ident", "hands its input on; in a recurrent cell behind a gate"),
    Operation("noise", "noise", "noise", "standard normal noise that ignores its input (space S4)"),
    Operation("tanh", "activation", "tanh", "hyperbolic tangent behind a gate (recurrent cells)"),
    Operation("relu", "activation", "relu", "rectifier behind a gate (recurrent cells)"),
    Operation("sigmoid", "activation", "sigmoid", "logistic function behind a gate (recurrent cells)"),
)
OPERATIONS = MappingProxyType({operation.name: operation for operation in _ALL})
