"""The discrete network of a genotype: one module per chosen operation, as it is trained from scratch."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from raynas.core import skeleton
from raynas.core.genotype import Genotype
from raynas.core.nasbench101 import Matrix
from raynas.core.ops.plain import ConvNormRelu, FactorizedReduce, ReluConvNorm, ResidualBlock, plain


class NetworkCell(nn.Module):
    """One cell: its chosen edges, summed per node; the nodes concatenated, or the last one."""

    def __init__(self, genotype: Genotype, cell: skeleton.CellPlan, affine: bool) -> None:
        super().__init__()
        self.choices = genotype.cell(cell.kind)
        self.targets = genotype.targets
        self.last = genotype.form.output == "last"
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


class BlocksCell(nn.Module):
    """One cell of NAS-Bench-101: an operation on each vertex's sum, the output's channels divided.

    The cell's input is projected to each vertex that reads it; a vertex passes on its first channels where
    the one that reads it has fewer (Ying et al. 2019, section 2.3).
    """

    def __init__(self, genotype: Genotype, cell: skeleton.CellPlan, affine: bool) -> None:
        super().__init__()
        self.matrix, ops = genotype.to_nasbench101()
        self.widths = _vertex_widths(self.matrix, cell.channels)
        self.projections = nn.ModuleDict(
            {
                str(vertex): ConvNormRelu(cell.inputs[0], self.widths[vertex], affine)
                for vertex, reads in enumerate(self.matrix[0])
                if reads
            }
        )
        self.operations = nn.ModuleList(
            plain(op, width, 1, affine) for op, width in zip(ops[1:-1], self.widths[1:-1], strict=True)
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the output's parents concatenated, plus the projected input where it reads that."""
        states = [previous]
        last = len(self.matrix) - 1
        for vertex, operation in enumerate(self.operations, start=1):
            read = [states[v][:, : self.widths[vertex]] for v in range(1, vertex) if self.matrix[v][vertex]]
            if self.matrix[0][vertex]:
                read.append(self.projections[str(vertex)](previous))
            states.append(operation(torch.stack(read).sum(0)))
        parts = [states[vertex] for vertex in range(1, last) if self.matrix[vertex][last]]
        if self.matrix[0][last]:
            projected: Tensor = self.projections[str(last)](previous)
            return torch.cat(parts, 1) + projected if parts else projected
        return torch.cat(parts, 1)


def _vertex_widths(matrix: Matrix, channels: int) -> list[int]:
    """Divide the output's channels among its parents, the first ones taking the remainder.

    Every other vertex is as wide as the widest that reads it.
    """
    last = len(matrix) - 1
    widths = [0] * last + [channels]
    parents = [vertex for vertex in range(1, last) if matrix[vertex][last]]
    for place, vertex in enumerate(parents):
        widths[vertex] = channels // len(parents) + (place < channels % len(parents))
    for vertex in reversed(range(1, last)):
        if not matrix[vertex][last]:
            widths[vertex] = max(widths[v] for v in range(vertex + 1, last) if matrix[vertex][v])
    return widths


class Halve(nn.Module):
    """A fixed layer between two stages."""

    def __init__(self, plan: skeleton.HalfPlan) -> None:
        super().__init__()
        self.layer = (
            ResidualBlock(plan.inputs, plan.channels) if plan.residual else nn.MaxPool2d(2, ceil_mode=True)
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Halve the resolution of the state before."""
        return self.layer(previous)  # type: ignore[no-any-return]


class Network(nn.Module):
    """The network a genotype describes, for images of ``shape`` (channels, height, width).

    Batch norms have learned scales (``affine``) as in training from scratch (Liu et al. 2019, A.1.2). What
    ``cells`` counts is the skeleton's: all cells, or those of one stage. A cell of choice blocks becomes the
    network of NAS-Bench-101, whose defaults are 128 channels and 9 cells.
    """

    def __init__(
        self,
        genotype: Genotype,
        shape: tuple[int, int, int],
        classes: int,
        channels: int,
        cells: int,
        affine: bool = True,
    ) -> None:
        super().__init__()
        plan = skeleton.plan(genotype.skeleton, shape, genotype.nodes, cells, channels, discrete=True)
        self.small = plan.stem == "small"
        self.stem = _stem(plan, shape[0])
        build = NetworkCell if genotype.form.chooses == "edge" else BlocksCell
        self.cells = nn.ModuleList(
            build(genotype, layer, affine) if isinstance(layer, skeleton.CellPlan) else Halve(layer)
            for layer in plan.cells
        )
        normed = plan.tail == "norm"
        self.tail = nn.Sequential(*[nn.BatchNorm2d(plan.features), nn.ReLU()] if normed else [])
        self.head = nn.Linear(plan.features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, channels, height, width]."""
        before = self.stem[0](images)
        previous = before if self.small else self.stem[1](before)
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        logits: Tensor = self.head(self.tail(previous).mean((2, 3)))
        return logits


def _stem(plan: skeleton.Plan, colours: int) -> nn.ModuleList:
    """Build the one layer small images pass, or the three of large ones, the last of which gives state 1."""
    width = plan.stem_channels
    widths = [colours, width] if plan.stem == "small" else [colours, width // 2, width, width]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] if index else []
        stride = 1 if plan.stem == "small" else 2
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
    layers += [nn.ReLU()] if plan.rectified else []
    if plan.stem == "small":
        return nn.ModuleList([nn.Sequential(*layers)])
    return nn.ModuleList([nn.Sequential(*layers[:5]), nn.Sequential(*layers[5:])])
