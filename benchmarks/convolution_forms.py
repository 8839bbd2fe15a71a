"""Which form of a separable convolution is fastest, by shape: the numbers behind `usual_form`.

Several edges on one shared input, forward and backward, at the widths and resolutions of a size's cells.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.lines import Line
from benchmarks.setting import Setting
from raynas.nets.ops.forms import FORMS, Maps, Shape, fan_out, usual_form
from raynas.nets.ops.lanes import Pass, Statistics

WINDOWS = [(3, 1), (5, 1), (3, 2), (5, 2)]
EDGES = 4


def run(setting: Setting) -> Iterator[Line]:
    """Yield time(usual form) / time(fastest form) a shape, and what each form took against the fastest."""
    size = setting.size
    for kernel, dilation in WINDOWS:
        for halvings in range(3):
            side = size.side >> halvings
            shape = Shape(kernel, dilation, 1, size.channels << halvings, side, side)
            work: dict[str, Callable[[], object]] = {form: _work(setting, shape, form) for form in FORMS}
            seconds = setting.medians(work)
            fastest = min(seconds.values())
            times = ", ".join(f"{form} {took / fastest:.2f}" for form, took in seconds.items())
            usual = usual_form(shape)
            yield Line(f"usual form / fastest, {shape}", seconds[usual] / fastest, note=f"{usual}; {times}")


def _work(setting: Setting, shape: Shape, form: str) -> Callable[[], object]:
    """Return one forward and backward pass."""
    count, channels, kernel = setting.size.batch, shape.channels, shape.kernel
    x = torch.randn(count, channels, shape.height, shape.width, device=setting.device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    depthwise = torch.randn(EDGES, 1, channels, kernel, kernel, device=setting.device, requires_grad=True)
    pointwise = torch.randn(EDGES, channels, channels, 1, 1, device=setting.device, requires_grad=True)
    return partial(_forward_and_backward, x, depthwise, pointwise, shape, form)


def _forward_and_backward(x: Tensor, depthwise: Tensor, pointwise: Tensor, shape: Shape, form: str) -> None:
    run = Pass(Statistics.BATCH, [])
    out = fan_out(run, Maps(x, 1), depthwise, pointwise, shape.stride, shape.dilation, form)
    grad(out.sum(), [x, depthwise, pointwise])
