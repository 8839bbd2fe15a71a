"""The layout of the drawing of a chain: one line for each stage of its trunk."""

from raynas.errors import unknown
from raynas.report.drawing import APART, HEADING, LETTER, MARGIN, Box, Drawing, Wire
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.reading import genotype_to_text

BLOCK, HEAD, TALL = 80, 140, 32
"""Widths of a block and of what begins a line, and the height of both, in pixels."""
GAP, LINE = 28, TALL + APART
"""Distances from block to block and from line to line."""


def lay_out_chain(genotype: Genotype, kind: str) -> Drawing:
    """Place a chain; raises `RaynasError` on an unknown kind.

    A line begins with the width of its stage in channels and, where its first block halves the resolution,
    with ``↓2``.
    """
    if kind not in genotype.kinds or genotype.trunk is None:
        raise unknown("kind of cell", kind, genotype.kinds)
    trunk, choices = genotype.trunk, genotype.cell(kind)
    blocks: list[Box] = []
    wires: list[Wire] = []
    top = MARGIN + HEADING + TALL / 2
    for line, (stage, (start, stop)) in enumerate(zip(trunk.stages, trunk.bounds(), strict=True)):
        y = top + line * LINE
        halved = " ↓2" if stage.stride == 2 else ""
        blocks.append(Box(MARGIN + HEAD / 2, y, HEAD, TALL, f"{stage.width} channels{halved}"))
        right = float(MARGIN + HEAD)
        for choice in choices[start:stop]:
            ends = ((right, y), (right + GAP / 2, y), (right + GAP, y))
            wires.append(Wire(ends, None, None))
            x = right + GAP + BLOCK / 2
            blocks.append(Box(x, y, BLOCK, TALL, OPERATIONS[choice.op].short, choice.op))
            right = x + BLOCK / 2
    subtitle = f"{genotype.space} · {genotype.digest()}"
    longest = max(stage.blocks for stage in trunk.stages)
    return Drawing(
        width=max(MARGIN + HEAD + longest * (GAP + BLOCK), MARGIN + LETTER * (len(subtitle) + 12)) + MARGIN,
        height=top + len(trunk.stages) * LINE - LINE + TALL / 2 + MARGIN,
        title="Chain",
        subtitle=subtitle,
        description=genotype_to_text(genotype),
        blocks=tuple(blocks),
        wires=tuple(wires),
    )
