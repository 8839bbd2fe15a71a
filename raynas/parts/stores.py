"""Stores, which hold what is learned: a table of logits, or a network that generates the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from raynas.bilevel.layout import Layout
from raynas.bilevel.slots import Store

KERNEL = 3
INPUTS = 3
"""Channels of the noise a generator reads (ConvReLUBN(3, 14, 3): 3 in, 14 out, 3×3)."""


@dataclass(frozen=True)
class Table(Store):
    """α is the logits: mean + spread·N(0, 1), each number on its own (DARTS: 0 and 1e-3).

    ``start_from: uniform`` makes every row a uniform distribution instead (ASNG-NAS).
    """

    use: ClassVar[str] = "table"
    entrywise: ClassVar[bool] = True
    mean: float = 0.0
    spread: Annotated[float, Field(ge=0)] = 1e-3
    start_from: Literal["normal", "uniform"] = "normal"

    @property
    def uniform(self) -> bool:
        """Whether α starts as uniform probabilities."""
        return self.start_from == "uniform"

    def start(
        self, layout: Layout, generators: Sequence[torch.Generator], memory: dict[str, Tensor]
    ) -> Tensor:
        """Draw α [lanes, numbers], the operations' logits first: nothing else that is learned moves them."""
        if self.start_from == "uniform":
            masks = [mask.double() for mask in layout.alive.values()]
            rows = [mask / mask.sum(-1, keepdim=True).clamp_min(1) for mask in masks]
            extras = torch.zeros(layout.numbers - layout.entries, dtype=torch.float64)
            flat = torch.cat([*(row.flatten() for row in rows), extras])
            return flat.expand(len(generators), -1).clone()
        sizes = [layout.entries, layout.numbers - layout.entries]
        drawn = [
            torch.cat([torch.randn(size, generator=g, dtype=torch.float64) for size in sizes])
            for g in generators
        ]
        return self.mean + self.spread * torch.stack(drawn)

    def logits(self, alphas: Tensor, layout: Layout, memory: Mapping[str, Tensor]) -> Tensor:
        """Return α [lanes, numbers]: it is the logits."""
        return alphas


@dataclass(frozen=True)
class Generator(Store):
    """The network of VIM-NAS: a small CNN turns fixed noise into the table of logits (Wang et al. 2021).

    Blocks of 3×3 convolution, ReLU and batch normalisation, with ``hidden`` feature maps between them: (14,)
    is ConvReLUBN(3, 14, 3)–ConvReLUBN(14, 1, 3), () the ablation -S, four times 14 the ablation -L. One
    network and one noise input [3, rows, options] for each group of α. Batch normalisation always uses the
    map's own statistics.

    ``last`` says how the last block ends: ``plain`` in the convolution alone; ``norm`` in a batch norm after
    it, so that the logits start with mean 0 and deviation 1; ``block`` in ReLU and batch norm, as the paper
    writes it. Read so, half of all logits lie on the ReLU's floor, where they are equal and have no gradient:
    at the start all options are tied in 25, 7 and 4 % of the rows of s2, tiny and nas-bench-201, and of tied
    options derivation takes the first. After 10 epochs (200 steps) on digits the heaviest option of a row of
    nas-bench-201 has .66 to .83 of its weight (3 seeds), with ``norm`` .71 to .98, with ``plain`` .93 to 1.00
    (s2: norm .90 to .96, plain .98 to 1.00). The paper reports nearly one-hot weights within an epoch, so a
    last ReLU is taken for a matter of notation.

    The paper leaves open how the two kinds of cell share the network and how it is initialised; assumed here:
    not at all, and as PyTorch's convolutions are.
    """

    use: ClassVar[str] = "generator"
    entrywise: ClassVar[bool] = False
    version: ClassVar[int] = 2
    hidden: tuple[Annotated[int, Field(gt=0)], ...] = (14,)
    last: Literal["plain", "norm", "block"] = "plain"

    def start(
        self, layout: Layout, generators: Sequence[torch.Generator], memory: dict[str, Tensor]
    ) -> Tensor:
        """Draw each group's input noise, which stays, and its network's parameters [lanes, numbers]."""
        groups = []
        for name, (rows, width) in layout.shapes.items():
            shape = (INPUTS, rows, width + len(layout.extras))
            noise = [torch.randn(shape, generator=g, dtype=torch.float64) for g in generators]
            # The input is not a parameter, but the logits are nothing without it: it goes into checkpoints
            # with the memory.
            memory[_key(name)] = torch.stack(noise)
            groups.append(torch.stack([self._parameters(g) for g in generators]))
        return torch.cat(groups, 1)

    def _parameters(self, generator: torch.Generator) -> Tensor:
        pieces = []
        for inputs, outputs in self._widths():
            bound = (inputs * KERNEL**2) ** -0.5
            count = outputs * inputs * KERNEL**2 + outputs
            drawn = torch.rand(count, generator=generator, dtype=torch.float64)
            pieces += [(2 * drawn - 1) * bound, torch.ones(outputs), torch.zeros(outputs)]
        return torch.cat(pieces)

    def _widths(self) -> list[tuple[int, int]]:
        widths = (INPUTS, *self.hidden, 1)
        return list(pairwise(widths))

    def logits(self, alphas: Tensor, layout: Layout, memory: Mapping[str, Tensor]) -> Tensor:
        """Return [lanes, numbers], every group's network run on its noise; lanes are groups of channels."""
        networks = alphas.chunk(len(layout.shapes), 1)
        maps = [
            self._generate(parameters, memory[_key(name)])
            for name, parameters in zip(layout.shapes, networks, strict=True)
        ]
        extras = [
            table[..., width + place]
            for place in range(len(layout.extras))
            for table, (_, width) in zip(maps, layout.shapes.values(), strict=True)
        ]
        tables = [
            table[..., :width].flatten(1)
            for table, (_, width) in zip(maps, layout.shapes.values(), strict=True)
        ]
        return torch.cat([*tables, *extras], 1)

    def _generate(self, parameters: Tensor, noise: Tensor) -> Tensor:
        """Map noise [lanes, 3, rows, columns] to [lanes, rows, columns]."""
        lanes = len(noise)
        x = noise.flatten(0, 1).unsqueeze(0)
        layers = self._widths()
        for index, (inputs, outputs) in enumerate(layers):
            sizes = [outputs * inputs * KERNEL**2, outputs, outputs, outputs]
            weight, bias, scale, shift, parameters = torch.split(
                parameters, [*sizes, parameters.shape[1] - sum(sizes)], 1
            )
            kernel = weight.reshape(lanes * outputs, inputs, KERNEL, KERNEL)
            x = F.conv2d(x, kernel, bias.flatten(), padding=KERNEL // 2, groups=lanes)
            inner = index < len(layers) - 1
            x = F.relu(x) if inner or self.last == "block" else x
            if inner or self.last != "plain":
                # No running statistics: the input is the same at every call, so its own are those of all that
                # there is.
                x = F.batch_norm(x, None, None, scale.flatten(), shift.flatten(), training=True)
        return x[0]


def _key(group: str) -> str:
    return f"generator input/{group}"
