"""A step of training from scratch against the original code of DARTS: its numbers, its time, its memory.

``python -m benchmarks.train --external ../darts`` trains DARTS V2 with auxiliary head and drop path. First
both start from the same weights in float64, without drop path, whose random numbers differ, and gradients and
the weights after some steps are compared. Then steps of both are timed in turn in float32, data apart, and
also those of the original with its network and images in channels-last format, which it does not use itself.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from benchmarks.adapters.darts import RATE, DartsTraining, build_training
from benchmarks.counting import MIB, growth, stored
from benchmarks.lines import Line, Result, at_least, at_most
from benchmarks.setting import machine
from benchmarks.sizes import CLASSES, Size
from raynas.data.dataset import from_arrays
from raynas.errors import RaynasError
from raynas.nets.networks.edges import EdgeCell
from raynas.spaces.literature import load_cell
from raynas.train.config import TrainConfig
from raynas.train.lane import Lane
from raynas.train.loop import Training

CELL = "darts-v2"
SIZE = Size("training", 16, 8, 32, 32)
AUXILIARY = 0.4
DROP_PATH = 0.1
"""As half-way through the authors' epochs."""
STEPS = 3
"""Steps after which weights are compared."""
FASTER = 1.5
ERROR = 1e-9


def run(path: Path, size: Size = SIZE, runs: int = 15) -> Iterator[Line]:
    """Yield how far the two are apart, then seconds of the process's CPU time, their ratio, and memory.

    ``path`` is a checkout of the original code; raises `RaynasError` when it is none.
    """
    yield from _compared(path, size)
    ours, theirs = _ours(size, DROP_PATH), build_training(path, size, AUXILIARY, DROP_PATH)
    other = build_training(path, size, AUXILIARY, DROP_PATH)
    other.network.to(memory_format=torch.channels_last)
    images, labels = _batch(ours)
    work: dict[str, Callable[[], object]] = {
        "original": partial(theirs.step, images, labels),
        "original, channels last": partial(
            other.step, images.contiguous(memory_format=torch.channels_last), labels
        ),
        "ours": partial(ours.train_epoch, 1),
    }
    seconds = _seconds(work, runs)
    for name, took in seconds.items():
        yield Line(f"step, {name}", 1000 * median(took), "ms")
    for name, target in (("original", at_least(FASTER)), ("original, channels last", None)):
        ratios = sorted(a / b for a, b in zip(seconds[name], seconds["ours"], strict=True))
        middle = f"half of {runs} turns from {ratios[runs // 4]:.2f} to {ratios[-1 - runs // 4]:.2f}"
        yield Line(f"{name} / ours, time", median(ratios), target=target, note=middle)
    weights = {"original": theirs.parameters(), "ours": ours.trained.parameters()}
    peak = {name: (growth(work[name], "cpu") + stored(kept)) / MIB for name, kept in weights.items()}
    for name, most in peak.items():
        yield Line(f"peak and weights, {name}", most, "MiB")
    yield Line("ours / original, peak", peak["ours"] / peak["original"], "share")


def _seconds(work: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each piece of work in each of so many turns, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(runs + 1):
        for name, piece in work.items():
            started = time.process_time()
            piece()
            if turn:
                seconds[name].append(time.process_time() - started)
    return seconds


def _compared(path: Path, size: Size) -> Iterator[Line]:
    """Yield the largest difference of the gradients and of the weights, relative to the largest of each."""
    ours, theirs = _ours(size, 0.0, torch.float64), build_training(path, size, AUXILIARY, 0.0)
    theirs.network.double()
    with torch.no_grad():
        for own, other in zip(_parameters(ours), theirs.parameters(), strict=True):
            other.set_(own.clone())  # type: ignore[call-overload]
    batch = _batch(ours)
    for done in range(STEPS):
        ours.train_epoch(0)
        theirs.step(*batch)
        if not done:
            pairs = [(own.grad, other.grad) for own, other in _pairs(ours, theirs)]
            yield Line("gradients apart, float64", _apart(pairs), "error", at_most(ERROR))
    yield Line(f"weights apart after {STEPS} steps", _apart(_pairs(ours, theirs)), "error", at_most(ERROR))


def _batch(ours: Lane) -> tuple[Tensor, Tensor]:
    """Return the images and labels of an epoch as the original's loader delivers them, rows of pixels."""
    images, labels = next(ours.feed.plain())
    return images.contiguous(), labels


def _pairs(ours: Lane, theirs: DartsTraining) -> list[tuple[Tensor, Tensor]]:
    return list(zip(_parameters(ours), theirs.parameters(), strict=True))


def _apart(pairs: Sequence[tuple[Tensor | None, Tensor | None]]) -> float:
    present = [(own, other) for own, other in pairs if own is not None and other is not None]
    largest = max(float(other.detach().abs().max()) for _, other in present)
    return max(float((own - other).detach().abs().max()) for own, other in present) / largest


def _ours(size: Size, drop_path: float, dtype: torch.dtype = torch.float32) -> Lane:
    """Return one of our trainings, whose epochs are of one batch of random images each."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size.batch, size.side, size.side, 3), np.uint8)
    dataset = from_arrays("random images", images, np.arange(size.batch) % CLASSES, classes=CLASSES)
    config = TrainConfig(
        cell=CELL,
        epochs=2,
        batch=size.batch,
        channels=size.channels,
        cells=size.cells,
        learning_rate=RATE,
        schedule="constant",
        drop_path=2 * drop_path,  # of which the second of two epochs has half
        auxiliary=AUXILIARY,
    )
    return Training([config], load_cell(CELL).genotype, dataset, dtype=dtype).lanes[0]


def _parameters(ours: Lane) -> Iterator[Tensor]:
    """Yield every weight in the order of `DartsTraining.parameters`."""
    network = ours.trained.network
    yield from network.stem.parameters()
    for cell in network.cells:
        assert isinstance(cell, EdgeCell)
        places = sorted(zip(cell.choices, cell.operations, strict=True), key=lambda pair: pair[0].target)
        yield from chain(cell.inputs.parameters(), *(operation.parameters() for _, operation in places))
    yield from chain(network.head.parameters(), ours.trained.auxiliary.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument(
        "--external", type=Path, required=True, metavar="PATH", help="a checkout of quark0/darts"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=15, help="interleaved runs, after one that warms up")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        lines = tuple(run(chosen.external, runs=chosen.runs))
    except RaynasError as error:
        print(error, file=sys.stderr)
        return 2
    print(Result("train", str(SIZE).replace("darts space", CELL), lines).text())
    print(", ".join(f"{key} {value}" for key, value in machine("cpu", chosen.threads).items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
