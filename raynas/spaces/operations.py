"""The candidate operations by name: plain data, so that files can be checked without importing torch."""

import re
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from raynas.errors import MOST_NEAR, RaynasError, neighbours, unknown
from raynas.spaces.outside import Registry, misfit

Dashes = tuple[float, ...]
"""Lengths of dashes and gaps in pixels, in turn; none for a solid line."""


@dataclass(frozen=True)
class Family:
    """Operations that the same code computes; they differ by their numbers alone.

    ``learns`` says that they have weights of their own. ``colour`` and ``dashes`` are how drawings show them.
    ``fused`` and ``plain`` name (``module:name``) what computes a family that raynas lacks: the subclass of
    `raynas.nets.ops.fused.FusedOperation` that the supernet runs, and the function that builds one edge's
    module for the discrete network from (operation, channels, stride, affine).
    """

    name: str
    learns: bool = False
    colour: str = "#51565e"
    dashes: Dashes = ()
    fused: str = ""
    plain: str = ""


# Colours that stay apart for colour-blind eyes (after Okabe and Ito, darkened to 3:1 on white); dashes say
# the same once more: convolutions solid, pools dotted, skips dashed.
_FAMILIES = (
    Family("none", False, "#8c959f", (0.1, 7)),
    Family("skip", False, "#59636e", (7, 4)),
    Family("max_pool", False, "#00875f", (0.1, 4)),
    Family("avg_pool", False, "#a8408f", (0.1, 4)),
    Family("separable", True, "#0072b2"),
    Family("dilated", True, "#d55e00"),
    Family("convolution", True, "#7a4300"),
    Family("crossed", True, "#a3262f"),
    Family(
        "bottleneck",
        True,
        "#7d3c98",
        fused="raynas.nets.ops.bottleneck:SuperBottleneck",
        plain="raynas.nets.ops.bottleneck:bottleneck",
    ),
    Family("rectified", True, "#4b3f9e"),
    Family("inverted", True, "#005f8a"),
    Family("normed_separable", True, "#3d6fb6"),
    Family("normed_max_pool", False, "#4d8a00", (0.1, 4)),
    Family("normed_avg_pool", False, "#b0305c", (0.1, 4)),
    Family("noise", False, "#8a6d00", (9, 4, 0.1, 4)),
    Family("activation", False, "#006b6b"),
)


def _family(point: EntryPoint, found: Any) -> Family:
    if not isinstance(found, Family) or found.name != point.name:
        raise misfit(point, found, f"a raynas.spaces.operations.Family named {point.name}")
    return found


FAMILIES: Registry[Family] = Registry(
    {family.name: family for family in _FAMILIES}, "raynas.families", _family
)


@dataclass(frozen=True)
class Operation:
    """One candidate operation: the family that computes it and the family's numbers.

    ``kernel`` is the side of the window in pixels and ``dilation`` the distance between its taps.
    ``ratio`` is how many times as wide an inverted bottleneck is inside. ``skeleton`` names the only skeleton
    that has the operation; most do not mind. ``short`` labels an edge in a drawing. ``aliases`` are what
    others call the same operation, in texts of cells.
    """

    name: str
    family: str
    short: str
    title: str
    kernel: int = 1
    dilation: int = 1
    ratio: int = 1
    skeleton: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def learns(self) -> bool:
        """Whether it has weights of its own."""
        return FAMILIES[self.family].learns

    @property
    def computes(self) -> str:
        """What tells operations apart that compute different things, whatever their names."""
        named = self.name if self.family == "activation" else ""
        return f"{self.family}{named} {self.kernel} {self.dilation} {self.ratio}"


def _inverted(ratio: int, kernel: int) -> Operation:
    side = f"{kernel}×{kernel}"
    title = f"inverted bottleneck, {ratio} times as wide inside, depthwise {side} (ProxylessNAS)"
    name, short = f"mbconv{ratio}_{kernel}x{kernel}", f"mb{ratio} {side}"
    return Operation(name, "inverted", short, title, kernel, ratio=ratio, skeleton="chain")


