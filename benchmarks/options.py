"""What the options of a search cost and save: a first-order step with each of them against one without.

Measured forms are those of the convolutions, timed at the start instead of taken from the usual table.
"""

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.counting import growth
from benchmarks.lines import Line
from benchmarks.setting import Setting, stepper
from raynas.nets.tuning import measure_forms
from raynas.search.loop import Pack

OPTIONS: dict[str, dict[str, Any]] = {
    "no option": {},
    "recompute": {"recompute": True},
    "bfloat16": {"precision": "bfloat16"},
}
COMPILED = {"compile": {"compile": True}}
"""Measured on a GPU only: on a CPU compiling takes minutes and gains little."""


def run(setting: Setting) -> Iterator[Line]:
    """Yield ratios of time and of the growth of memory in a step."""
    chosen = OPTIONS | (COMPILED if setting.device == "cuda" else {})
    work: dict[str, Callable[[], object]] = {
        name: stepper(setting.pack(**changes)) for name, changes in chosen.items()
    }
    work["measured forms"] = stepper(_with_measured_forms(setting))
    seconds = setting.medians(work)
    memory = {name: growth(step, setting.device) for name, step in work.items()}
    without, *others = work
    yield Line(f"step, {without}", 1000 * seconds[without], "ms")
    for name in others:
        yield Line(f"{name} / {without}, time", seconds[name] / seconds[without])
        yield Line(f"{name} / {without}, memory of the step", memory[name] / memory[without], "share")


def _with_measured_forms(setting: Setting) -> Pack:
    pack = setting.pack()
    train, _ = next(iter(pack.batches()))
    forms = measure_forms(pack.problem.supernet, train.images)
    return Pack(pack.configs, pack.space, pack.splits, setting.device, images=pack.images, forms=forms)
