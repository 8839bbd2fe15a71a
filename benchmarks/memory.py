"""The memory of one first-order step: what autograd keeps, and the peak of all tensors that are alive."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from torch import Tensor

from benchmarks.counting import MIB, growth, saved, stored
from benchmarks.lines import Line, at_most
from benchmarks.setting import Setting, stepper

SMALLER = 0.55
SMALLER_RECOMPUTED = 0.15
Work = tuple[Callable[[], object], Iterable[Tensor]]


def run(setting: Setting) -> Iterator[Line]:
    """Yield MiB and ratios; what autograd keeps inside a recomputed cell does not count as kept."""
    batches = setting.batches()
    work: dict[str, Work] = {
        name: (partial(loop.step, *batches), tuple(loop.parameters()))
        for name, loop in setting.loops().items()
    }
    others = tuple(work)
    work |= {"ours": _ours(setting, recompute=False), "ours, recomputed": _ours(setting, recompute=True)}
    kept, peak = {}, {}
    for name, (step, parameters) in work.items():
        step()  # optimisers make their state in the first step
        weights = stored(parameters)
        kept[name] = (saved(step, parameters) + weights) / MIB
        peak[name] = (growth(step, setting.device) + weights) / MIB
    for name in work:
        yield Line(f"kept and weights, {name}", kept[name], "MiB")
    for name in work:
        yield Line(f"peak and weights, {name}", peak[name], "MiB")
    for other in others:
        for name, limit in (("ours", SMALLER), ("ours, recomputed", SMALLER_RECOMPUTED)):
            yield Line(f"{name} / {other}, kept", kept[name] / kept[other], "share")
            yield Line(f"{name} / {other}, peak", peak[name] / peak[other], "share", at_most(limit))


def _ours(setting: Setting, *, recompute: bool) -> Work:
    pack = setting.pack(recompute=recompute)
    return stepper(pack), (*pack.problem.parameters, pack.problem.values, pack.problem.alphas)
