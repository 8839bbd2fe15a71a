"""What one step of a search costs on this machine: parameters, seconds, memory."""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch

from raynas.core.config import SearchConfig
from raynas.core.flat import column
from raynas.core.memory import peak_memory, reset_peak_memory
from raynas.core.space import Space
from raynas.data.dataset import from_arrays
from raynas.data.split import split
from raynas.search import Search


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
    rng = np.random.default_rng(0)
    count = 2 * config.batch
    images = rng.integers(0, 256, (count, *shape[1:], shape[0]), dtype=np.uint8)
    dataset = from_arrays("random images", images, np.arange(count) % classes, classes=classes)
    data = config.data.model_copy(update={"valid": 0.5, "limit": None})
    reset_peak_memory(device)
    before = 0.0 if device.type == "cuda" else peak_memory(device)
    search = Search(
        config.model_copy(update={"data": data, "warmup": 0}), space, split(dataset, data), device
    )
    rates = column([config.learning_rate], search.problem.values)
    search.train_epoch(rates)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        search.train_epoch(rates)
        seconds.append(time.perf_counter() - started)
    return Measured(search.parameters_count, statistics.median(seconds), peak_memory(device) - before)
