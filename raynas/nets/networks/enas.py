"""The cells of ENAS' final network, which is not its search's (melodyguan/enas 4bcfd73, micro_child.py).

Reductions have stride 2 in what reads the cell's inputs, and state 1 passes one more 1×1 convolution.
"""

import torch
from torch import Tensor, nn

from raynas.nets.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.skeletons.plan import CellPlan


class EnasCell(nn.Module):
    """One cell: two slots a block, added up; its output is all states that none has read, side by side.

    An input that is as wide and as large as it should be passes nothing first. Windows of stride 2 are padded
    evenly, where TensorFlow pads an even side at its end alone.
    """

    def __init__(self, genotype: Genotype, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(plan.kind)
        self.loose = skeletons.of(genotype).gathered(genotype, plan.kind)
        stride, width = 2 if plan.kind == "reduce" else 1, plan.channels
        older, newer = (_fitted(inputs, width, affine) for inputs in plan.inputs)
        if plan.previous_reduced:
            older = FactorizedReduce(plan.inputs[0], width, affine)
        self.inputs = nn.ModuleList([older, nn.Sequential(newer, ReluConvNorm(width, width, affine))])
        self.operations = nn.ModuleList(
            _operation(choice, width, stride if choice.source < 2 else 1, affine) for choice in self.choices
        )
        self.outputs = nn.ModuleList(
            FactorizedReduce(width, width, affine, rectified=False)
            if state < 2 and stride > 1
            else nn.Identity()
            for state in self.loose
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the loose states side by side, [N, states·channels, H', W']."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        slots = list(zip(self.choices, self.operations, strict=True))
        for (one, op_one), (other, op_other) in zip(slots[::2], slots[1::2], strict=True):
            states.append(op_one(states[one.source]) + op_other(states[other.source]))
        return torch.cat([out(states[state]) for state, out in zip(self.loose, self.outputs, strict=True)], 1)


def _fitted(inputs: int, width: int, affine: bool) -> nn.Module:
    return nn.Identity() if inputs == width else ReluConvNorm(inputs, width, affine)


def _operation(choice: Choice, width: int, stride: int, affine: bool) -> nn.Module:
    """Build an operation; a skip that halves has no ReLU before its convolutions."""
    if choice.op == "skip_connect" and stride > 1:
        return FactorizedReduce(width, width, affine, rectified=False)
    return plain(choice.op, width, stride, affine)
