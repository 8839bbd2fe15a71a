"""The layers of DSO-NAS' discrete network: the connections that are left, without weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.ops.plain import ConvNormRelu, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.plan import DensePlan, DenseReductionPlan


class DenseBlock(nn.Module):
    """One block: each node's operation on the sum of what it reads, the chosen ones through a 1×1 kernel.

    Batch norm and ReLU follow, and the input is added, through a 1×1 convolution where it is ``projected``.
    """

    def __init__(self, genotype: Genotype, plan: DensePlan, affine: bool) -> None:
        super().__init__()
        self.output = skeletons.of(genotype).targets(genotype.nodes)[-1]
        self.reads: dict[int, list[int]] = {}
        for choice in genotype.cell("normal"):
            self.reads.setdefault(choice.target, []).append(choice.source)
        ops = skeletons.of(genotype).node_operations(genotype, "normal")
        width = plan.channels
        self.operations = nn.ModuleDict({str(node): plain(op, width, 1, affine) for node, op in ops.items()})
        self.project = nn.Sequential(
            nn.Conv2d(len(self.reads[self.output]) * width, width, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.shortcut = ConvNormRelu(width, width, affine) if plan.projected else nn.Identity()

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the same shape."""
        states = {0: previous}
        for node, operation in self.operations.items():
            read = [states[source] for source in self.reads[int(node)]]
            states[int(node)] = operation(torch.stack(read).sum(0))
        joined = torch.cat([states[source] for source in self.reads[self.output]], 1)
        out: Tensor = F.relu(self.project(joined)) + self.shortcut(previous)
        return out


class Reduction(nn.Module):
    """A 1×1 and a 3×3 convolution of stride 2, each with batch norm and ReLU, added."""

    def __init__(self, plan: DenseReductionPlan, affine: bool) -> None:
        super().__init__()
        self.small = ConvNormRelu(plan.inputs, plan.channels, affine, 1, 2)
        self.large = ConvNormRelu(plan.inputs, plan.channels, affine, 3, 2)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, channels, H/2, W/2], rounded up."""
        out: Tensor = self.small(previous) + self.large(previous)
        return out


def dense_layer(genotype: Genotype, plan: DensePlan | DenseReductionPlan, affine: bool) -> nn.Module:
    """Return a block or a reduction."""
    if isinstance(plan, DenseReductionPlan):
        return Reduction(plan, affine)
    return DenseBlock(genotype, plan, affine)
