"""The supernet and the loop that NAS repositories copy: one module per operation and edge.

Every candidate is its own module, its output is multiplied by its weight, and both steps call `backward` on
all parameters, as the original code does.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.sizes import CLASSES, SPACE, Size
from raynas.nets.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.spaces.graph import Cell
from raynas.spaces.library import load_space


class PlainCell(nn.Module):
    """A cell with one module per candidate and edge; ``inputs`` are the channels of the states it reads."""

    def __init__(self, cell: Cell, nodes: int, channels: int, inputs: tuple[int, int], halve: bool) -> None:
        super().__init__()
        self.cell, self.nodes = cell, nodes
        first = FactorizedReduce if halve else ReluConvNorm
        self.inputs = nn.ModuleList(
            [first(inputs[0], channels, False), ReluConvNorm(inputs[1], channels, False)]
        )
        self.edges = nn.ModuleList()
        for edge in cell.edges:
            stride = 2 if cell.kind == "reduce" and edge.source < 2 else 1
            self.edges.append(nn.ModuleList(_candidate(name, channels, stride) for name in edge.ops))

    def forward(self, before: Tensor, previous: Tensor, weights: Tensor) -> Tensor:
        """Mix all candidates of every edge."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        for node in range(2, 2 + self.nodes):
            total: Tensor | float = 0.0
            for row, (edge, candidates) in enumerate(zip(self.cell.edges, self.edges, strict=True)):
                if edge.target == node:
                    for index, name in enumerate(edge.ops):
                        if name != "none":
                            total = total + weights[row, index] * candidates[index](states[edge.source])  # type: ignore[index]
            states.append(total)
        return torch.cat(states[2:], 1)


def _candidate(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return nn.Identity()
    operation = plain(name, channels, stride, False)
    return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False)) if "pool" in name else operation


class PlainSupernet(nn.Module):
    """The supernet as repositories write it."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        space = load_space(SPACE)
        channels, width = size.channels, 3 * size.channels
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.kinds: list[str] = []
        self.cells = nn.ModuleList()
        before, previous = width, width
        for index in range(size.cells):
            halve = self.kinds[-1:] == ["reduce"]
            self.kinds.append("reduce" if index in {size.cells // 3, 2 * size.cells // 3} else "normal")
            channels *= 2 if self.kinds[-1] == "reduce" else 1
            cell = space.cell(self.kinds[-1])
            self.cells.append(PlainCell(cell, space.nodes, channels, (before, previous), halve))
            before, previous = previous, space.nodes * channels
        self.head = nn.Linear(previous, CLASSES)
        self.shapes = {cell.kind: (len(cell.edges), len(cell.edges[0].ops)) for cell in space.cells}

    def forward(self, images: Tensor, alphas: dict[str, Tensor]) -> Tensor:
        """Return logits; ``alphas`` [edges, operations] by kind of cell."""
        before = previous = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            before, previous = previous, cell(before, previous, alphas[kind].softmax(-1))
        logits: Tensor = self.head(previous.mean((2, 3)))
        return logits


class PlainLoop:
    """DARTS' first-order step with PyTorch's optimisers."""

    def __init__(self, size: Size, device: str) -> None:
        self.net = PlainSupernet(size).to(device)
        self.alphas = {
            kind: (1e-3 * torch.randn(shape, device=device)).requires_grad_()
            for kind, shape in self.net.shapes.items()
        }
        self.sgd = torch.optim.SGD(self.net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(self.alphas.values(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def parameters(self) -> Iterator[Tensor]:
        """Return weights and α."""
        yield from self.net.parameters()
        yield from self.alphas.values()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        return nn.functional.cross_entropy(self.net(images, self.alphas), labels)

    def step(self, images: Tensor, labels: Tensor, valid_images: Tensor, valid_labels: Tensor) -> None:
        """Move α, then the weights."""
        self.adam.zero_grad()
        self.loss(valid_images, valid_labels).backward()
        self.adam.step()
        self.sgd.zero_grad()
        self.loss(images, labels).backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.sgd.step()
