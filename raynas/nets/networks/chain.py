"""The layers of a chain's discrete network: one inverted bottleneck a block, or its shortcut alone."""

from torch import Tensor, nn

from raynas.nets.ops.plain import Inverted, NormedRelu6, plain
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons.plan import BlockPlan, ConvolutionPlan


class ChainLayer(nn.Module):
    """One layer: what it computes, plus its input where it has a shortcut; `zero` is the shortcut alone."""

    def __init__(self, way: nn.Module | None, shortcut: bool) -> None:
        super().__init__()
        self.way, self.shortcut = way, shortcut

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H', W']."""
        if self.way is None:
            return previous
        z: Tensor = self.way(previous)
        return z + previous if self.shortcut else z


def chain_layer(genotype: Genotype, plan: ConvolutionPlan | BlockPlan, affine: bool) -> ChainLayer:
    """Return a convolution, the fixed block, or the operation chosen for a block."""
    if isinstance(plan, ConvolutionPlan):
        layer = NormedRelu6(plan.inputs, plan.outputs, True, plan.kernel, plan.stride)
        return ChainLayer(layer, shortcut=False)
    if plan.row is None:
        return ChainLayer(Inverted(plan.inputs, plan.outputs, 3, plan.stride, 1, affine), shortcut=False)
    op = genotype.cell("normal")[plan.row].op
    zero = OPERATIONS[op].family == "none"
    way = None if zero else plain(op, plan.inputs, plan.stride, affine, plan.outputs)
    return ChainLayer(way, plan.shortcut)
