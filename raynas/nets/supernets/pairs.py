"""The supernet's cells of NASNet and of ENAS' micro search: blocks that add up two slots."""

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor, nn

from raynas.nets.fan import Weights
from raynas.nets.fixed import Preprocess
from raynas.nets.ops.lanes import Lanes, Pass, interleave, keep_format
from raynas.nets.supernets.base import Builder, Layer, Priced, priced_fan
from raynas.nets.supernets.choice import ChoiceBlock, weigh
from raynas.spaces.skeletons.plan import CellPlan, input_strides
from raynas.spaces.space import Space


class SuperPairsCell(Layer):
    """One cell: each slot mixes its operations on the weighted sum of the states it may read.

    So a slot has one set of kernels whatever state it reads, where ENAS has one for each. Both inputs of a
    reduction cell are halved on the way in, and all operations have stride 1, as in ENAS' own search; NASNet
    puts stride 2 in the operations that read an input. The output is all states side by side, each scaled by
    how loose it is: the product over slots of one less the state's weight. With one weight of 1 in each row
    that is 1 for the states that the derived cell outputs, and 0 for the others.
    """

    def __init__(self, lanes: Lanes, space: Space, plan: CellPlan) -> None:
        super().__init__()
        self.kind, self.lanes = plan.kind, len(lanes)
        cell = space.cell(plan.kind)
        self.sources = [[edge.source for edge in cell.into(block)] for block in space.targets]
        self.inputs = nn.ModuleList(
            Preprocess(lanes, width, plan.channels, stride)
            for width, stride in zip(plan.inputs, input_strides(plan), strict=True)
        )
        self.slots = nn.ModuleList(
            ChoiceBlock(lanes, cell.into(block)[0].ops, plan.channels)
            for block in space.targets
            for _ in range(2)
        )

    def forward(self, before: Tensor, previous: Tensor, mix: Weights, run: Pass) -> Tensor:
        """Return [N, lanes·states·channels, H', W']; ``mix`` holds a tensor for each group of α."""
        inputs = mix[f"{self.kind}-inputs"]
        states = [module(x, run) for module, x in zip(self.inputs, (before, previous), strict=True)]
        # One for each state: the two inputs and every block.
        loose = [torch.ones_like(inputs[:, 0, 0])] * (len(states) + len(self.sources))
        slots: list[Tensor] = []
        for row, slot in enumerate(self.slots):
            sources = self.sources[row // 2]
            weights = inputs[:, row, : len(sources)]
            for source, weight in zip(sources, weights.unbind(1), strict=True):
                loose[source] = loose[source] * (1 - weight)
            total = keep_format(reduce(torch.add, weigh([states[s] for s in sources], weights)))
            slots.append(slot(total, run, mix, f"{self.kind}-operations", row))
            if row % 2:
                states.append(slots[-2] + slots[-1])
        return interleave(weigh(states, torch.stack(loose, 1)), self.lanes)

    def priced(self) -> Iterator[Priced]:
        """Yield the operations of all slots."""
        for row, slot in enumerate(self.slots):
            yield from priced_fan(f"{self.kind}-operations", row, slot.fan)  # type: ignore[arg-type]


class PairsBuilder(Builder):
    """Makes cells of paired slots."""

    def cell(self, plan: CellPlan) -> SuperPairsCell:
        """Return a cell with a fan for each slot."""
        return SuperPairsCell(self.lanes, self.space, plan)
