"""The supernet's cell of choice blocks (NAS-Bench-1Shot1).

A block adds up the states before it, each with the weight it has as a parent, and mixes its operations on the
sum. The cell's input reaches every block, and the output, through a projection of its own.
"""

from collections.abc import Iterator
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.fan import Weights
from raynas.nets.ops.lanes import Lanes, Norm, Pass, interleave, keep_format
from raynas.nets.supernets.base import Builder, Layer, Priced, priced_fan
from raynas.nets.supernets.choice import ChoiceBlock, weigh
from raynas.spaces import skeletons
from raynas.spaces.skeletons.plan import CellPlan
from raynas.spaces.space import Space


class SuperBlocksCell(Layer):
    """One cell of choice blocks, all of one resolution and width (Zela, Siems, Hutter 2020, section 3).

    The output is the weighted blocks side by side, plus the weighted projection of the input.
    """

    def __init__(self, lanes: Lanes, space: Space, plan: CellPlan) -> None:
        super().__init__()
        self.lanes, self.channels = len(lanes), plan.channels
        cell, *_ = space.cells
        *blocks, _ = space.targets
        rows = {row.name: i for group in skeletons.groups(space) for i, row in enumerate(group.rows)}
        self.rows = [rows.get(f"block {block}: parents") for block in blocks]
        # One convolution for all projections: a block's each, and one as wide as all blocks for the output.
        width = 2 * len(blocks) * plan.channels
        self.projections = lanes.uniform(width, plan.inputs[0], 1, 1, fan_in=plan.inputs[0])
        self.norm = Norm(lanes, width)
        self.blocks = nn.ModuleList(
            ChoiceBlock(lanes, cell.into(block)[0].ops, plan.channels) for block in blocks
        )

    def forward(self, before: Tensor, previous: Tensor, mix: Weights, run: Pass) -> Tensor:
        """Return [N, lanes·blocks·channels, H, W]; ``mix`` holds a tensor for each group of α."""
        *projected, bypass = self._project(previous, run)
        states: list[Tensor] = []
        for index, (block, row, projection) in enumerate(zip(self.blocks, self.rows, projected, strict=True)):
            read = [projection, *states]
            if row is not None:
                read = weigh(read, mix["inputs"][:, row])
            total = keep_format(reduce(torch.add, read))
            states.append(block(total, run, mix, "operations", index))
        output = mix["output"][:, 0]
        wide = output[:, :1].expand(-1, len(states) * self.channels).reshape(1, -1, 1, 1)
        return interleave(weigh(states, output[:, 1:]), self.lanes) + bypass * wide

    def priced(self) -> Iterator[Priced]:
        """Yield the operations of all blocks."""
        for row, block in enumerate(self.blocks):
            yield from priced_fan("operations", row, block.fan)  # type: ignore[arg-type]

    def _project(self, x: Tensor, run: Pass) -> list[Tensor]:
        """Return the input as each block reads it, and last as the output reads it, as wide as all blocks."""
        z = run.convolve(x, self.projections.flatten(0, 1), groups=self.lanes)
        z = F.relu(self.norm(z, run))
        count = len(self.rows)
        sizes = [self.channels] * count + [count * self.channels]
        pieces = torch.split(z, sizes * self.lanes, 1)
        parts = [interleave(pieces[part :: count + 1], 1) for part in range(count + 1)]
        return [part.contiguous(memory_format=torch.channels_last) for part in parts]


class BlocksBuilder(Builder):
    """Makes cells of choice blocks."""

    def cell(self, plan: CellPlan) -> SuperBlocksCell:
        """Return a cell with a fan for each block."""
        return SuperBlocksCell(self.lanes, self.space, plan)
