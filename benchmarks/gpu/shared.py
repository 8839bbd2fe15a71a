"""Several processes on one card, each fenced to its share; what a fence does; a pack too large for it."""

import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from queue import Empty
from typing import Any

import torch

from benchmarks.counting import growth
from benchmarks.gpu.near import short
from benchmarks.gpu.where import PAPER, Where, synthetic
from benchmarks.lines import Line, at_least, at_most
from benchmarks.setting import stepper
from raynas.data.dataset import Dataset
from raynas.launch.device import HEADROOM, fence_memory
from raynas.launch.local import LocalLauncher
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder

PATIENCE = 120.0
"""Seconds that the processes of one measurement may take to start."""


def run(where: Where) -> Iterator[Line]:
    """Yield the throughput of 1, 2, 4, … processes, then what happens at and beyond a fence."""
    alone = 0.0
    for count in where.processes:
        done, memory = _together(where, count)
        rate = done / where.seconds
        alone = alone or rate
        yield Line(f"{count} × 1/{count} of the card: steps a second in all", rate, "per s")
        if count > 1:
            yield Line(f"{count} × 1/{count} / one process", rate / alone)
        if where.cuda:
            yield Line(f"{count} × 1/{count}: largest share of the card's memory in use", memory, "share")
    if where.cuda:
        yield from _fences(where)
    yield from _halved(where)


def _together(where: Where, count: int) -> tuple[int, float]:
    """Return how many steps ``count`` processes do in the time, and how full the card then is."""
    context = get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    workers = [context.Process(target=_work, args=(where, count, barrier, results)) for _ in range(count)]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=PATIENCE) for _ in workers]
    for worker in workers:
        worker.join()
    return sum(done for done, _ in found), max(used for _, used in found)


def _work(where: Where, count: int, barrier: Barrier, results: Any) -> None:
    """Step for the agreed time, all at once."""
    torch.set_num_threads(1)
    if where.cuda and count > 1:
        fence_memory(1 / count)
    step = stepper(where.setting().pack())
    for _ in range(3):
        step()
    barrier.wait(PATIENCE)
    done, end = 0, time.perf_counter() + where.seconds
    while time.perf_counter() < end:
        step()
        if where.cuda:
            torch.cuda.synchronize()
        done += 1
    used = 0.0
    if where.cuda:
        free, total = torch.cuda.mem_get_info()
        used = 1 - free / total
    results.put((done, used))


def _in_a_process(work: Callable[[Where], Any], where: Where) -> Any:
    """Run a function in a process of its own and return what it found; a dead one gives None."""
    context = get_context("spawn")
    results = context.Queue()
    process = context.Process(target=_reported, args=(work, where, results))
    process.start()
    try:
        return results.get(timeout=PATIENCE)
    except Empty:
        return f"nothing came back in {PATIENCE:.0f} s; exit code {process.exitcode}"
    finally:
        process.kill()


def _reported(work: Callable[[Where], Any], where: Where, results: Any) -> None:
    try:
        results.put(work(where))
    except Exception as problem:
        results.put(short(problem))


def _fences(where: Where) -> Iterator[Line]:
    """Yield what a process finds that asks for more than its share of 1/8."""
    found = _in_a_process(_beyond_the_fence, where)
    if not isinstance(found, dict):
        yield Line("a fence of 1/8", float("nan"), "yes", at_least(1), str(found))
        return
    inside = f"torch's own limit is {HEADROOM:.0%} of the share"
    yield Line("a fence of 1/8: 80 % of the share can be had", found["inside"], "yes", at_least(1), inside)
    yield Line("a fence of 1/8: 100 % raises OutOfMemoryError", found["beyond"], "yes", at_least(1))
    yield Line("after it the process can go on computing", found["after"], "yes", at_least(1))


def _beyond_the_fence(_: Where) -> dict[str, bool]:
    fence_memory(1 / 8)
    total = torch.cuda.get_device_properties(0).total_memory
    found = {"inside": False, "beyond": False, "after": False}
    block = torch.empty(int(0.8 * total / 8), dtype=torch.uint8, device="cuda")
    found["inside"] = block.numel() > 0
    del block
    torch.cuda.empty_cache()
    try:
        torch.empty(int(total / 8), dtype=torch.uint8, device="cuda")
    except torch.OutOfMemoryError:
        found["beyond"] = True
    found["after"] = float(torch.ones(8, device="cuda").sum()) == 8
    return found


SWEEP = """
name: halved
space: darts
method: darts
data: {{name: "benchmarks.gpu.shared:images", limit: {images}}}
epochs: 1
batch: {size.batch}
channels: {size.channels}
cells: {size.cells}
hessian: {{every: 0}}
grid: {{seed: [0, 1, 2, 3, 4, 5, 6, 7]}}
resources: {{pack: 8, retries: 3}}
"""
ROOM = 3.0
"""How many searches of `SWEEP` the small fence has room for: fewer than a pack of 8, more than one."""


def images() -> Dataset:
    """Return the data of `SWEEP`: two steps an epoch at a paper's size."""
    return synthetic(4 * PAPER.batch, PAPER.side)


def _halved(where: Where) -> Iterator[Line]:
    """Yield how a sweep ends whose packs do not fit the fence: in halves, every trial finished."""
    found = _in_a_process(_sweep_in_a_small_fence, where)
    if not isinstance(found, dict):
        yield Line("a pack of 8 that does not fit", float("nan"), "yes", at_least(1), str(found))
        return
    if where.cuda:
        yield Line(
            "a pack of 8 that does not fit is halved", found["halved"], "yes", at_least(1), found["note"]
        )
    yield Line("trials of it that did not finish", found["unfinished"], "", at_most(0))


def _sweep_in_a_small_fence(where: Where) -> dict[str, Any]:
    """Run `SWEEP` in this process, on a card under a fence that holds three of its searches."""
    if where.cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        need = growth(stepper(where.setting().pack()), where.device)
        fence_memory(ROOM * need / (HEADROOM * total))
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "halved.yaml"
        file.write_text(SWEEP.format(size=where.size, images=4 * where.size.batch), encoding="utf-8")
        folder = SweepFolder(Path(place) / "halved")
        folder.create(load_sweep(file, []), file.read_text(encoding="utf-8"))
        LocalLauncher(where.device).run(folder, [])
        events = [event for trial in folder.trials() for event in trial.spool.events()[0]]
        statuses = [record.status for record in folder.records()]
    died = sum(event["kind"] == "error" and event.get("kind_of_error") == "oom" for event in events)
    packs = sorted({len(event["pack"]) for event in events if event["kind"] == "start"}, reverse=True)
    return {
        "halved": died > 0,
        "unfinished": sum(status != "finished" for status in statuses),
        "note": f"packs of {', '.join(map(str, packs))} were tried",
    }
