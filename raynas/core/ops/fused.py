"""Every operation in the form the supernet runs: on all edges that leave one state, at once.

All edges out of a state read the same input, so ReLU is applied once, pooling and identity are computed
once and only weighted per edge, and the convolutions of all edges are single wide convolutions whose output
channels are ordered (lane, edge, channel). The weight of an operation on an edge is folded into the batch
normalisation that ends its branch.
"""

from abc import abstractmethod
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.core.ops.catalogue import OPERATIONS, Operation
from raynas.core.ops.lanes import Lanes, Norm, Pass, interleave, keep_format, shifted

DENSE_CHANNELS = {(3, 1): 8, (5, 1): 8, (3, 2): 32, (5, 2): 16}
"""Most channels at which one dense convolution of a shared input beats depthwise then pointwise.

By (kernel, dilation), measured with `python benchmarks/convolution_forms.py`; a constant rather than a timing
at start-up, since the two forms round differently and a search must give the same bits on every run.
"""


class Source:
    """A state as the edges that leave it see it: its feature map, and what they share, computed once.

    ``x`` is [N, lanes·channels, H, W].
    """

    def __init__(self, x: Tensor, run: Pass) -> None:
        self.x = x
        self.run = run

    @cached_property
    def relu(self) -> Tensor:
        """Return max(x, 0)."""
        return F.relu(self.x)


