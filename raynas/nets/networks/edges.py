"""The discrete network's cells with operations on edges: those of DARTS and of NAS-Bench-201."""

from typing import ClassVar

from torch import Tensor, nn

from raynas.nets.ops.plain import FactorizedReduce, ReluConvNorm, concatenated, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.plan import CellPlan


class EdgeCell(nn.Module):
    """One cell: its chosen edges, summed per node; the nodes concatenated, or (``last``) the last one."""

    last: ClassVar[bool] = False

    def __init__(self, genotype: Genotype, cell: CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(cell.kind)
        self.outputs = skeletons.of(genotype).gathered(genotype, cell.kind)
        self.targets = skeletons.of(genotype).targets(genotype.nodes)
        reads = skeletons.of(genotype).inputs
        self.inputs = nn.ModuleList(
            (FactorizedReduce if cell.previous_reduced and not state else ReluConvNorm)(
                width, cell.channels, affine
            )
            for state, width in enumerate(cell.inputs)
            if not self.last
        )
        self.operations = nn.ModuleList(
            self.operation(
                c.op, cell.channels, 2 if cell.kind == "reduce" and c.source < reads else 1, affine
            )
            for c in self.choices
        )

    def operation(self, op: str, channels: int, stride: int, affine: bool) -> nn.Module:
        """Return what is on an edge that has chosen ``op``."""
        return plain(op, channels, stride, affine)

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the nodes that are output, concatenated [N, nodes·channels, H', W'], or the last one."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=False)] or [previous]
        for node in self.targets:
            incoming = [
                operation(states[choice.source])
                for choice, operation in zip(self.choices, self.operations, strict=True)
                if choice.target == node
            ]
            # A node that is not there is read by nothing, and not output.
            states.append(sum(incoming[1:], incoming[0]) if incoming else states[0])
        return states[-1] if self.last else concatenated([states[state] for state in self.outputs])


class LastCell(EdgeCell):
    """One cell whose last node is its output."""

    last = True


class Skipped(nn.Module):
    """An operation and a skip beside it, added up."""

    def __init__(self, operation: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.inner, self.skip = operation, skip

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H', W']."""
        return self.inner(x) + self.skip(x)  # type: ignore[no-any-return]


class SkippingCell(EdgeCell):
    """One cell in which every chosen edge has a skip beside its operation."""

    def operation(self, op: str, channels: int, stride: int, affine: bool) -> nn.Module:
        """Return the operation with its skip."""
        skip = plain("skip_connect", channels, stride, affine)
        return Skipped(super().operation(op, channels, stride, affine), skip)
