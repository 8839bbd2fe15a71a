"""The supernet's chain of choice blocks (ProxylessNAS), each between widths of its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.fan import Weights
from raynas.nets.fixed import ScaledNorm
from raynas.nets.ops.inverted import SuperInverted
from raynas.nets.ops.lanes import Lanes, Pass, nchw, nhwc
from raynas.nets.ops.paths import Path
from raynas.nets.supernets.base import Builder, Layer, Priced
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons.plan import BlockPlan, ConvolutionPlan


class SuperNormedRelu6(Layer):
    """Convolution, batch norm with a learned scale, ReLU6."""

    searched = False

    def __init__(self, lanes: Lanes, plan: ConvolutionPlan) -> None:
        super().__init__()
        self.lanes, self.stride, self.padding = len(lanes), plan.stride, plan.kernel // 2
        size = (plan.outputs, plan.inputs, plan.kernel, plan.kernel)
        self.weight = lanes.uniform(*size, fan_in=plan.inputs * plan.kernel**2)
        self.norm = ScaledNorm(lanes, plan.outputs)

    def forward(self, before: Tensor, previous: Tensor, mix: Any, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·outputs, H', W']."""
        weight = self.weight.flatten(0, 1)
        z = run.convolve(previous, weight, self.stride, self.padding, groups=self.lanes)
        return F.relu6(self.norm(z, run))


class FixedBlock(Layer):
    """The first block, an inverted bottleneck of ratio 1 with a 3×3 window and no shortcut."""

    searched = False

    def __init__(self, lanes: Lanes, plan: BlockPlan) -> None:
        super().__init__()
        self.path = Path(len(lanes))
        self.operation = SuperInverted(lanes, plan.inputs, plan.outputs, 3, plan.stride, 1)

    def forward(self, before: Tensor, previous: Tensor, mix: Any, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·outputs, H, W]."""
        return self.operation(previous, run, self.path)  # type: ignore[no-any-return]


class ChainBlock(Layer):
    """A block's operations on one map: their weighted sum, plus its input where it has a shortcut.

    ``row`` is its place in the group ``kind`` of α.
    """

    def __init__(self, lanes: Lanes, ops: Sequence[str], plan: BlockPlan, kind: str, row: int) -> None:
        super().__init__()
        self.lanes, self.outputs, self.stride = len(lanes), plan.outputs, plan.stride
        self.shortcut, self.kind, self.row = plan.shortcut, kind, row
        self.names, known = tuple(ops), [OPERATIONS[name] for name in ops]
        self.columns = [column for column, each in enumerate(known) if each.family == "inverted"]
        self.operations = nn.ModuleList(
            SuperInverted(lanes, plan.inputs, plan.outputs, each.kernel, plan.stride, each.ratio)
            for each in (known[column] for column in self.columns)
        )

    def forward(self, before: Tensor, previous: Tensor, mix: Weights, run: Pass) -> Tensor:
        """Return [N, lanes·outputs, H', W']; a lane computes what it has active, or else everything."""
        weights = mix[self.kind][:, self.row]
        total = previous if self.shortcut else self._nothing(previous)
        for column, operation in zip(self.columns, self.operations, strict=True):
            on = self._active(run, column)
            if len(on) == self.lanes:
                scale = self._wide(weights[:, column])
                total = total + operation(previous, run, Path(self.lanes), scale)
            elif on:
                lanes = torch.tensor(on).to(weights.device)
                path = Path(len(on), maps=lanes, own=lanes)
                z = operation(previous, run, path, self._wide(weights[lanes, column]))
                total = self._add(total, z, lanes)
        if run.offsets:
            offsets = self._wide(run.offsets[self.kind][:, self.row])
            total = total + offsets.view(1, -1, 1, 1).to(total.dtype)
        return total

    def priced(self) -> Iterator[Priced]:
        """Yield the inverted bottlenecks."""
        for column, operation in zip(self.columns, self.operations, strict=True):
            sizes = (operation.inputs, self.outputs, self.stride)
            yield Priced(self.kind, self.row, (column,), self.names[column], *sizes, operation)  # type: ignore[arg-type]

    def _active(self, run: Pass, column: int) -> list[int]:
        """Return the lanes in which an operation is computed."""
        everyone = list(range(self.lanes))
        if run.active is None:
            return everyone
        marks = run.active[self.kind][:, self.row, column].tolist()
        return [lane for lane in everyone if marks[lane]]

    def _wide(self, numbers: Tensor) -> Tensor:
        return numbers.repeat_interleave(self.outputs)

    def _add(self, total: Tensor, z: Tensor, lanes: Tensor) -> Tensor:
        """Add the results of some lanes to theirs."""
        sums = torch.unflatten(nhwc(total), 3, (self.lanes, self.outputs))
        results = torch.unflatten(nhwc(z), 3, (len(lanes), self.outputs))
        return nchw(sums.index_add(3, lanes, results.to(sums.dtype)).flatten(3))

    def _nothing(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        size = (-(-height // self.stride), -(-width // self.stride))
        return nchw(x.new_zeros(n, *size, self.lanes * self.outputs))


class ChainBuilder(Builder):
    """Makes the layers of a chain; all of them, the first convolution included, are layers of the plan."""

    def cell(self, plan: ConvolutionPlan | BlockPlan) -> Layer:
        """Return a convolution, the fixed block, or a choice block."""
        if isinstance(plan, ConvolutionPlan):
            return SuperNormedRelu6(self.lanes, plan)
        if plan.row is None:
            return FixedBlock(self.lanes, plan)
        [cell] = self.space.cells
        return ChainBlock(self.lanes, cell.edges[plan.row].ops, plan, cell.kind, plan.row)
