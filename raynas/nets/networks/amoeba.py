"""The cells of AmoebaNet's network as its authors build it.

As tensorflow/tpu 7dc921f has it, models/official/amoeba_net, network_utils.py and model_builder.py.
Reductions have stride 2 in what reads the cell's inputs. The first cell reads the stem as it is for state 0.
"""

import torch
from torch import Tensor, nn

from raynas.nets.ops.bottleneck import bottleneck
from raynas.nets.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons.plan import CellPlan


class AmoebaCell(nn.Module):
    """One cell: two slots a block, added up, and some states side by side, its inputs among them.

    State 1 passes a 1×1 convolution, state 0 only where its width or side does not fit. What is output of an
    input is brought to the blocks' width and side last. Windows of stride 2 are padded evenly, where
    TensorFlow pads an even side at its end alone.
    """

    def __init__(self, genotype: Genotype, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(plan.kind)
        self.gathered = skeletons.of(genotype).gathered(genotype, plan.kind)
        stride, width = 2 if plan.kind == "reduce" else 1, plan.channels
        raw = plan.inputs[0] if len(plan.inputs) == 1 else width  # the first cell's state 0 is the stem's
        older: nn.Module = nn.Identity()
        if plan.previous_reduced:
            older = FactorizedReduce(plan.inputs[0], width, affine)
        elif plan.inputs[0] != raw:
            older = ReluConvNorm(plan.inputs[0], width, affine)
        self.inputs = nn.ModuleList([older, ReluConvNorm(plan.inputs[-1], width, affine)])
        self.operations = nn.ModuleList(
            _operation(
                choice.op, width if choice.source else raw, width, stride if choice.source < 2 else 1, affine
            )
            for choice in self.choices
        )
        self.outputs = nn.ModuleList(
            _fitted(width if state else raw, width, stride, affine) if state < 2 else nn.Identity()
            for state in self.gathered
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the states that are output side by side, [N, states·channels, H', W']."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        slots = list(zip(self.choices, self.operations, strict=True))
        for (one, op_one), (other, op_other) in zip(slots[::2], slots[1::2], strict=True):
            states.append(op_one(states[one.source]) + op_other(states[other.source]))
        parts = zip(self.gathered, self.outputs, strict=True)
        return torch.cat([out(states[state]) for state, out in parts], 1)


def _fitted(inputs: int, width: int, stride: int, affine: bool) -> nn.Module:
    """Build what brings an input to the blocks' width and side, without a ReLU."""
    if stride > 1:
        return FactorizedReduce(inputs, width, affine, rectified=False)
    return nn.Identity() if inputs == width else _projected(nn.Identity(), inputs, width, affine)


def _operation(op: str, inputs: int, width: int, stride: int, affine: bool) -> nn.Module:
    """Build an operation; one that cannot change the width passes a 1×1 convolution and a batch norm then."""
    family = OPERATIONS[op].family
    if family == "skip":
        fits = stride == 1 and inputs == width
        return nn.Identity() if fits else ReluConvNorm(inputs, width, affine, 1, stride)
    if family == "bottleneck":
        return bottleneck(OPERATIONS[op], inputs, stride, affine, width)
    if inputs == width or family == "separable":
        return plain(op, inputs, stride, affine, width)
    return _projected(plain(op, inputs, stride, affine), inputs, width, affine)


def _projected(module: nn.Module, inputs: int, width: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        module, nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width, affine=affine)
    )
