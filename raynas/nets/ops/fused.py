"""Every operation as the supernet runs it: on all edges that leave one state, at once.

All edges out of a state read the same input, so ReLU is applied once, pooling and identity are computed
once and mixed for all edges by one matrix product, and the convolutions of all edges are single wide
convolutions whose output channels are ordered (lane, edge, channel). The weight of an operation on an edge is
folded into the batch normalisation that ends its branch.

Every operation can also run on a path, just some (lane, edge) pairs: see `raynas.nets.ops.paths`.
"""

from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.ops.forms import NO_FORMS, Forms, Maps, Shape, fan_out, form_for, separately
from raynas.nets.ops.lanes import Lanes, Norm, Pass, interleave, keep_format, shifted
from raynas.nets.ops.paths import Path, chosen, normalise, pick
from raynas.spaces.operations import FAMILIES, OPERATIONS, Operation
from raynas.spaces.outside import load_dotted


class Source:
    """A state as the edges that leave it see it: its feature map, and what they share, computed once.

    ``x`` is [N, lanes·channels, H, W].
    """

    def __init__(self, x: Tensor, run: Pass, lanes: int) -> None:
        self.x = x
        self.run = run
        self.lanes = lanes
        self._relu: Maps | None = None

    @property
    def relu(self) -> Maps:
        """Return max(x, 0)."""
        if self._relu is None:  # no cached_property: torch.compile cannot see through its lock
            self._relu = Maps(F.relu(self.x), self.lanes)
        return self._relu

    def rectified(self, path: Path) -> Maps:
        """Return max(x, 0) of the maps that a path reads."""
        if path.maps is None:
            return self.relu
        return Maps(pick(self.relu.x, self.lanes, path.maps), path.groups)


class FusedOperation(nn.Module):
    """One operation on ``edges`` edges that leave the same state.

    ``shared`` says that the result does not depend on the edge.
    """

    shared = False

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__()
        self.lanes, self.edges, self.channels, self.stride = len(lanes), edges, channels, stride
        self.kernel, self.dilation = operation.kernel, operation.dilation

    @abstractmethod
    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Return the weighted result [N, pairs·channels, H', W'] on the pairs of ``path``.

        ``scale`` holds the operation's weight for each pair and channel, pairs·channels numbers.
        """

    def _normalise(
        self, norm: Norm, x: Tensor, source: Source, path: Path, scale: Tensor | None = None
    ) -> Tensor:
        return normalise(norm, x, source.run, path, self.channels, scale)


class Shared(FusedOperation):
    """An operation without kernels of its own, the same on every edge."""

    shared = True

    @abstractmethod
    def once(self, source: Source, path: Path) -> Tensor:
        """Return the unweighted result [N, groups·channels, H', W'], once for each map that is read."""

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Repeat the result for each pair and weight it, [N, pairs·channels, H', W']."""
        return pick(self.once(source, path), path.groups, path.spread) * scale.view(1, -1, 1, 1)


