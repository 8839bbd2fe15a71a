"""Forms of a separable convolution on several edges at once: the same numbers, computed in the faster way.

A separable convolution is depthwise, then pointwise. When several of them read the same feature map, there
are two ways to compute them together:

- ``dense``: multiply both kernels into one k×k kernel and run one convolution with the outputs of all edges.
  Cheap at few channels, wasteful at many.
- ``separable``: repeat the map for every edge (once for all operations on it), then one depthwise and one
  grouped pointwise convolution.

Whatever the form, nothing is computed that is known to be 0: taps that never meet a pixel are cut off the
kernel. And holes are undone, for depthwise convolutions with holes are slow: at stride d a convolution with
dilation d is an ordinary one on every d-th pixel, and at stride 1 an ordinary one on each of the map's d·d
phases, which take the place of images. (``dense`` kernels are as fast with holes at stride 1.)

Forms round differently, so a search that is to give the same bits again needs the same ones:
`raynas.nets.tuning.measure_forms` gives a mapping to keep, from a shape as ``k3d1s1 c8 16x16`` (kernel,
dilation, stride, channels, height and width of the input) to a form; shapes that it does not name get
`usual_form`.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from raynas.errors import RaynasError
from raynas.nets.ops.lanes import Pass, interleave, nchw, nhwc

Form = Literal["dense", "separable"]
FORMS: tuple[Form, ...] = ("dense", "separable")
Forms = Mapping[str, str]
"""A form for each shape that it names, by the shape's text."""

NO_FORMS: Forms = MappingProxyType({})

DENSE_CHANNELS = 16
"""Most channels at which ``dense`` is the faster or about as fast, by `benchmarks/convolution_forms.py`."""

LARGE = 2**18
"""Numbers from which on a map repeated for every edge is not kept for the backward pass, but made again."""


class Shape(NamedTuple):
    """What the best form depends on: the numbers of the convolution and the size of its input."""

    kernel: int
    dilation: int
    stride: int
    channels: int
    height: int
    width: int

    def __str__(self) -> str:
        kernel = f"k{self.kernel}d{self.dilation}s{self.stride}"
        return f"{kernel} c{self.channels} {self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> "Shape":
        """Read a shape's text; raises `RaynasError` when it is none."""
        found = re.fullmatch(r"k(\d+)d(\d+)s(\d+) c(\d+) (\d+)x(\d+)", text)
        if found is None:
            raise RaynasError("not a convolution's shape", got=text, expected="such as `k3d1s1 c8 16x16`")
        return cls(*(int(number) for number in found.groups()))


def form_for(shape: Shape, forms: Forms = NO_FORMS) -> str:
    """Return the form that ``forms`` gives a shape, or else the usual one."""
    return forms.get(str(shape)) or usual_form(shape)


def usual_form(shape: Shape) -> Form:
    """Return the form that is faster on the CPUs it was measured on."""
    # With holes as wide as the map only the centre tap meets pixels: both kernels together are one of 1×1,
    # which costs what the pointwise one would cost alone, at any width.
    only_centre = max(shape.height, shape.width) <= shape.dilation
    return "dense" if shape.channels <= DENSE_CHANNELS or only_centre else "separable"


