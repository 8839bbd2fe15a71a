"""How long a network takes for a batch of images, measured on a device."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles

import torch
from torch import nn

ROUNDS = 20
"""Times that each network is measured; the median and the quartiles are of these."""

SHORTEST = 0.02
"""Seconds that a measurement takes at least: a shorter one repeats the batch, for the clock's sake."""

WARM = 2
"""Batches before the first measurement: the first ones choose kernels and fill caches."""


@dataclass(frozen=True)
class Latency:
    """Seconds of one batch: the median, and the quartiles below and above it."""

    median: float
    low: float
    high: float


@torch.inference_mode()
def latencies(
    networks: Sequence[nn.Module],
    shapes: Sequence[tuple[int, ...]],
    batch: int,
    device: torch.device,
    rounds: int = ROUNDS,
) -> list[Latency]:
    """Measure networks in evaluation on random images, each of its own shape (channels, height, width).

    They take turns, so that what else the device does hurts all of them. ``rounds`` is at least 2.
    """
    inputs = [torch.rand(batch, *shape, device=device) for shape in shapes]
    repeats = []
    for network, images in zip(networks, inputs, strict=True):
        network.eval()
        for _ in range(WARM):
            _seconds(network, images, 1)
        repeats.append(max(1, math.ceil(SHORTEST / max(_seconds(network, images, 1), 1e-9))))
    taken: list[list[float]] = [[] for _ in networks]
    for _ in range(rounds):
        for place, (network, images) in enumerate(zip(networks, inputs, strict=True)):
            taken[place].append(_seconds(network, images, repeats[place]))
    found = []
    for seconds in taken:
        low, _, high = quantiles(seconds, n=4, method="inclusive")
        found.append(Latency(median(seconds), low, high))
    return found


def _seconds(network: nn.Module, images: torch.Tensor, repeats: int) -> float:
    """Return the mean seconds of a batch over some repeats, the device's queue empty before and after."""
    _wait(images.device)
    started = time.perf_counter()
    for _ in range(repeats):
        network(images)
    _wait(images.device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
