"""How far a first-order step is from what the machine can do.

The machine's peaks are a large product of matrices and a large copy. Two floors: the plain supernet's
convolutions with only the gradients a step needs, at the peak rate of arithmetic; and, call by call, what our
step computes and moves, each call at the slower of the two peaks. The copy goes through main memory, and
small supernets live in caches, so for them the second is no strict bound.
"""

from collections.abc import Callable, Iterator

import torch
from torch.autograd import grad

from benchmarks.counting import calls
from benchmarks.lines import Line
from benchmarks.plain import PlainLoop
from benchmarks.setting import Setting, stepper

MATRIX = 2048
COPIED = 2**26
"""Numbers of the copy: 256 MiB, beyond any cache."""


def run(setting: Setting) -> Iterator[Line]:
    """Yield the peaks, the floors, and the distance from them."""
    left, right = (torch.randn(MATRIX, MATRIX, device=setting.device) for _ in range(2))
    source = torch.zeros(COPIED, device=setting.device)
    target = torch.empty_like(source)
    step = stepper(setting.pack())
    work: dict[str, Callable[[], object]] = {
        "product": lambda: torch.mm(left, right),
        "copy": lambda: target.copy_(source),
        "step": step,
    }
    seconds = setting.medians(work)
    compute = 2 * MATRIX**3 / seconds["product"]
    memory = 2 * 4 * COPIED / seconds["copy"]
    ours = calls(step)
    needed = sum(call.flops for call in calls(_needed(setting)))
    done, moved = sum(call.flops for call in ours), sum(call.moved for call in ours)
    bound = sum(max(call.flops / compute, call.moved / memory) for call in ours)
    yield Line("peak arithmetic, float32", compute / 1e9, "GFLOP/s")
    yield Line("peak traffic, read and written", memory / 1e9, "GB/s")
    yield Line("step", 1000 * seconds["step"], "ms")
    yield Line(
        "needed convolutions at the peak", 1000 * needed / compute, "ms", note=f"{needed / 1e9:.2f} GFLOP"
    )
    yield Line("our convolutions at the peak", 1000 * done / compute, "ms", note=f"{done / 1e9:.2f} GFLOP")
    yield Line("our traffic at the peak", 1000 * moved / memory, "ms", note=f"{moved / 1e9:.2f} GB")
    yield Line("our calls, each at its slower peak", 1000 * bound, "ms")
    yield Line("step / needed convolutions", seconds["step"] * compute / needed)
    yield Line("step / our calls", seconds["step"] / bound)


def _needed(setting: Setting) -> Callable[[], object]:
    """Return the plain supernet's step with no gradient that is thrown away, and without updates."""
    loop = PlainLoop(setting.size, setting.device)
    images, labels, valid_images, valid_labels = setting.batches()

    def gradients() -> None:
        grad(loop.loss(valid_images, valid_labels), list(loop.alphas.values()))
        grad(loop.loss(images, labels), list(loop.net.parameters()))

    return gradients