class FusedOperation(nn.Module):
    """One operation on ``edges`` edges that leave the same state.

    ``shared`` says that the result does not depend on the edge: `forward` then returns it once, unweighted.
    """

    shared = False

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__()
        self.lanes, self.edges, self.channels, self.stride = len(lanes), edges, channels, stride
        self.kernel, self.dilation = operation.kernel, operation.dilation

    @abstractmethod
    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Return the weighted result [N, lanes·edges·channels, H', W'].

        ``scale`` holds the operation's weight for each lane, edge and channel, lanes·edges·channels numbers;
        a shared operation ignores it and returns [N, lanes·channels, H', W'].
        """


class Pool(FusedOperation):
    """3×3 pooling followed by batch normalisation, the same for every edge."""

    shared = True

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.largest = operation.family == "max_pool"
        self.norm = Norm(lanes, channels)

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Pool each channel; padding does not count in an average."""
        window = (self.kernel, self.stride, self.kernel // 2)
        if self.largest:
            pooled = F.max_pool2d(source.x, *window)
        else:
            pooled = F.avg_pool2d(source.x, *window, count_include_pad=False)
        return keep_format(self.norm(pooled, source.run))


class Identity(FusedOperation):
    """A skip connection at stride 1."""

    shared = True

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Return the state itself."""
        return source.x


class Reduce(FusedOperation):
    """A skip connection at stride 2: two 1×1 convolutions on pixels that are one apart, concatenated."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.near = lanes.uniform(edges, channels // 2, channels, fan_in=channels)
        self.far = lanes.uniform(edges, channels // 2, channels, fan_in=channels)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Halve the resolution, keeping information from both halves of the pixels."""
        halves = [
            source.run.convolve(x, weight.flatten(0, 2)[..., None, None], stride=2, groups=self.lanes)
            for x, weight in ((source.relu, self.near), (shifted(source.relu), self.far))
        ]
        z = interleave(halves, self.lanes * self.edges)
        return self.norm(z, source.run, scale)  # type: ignore[no-any-return]


class Noise(FusedOperation):
    """Standard normal noise of the input's (strided) shape, fresh on every edge and at every call."""

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Draw from each lane's own generator, so that lanes do not disturb each other."""
        n, _, height, width = source.x.shape
        size = (n, self.edges * self.channels, -(-height // self.stride), -(-width // self.stride))
        drawn = [
            torch.randn(size, generator=g, device=g.device, dtype=torch.float32).to(source.x)
            for g in source.run.noise
        ]
        return torch.cat(drawn, 1) * scale.view(1, -1, 1, 1)


class SeparablePair(nn.Module):
    """The weights of one depthwise and one pointwise convolution on every edge of every lane."""

    def __init__(self, lanes: Lanes, edges: int, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.lanes, self.edges, self.channels = len(lanes), edges, channels
        self.kernel, self.dilation = kernel, dilation
        self.padding = dilation * (kernel // 2)
        self.dense = channels <= DENSE_CHANNELS.get((kernel, dilation), 0)
        self.depthwise = lanes.uniform(edges, channels, kernel, kernel, fan_in=kernel * kernel)
        self.pointwise = lanes.uniform(edges, channels, channels, fan_in=channels)

    def merged(self) -> Tensor:
        """Return depthwise then pointwise as one dense kernel [lanes·edges·channels, channels, k, k]."""
        kernel = self.pointwise[..., None, None] * self.depthwise.unsqueeze(2)
        return kernel.flatten(0, 2)

    def fan_out(self, run: Pass, x: Tensor, stride: int) -> Tensor:
        """Convolve one shared input [N, lanes·channels, ...] for every edge."""
        if self.dense:
            return run.convolve(x, self.merged(), stride, self.padding, self.dilation, self.lanes)
        channels = self.lanes * self.channels
        outputs = []
        for depth, point in zip(self.depthwise.unbind(1), self.pointwise.unbind(1), strict=True):
            window = depth.reshape(channels, 1, self.kernel, self.kernel)
            z = run.convolve(x, window, stride, self.padding, self.dilation, channels)
            outputs.append(run.convolve(z, point.reshape(channels, self.channels, 1, 1), groups=self.lanes))
        return interleave(outputs, self.lanes)

    def per_edge(self, run: Pass, x: Tensor) -> Tensor:
        """Convolve each edge's own input, [N, lanes·edges·channels, ...], at stride 1."""
        groups = self.lanes * self.edges
        channels = groups * self.channels
        window = self.depthwise.reshape(channels, 1, self.kernel, self.kernel)
        z = run.convolve(x, window, 1, self.padding, self.dilation, channels)
        return run.convolve(z, self.pointwise.reshape(channels, self.channels, 1, 1), groups=groups)


class Dilated(FusedOperation):
    """ReLU, depthwise convolution with holes, pointwise convolution, batch normalisation."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.pair = SeparablePair(lanes, edges, channels, operation.kernel, operation.dilation)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Convolve the shared, rectified input for every edge."""
        z = self.pair.fan_out(source.run, source.relu, self.stride)
        return self.norm(z, source.run, scale)  # type: ignore[no-any-return]


class Separable(FusedOperation):
    """ReLU, depthwise, pointwise, batch normalisation: twice, with the stride in the first."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.first = SeparablePair(lanes, edges, channels, operation.kernel, 1)
        self.second = SeparablePair(lanes, edges, channels, operation.kernel, 1)
        self.norm_first = Norm(lanes, edges * channels)
        self.norm_second = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor) -> Tensor:
        """Convolve the shared, rectified input for every edge, then each edge's own map."""
        z = self.norm_first(self.first.fan_out(source.run, source.relu, self.stride), source.run)
        z = self.second.per_edge(source.run, F.relu(z))
        return self.norm_second(z, source.run, scale)  # type: ignore[no-any-return]


_FORMS: dict[str, type[FusedOperation]] = {
    "max_pool": Pool,
    "avg_pool": Pool,
    "skip": Identity,
    "separable": Separable,
    "dilated": Dilated,
    "noise": Noise,
}


def fused(lanes: Lanes, name: str, edges: int, channels: int, stride: int) -> FusedOperation:
    """Build an operation on ``edges`` edges out of one state; `none` computes nothing and has no form."""
    operation = OPERATIONS[name]
    if operation.family == "skip" and stride == 2:
        return Reduce(lanes, operation, edges, channels, stride)
    return _FORMS[operation.family](lanes, operation, edges, channels, stride)
