"""What a step costs at a paper's size: alone, in packs, by other methods, with options, by others' code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.counting import MIB, calls, growth, kernels
from benchmarks.gpu.near import apart, short
from benchmarks.gpu.where import Where, synthetic
from benchmarks.lines import Line
from benchmarks.loop import load_adapter
from benchmarks.setting import Setting, stepper
from raynas.data.augment import Augment
from raynas.data.feed import ImageFeed, Images
from raynas.search.abilities import lacks_bfloat16, lacks_compiler

METHODS = ("darts-2nd", "gdas", "pc-darts", "drnas")
STEPS = 5
"""Steps between two readings of the clock: a card is asked to finish only then."""


def run(where: Where) -> Iterator[Line]:
    """Yield the step of darts alone first, then packs, methods, curvature, the data path and others' code."""
    setting = where.setting()
    alone = stepper(setting.pack())
    yield from _of_step("darts alone", alone, where, setting)
    seconds = _seconds(alone, setting)
    for lanes in where.lanes:
        try:
            step = stepper(setting.pack(lanes))
            gain = lanes * seconds / _seconds(step, setting)
            yield Line(f"pack of {lanes}: throughput / alone", gain)
            yield Line(f"pack of {lanes}: memory of a step", growth(step, where.device) / MIB, "MiB")
        except torch.OutOfMemoryError as problem:
            yield Line(f"pack of {lanes}: throughput / alone", float("nan"), note=short(problem))
    for method in METHODS:
        pack = setting.pack(method=method)
        train, valid = next(iter(pack.batches()))
        rates = torch.full_like(pack.problem.values[:, :1], pack.config.learning_rate)
        yield from _of_step(
            f"{method} alone",
            lambda: pack.step(train, valid, rates, move_alphas=True),  # noqa: B023 - called at once
            where,
            setting,
        )
    pack = setting.pack()
    took = setting.medians({"": pack.measure_curvature})[""]
    [measured] = pack.measure_curvature()
    yield Line("curvature, both ends and trace", took, "s", note=f"{measured.products} products")
    yield Line("curvature / step of darts", took / seconds)
    yield from _data(where)
    yield from _external(where, setting, seconds)


def options(where: Where) -> Iterator[Line]:
    """Yield what bfloat16, recomputing and compiling cost, and how far they are from the plain search."""
    setting = where.setting()
    plain = setting.pack()
    seconds = _seconds(stepper(plain), setting)
    memory = growth(stepper(setting.pack()), where.device)
    asked: dict[str, dict[str, Any]] = {"recompute": {"recompute": True}}
    if lacks_bfloat16(where.device) is None:
        asked["bfloat16"] = {"precision": "bfloat16"}
    if where.cuda and lacks_compiler(where.device) is None:
        asked["compile"] = {"compile": True}
    for name, changes in asked.items():
        try:
            error = apart(*(_first_step(setting, more) for more in (changes, {})))
            yield Line(f"{name}: loss and movement of one step, apart from plain", error, "error")
            step = stepper(setting.pack(**changes))
            yield Line(f"{name}: first step, compilation included", setting.seconds(step), "s")
            yield Line(f"{name} / plain, time of a step", _seconds(step, setting) / seconds)
            yield Line(f"{name} / plain, memory of a step", growth(step, where.device) / memory, "share")
        except Exception as problem:  # a line that says so is worth more than a section that ends here
            yield Line(name, float("nan"), note=short(problem))
    if where.cuda:
        yield from _tf32(setting)


def _tf32(setting: Setting) -> Iterator[Line]:
    """Yield what PyTorch's default, convolutions in TF32 under the name of float32, does to a step."""
    found = []
    for allowed in (True, False):
        torch.backends.cudnn.allow_tf32 = allowed
        found.append(_first_step(setting, {}))
    torch.backends.cudnn.allow_tf32 = True
    yield Line("TF32 (PyTorch's default): one step, apart from float32", apart(*found), "error")


def _first_step(setting: Setting, changes: Mapping[str, Any]) -> list[torch.Tensor]:
    pack = setting.pack(**changes)
    train, valid = next(iter(pack.batches()))
    rates = torch.full_like(pack.problem.values[:, :1], pack.config.learning_rate)
    before = pack.problem.values.clone()
    seen = pack.step(train, valid, rates, move_alphas=True)
    return [seen[0], pack.problem.values - before]


def _seconds(step: Callable[[], object], setting: Setting) -> float:
    """Return the median seconds of a step."""

    def several() -> None:
        for _ in range(STEPS):
            step()

    return setting.medians({"": several})[""] / STEPS


def _of_step(what: str, step: Callable[[], object], where: Where, setting: Setting) -> Iterator[Line]:
    """Yield seconds, calls, and on a card its kernels and how much of the time they fill."""
    seconds = _seconds(step, setting)
    yield Line(f"{what}: step", 1000 * seconds, "ms")
    yield Line(f"{what}: calls into PyTorch", kernels(calls(step)), "")
    yield Line(f"{what}: memory of a step", growth(step, where.device) / MIB, "MiB")
    if where.cuda:
        launched, busy = _on_card(step)
        yield Line(f"{what}: kernels on the card", launched, "")
        yield Line(f"{what}: time the card computes / time of the step", busy / seconds, "share")


def _on_card(step: Callable[[], object]) -> tuple[int, float]:
    """Return how many kernels a step launches and the seconds they take."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    assert profiled.profiler is not None
    events = [
        event
        for event in profiled.profiler.kineto_results.events()
        if str(event.device_type()).endswith("CUDA") and not event.name().startswith(("Mem", "mem"))
    ]
    return len(events), sum(event.duration_ns() for event in events) / 1e9


def _data(where: Where) -> Iterator[Line]:
    """Yield images a second: shuffled, cropped, mirrored, normalised, on the device."""
    count = 50_000 if where.cuda else 4096
    dataset = synthetic(count, 32)
    generator = torch.Generator().manual_seed(0)
    feed = ImageFeed(
        Images(dataset, where.device),
        torch.arange(count).numpy(),
        64,
        generator,
        Augment(pad=4, flip=True, cutout=16),
    )

    def epoch() -> None:
        for _ in feed.epoch():
            pass

    took = where.setting().medians({"": epoch})[""]
    yield Line("data path, crop, flip and cutout of 32×32", count // 64 * 64 / took, "images/s")


def _external(where: Where, setting: Setting, seconds: float) -> Iterator[Line]:
    """Yield the step of the original DARTS code, when a checkout was named."""
    if where.external is None:
        return
    try:
        loop = load_adapter("darts").build(where.external, where.size, where.device, False)
        batches = setting.batches()
        theirs = _seconds(lambda: loop.step(*batches), setting)
    except Exception as problem:  # as in `options`
        yield Line("original DARTS code", float("nan"), note=short(problem))
        return
    yield Line("original DARTS code: step", 1000 * theirs, "ms")
    yield Line("original DARTS code / darts alone", theirs / seconds)
