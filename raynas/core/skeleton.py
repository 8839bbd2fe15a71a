"""How cells are stacked into a network: the same plan for the supernet and for the discrete network.

A skeleton fixes what YAML cannot say: which states a cell reads, what becomes of its nodes, what stands
before, between and after the cells.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Literal

from raynas.errors import RaynasError

SkeletonName = Literal["darts", "residual", "blocks"]
Kind = Literal["normal", "reduce"]
Tail = Literal["none", "norm", "projection"]

LARGE_INPUT = 96
"""Images of at least this many pixels a side get the stem that divides their side by eight first."""


@dataclass(frozen=True)
class Skeleton:
    """What the cells of one skeleton are made of.

    A cell's states are numbered: first the ``inputs`` it reads, then its nodes. It puts out all nodes
    concatenated (``output`` is ``nodes``), the ``last`` node, or ``chosen`` states: then its output is one
    more target of edges. ``chooses`` says whether an operation is chosen for every edge, or one for all edges
    into a node.
    ``counts`` says what a configuration's number of cells means, and ``fewest_cells`` its least.
    """

    kinds: tuple[Kind, ...]
    inputs: int
    chooses: Literal["edge", "node"]
    output: Literal["nodes", "last", "chosen"]
    counts: str
    fewest_cells: int

    def targets(self, nodes: int) -> range:
        """Return the numbers of the states that edges lead to."""
        return range(self.inputs, self.inputs + nodes + (self.output == "chosen"))


SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {
        "darts": Skeleton(("normal", "reduce"), 2, "edge", "nodes", "cells in all", 3),
        "residual": Skeleton(("normal",), 1, "edge", "last", "cells in each of three stages", 1),
        "blocks": Skeleton(("normal",), 1, "node", "chosen", "cells in all", 3),
    }
)


@dataclass(frozen=True)
class CellPlan:
    """One cell of the stack: its kind, its width, the widths of the states it reads.

    ``previous_reduced`` says that state 1 has half the resolution of state 0.
    """

    kind: Kind
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


Layer = CellPlan | HalfPlan


@dataclass(frozen=True)
class Plan:
    """The whole stack: stem, cells, what follows the last one, and the features that reach the linear head.

    ``rectified`` says that the stem ends in a ReLU, and ``last`` is what the last cell puts out in channels.
    The tail ``norm`` is a batch norm and a ReLU, ``projection`` a ReLU, a 1×1 convolution and a batch norm.
    """

    stem: Literal["small", "large"]
    stem_channels: int
    cells: tuple[Layer, ...]
    last: int
    features: int
    tail: Tail = "none"
    rectified: bool = False


def plan(
    skeleton: str,
    shape: tuple[int, int, int],
    nodes: int,
    cells: int,
    channels: int,
    discrete: bool = False,
) -> Plan:
    """Lay out a supernet, or a ``discrete`` network, for images of ``shape`` (channels, height, width).

    Raises `RaynasError` when there are too few cells for the skeleton or too few pixels for two halvings.
    """
    known = SKELETONS[skeleton]
    if cells < known.fewest_cells:
        raise RaynasError(
            "a supernet needs normal and reduction cells" if "reduce" in known.kinds else "too few cells",
            got=f"cells: {cells}",
            expected=f"cells: {known.fewest_cells} or more ({known.counts})",
        )
    side = min(shape[1:])
    if side < 4:
        raise RaynasError(
            "images are too small for two reductions",
            got=f"{shape[1]}×{shape[2]} pixels",
            expected="4×4 or more",
        )
    match skeleton:
        case "residual":
            return _residual(cells, channels)
        case "blocks":
            return _blocks(1 if discrete else nodes, cells, channels, "none" if discrete else "projection")
    return _darts(side, nodes, cells, channels)


def _darts(side: int, nodes: int, cells: int, channels: int) -> Plan:
    """Stack cells with reductions at 1/3 and 2/3 of the depth, each doubling the channels.

    Small images get a 3×3 stem with 3·channels outputs, large ones three convolutions of stride 2
    (Liu et al. 2019, A.1.1 and A.3).
    """
    stem: Literal["small", "large"] = "large" if side >= LARGE_INPUT else "small"
    stem_channels = channels if stem == "large" else 3 * channels
    before, previous, width = stem_channels, stem_channels, channels
    reduced = stem == "large"
    plans = []
    for index in range(cells):
        kind: Kind = "reduce" if index in {cells // 3, 2 * cells // 3} else "normal"
        width *= 2 if kind == "reduce" else 1
        plans.append(CellPlan(kind, width, (before, previous), reduced))
        before, previous, reduced = previous, nodes * width, kind == "reduce"
    return Plan(stem, stem_channels, tuple(plans), previous, previous)


def _residual(cells: int, channels: int) -> Plan:
    """Three stages of ``cells`` cells, a residual block of stride 2 between them (Dong & Yang 2020, 2.1)."""
    widths = [channels, 2 * channels, 4 * channels]
    layers: list[Layer] = [CellPlan("normal", channels, (channels,))] * cells
    for before, width in pairwise(widths):
        layers += [HalfPlan(before, width, residual=True), *[CellPlan("normal", width, (width,))] * cells]
    return Plan("small", channels, tuple(layers), widths[-1], widths[-1], "norm")


def _blocks(parts: int, cells: int, channels: int, tail: Tail) -> Plan:
    """Stack cells, before those at 1/3 and 2/3 of the depth a pooling, and from there on twice the channels.

    A supernet's cell puts out all of its blocks side by side and ends in a projection (Zela, Siems, Hutter
    2020); a discrete one divides its channels among the ``parts`` it puts out (Ying et al. 2019).
    """
    layers: list[Layer] = []
    before, width = channels, channels
    for index in range(cells):
        if index in {cells // 3, 2 * cells // 3}:
            layers.append(HalfPlan(before, before, residual=False))
            width *= 2
        layers.append(CellPlan("normal", width, (before,)))
        before = parts * width
    return Plan("small", channels, tuple(layers), before, width, tail, rectified=True)