def _activation(name: str, title: str) -> Operation:
    return Operation(name, "activation", name, f"{title} behind a gate", skeleton="recurrent")


_ALL = (
    Operation("none", "none", "none", "no connection: zeros"),
    Operation("max_pool_3x3", "max_pool", "max 3×3", "3×3 max pooling", 3),
    Operation("avg_pool_3x3", "avg_pool", "avg 3×3", "3×3 average pooling, padding not counted", 3),
    Operation("skip_connect", "skip", "skip", "identity; at stride 2 two shifted 1×1 convolutions"),
    Operation(
        "sep_conv_3x3",
        "separable",
        "sep 3×3",
        "depthwise-separable 3×3 convolution, twice",
        3,
        aliases=("sep_3x3",),
    ),
    Operation(
        "sep_conv_5x5",
        "separable",
        "sep 5×5",
        "depthwise-separable 5×5 convolution, twice",
        5,
        aliases=("sep_5x5",),
    ),
    Operation("dil_conv_3x3", "dilated", "dil 3×3", "depthwise-separable 3×3 convolution, dilation 2", 3, 2),
    Operation("dil_conv_5x5", "dilated", "dil 5×5", "depthwise-separable 5×5 convolution, dilation 2", 5, 2),
    Operation(
        "nor_conv_1x1",
        "convolution",
        "conv 1×1",
        "ReLU, 1×1 convolution, batch norm (NAS-Bench-201)",
        1,
        aliases=("conv 1x1",),
    ),
    Operation(
        "nor_conv_3x3",
        "convolution",
        "conv 3×3",
        "ReLU, 3×3 convolution, batch norm (NAS-Bench-201)",
        3,
        aliases=("conv 3x3",),
    ),
    Operation("nor_conv_5x5", "convolution", "conv 5×5", "ReLU, 5×5 convolution, batch norm (ENAS)", 5),
    Operation("max_pool_5x5", "max_pool", "max 5×5", "5×5 max pooling (NASNet)", 5),
    Operation("max_pool_7x7", "max_pool", "max 7×7", "7×7 max pooling (NASNet)", 7),
    Operation(
        "sep_conv_7x7",
        "separable",
        "sep 7×7",
        "depthwise-separable 7×7 convolution, twice",
        7,
        aliases=("sep_7x7",),
    ),
    Operation(
        "conv_1x3_3x1",
        "crossed",
        "1×3 3×1",
        "ReLU, 1×3 and 3×1 convolutions, batch norm (NASNet)",
        3,
        aliases=("conv_3x1_1x3",),
    ),
    Operation(
        "conv_1x7_7x1",
        "crossed",
        "1×7 7×1",
        "ReLU, 1×7 and 7×1 convolutions, batch norm (NASNet)",
        7,
        aliases=("conv_7x1_1x7",),  # DARTS' name: its code convolves 1×7 first
    ),
    Operation(
        "bottleneck_1x7_7x1",
        "bottleneck",
        "¼ 1×7 7×1",
        "1×1, 1×7, 7×1, 1×1 convolutions on ¼ of the channels, ReLU and batch norm at each (AmoebaNet)",
        7,
        aliases=("1x7_7x1",),
    ),
    Operation(
        "maxpool3x3",
        "max_pool",
        "max 3×3",
        "3×3 max pooling (NAS-Bench-101's name)",
        3,
        aliases=("MAXPOOL3X3",),
    ),
    Operation(
        "conv3x3-bn-relu",
        "rectified",
        "conv 3×3",
        "3×3 convolution, batch norm, ReLU (NAS-Bench-101)",
        3,
        aliases=("CONV3X3",),
    ),
    Operation(
        "conv1x1-bn-relu",
        "rectified",
        "conv 1×1",
        "1×1 convolution, batch norm, ReLU (NAS-Bench-101)",
        1,
        aliases=("CONV1X1",),
    ),
    Operation("identity", "skip", "ident", "hands its input on; in a recurrent cell behind a gate"),
    *(_inverted(ratio, kernel) for kernel in (3, 5, 7) for ratio in (3, 6)),
    Operation(
        "zero", "none", "zero", "zeros: a block that is its shortcut alone (ProxylessNAS)", skeleton="chain"
    ),
    Operation(
        "sep3x3-bn-relu",
        "normed_separable",
        "sep 3×3",
        "depthwise-separable 3×3 convolution, batch norm, ReLU (DSO-NAS)",
        3,
        skeleton="dense",
    ),
    Operation(
        "sep5x5-bn-relu",
        "normed_separable",
        "sep 5×5",
        "depthwise-separable 5×5 convolution, batch norm, ReLU (DSO-NAS)",
        5,
        skeleton="dense",
    ),
    Operation(
        "max3x3-bn-relu",
        "normed_max_pool",
        "max 3×3",
        "3×3 max pooling, batch norm, ReLU (DSO-NAS)",
        3,
        skeleton="dense",
    ),
    Operation(
        "avg3x3-bn-relu",
        "normed_avg_pool",
        "avg 3×3",
        "3×3 average pooling, padding counted, batch norm, ReLU (DSO-NAS)",
        3,
        skeleton="dense",
    ),
    Operation("noise", "noise", "noise", "standard normal noise that ignores its input (space S4)"),
    _activation("tanh", "hyperbolic tangent"),
    _activation("relu", "rectifier"),
    _activation("sigmoid", "logistic function"),
)