class Pool(Shared):
    """Pooling, followed by batch normalisation where ``normed``."""

    def __init__(
        self,
        lanes: Lanes,
        operation: Operation,
        edges: int,
        channels: int,
        stride: int,
        normed: bool = True,
    ) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.largest = operation.family == "max_pool"
        self.norm = Norm(lanes, channels) if normed else None

    def once(self, source: Source, path: Path) -> Tensor:
        """Pool each channel, [N, groups·channels, H', W']; padding does not count in an average."""
        x = pick(source.x, self.lanes, path.maps)
        window = (self.kernel, self.stride, self.kernel // 2)
        # PyTorch's default would count the padding's zeros and make averages at the border too small; DARTS'
        # code excludes them.
        pooled = (
            F.max_pool2d(x, *window) if self.largest else F.avg_pool2d(x, *window, count_include_pad=False)
        )
        normed = pooled if self.norm is None else self._normalise(self.norm, pooled, source, path)
        return keep_format(normed)


class Identity(Shared):
    """A skip connection at stride 1."""

    def once(self, source: Source, path: Path) -> Tensor:
        """Return the state itself, [N, groups·channels, H, W]."""
        return pick(source.x, self.lanes, path.maps)


class Reduce(FusedOperation):
    """A skip connection at stride 2: two 1×1 convolutions on pixels that are one apart, concatenated."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        # Half of the channels from each: one convolution of stride 2 and side 1 would never see 3 of 4
        # pixels, two that are one apart see 2 of 4.
        self.near = lanes.uniform(edges, channels // 2, channels, 1, 1, fan_in=channels)
        self.far = lanes.uniform(edges, channels // 2, channels, 1, 1, fan_in=channels)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Map to [N, pairs·channels, H', W'] with half the resolution, from both halves of the pixels."""
        x = source.rectified(path).x
        halves = [
            source.run.convolve(view, chosen(weight, path).flatten(0, -4), stride=2, groups=path.groups)
            for view, weight in ((x, self.near), (shifted(x), self.far))
        ]
        z = interleave(halves, halves[0].shape[1] // (self.channels // 2))
        return self._normalise(self.norm, z, source, path, scale)


class SuperNoise(FusedOperation):
    """Standard normal noise of the input's (strided) shape, fresh on every edge and at every call."""

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Draw [N, pairs·channels, H', W'] from each lane's own generator, as it would alone."""
        n, _, height, width = source.x.shape
        side = (-(-height // self.stride), -(-width // self.stride))
        drawn = [
            torch.randn(
                (n, edges * self.channels, *side), generator=g, device=g.device, dtype=torch.float32
            ).to(source.x)
            for g, edges in zip(source.run.noise, self._edges(path), strict=True)
        ]
        return torch.cat(drawn, 1) * scale.view(1, -1, 1, 1)

    def _edges(self, path: Path) -> list[int]:
        """Return on how many edges each lane has its noise."""
        if path.own is None:
            return [self.edges] * self.lanes
        return torch.bincount(path.own // self.edges, minlength=self.lanes).tolist()


class SeparablePair(nn.Module):
    """The weights of one depthwise and one pointwise convolution on every edge of every lane."""

    def __init__(self, lanes: Lanes, edges: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.channels, self.kernel, self.dilation = channels, kernel, dilation
        self.forms: Forms = NO_FORMS
        self.depthwise = lanes.uniform(edges, 1, channels, kernel, kernel, fan_in=kernel * kernel)
        self.pointwise = lanes.uniform(edges, channels, channels, 1, 1, fan_in=channels)

    def fan_out(self, run: Pass, maps: Maps, stride: int, path: Path) -> Tensor:
        """Convolve the path's maps, each for all of its edges, to [N, pairs·channels, H', W']."""
        shape = Shape(self.kernel, self.dilation, stride, self.channels, *maps.x.shape[2:])
        form = form_for(shape, self.forms)
        depth, point = chosen(self.depthwise, path), chosen(self.pointwise, path)
        return fan_out(run, maps, depth, point, stride, self.dilation, form)

    def per_edge(self, run: Pass, x: Tensor, path: Path) -> Tensor:
        """Convolve each pair's own map, [N, pairs·channels, H, W], at stride 1."""
        return separately(run, x, chosen(self.depthwise, path), chosen(self.pointwise, path))


class Dilated(FusedOperation):
    """ReLU, depthwise convolution with holes, pointwise convolution, batch normalisation."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.pair = SeparablePair(lanes, edges, channels, operation.kernel, operation.dilation)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Convolve the shared, rectified input for every edge, to [N, pairs·channels, H', W']."""
        z = self.pair.fan_out(source.run, source.rectified(path), self.stride, path)
        return self._normalise(self.norm, z, source, path, scale)


class Separable(FusedOperation):
    """ReLU, depthwise, pointwise, batch normalisation: twice, with the stride in the first."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        self.first = SeparablePair(lanes, edges, channels, operation.kernel)
        self.second = SeparablePair(lanes, edges, channels, operation.kernel)
        self.norm_first = Norm(lanes, edges * channels)
        self.norm_second = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Convolve the shared, rectified input for every edge, then each edge's own map.

        The result is [N, pairs·channels, H', W'].
        """
        z = self.first.fan_out(source.run, source.rectified(path), self.stride, path)
        z = F.relu(self._normalise(self.norm_first, z, source, path))
        z = self.second.per_edge(source.run, z, path)
        return self._normalise(self.norm_second, z, source, path, scale)


class Convolution(FusedOperation):
    """ReLU, convolution, batch normalisation."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        size = self.kernel
        self.weight = lanes.uniform(edges, channels, channels, size, size, fan_in=channels * size * size)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Convolve the shared, rectified input for every edge, to [N, pairs·channels, H', W']."""
        x = source.rectified(path).x
        return self._normalise(self.norm, self._convolve(source, x, path), source, path, scale)

    def _convolve(self, source: Source, x: Tensor, path: Path) -> Tensor:
        kernel = chosen(self.weight, path).flatten(0, -4)
        return source.run.convolve(x, kernel, self.stride, self.kernel // 2, groups=path.groups)


class Crossed(FusedOperation):
    """ReLU, 1×k convolution, k×1 convolution, batch normalisation; each strides along its own side."""

    def __init__(self, lanes: Lanes, operation: Operation, edges: int, channels: int, stride: int) -> None:
        super().__init__(lanes, operation, edges, channels, stride)
        size = self.kernel
        self.across = lanes.uniform(edges, channels, channels, 1, size, fan_in=channels * size)
        self.down = lanes.uniform(edges, channels, channels, size, 1, fan_in=channels * size)
        self.norm = Norm(lanes, edges * channels)

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Convolve the shared, rectified input for every edge, then each edge's own map.

        The result is [N, pairs·channels, H', W'].
        """
        x, run, far = source.rectified(path).x, source.run, self.kernel // 2
        across, down = (chosen(weight, path).flatten(0, -4) for weight in (self.across, self.down))
        z = run.convolve(x, across, (1, self.stride), (0, far), groups=path.groups)
        z = run.convolve(z, down, (self.stride, 1), (far, 0), groups=z.shape[1] // self.channels)
        return self._normalise(self.norm, z, source, path, scale)


class Rectified(Convolution):
    """Convolution, batch normalisation, ReLU."""

    def forward(self, source: Source, scale: Tensor, path: Path) -> Tensor:
        """Convolve the shared input, as it is, for every edge, to [N, pairs·channels, H', W'].

        A weight may be negative, so it comes after the ReLU.
        """
        x = pick(source.x, self.lanes, path.maps)
        z = self._normalise(self.norm, self._convolve(source, x, path), source, path)
        return F.relu(z) * scale.view(1, -1, 1, 1)


_CLASSES: dict[str, type[FusedOperation]] = {
    "max_pool": Pool,
    "avg_pool": Pool,
    "skip": Identity,
    "separable": Separable,
    "dilated": Dilated,
    "convolution": Convolution,
    "crossed": Crossed,
    "rectified": Rectified,
    "noise": SuperNoise,
}


def operation_class(name: str, stride: int) -> type[FusedOperation]:
    """Return how an operation other than `none` is computed."""
    family = OPERATIONS[name].family
    # An identity cannot halve a map, so a skip out of an input of a reduction cell is another operation.
    if family == "skip" and stride == 2:
        return Reduce
    if family in _CLASSES:
        return _CLASSES[family]
    outside: type[FusedOperation] = load_dotted(FAMILIES[family].fused, f"the family {family} of operations")
    return outside


def fused(
    lanes: Lanes, name: str, edges: int, channels: int, stride: int, norm_pools: bool = True
) -> FusedOperation:
    """Build an operation on ``edges`` edges out of one state; `none` computes nothing and has no class.

    DARTS' supernet normalises what pooling gives (``norm_pools``), those of the benchmarks do not.
    """
    # Pooling alone may end with or without a batch norm; all other classes always have the same.
    if operation_class(name, stride) is Pool:
        return Pool(lanes, OPERATIONS[name], edges, channels, stride, norm_pools)
    return operation_class(name, stride)(lanes, OPERATIONS[name], edges, channels, stride)
