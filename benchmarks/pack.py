"""Searches that advance together in one process, against our own solo searches one after another."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.counting import calls, kernels
from benchmarks.lines import Line, at_least, at_most
from benchmarks.setting import Setting, stepper

LANES = (2, 4, 8)
THROUGHPUT = {("micro", 8): 3.0}
FEWER_KERNELS = {8: 1 / 20}


def run(setting: Setting) -> Iterator[Line]:
    """Yield seconds a step of one search, throughput by the number of searches, and kernels a search."""
    steps = {lanes: stepper(setting.pack(lanes)) for lanes in (1, *LANES)}
    seconds = setting.medians({str(lanes): step for lanes, step in steps.items()})
    for lanes in steps:
        yield Line(f"step of one search, pack of {lanes}", 1000 * seconds[str(lanes)] / lanes, "ms")
    for lanes in LANES:
        gain = lanes * seconds["1"] / seconds[str(lanes)]
        target = at_least(THROUGHPUT.get((setting.size.name, lanes)))
        yield Line(f"throughput, pack of {lanes} / solo", gain, target=target)
    batches = setting.batches()
    loops: dict[str, Callable[[], object]] = {
        name: partial(loop.step, *batches) for name, loop in setting.loops().items()
    }
    others = {name: kernels(calls(step)) for name, step in loops.items()}
    for lanes, step in steps.items():
        each = kernels(calls(step)) / lanes
        yield Line(f"kernels a search, pack of {lanes}", each, "")
        for name, count in others.items():
            if lanes in FEWER_KERNELS:
                target = at_most(FEWER_KERNELS[lanes])
                yield Line(f"a search in a pack of {lanes} / {name}, kernels", each / count, "share", target)
