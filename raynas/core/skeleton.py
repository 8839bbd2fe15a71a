"""How cells are stacked into a network: the same plan for the supernet and for the discrete network."""

from dataclasses import dataclass
from typing import Literal

from raynas.errors import RaynasError

LARGE_INPUT = 96
"""Images of at least this many pixels a side get the stem that divides their side by eight first."""


@dataclass(frozen=True)
class CellPlan:
    """One cell of the stack: its kind, its width, the widths of the two states it reads.

    ``previous_reduced`` says that state 1 has half the resolution of state 0.
    """

    kind: Literal["normal", "reduce"]
    channels: int
    inputs: tuple[int, int]
    previous_reduced: bool


@dataclass(frozen=True)
class Plan:
    """The whole stack: stem, cells, and the features that reach the linear head."""

    stem: Literal["small", "large"]
    stem_channels: int
    cells: tuple[CellPlan, ...]
    features: int


def plan(shape: tuple[int, int, int], nodes: int, cells: int, channels: int) -> Plan:
    """Lay out ``cells`` cells with reductions at 1/3 and 2/3 of the depth, each doubling the channels.

    ``shape`` is an image's (channels, height, width). Small images get a 3×3 stem with 3·channels outputs,
    large ones three convolutions of stride 2 (Liu et al. 2019, A.1.1 and A.3). Raises `RaynasError` when a
    kind of cell would not occur or an image is too small for two reductions.
    """
    if cells < 3:
        raise RaynasError(
            "a supernet needs normal and reduction cells",
            got=f"cells: {cells}",
            expected="cells: 3 or more, so that both kinds occur",
        )
    side = min(shape[1:])
    if side < 4:
        raise RaynasError(
            "images are too small for two reductions",
            got=f"{shape[1]}×{shape[2]} pixels",
            expected="4×4 or more",
        )
    stem: Literal["small", "large"] = "large" if side >= LARGE_INPUT else "small"
    stem_channels = channels if stem == "large" else 3 * channels
    before, previous, width = stem_channels, stem_channels, channels
    reduced = stem == "large"
    plans = []
    for index in range(cells):
        kind: Literal["normal", "reduce"] = "reduce" if index in {cells // 3, 2 * cells // 3} else "normal"
        width *= 2 if kind == "reduce" else 1
        plans.append(CellPlan(kind, width, (before, previous), reduced))
        before, previous, reduced = previous, nodes * width, kind == "reduce"
    return Plan(stem, stem_channels, tuple(plans), previous)
