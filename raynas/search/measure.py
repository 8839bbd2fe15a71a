"""Costs of one step of a search on this machine: parameters, seconds, memory; alone and in packs."""

import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch

from raynas.config import SearchConfig
from raynas.data.corpus import Corpus
from raynas.data.dataset import from_arrays
from raynas.data.split import Data, split
from raynas.methods import resolve
from raynas.nets.ops.flat import column
from raynas.nets.ops.lanes import Statistics
from raynas.nets.tuning import measure_forms
from raynas.search.loop import Pack
from raynas.search.memory import peak_memory, reset_peak_memory
from raynas.spaces.space import Space

WORTH = 1.03
"""How much more throughput a larger pack must give to be worth measuring one still larger."""

FORMS_STEPS = 20
"""Steps that measuring the forms of convolution takes about as long as."""

CURVATURE_MEMORY = 4.0
"""More than how many times a step's memory curvature can need."""

LONGEST = 120.0
"""Seconds that measuring the packs of one shape may take."""


ROUNDS = 5
"""Epochs of which the median is taken where two methods are compared."""


@dataclass(frozen=True)
class Measured:
    """A supernet's weights, the median seconds of a full step (α and weights), the peak memory in MiB."""

    parameters: int
    seconds_per_step: float
    peak_memory_mib: float


def measure(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, ...],
    classes: int,
    device: torch.device | str = "cpu",
    steps: int = 3,
) -> Measured:
    """Time ``steps`` steps of a search on random images of ``shape`` (channels, height, width).

    Here and below: on random words where ``shape`` is that of a number, ().
    """
    device = torch.device(device)
    before = _memory_before(device)
    pack = random_pack([config], space, shape, classes, device)
    seconds = _seconds(pack, steps)
    return Measured(pack.parameters_count, statistics.median(seconds), peak_memory(device) - before)


@dataclass(frozen=True)
class Compared:
    """What a search costs beside another one of the same size.

    ``seconds`` are those of an epoch for each of its steps: the step, and a batch of both looks at the
    validation half. ``memory_mib`` is by how much a process of its own grows over ``steps`` of them. With a
    stage of fine tuning, that has ``more_epochs``, and all its decisions take ``more_seconds`` a validation
    batch. Each pair is (this search, the other one).
    """

    seconds: tuple[float, float]
    memory_mib: tuple[float, float]
    more_epochs: int
    more_seconds: float

    @property
    def time(self) -> float:
        """How many of the other's epochs one takes."""
        return self.seconds[0] / self.seconds[1]

    @property
    def memory(self) -> float:
        """How many times the other's memory it needs."""
        return self.memory_mib[0] / self.memory_mib[1]

    @property
    def more(self) -> float:
        """How many of the other's epochs the fine tuning takes in all."""
        return (self.more_epochs * self.seconds[0] + self.more_seconds) / self.seconds[1]


def compare(
    config: SearchConfig,
    other: SearchConfig,
    space: Space,
    shape: tuple[int, ...],
    classes: int,
    device: torch.device | str = "cpu",
    rounds: int = ROUNDS,
) -> Compared:
    """Measure a search beside another one on random data of ``shape``, at the start of both.

    Their epochs take turns, so that what else the machine does hurts both; the first of each does not count.
    Memory is measured in a fresh process each.
    """
    torch.set_num_threads(config.threads)
    pair = (config, other)
    steps = max(resolve(each.method, space).every for each in pair)
    packs = [random_pack([each], space, shape, classes, device, steps=steps) for each in pair]
    seconds: list[list[float]] = [[], []]
    for _ in range(rounds + 1):
        for pack, taken in zip(packs, seconds, strict=True):
            started = time.perf_counter()
            pack.advance()  # returns plain numbers, so a GPU has finished
            taken.append((time.perf_counter() - started) / steps)
    first, second = (statistics.median(taken[1:]) for taken in seconds)
    used = [_measured_apart(each, space, shape, classes, str(device)) for each in pair]
    stages = packs[0].method.stages
    passes = 0 if stages is None else stages.passes(space)
    return Compared(
        (first, second),
        (used[0].peak_memory_mib, used[1].peak_memory_mib),
        packs[0].epochs - packs[0].config.epochs,
        passes * _look_seconds(packs[0]) / steps if passes else 0.0,
    )


def _look_seconds(pack: Pack) -> float:
    """Time a pass over the validation half."""
    started = time.perf_counter()
    pack.evaluator.look(pack.problem.mean(), Statistics.BATCH, "score", pack.epoch)
    return time.perf_counter() - started


def _measured_apart(
    config: SearchConfig, space: Space, shape: tuple[int, ...], classes: int, device: str
) -> Measured:
    """Measure in a process of its own, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(_measure_here, config, space, shape, classes, device).result()


def _measure_here(
    config: SearchConfig, space: Space, shape: tuple[int, ...], classes: int, device: str
) -> Measured:
    torch.set_num_threads(config.threads)
    return measure(config, space, shape, classes, device)


def measure_packs(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, ...],
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
            # What else the machine does only ever adds time, so the least of two says most.
            seconds[size] = min(_seconds(pack, 2))
            need = max(need, (peak_memory(device) - before) / size)
            # Only where memory may be short: a measurement costs as much time as some eight steps.
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
        # Three steps (one is not counted) and half a one for building the pack, each at worst as long per
        # search as in the size before.
        ahead = 3.5 * seconds[size] * following / size
        limit = min(patience * seconds[1], LONGEST)
        if following * need >= memory or spent + ahead > limit:
            break
        size = following
    return seconds


def measure_faster_forms(
    config: SearchConfig,
    space: Space,
    shape: tuple[int, ...],
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
    # Kernels were timed one by one; what counts is whether the whole step is faster.
    return forms if forms and min(_seconds(measured, 2)) < usual / WORTH else {}


def random_pack(
    configs: Sequence[SearchConfig],
    space: Space,
    shape: tuple[int, ...],
    classes: int,
    device: torch.device | str = "cpu",
    forms: Mapping[str, str] | None = None,
    *,
    steps: int = 1,
) -> Pack:
    """Return a pack of searches on random data of ``shape``, so many ``steps`` an epoch.

    It is in the supernet of its last stage, the largest; without a shape the data are texts.
    """
    first = configs[0]
    rng = np.random.default_rng(0)
    dataset: Data
    if shape:
        count = 2 * first.batch * steps
        images = rng.integers(0, 256, (count, *shape[1:], shape[0]), dtype=np.uint8)
        dataset = from_arrays("random images", images, np.arange(count) % classes, classes=classes)
    else:
        count = first.batch * first.data.bptt * steps + 1
        words = tuple(map(str, range(classes)))
        dataset = Corpus("random words", words, rng.integers(0, classes, 2 * count), count)
    data = first.data.model_copy(update={"valid": 0.5, "select": 0.0, "limit": None})
    update = {"data": data, "warmup": 0}
    pack = Pack([config.model_copy(update=update) for config in configs], space, split(dataset, data), device)
    pack.trainer.take_shape_of(len(pack.stages) - 1)
    pack.evaluator.draws = 1  # such halves are a batch or two, which are to count once
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
