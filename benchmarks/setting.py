"""What is measured: sizes, the device, the clock, and our searches on random images."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import raynas
from benchmarks.loop import Adapter, Loop
from benchmarks.plain import PlainLoop
from benchmarks.sizes import CLASSES, SPACE, Size
from raynas.config import SearchConfig
from raynas.nets.ops.flat import column
from raynas.search.loop import Pack
from raynas.search.measure import random_pack
from raynas.spaces.library import load_space

Batches = tuple[Tensor, Tensor, Tensor, Tensor]
"""Training images and labels, validation images and labels, as a `Loop` takes them."""


@dataclass(frozen=True)
class Setting:
    """How a topic is to be measured.

    ``external`` is a checkout of others' code and the adapter that knows it, ``folder`` that of a sweep.
    """

    size: Size
    device: str = "cpu"
    runs: int = 5
    clock: Callable[[], float] = time.perf_counter
    external: tuple[Path, Adapter] | None = None
    folder: Path | None = None

    def pack(self, lanes: int = 1, **changes: Any) -> Pack:
        """Build ``lanes`` searches with the seeds 0, 1, …; ``changes`` are keys of `SearchConfig`."""
        size = self.size
        keys = {
            "space": SPACE,
            "channels": size.channels,
            "cells": size.cells,
            "batch": size.batch,
            **changes,
        }
        configs = [SearchConfig(**keys, seed=seed) for seed in range(lanes)]
        return random_pack(configs, load_space(SPACE), (3, size.side, size.side), CLASSES, self.device)

    def loops(self, *, second_order: bool = False) -> dict[str, Loop]:
        """Build what ours is compared with, by name; the plain loop knows the first order only."""
        size, found = self.size, dict[str, Loop]()
        if not second_order:
            found["plain loop"] = PlainLoop(size, self.device)
        if self.external:
            path, adapter = self.external
            found["external"] = adapter.build(path, size, self.device, second_order)
        return found

    def batches(self) -> Batches:
        """Draw one batch of each half, as others' loaders deliver them."""
        train, valid = next(iter(self.pack().batches()))
        contiguous = (train.images[0].contiguous(), valid.images[0].contiguous())
        return contiguous[0], train.labels[0], contiguous[1], valid.labels[0]

    def medians(self, work: dict[str, Callable[[], object]]) -> dict[str, float]:
        """Time each piece of work in turn, ``runs`` times after one warm-up; return median seconds."""
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for run in range(self.runs + 1):
            for name, piece in work.items():
                took = self.seconds(piece)
                if run:
                    seconds[name].append(took)
        return {name: median(values) for name, values in seconds.items()}

    def seconds(self, piece: Callable[[], object]) -> float:
        """Time one piece of work once."""
        started = self.clock()
        piece()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock() - started


def stepper(pack: Pack) -> Callable[[], None]:
    """Return one full step of all searches of a pack, always on the same batches."""
    train, valid = next(iter(pack.batches()))
    rates = column([config.learning_rate for config in pack.configs], pack.problem.values)

    def step() -> None:
        pack.step_alphas(train, valid, rates)
        pack.step_weights(train, rates)

    return step


def machine(device: str, threads: int) -> dict[str, Any]:
    """Say what the numbers were measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {
        "device": f"{device} ({name})",
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "raynas": raynas.__version__,
    }


def processor() -> str:
    """Return the processor's name where the system tells it."""
    return next(_models(), platform.machine())


def _models() -> Iterator[str]:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()
