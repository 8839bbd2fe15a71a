"""The trunk of a chain of choice blocks: widths, lengths and strides, as a space's file has them."""

from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, PositiveInt

from raynas.config import Frozen

LARGE_INPUT = 96
"""Images of at least this many pixels per side get the stem that divides their side by eight first."""

SMALLEST_SIDE = 4
"""A halving that would leave small images with fewer pixels per side is left out."""


MOST_BLOCKS = 64
"""Of a stage, and stages of a trunk; the longest published one has 21 blocks in 6 stages."""

Width = Annotated[int, Field(gt=0, le=65_536)]
"""Channels of a layer; far beyond what fits in memory, and far below where numbers of weights overflow."""


class TrunkStage(Frozen):
    """Blocks of one ``width`` in channels; the first has the ``stride``."""

    width: Width
    blocks: PositiveInt = Field(le=MOST_BLOCKS)
    stride: Literal[1, 2] = 1


class Block(NamedTuple):
    """One choice block: its widths in channels, its stride, and whether it has a shortcut."""

    inputs: int
    outputs: int
    stride: int
    shortcut: bool


class Trunk(Frozen):
    """Everything of a chain that is not searched.

    ``stem`` are the widths of the first convolution and of the fixed block after it, ``last`` that of the
    1×1 convolution before pooling; all in channels.
    """

    stem: tuple[Width, Width]
    stages: tuple[TrunkStage, ...] = Field(min_length=1, max_length=MOST_BLOCKS)
    last: Width

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The choice blocks in order.

        A shortcut is where the stride is 1 and the width stays, and with it the option `zero`: both are the
        trunk's, whatever a width multiplier or small images make of it.
        """
        blocks, before = [], self.stem[1]
        for stage in self.stages:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(Block(before, stage.width, stride, stride == 1 and before == stage.width))
                before = stage.width
        return tuple(blocks)

    def scaled(self, channels: int) -> "Trunk":
        """Return the trunk whose first convolution has ``channels``, all other widths in proportion.

        Widths are rounded to whole channels, halves up, and are at least 1.
        """
        first = self.stem[0]

        def width(number: int) -> int:
            return max(1, (2 * number * channels + first) // (2 * first))

        stages = tuple(
            TrunkStage(width=width(s.width), blocks=s.blocks, stride=s.stride) for s in self.stages
        )
        return Trunk(stem=(channels, width(self.stem[1])), stages=stages, last=width(self.last))

    def strides(self, side: int) -> tuple[int, ...]:
        """Return the strides of the first convolution and of the blocks for images of ``side`` pixels.

        Large images pass all of them. Small ones pass the first convolution at stride 1 and leave out what
        would take their side below 4 pixels.
        """
        wanted = [2, *(block.stride for block in self.blocks)]
        if side >= LARGE_INPUT:
            return tuple(wanted)
        strides = [1]
        for stride in wanted[1:]:
            fits = stride == 1 or -(-side // 2) >= SMALLEST_SIDE
            strides.append(stride if fits else 1)
            side = -(-side // strides[-1])
        return tuple(strides)

    def bounds(self) -> list[tuple[int, int]]:
        """Return the first block of each stage and the one after its last, counted from 0."""
        ends = [0]
        for stage in self.stages:
            ends.append(ends[-1] + stage.blocks)
        return list(pairwise(ends))
