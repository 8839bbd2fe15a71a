"""Second order against first: by finite difference, exact, and as others' code has it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.lines import Line, at_least, at_most
from benchmarks.setting import Setting, stepper

METHODS: dict[str, Any] = {
    "first order": "darts",
    "second order": "darts-2nd",
    "second order, exact": {"base": "darts-2nd", "estimator": {"use": "second-order", "mixed": "exact"}},
}
DEARER = 2.5


def run(setting: Setting) -> Iterator[Line]:
    """Yield seconds and ratios of full steps."""
    work: dict[str, Callable[[], object]] = {
        name: stepper(setting.pack(method=method)) for name, method in METHODS.items()
    }
    for name, loop in setting.loops(second_order=True).items():
        work[f"second order, {name}"] = partial(loop.step, *setting.batches())
    seconds = setting.medians(work)
    for name, took in seconds.items():
        yield Line(f"step, {name}", 1000 * took, "ms")
    first, second, exact, *others = seconds
    yield Line(f"{second} / {first}", seconds[second] / seconds[first], target=at_most(DEARER))
    yield Line(f"{exact} / {second}", seconds[exact] / seconds[second])
    for other in others:
        yield Line(f"{other} / {second}", seconds[other] / seconds[second], target=at_least(1.0))
