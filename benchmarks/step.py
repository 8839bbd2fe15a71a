"""One full first-order step, α and weights: its time and its kernels, against others' loops."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.counting import calls, kernels
from benchmarks.lines import Line, at_least, at_most
from benchmarks.setting import Setting, stepper

FASTER = {"tiny": 3.0, "paper16": 2.5}
FEWER_KERNELS = 1 / 3


def run(setting: Setting) -> Iterator[Line]:
    """Yield seconds, ratios and kernels."""
    batches = setting.batches()
    loops: dict[str, Callable[[], object]] = {
        name: partial(loop.step, *batches) for name, loop in setting.loops().items()
    }
    work = {**loops, "ours": stepper(setting.pack())}
    seconds = setting.medians(work)
    for name, took in seconds.items():
        yield Line(f"step, {name}", 1000 * took, "ms")
    for name in loops:
        target = at_least(FASTER.get(setting.size.name))
        yield Line(f"{name} / ours, time", seconds[name] / seconds["ours"], target=target)
    counted = {name: calls(piece) for name, piece in work.items()}
    for name, found in counted.items():
        yield Line(f"kernels, {name}", kernels(found), "", note=f"{len(found):,} calls with views")
    for name in loops:
        share = kernels(counted["ours"]) / kernels(counted[name])
        yield Line(f"ours / {name}, kernels", share, "share", at_most(FEWER_KERNELS))
