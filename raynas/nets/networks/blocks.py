"""The discrete network's cells of choice blocks: those of NAS-Bench-101."""

import torch
from torch import Tensor, nn

from raynas.nets.ops.plain import ConvNormRelu, plain
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.blocks import to_matrix
from raynas.spaces.skeletons.plan import CellPlan
from raynas.spaces.texts.nasbench101 import Matrix


class BlocksCell(nn.Module):
    """One cell of NAS-Bench-101: an operation on each vertex's sum, the output's channels divided.

    The cell's input is projected to each vertex that reads it; a vertex passes on its first channels where
    the one that reads it has fewer (Ying et al. 2019, section 2.3).
    """

    def __init__(self, genotype: Genotype, cell: CellPlan, affine: bool) -> None:
        super().__init__()
        self.matrix, ops = to_matrix(genotype)
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
        """Map the state before, [N, inputs, H, W], to [N, channels, H, W].

        That is the output's parents concatenated, plus the projected input where it reads that.
        """
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
