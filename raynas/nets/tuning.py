"""The fastest form of each convolution on this device: timed once, then kept with the sweep."""

import math
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from raynas.nets.ops.forms import FORMS, Maps, Shape, fan_out
from raynas.nets.ops.fused import SeparablePair
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import RecurrentSupernet
from raynas.spaces import skeletons
from raynas.spaces.space import Space

HOPELESS = 2.0
"""A form that takes this many times as long as the best is timed once only."""


class _Notes(dict[str, str]):
    """Forms that know none, and note the shapes they are asked for and on how many edges."""

    def __init__(self, seen: dict[str, int], edges: int) -> None:
        super().__init__()
        self._seen, self._edges = seen, edges

    def get(self, key: str, default: object = None) -> None:  # type: ignore[override]
        """Note a shape."""
        self._seen[key] = max(self._edges, self._seen.get(key, 0))


def measure_forms(supernet: Supernet | RecurrentSupernet, images: Tensor, runs: int = 3) -> dict[str, str]:
    """Time every form of every shape of separable convolution; return the fastest by shape.

    ``images`` [lanes, N, channels, height, width] give size, device and type. Each form's time is the
    least of ``runs`` forward and backward passes. Takes some 0.5 s for a tiny supernet on a CPU; timings
    vary, so keep the result with whatever must be repeated exactly. Nothing in the supernet changes. A
    recurrent one has no convolutions.
    """
    if isinstance(supernet, RecurrentSupernet):
        return {}
    lanes, batch, *_ = images.shape
    best = {}
    for key, edges in shapes(supernet, images).items():
        best[key] = _fastest(Shape.parse(key), lanes, edges, images, batch, runs)
    return best


def shapes(supernet: Supernet, images: Tensor) -> dict[str, int]:
    """Return the shapes of a supernet's separable convolutions, each with the most edges it occurs on.

    ``images`` are [lanes, N, channels, height, width].
    """
    seen: dict[str, int] = {}
    pairs = [module for module in supernet.modules() if isinstance(module, SeparablePair)]
    before = [pair.forms for pair in pairs]
    for pair in pairs:
        pair.forms = _Notes(seen, pair.depthwise.shape[1])
    try:
        with torch.no_grad():
            noise = [torch.Generator(images.device) for _ in images]
            supernet(images[:, :2], zero_weights(supernet.space, images), Pass(Statistics.BATCH, noise))
    finally:
        for pair, forms in zip(pairs, before, strict=True):
            pair.forms = forms
    return seen


def zero_weights(space: Space, images: Tensor) -> Mapping[str, Tensor]:
    """Return weights of 0 for every group, [lanes, rows, options], in the type of ``images`` [lanes, ...]."""
    return {
        group.name: images.new_zeros(len(images), len(group.rows), group.width)
        for group in skeletons.groups(space)
    }


def _fastest(shape: Shape, lanes: int, edges: int, images: Tensor, batch: int, runs: int) -> str:
    x = _random(images, batch, lanes * shape.channels, shape.height, shape.width)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    window = (1, shape.channels, shape.kernel, shape.kernel)
    depthwise = _random(images, lanes, edges, *window).requires_grad_()
    pointwise = _random(images, lanes, edges, shape.channels, shape.channels, 1, 1).requires_grad_()
    run = Pass(Statistics.BATCH, [])

    def work(form: str) -> Callable[[], object]:
        def both_ways() -> object:
            z = fan_out(run, Maps(x, lanes), depthwise, pointwise, shape.stride, shape.dilation, form)
            return torch.autograd.grad(z, [x, depthwise, pointwise], torch.ones_like(z))

        return both_ways

    least: dict[str, float] = {}
    for form in FORMS:
        each = work(form)
        each()
        times = [_seconds(each, images.device)]
        if times[0] < HOPELESS * min(least.values(), default=math.inf):
            times += [_seconds(each, images.device) for _ in range(runs - 1)]
        least[form] = min(times)
    return min(least, key=least.__getitem__)


def _random(like: Tensor, *size: int) -> Tensor:
    """Return random numbers from a generator of their own, so that no other stream moves."""
    generator = torch.Generator(like.device).manual_seed(0)
    return torch.randn(size, generator=generator, device=like.device, dtype=like.dtype)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
