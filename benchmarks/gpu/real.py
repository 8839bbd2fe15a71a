"""One epoch of a search at a paper's size on images of CIFAR-10's shape, and what fifty would take."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from benchmarks.gpu.where import Where, synthetic
from benchmarks.lines import Line, at_least
from benchmarks.sizes import SPACE
from raynas.config import SearchConfig
from raynas.data.catalogue import ImageRecipe
from raynas.data.split import split
from raynas.errors import Diverged
from raynas.launch.device import make_deterministic
from raynas.search.loop import Pack
from raynas.spaces.library import load_space

EPOCHS = 50


def run(where: Where) -> Iterator[Line]:
    """Yield what an epoch took and said, with deterministic algorithms and without."""
    taken = {}
    for deterministic in (True, False):
        pack = _search(where, deterministic)
        [report] = pack.advance()
        if isinstance(report, Diverged):
            yield Line("the epoch ended in", float("nan"), note=str(report))
            return
        taken[deterministic] = report.seconds
        if deterministic:
            steps = pack.train.steps_per_epoch
            yield Line(f"epoch of {steps} steps, validation, curvature and all", report.seconds, "s")
            yield Line("curvature's part of it", report.curvature.seconds if report.curvature else 0.0, "s")
            yield Line("peak memory", report.peak_memory, "MiB")
            learned = report.train_loss < torch.tensor(10.0).log().item()
            yield Line("training loss below that of guessing", learned, "yes", at_least(1))
            yield Line(f"{EPOCHS} such epochs, extrapolated", EPOCHS * report.seconds / 3600, "h")
    yield Line("any algorithms / deterministic ones, time of the epoch", taken[False] / taken[True])


def _search(where: Where, deterministic: bool) -> Pack:
    size = where.size
    config = SearchConfig(
        space=SPACE,
        channels=size.channels,
        cells=size.cells,
        batch=size.batch,
        epochs=EPOCHS,
        deterministic=deterministic,
    )
    make_deterministic(config)
    images = replace(synthetic(where.images, size.side), recipe=ImageRecipe(pad=4, flip=True))
    return Pack([config], load_space(SPACE), split(images, config.data), where.device)
