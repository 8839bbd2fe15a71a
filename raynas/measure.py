"""What one step of a search costs on this machine: parameters, seconds, memory; alone and in packs."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from raynas.core.config import SearchConfig
from raynas.core.flat import column
from raynas.core.memory import peak_memory, reset_peak_memory
from raynas.core.space import Space
from raynas.core.tuning import measure_forms
from raynas.data.dataset import from_arrays
from raynas.data.split import split
from raynas.search import Pack

WORTH = 1.03
"""How much more throughput a larger pack must give to be worth measuring one still larger."""

FORMS_STEPS = 20
"""Steps that measuring the forms of convolution takes about as long as."""

CURVATURE_MEMORY = 4.0
"""More than how many times a step's memory curvature can need."""

LONGEST = 120.0
"""Seconds that measuring the packs of one shape may take."""


@dataclass(frozen=True)
class Measured:
    """A supernet's weights, the median seconds of a full step (α and weights), the peak memory in MiB."""

    parameters: int
    seconds_per_step: float
    peak_memory_mib: float


def measure(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, int, int],
    classes: int,
    device: torch.device | str = "cpu",
    steps: int = 3,
) -> Measured:
    """Time ``steps`` steps of a search on random images of ``shape`` (channels, height, width)."""
    device = torch.device(device)
    before = _memory_before(device)
    pack = random_pack([config], space, shape, classes, device)
    seconds = _seconds(pack, steps)
    return Measured(pack.parameters_count, statistics.median(seconds), peak_memory(device) - before)


def measure_packs(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, int, int],
    classes: int,
    device: torch.device | str,
    *,
    most: int,
    memory: float,
    patience: float,
) -> dict[int, float]:
    """Return the seconds of one step of packs of 1, 2, 4, … up to ``most`` like-shaped searches.

    It ends early where a pack would need more than ``memory`` MiB, where two sizes in a row add no
    throughput, or when the next would take it beyond the time of ``patience`` steps alone (or `LONGEST`).
    The need grows with the pack: it is that of one search's step, or where memory is short that of one
    measurement of curvature. Empty when not even one search fits.
    """
    device, spent = torch.device(device), 0.0
    seconds: dict[int, float] = {}
    size, best, stale, need = 1, 0.0, 0, 0.0
    while size <= most and stale < 2:
        before, started = _memory_before(device), time.perf_counter()
        seeded = [config.model_copy(update={"seed": seed}) for seed in range(size)]
        try:
            pack = random_pack(seeded, space, shape, classes, device)
            seconds[size] = min(_seconds(pack, 2))
            need = max(need, (peak_memory(device) - before) / size)
            if size == 1 and config.hessian.every and most * CURVATURE_MEMORY * need > memory:
                pack.measure_curvature()
                need = peak_memory(device) - before
            elif size > 1:
                spent += time.perf_counter() - started
        except (torch.OutOfMemoryError, MemoryError):
            break
        stale = 0 if size / seconds[size] > WORTH * best else stale + 1
        best = max(best, size / seconds[size])
        following = size * 2 if size * 2 <= most or size == most else most
        ahead = 3.5 * seconds[size] * following / size
        limit = min(patience * seconds[1], LONGEST)
        if following * need >= memory or spent + ahead > limit:
            break
        size = following
    return seconds


def measure_faster_forms(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, int, int],
    classes: int,
    device: torch.device | str,
    size: int,
) -> dict[str, str]:
    """Return the forms of convolution that make a step of a pack of ``size`` faster; empty if none do.

    Takes about as long as `FORMS_STEPS` steps.
    """
    seeded = [config.model_copy(update={"seed": seed}) for seed in range(size)]
    pack = random_pack(seeded, space, shape, classes, device)
    usual = min(_seconds(pack, 2))
    train, _ = next(pack.batches())
    forms = measure_forms(pack.problem.supernet, train.images)
    measured = random_pack(seeded, space, shape, classes, device, forms)
    return forms if forms and min(_seconds(measured, 2)) < usual / WORTH else {}


def random_pack(
    configs: Sequence[SearchConfig],
    space: Space,
    shape: tuple[int, int, int],
    classes: int,
    device: torch.device | str = "cpu",
    forms: Mapping[str, str] | None = None,
) -> Pack:
    """Return a pack of searches on random images of ``shape``, one step an epoch, in its largest supernet."""
    first = configs[0]
    rng = np.random.default_rng(0)
    count = 2 * first.batch
    images = rng.integers(0, 256, (count, *shape[1:], shape[0]), dtype=np.uint8)
    dataset = from_arrays("random images", images, np.arange(count) % classes, classes=classes)
    data = first.data.model_copy(update={"valid": 0.5, "limit": None})
    update = {"data": data, "warmup": 0}
    pack = Pack([config.model_copy(update=update) for config in configs], space, split(dataset, data), device)
    pack.trainer.stand_in(len(pack.stages) - 1)
    return pack


def _seconds(pack: Pack, steps: int) -> list[float]:
    """Time steps, data and all, after one that is not counted."""
    rates = column([config.learning_rate for config in pack.configs], pack.problem.values)
    seconds = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        pack.train_epoch(rates)  # returns plain numbers, so a GPU has finished
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


def _memory_before(device: torch.device) -> float:
    reset_peak_memory(device)
    return peak_memory(device)
