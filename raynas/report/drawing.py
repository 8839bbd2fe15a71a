"""Elements of a drawing of a cell, and the distances that every layout keeps.

Lengths are pixels of an SVG, points of a PNG.
"""

from dataclasses import dataclass

from raynas.spaces.graph import Choice

MARGIN = 20
HEADING = 30
"""Baseline of the heading; the cell begins below it."""
BLOCK = 42
"""Width of a state's block."""
SLOT, PORT, APART = 28, 11, 14
"""Distances: labelled lines into a node, lines out of a state, lines and blocks in a column."""
PILL, LETTER = 20, 6.7
"""Height of a label and the width it gives each letter (of 11 pixel type)."""
LEAD, TAIL = 8, 18
"""Line before the longest label of a column, and between label and node."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle: centre, width and height in pixels, and the text in it (``c_{k-2}`` for a subscript).

    ``op`` is the operation a block stands for, where operations belong to nodes.
    """

    x: float
    y: float
    width: float
    height: float
    text: str
    op: str | None = None


@dataclass(frozen=True)
class Wire:
    """One line through ``points``: horizontal from each odd one to the next, S-shaped in the gaps between.

    ``choice``, ``pill`` (the label) and ``title`` (what it says when pointed at) are None for lines that no
    operation is on.
    """

    points: tuple[Point, ...]
    choice: Choice | None
    pill: Box | None
    title: str | None = None


@dataclass(frozen=True)
class Drawing:
    """Where everything of one cell's drawing is; both pictures are made from it."""

    width: float
    height: float
    title: str
    subtitle: str
    description: str
    blocks: tuple[Box, ...]
    wires: tuple[Wire, ...]
