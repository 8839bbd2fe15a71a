"""Where and at which size a section measures, and the synthetic images that it measures on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lines import Line
from benchmarks.setting import Setting
from benchmarks.sizes import SIZES, Size
from raynas.config import SearchConfig
from raynas.data.dataset import Dataset, from_arrays
from raynas.data.split import split
from raynas.search.loop import Pack
from raynas.spaces.library import load_space

PAPER = Size("paper", 16, 8, 64, 32)
"""The search of Liu et al. 2019: 16 channels, 8 cells, batch 64, CIFAR-10's images."""


@dataclass(frozen=True)
class Where:
    """A device, and sizes that suit it: a paper's on a card, small ones for a rehearsal on the CPU.

    ``size`` is that of timed searches, ``lanes`` those of timed packs, ``processes`` how many share the
    device and ``seconds`` how long they do, ``images`` how many the real search has in both halves.
    """

    device: str
    size: Size
    lanes: tuple[int, ...]
    processes: tuple[int, ...]
    seconds: float
    images: int
    runs: int
    external: Path | None = None

    @property
    def cuda(self) -> bool:
        """Whether the device is a card."""
        return self.device == "cuda"

    def setting(self) -> Setting:
        """Return how the other benchmarks are told the same."""
        return Setting(self.size, self.device, self.runs)


def where(device: str, external: Path | None = None) -> Where:
    """Return the sizes for a device, ``cuda`` or ``cpu``."""
    if device == "cuda":
        return Where(device, PAPER, (2, 4, 8, 16), (1, 2, 4, 8), 6.0, 50_000, 5, external)
    return Where(device, SIZES["micro"], (2, 4), (1, 2), 2.0, 640, 2, external)


Section = Callable[[Where], Iterator[Line]]
"""Yields its lines one by one, as each is known."""


def synthetic(count: int, side: int, channels: int = 3, classes: int = 10) -> Dataset:
    """Return ``count`` images of noise, uint8 [count, side, side, channels], with a class-wise brightness.

    The brightness can be learned, so that a search on them has gradients as on real images.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    noise = rng.integers(0, 128, (count, side, side, channels), dtype=np.uint8)
    noise += (labels * (127 // classes)).astype(np.uint8)[:, None, None, None]
    return from_arrays("synthetic images", noise, labels, classes=classes)


def pack_on(
    device: str,
    configs: Sequence[Mapping[str, Any]],
    *,
    space: str = "tiny",
    images: int = 64,
    side: int = 8,
    dtype: torch.dtype = torch.float64,
) -> Pack:
    """Return small searches on synthetic images, as equal on two devices as they can be made."""
    usual = {"space": space, "channels": 12, "cells": 3, "batch": 8, "warmup": 0, "hessian": {"steps": 6}}
    made = [SearchConfig.model_validate(usual | dict(config)) for config in configs]
    dataset = synthetic(images, side)
    return Pack(made, load_space(space), split(dataset, made[0].data), device, dtype=dtype)
