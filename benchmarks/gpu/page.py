"""The page and the file of a run, written anew with every line: nothing known is lost when time ends."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.where import where
from benchmarks.lines import Line, Result, dump, markdown
from benchmarks.setting import machine
from raynas.disk import write_atomic

UNSEEN = """## Not yet seen on a card

What follows runs on CUDA only and no test reaches it; until this page comes from a card, nobody has seen it.

- the memory fence (`raynas.launch.device.fence_memory`): that a process stays inside its share;
- running out of CUDA memory: that a pack is halved and its trials finish;
- cuDNN's deterministic algorithms: that they exist for every operation here, and what they cost;
- streams: a process uses the default stream alone; several processes share the card by its scheduler;
- pinned memory: images live on the card, streamed folders are copied from pageable memory;
- bfloat16 and `torch.compile` on the supernet; recomputing under them;
- one training over several cards (`devices`): NCCL, its speed, a killed process there.
"""
"""What only a card can show; the sections above say which of it they saw."""

REHEARSED = (
    "the CPU: a rehearsal, no card was there. Sizes are small, both sides of each comparison are one device "
    "(so 0 apart is no news), and times are no measure of anything"
)

MANY = 20
"""From how many lines that met their target on the page tells them in one; the JSON file has all."""


def described(device: str) -> dict[str, Any]:
    """Return what the numbers were measured on, driver included."""
    found = machine(device, torch.get_num_threads())
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "memory": f"{properties.total_memory / 2**30:.0f} GiB",
            "capability": f"{properties.major}.{properties.minor}",
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    return found | {"numpy": np.__version__, "timed searches": str(where(device).size)}


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().splitlines()[0]


def write(results: Sequence[Result], about: Mapping[str, Any], command: str, page: Path, data: Path) -> None:
    """Write both files, each whole or not at all."""
    for path in (page, data):
        path.parent.mkdir(parents=True, exist_ok=True)
    missed = [
        f"- {result.topic}: {line.what}: {line.number}{f' ({line.note})' if line.note else ''}"
        for result in results
        for line in result.lines
        if line.target is not None and not line.target.met(line.value)
    ]
    seen = "a card" if str(about["device"]).startswith("cuda") else REHEARSED
    text = [
        "# What a GPU makes of raynas",
        f"Measured on {seen}.\n\n`{command}`",
        ", ".join(f"{key} {value}" for key, value in about.items()) + ".",
        "## Beside its target\n\n" + ("\n".join(missed) or "Nothing."),
        markdown(map(condensed, results)),
        UNSEEN,
    ]
    write_atomic(page, "\n\n".join(text).encode())
    write_atomic(data, dump(list(results), dict(about), command).encode())


def condensed(result: Result) -> Result:
    """Return a result whose many lines that met their target are one: how many, and the largest of them."""
    met = [line for line in result.lines if line.target is not None and line.target.met(line.value)]
    if len(met) <= MANY:
        return result
    largest = max(met, key=lambda line: line.value)
    what = f"{len(met)} more are within their target; the largest is {largest.what}"
    told = Line(what, largest.value, largest.unit)
    return Result(result.topic, result.title, (*(line for line in result.lines if line not in met), told))


def merged(results: Sequence[Result], topic: str, title: str, line: Line) -> list[Result]:
    """Return the results with one more line of a topic, which may be new."""
    if results and results[-1].topic == topic:
        return [*results[:-1], Result(topic, title, (*results[-1].lines, line))]
    return [*results, Result(topic, title, (line,))]