def _operation(point: EntryPoint, found: Any) -> Operation:
    """Return an operation from outside; its name is also used in file names, texts of cells and CSS."""
    if not isinstance(found, Operation) or found.name != point.name:
        raise misfit(point, found, f"a raynas.spaces.operations.Operation named {point.name}")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", found.name):
        raise misfit(point, found.name, "a name of letters, digits, _ and -")
    if found.family not in FAMILIES:
        raise misfit(point, f"family {found.family}", f"one of {', '.join(FAMILIES)}")
    return found


OPERATIONS: Registry[Operation] = Registry(
    {operation.name: operation for operation in _ALL}, "raynas.operations", _operation
)


def register_operation(operation: Operation, family: Family | None = None) -> Operation:
    """Make an operation of yours known by its name, in this process alone, and return it.

    ``family`` says what computes it where no family of raynas does. Registered again, as when a cell of a
    notebook runs twice, the later one counts. A sweep on Ray runs in other processes: there an operation
    comes from a package, by the entry points ``raynas.operations`` and ``raynas.families``. Raises
    `RaynasError` for names that raynas or a package has given already, and for a family that there is not.
    """
    if family is not None:
        FAMILIES.register(family.name, family, "a family of operations")
    if operation.family not in FAMILIES:
        raise unknown("family of operations", operation.family, FAMILIES)
    OPERATIONS.register(operation.name, operation, "an operation")
    return operation


_NAMES = {name: operation.name for operation in _ALL for name in (operation.name, *operation.aliases)}


def canonical_name(name: str) -> str | None:
    """Return the catalogue's name of what a text calls ``name``; None where no operation has that name."""
    return _NAMES.get(name) or _all_names().get(name)


def unknown_operation(name: str, what: str = "operation") -> RaynasError:
    """Build the error for a name that no operation has, with its neighbours; ``what`` says what it names."""
    error = unknown(what, name, OPERATIONS)
    error.near = near_operations(name)
    return error


def near_operations(name: str) -> str | None:
    """Return the operations that a wrong name may mean, at most three; see `raynas.errors.neighbours`."""
    names = _all_names()
    return ", ".join([*dict.fromkeys(names[each] for each in neighbours(name, names))][:MOST_NEAR]) or None


def _all_names() -> dict[str, str]:
    found = {name: op.name for op in OPERATIONS.values() for name in (op.name, *op.aliases)}
    return found | _NAMES
