"""The supernet's densely connected block (DSO-NAS): operations read all before them, by weight."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.fan import Weights
from raynas.nets.fixed import ScaledNorm
from raynas.nets.ops.fused import SeparablePair
from raynas.nets.ops.lanes import Lanes, Norm, Pass, interleave, keep_format, nchw, nhwc
from raynas.nets.ops.paths import Path
from raynas.nets.supernets.base import Builder, Layer
from raynas.spaces.operations import OPERATIONS, Operation
from raynas.spaces.skeletons.dense import CONNECTIONS
from raynas.spaces.skeletons.plan import DensePlan, DenseReductionPlan
from raynas.spaces.space import Space


class NormedRelu(nn.Module):
    """Convolution, batch norm without a scale, ReLU."""

    def __init__(self, lanes: Lanes, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.lanes, self.stride, self.padding = len(lanes), stride, kernel // 2
        self.weight = lanes.uniform(outputs, inputs, kernel, kernel, fan_in=inputs * kernel * kernel)
        self.norm = Norm(lanes, outputs)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·outputs, H', W']."""
        z = run.convolve(x, self.weight.flatten(0, 1), self.stride, self.padding, groups=self.lanes)
        return F.relu(self.norm(z, run))


class Window(nn.Module):
    """One operation up to its batch norm: pooling, or a depthwise and a pointwise convolution."""

    def __init__(self, lanes: Lanes, operation: Operation, channels: int) -> None:
        super().__init__()
        self.operation, self.path = operation, Path(len(lanes))
        separable = operation.family == "normed_separable"
        self.pair = SeparablePair(lanes, 1, channels, operation.kernel) if separable else None

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·channels, H, W] to the same shape; padding counts in an average."""
        if self.pair is not None:
            return self.pair.per_edge(run, x, self.path)
        pool = F.max_pool2d if self.operation.family == "normed_max_pool" else F.avg_pool2d
        return keep_format(pool(x, self.operation.kernel, 1, self.operation.kernel // 2))


class DenseLayer(nn.Module):
    """One layer's operations, each on an input of its own; one batch norm and ReLU for all of them."""

    def __init__(self, lanes: Lanes, ops: Sequence[str], channels: int) -> None:
        super().__init__()
        self.lanes = len(lanes)
        self.windows = nn.ModuleList(Window(lanes, OPERATIONS[name], channels) for name in ops)
        self.norm = Norm(lanes, len(ops) * channels)

    def forward(self, inputs: Sequence[Tensor], run: Pass) -> Tensor:
        """Return [N, lanes·operations·channels, H, W] of one [N, lanes·channels, H, W] an operation."""
        results = [window(x, run) for window, x in zip(self.windows, inputs, strict=True)]
        return F.relu(self.norm(interleave(results, self.lanes), run))


class DenseCell(Layer):
    """One block of ``layers``, each a list of operations (Zhang et al. 2020, and its code).

    An operation of the first layer reads the block's input; any other the sum of the input and of what all
    operations of earlier layers give, each times its weight. All of them together, each times its weight,
    pass a 1×1 convolution, a batch norm and a ReLU, and are added to the input; a ``projected`` input passes
    a 1×1 convolution, a batch norm and a ReLU.
    """

    def __init__(self, lanes: Lanes, layers: Sequence[Sequence[str]], channels: int, projected: bool) -> None:
        super().__init__()
        self.lanes, self.channels = len(lanes), channels
        self.sizes = [len(ops) for ops in layers]
        self.layers = nn.ModuleList(DenseLayer(lanes, ops, channels) for ops in layers)
        width = sum(self.sizes) * channels
        self.project = lanes.uniform(channels, width, 1, 1, fan_in=width)
        self.norm = ScaledNorm(lanes, channels)
        self.shortcut = NormedRelu(lanes, channels, channels) if projected else None

    def forward(self, before: Tensor, previous: Tensor, mix: Weights, run: Pass) -> Tensor:
        """Map [N, lanes·channels, H, W] to the same shape."""
        *reading, last = mix[CONNECTIONS].unbind(1)
        inputs = [previous] * self.sizes[0]
        wide = previous
        for layer, size in zip(self.layers, [*self.sizes[1:], 0], strict=True):
            wide = interleave([wide, layer(inputs, run)], self.lanes)
            rows, reading = reading[:size], reading[size:]
            inputs = self._read(wide, rows) if rows else []
        # Without the first state: it is the block's input, which is added below and has no weight.
        results = torch.unflatten(nhwc(wide), 3, (self.lanes, -1, self.channels))[..., 1:, :]
        scaled = results * last[:, : results.shape[4], None].to(results.dtype)
        z = run.convolve(keep_format(nchw(scaled.flatten(3))), self.project.flatten(0, 1), groups=self.lanes)
        out = F.relu(self.norm(z, run))
        return out + (previous if self.shortcut is None else self.shortcut(previous, run))

    def _read(self, wide: Tensor, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return each operation's input, the weighted sum of the states side by side in ``wide``."""
        states = torch.unflatten(nhwc(wide), 3, (self.lanes, -1, self.channels))
        matrix = torch.stack(list(rows), 1)[..., : states.shape[4]].to(states.dtype)
        sums = torch.einsum("nhwlsc,lts->nhwtlc", states, matrix)
        return [
            nchw(each.flatten(3)).contiguous(memory_format=torch.channels_last) for each in sums.unbind(3)
        ]


class DenseReduction(Layer):
    """Between two stages: a 1×1 and a 3×3 convolution of stride 2, each with batch norm and ReLU, added.

    The code gives both a weight of its own, here they are fixed.
    """

    searched = False

    def __init__(self, lanes: Lanes, plan: DenseReductionPlan) -> None:
        super().__init__()
        self.small = NormedRelu(lanes, plan.inputs, plan.channels, 1, 2)
        self.large = NormedRelu(lanes, plan.inputs, plan.channels, 3, 2)

    def forward(self, before: Tensor, previous: Tensor, mix: Any, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·outputs, H/2, W/2], rounded up."""
        out: Tensor = self.small(previous, run) + self.large(previous, run)
        return out


class DenseBuilder(Builder):
    """Makes dense blocks, all of which share their connections' weights, and reductions."""

    def cell(self, plan: DensePlan | DenseReductionPlan) -> Layer:
        """Return a block or a reduction."""
        if isinstance(plan, DenseReductionPlan):
            return DenseReduction(self.lanes, plan)
        return DenseCell(self.lanes, layers_of(self.space), plan.channels, plan.projected)


def layers_of(space: Space) -> list[list[str]]:
    """Return the operations of each layer; nodes of one layer read the same states."""
    [cell] = space.cells
    *nodes, _ = space.targets
    return [
        [cell.into(node)[0].ops[0] for node in layer]
        for _, layer in groupby(nodes, key=lambda node: len(cell.into(node)))
    ]