class Maps:
    """Feature maps [N, groups·channels, H, W], and what forms make of them, each made once."""

    def __init__(self, x: Tensor, groups: int) -> None:
        self.x = x
        self.groups = groups
        self._repeated: dict[int, Tensor] = {}
        self._others: dict[tuple[str, int], Maps] = {}

    def repeated(self, edges: int) -> Tensor:
        """Return each map once for every edge, [N, groups·edges·channels, H, W]."""
        if edges not in self._repeated:
            self._repeated[edges] = interleave([self.x] * edges, self.groups)
        return self._repeated[edges]

    def every(self, step: int) -> "Maps":
        """Return every ``step``-th pixel of every ``step``-th line."""
        if ("every", step) not in self._others:
            self._others["every", step] = Maps(
                self.x[:, :, ::step, ::step].contiguous(memory_format=torch.channels_last), self.groups
            )
        return self._others["every", step]

    def phases(self, step: int) -> "Maps":
        """Return [step²·N, ...]: pixels that are ``step`` apart become an image of their own."""
        if ("phases", step) not in self._others:
            n, channels, height, width = self.x.shape
            cut = nhwc(self.x).reshape(n, height // step, step, width // step, step, channels)
            phases = nchw(cut.permute(2, 4, 0, 1, 3, 5).flatten(0, 2))
            self._others["phases", step] = Maps(phases, self.groups)
        return self._others["phases", step]


def from_phases(x: Tensor, step: int) -> Tensor:
    """Undo `Maps.phases`: from [step²·N, C, H/step, W/step] to [N, C, H, W]."""
    n, channels, height, width = x.shape
    cut = nhwc(x).reshape(step, step, n // step**2, height, width, channels).permute(2, 3, 0, 4, 1, 5)
    return nchw(cut.reshape(-1, height * step, width * step, channels))


def fan_out(
    run: Pass, maps: Maps, depthwise: Tensor, pointwise: Tensor, stride: int, dilation: int, form: str
) -> Tensor:
    """Convolve each map for its edges; returns [N, groups·edges·channels, H', W'].

    ``depthwise`` [..., 1, channels, k, k] and ``pointwise`` [..., channels, channels, 1, 1] hold the kernels
    of groups·edges edges, ordered (group, edge), in any number of leading dimensions.
    """
    if dilation > 1 and stride == dilation:
        maps, stride, dilation = maps.every(stride), 1, 1
    if form == "dense":
        return _dense(run, maps, depthwise, pointwise, stride, dilation)
    # Phases must be of one size to be images of one batch; where a side is not a multiple the holes stay.
    holes = dilation > 1 and stride == 1 and not any(side % dilation for side in maps.x.shape[2:])
    if holes:
        maps = maps.phases(dilation)
    edges = depthwise.shape[:-4].numel() // maps.groups
    dilation, step = (1, dilation) if holes else (dilation, 1)
    window = _window(depthwise, dilation, maps.x.shape[2:])
    geometry = (stride, _padding(window, dilation), dilation)
    wide = maps.repeated(edges)
    # Below 1 MiB in float32 the copy is not worth a second repetition. Passes that are differentiated twice
    # have functions of their own, whose derivatives do not loop over groups.
    if run.twice or wide.numel() < LARGE:
        z = run.convolve(wide, window, *geometry, len(window))
    else:
        z = _OfRepeated.apply(wide, maps.x, window, maps.groups, geometry)
    z = _pointwise(run, z, pointwise)
    return from_phases(z, step) if holes else z


class _OfRepeated(Function):
    """A depthwise convolution of maps repeated for every edge, which keeps them unrepeated for its backward.

    ``wide`` is ``x`` repeated; kept as it is, it would be an eighth of all that a step keeps.
    """

    @staticmethod
    def forward(
        ctx: Any, wide: Tensor, x: Tensor, window: Tensor, groups: int, geometry: tuple[int, int, int]
    ) -> Tensor:
        ctx.save_for_backward(x, window)
        ctx.groups, ctx.geometry = groups, geometry
        return torch.conv2d(wide, window, None, *geometry, len(window))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, window = ctx.saved_tensors
        # Under autocast the gradient is in bfloat16, and what was kept in the type that the map came in.
        wide = interleave([x] * (len(window) // x.shape[1]), ctx.groups)
        stride, padding, dilation = ([number] * 2 for number in ctx.geometry)
        of_wide, of_window, _ = torch.ops.aten.convolution_backward(
            gradient,
            wide.to(gradient.dtype),
            window.to(gradient.dtype),
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            len(window),
            [ctx.needs_input_grad[0], ctx.needs_input_grad[2], False],
        )
        return of_wide, None, of_window, None, None


def cropped(depthwise: Tensor, dilation: int, size: Sequence[int]) -> Tensor:
    """Cut taps that only meet padding off depthwise kernels [..., k, k]; the maps' ``size`` is (H, W).

    They are as far from the centre as the map is wide, or farther.
    """
    radius = depthwise.shape[-1] // 2
    useful = min(radius, (max(size) - 1) // dilation)
    if useful == radius:
        return depthwise
    taps = slice(radius - useful, radius + useful + 1)
    return depthwise[..., taps, taps]


def _padding(kernel: Tensor, dilation: int) -> int:
    return dilation * (kernel.shape[-1] // 2)


def _dense(run: Pass, maps: Maps, depthwise: Tensor, pointwise: Tensor, stride: int, dilation: int) -> Tensor:
    kernel = (pointwise * cropped(depthwise, dilation, maps.x.shape[2:])).flatten(0, -4)
    return run.convolve(maps.x, kernel, stride, _padding(kernel, dilation), dilation, maps.groups)


def separately(run: Pass, x: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """Convolve each edge's own map in ``x`` [N, edges·channels, H, W], depthwise and then pointwise."""
    # Each edge reads a map of its own here, so that there is nothing a dense kernel could share.
    window = _window(depthwise, 1, x.shape[2:])
    return _pointwise(run, run.convolve(x, window, 1, _padding(window, 1), 1, len(window)), pointwise)


def _window(depthwise: Tensor, dilation: int, size: Sequence[int]) -> Tensor:
    """Return depthwise kernels as one convolution takes them, [pairs·channels, 1, k, k], cropped."""
    useful = cropped(depthwise, dilation, size)
    return useful.reshape(-1, 1, *useful.shape[-2:])


def _pointwise(run: Pass, z: Tensor, pointwise: Tensor) -> Tensor:
    channels = pointwise.shape[-3]
    return run.convolve(z, pointwise.reshape(-1, channels, 1, 1), groups=z.shape[1] // channels)
