"""The discrete network's cells with operations on edges: those of DARTS and of NAS-Bench-201."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from raynas.core.genotype import Genotype
from raynas.core.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.core.skeletons.plan import CellPlan


class EdgeCell(nn.Module):
    """One cell: its chosen edges, summed per node; the nodes concatenated, or (``last``) the last one."""

    last: ClassVar[bool] = False

    def __init__(self, genotype: Genotype, cell: CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(cell.kind)
        self.targets = genotype.targets
        reads = genotype.form.inputs
        self.inputs = nn.ModuleList(
            (FactorizedReduce if cell.previous_reduced and not state else ReluConvNorm)(
                width, cell.channels, affine
            )
            for state, width in enumerate(cell.inputs)
            if not self.last
        )
        self.operations = nn.ModuleList(
            plain(c.op, cell.channels, 2 if cell.kind == "reduce" and c.source < reads else 1, affine)
            for c in self.choices
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the concatenated nodes [N, nodes·channels, H', W'], or the last one."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=False)] or [previous]
        for node in self.targets:
            incoming = [
                operation(states[choice.source])
                for choice, operation in zip(self.choices, self.operations, strict=True)
                if choice.target == node
            ]
            states.append(torch.stack(incoming).sum(0))
        return states[-1] if self.last else torch.cat(states[self.targets[0] :], 1)


class LastCell(EdgeCell):
    """One cell whose last node is its output."""

    last = True
