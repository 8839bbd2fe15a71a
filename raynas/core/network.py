"""The discrete network of a genotype: one module per chosen operation, as it is trained from scratch."""

import torch
from torch import Tensor, nn

from raynas.core import skeleton
from raynas.core.genotype import Choice, Genotype
from raynas.core.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.core.space import INPUTS


class NetworkCell(nn.Module):
    """One cell: its chosen edges, summed per node, the nodes concatenated."""

    def __init__(
        self, choices: tuple[Choice, ...], nodes: int, cell: skeleton.CellPlan, affine: bool
    ) -> None:
        super().__init__()
        self.choices = choices
        self.nodes = nodes
        before, previous = cell.inputs
        reduce_first = FactorizedReduce if cell.previous_reduced else ReluConvNorm
        self.inputs = nn.ModuleList(
            [reduce_first(before, cell.channels, affine), ReluConvNorm(previous, cell.channels, affine)]
        )
        self.operations = nn.ModuleList(
            plain(c.op, cell.channels, 2 if cell.kind == "reduce" and c.source < INPUTS else 1, affine)
            for c in choices
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Return the concatenated nodes [N, nodes·channels, H', W']."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        for node in range(INPUTS, INPUTS + self.nodes):
            incoming = [
                operation(states[choice.source])
                for choice, operation in zip(self.choices, self.operations, strict=True)
                if choice.target == node
            ]
            states.append(torch.stack(incoming).sum(0))
        return torch.cat(states[INPUTS:], 1)


class Network(nn.Module):
    """The network a genotype describes, for images of ``shape`` (channels, height, width).

    Batch norms have learned scales (``affine``) as in training from scratch (Liu et al. 2019, A.1.2).
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
        plan = skeleton.plan(shape, genotype.nodes, cells, channels)
        width = plan.stem_channels
        self.small = plan.stem == "small"
        if self.small:
            self.stem = nn.ModuleList(
                [nn.Sequential(nn.Conv2d(shape[0], width, 3, padding=1, bias=False), nn.BatchNorm2d(width))]
            )
        else:
            self.stem = nn.ModuleList(
                [
                    nn.Sequential(
                        nn.Conv2d(shape[0], width // 2, 3, 2, 1, bias=False),
                        nn.BatchNorm2d(width // 2),
                        nn.ReLU(),
                        nn.Conv2d(width // 2, width, 3, 2, 1, bias=False),
                        nn.BatchNorm2d(width),
                    ),
                    nn.Sequential(
                        nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width)
                    ),
                ]
            )
        self.cells = nn.ModuleList(
            NetworkCell(genotype.cell(cell.kind), genotype.nodes, cell, affine) for cell in plan.cells
        )
        self.head = nn.Linear(plan.features, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, channels, height, width]."""
        before = self.stem[0](images)
        previous = before if self.small else self.stem[1](before)
        for cell in self.cells:
            before, previous = previous, cell(before, previous)
        logits: Tensor = self.head(previous.mean((2, 3)))
        return logits
