"""The discrete network's cells of NASNet and of ENAS' micro search."""

import torch
from torch import Tensor, nn

from raynas.nets.networks.enas import EnasCell
from raynas.nets.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.pairs import in_enas_form
from raynas.spaces.skeletons.plan import CellPlan, input_strides


def pairs_cell(genotype: Genotype, plan: CellPlan, affine: bool) -> nn.Module:
    """Build a cell: that of ENAS' final network for a genotype of its space."""
    cell = EnasCell if in_enas_form(genotype) else PairsCell
    return cell(genotype, plan, affine)


class PairsCell(nn.Module):
    """One cell: each block adds up its two slots, and the output is all states that none has read."""

    def __init__(self, genotype: Genotype, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(plan.kind)
        self.loose = skeletons.of(genotype).gathered(genotype, plan.kind)
        self.inputs = nn.ModuleList(
            ReluConvNorm(width, plan.channels, affine)
            if stride == 1
            else FactorizedReduce(width, plan.channels, affine, stride)
            for width, stride in zip(plan.inputs, input_strides(plan), strict=True)
        )
        self.operations = nn.ModuleList(plain(c.op, plan.channels, 1, affine) for c in self.choices)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the loose states side by side, [N, states·channels, H', W']."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        slots = list(zip(self.choices, self.operations, strict=True))
        for (one, op_one), (other, op_other) in zip(slots[::2], slots[1::2], strict=True):
            states.append(op_one(states[one.source]) + op_other(states[other.source]))
        return torch.cat([states[state] for state in self.loose], 1)
