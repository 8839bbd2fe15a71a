"""Sizes of packs: how many like-shaped searches advance together, measured once per sweep and recorded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch

from raynas.config import DataConfig, SearchConfig, shape_of
from raynas.data.split import Data, steps_per_epoch
from raynas.errors import RaynasError
from raynas.launch.device import memory_share
from raynas.methods import proposes, resolve
from raynas.search.measure import FORMS_STEPS, LONGEST, measure_faster_forms, measure_packs
from raynas.spaces.library import load_space
from raynas.spaces.space import Space
from raynas.sweep.folder import AnySweep
from raynas.sweep.packs import PackEntry, damage, read_packs, write_packs
from raynas.sweep.propose import dealt
from raynas.train.config import TrainConfig

PATIENCE = 0.03
"""Part of a sweep's estimated time that measuring may take. A pack of 8 does up to 4.0 times the work of one
search (size micro of the benchmarks), so it comes back many times where there is anything to gain."""

FEWEST_STEPS_LEFT = 8
"""With less patience than these steps of one search nothing is measured: `measure_packs`
allows for 7 before it tries a pack of two, so with less there would be nothing to compare with."""


@dataclass(frozen=True)
class Task:
    """One shape of a sweep, ready to be measured anywhere: an example, and how much of it there is.

    ``shape`` is that of an image, (channels, height, width), or of a word, (); ``steps`` is the number of
    steps of one search, ``count`` how many there are, ``most`` the largest pack of use, ``share`` that of a
    GPU or of this machine's memory.
    """

    config: SearchConfig
    space: Space
    shape: tuple[int, ...]
    classes: int
    steps: int
    count: int
    most: int
    share: float

    @property
    def patience(self) -> float:
        """As how many steps of one search measuring may last."""
        return PATIENCE * self.steps * self.count


@dataclass(frozen=True)
class Steps:
    """What measuring one shape found: seconds of one step by the pack's size, forms of convolution."""

    device: str
    seconds: dict[int, float] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    def of(self, size: int) -> float:
        """Return the seconds of a step of a pack of ``size``, interpolated between what was measured."""
        # Sizes between two powers of 2 are not measured; above the largest a step costs in proportion.
        below = max(known for known in self.seconds if known <= size)
        above = min((known for known in self.seconds if known >= size), default=below)
        if above == below:
            return self.seconds[below] * size / below
        part = (size - below) / (above - below)
        return self.seconds[below] * (1 - part) + self.seconds[above] * part


def measure_task(task: Task, device: torch.device) -> Steps:
    """Measure one shape on a device, in a small part of the time its searches will take."""
    torch.set_num_threads(task.config.threads)
    memory = memory_share(device, task.share)
    arguments = (task.config, task.space, task.shape, task.classes, device)
    forms: dict[str, str] = {}
    try:
        seconds = measure_packs(*arguments, most=task.most, memory=memory, patience=task.patience)
        if seconds:
            best = max(seconds, key=lambda size: size / seconds[size])
            if FORMS_STEPS * seconds[best] <= min(task.patience * seconds[1], LONGEST):
                forms = measure_faster_forms(*arguments, size=best)
    except RaynasError:
        return Steps(device.type)  # the trials themselves will say what is wrong
    return Steps(device.type, seconds, forms)


class Packs:
    """The packs of a sweep: ``size`` of a configuration says how many of its shape advance together.

    With ``resources.pack`` a number nothing is measured. What ``auto`` measured is in the sweep's
    folder, and is kept on a resume, because the size of a pack changes the rounding of its numbers.
    """

    def __init__(self, folder: AnySweep, slots: int) -> None:
        self._file = folder.packs
        self._fixed = folder.sweep().resources.pack
        self._slots = max(slots, 1)
        self._sizes: dict[str, int] = {}
        self._steps: dict[str, Steps] = {}
        for entry in [] if damage(self._file) else read_packs(self._file):
            self._sizes[entry.shape] = entry.pack
            self._steps[entry.shape] = Steps(entry.device, entry.seconds, entry.forms)

    def size(self, config: SearchConfig | TrainConfig) -> int:
        """Return the largest pack for a configuration; of a shape not measured, 1."""
        most = self._sizes.get(shape_of(config), 1) if self._fixed == "auto" else self._fixed
        return 1 if most == 1 or _solo(config) else most

    def forms(self, config: SearchConfig | TrainConfig) -> dict[str, str]:
        """Return how the convolutions of a configuration's shape are computed, as measured."""
        steps = self._steps.get(shape_of(config))
        return steps.forms if steps else {}

    def tasks(
        self,
        configs: Sequence[SearchConfig | TrainConfig],
        dataset_of: Callable[[DataConfig], Data],
        gpu: float,
    ) -> dict[str, Task]:
        """Return what has still to be measured, by shape, for the searches to come.

        ``gpu`` is the share that each of them will get, 0 for none.
        """
        tasks: dict[str, Task] = {}
        # No pack is larger than leaves every slot something to do.
        most = -(-len(configs) // self._slots)
        if self._fixed != "auto":
            return tasks
        for config in configs:
            # Trainings of a pack take turns: it saves memory, no time, so that there is nothing to measure.
            # Nor does looking cells up take time that one could save.
            if isinstance(config, TrainConfig) or _solo(config) or proposes(config.method):
                continue
            shape = shape_of(config)
            if shape in tasks:
                tasks[shape] = replace(tasks[shape], count=tasks[shape].count + 1)
            elif shape not in self._sizes:
                dataset = dataset_of(config.data)
                tasks[shape] = Task(
                    config=config,
                    space=load_space(config.space),
                    shape=dataset.shape,
                    classes=dataset.classes,
                    steps=config.epochs * steps_per_epoch(dataset, config),
                    count=1,
                    most=most,
                    share=gpu or 1 / self._slots,
                )
        return {
            shape: replace(task, most=min(most, task.count))
            for shape, task in tasks.items()
            if task.patience >= FEWEST_STEPS_LEFT
        }

    def record(self, found: Mapping[str, tuple[Task, Steps]]) -> None:
        """Choose sizes for newly measured shapes and write all that is known to the folder."""
        if not found:
            return
        groups = {shape: (task.count, task.steps, steps) for shape, (task, steps) in found.items()}
        self._sizes |= choose_packs(groups, self._slots)
        self._steps |= {shape: steps for shape, (_, steps) in found.items()}
        write_packs(
            self._file,
            (
                PackEntry(shape=shape, pack=size, **asdict(self._steps[shape]))
                for shape, size in self._sizes.items()
            ),
        )


def _solo(config: SearchConfig | TrainConfig) -> bool:
    if isinstance(config, TrainConfig):
        return config.devices > 1
    try:
        return resolve(config.method, load_space(config.space)).solo
    except RaynasError:
        return False  # the trials themselves will say what is wrong


def choose_packs(groups: Mapping[str, tuple[int, int, Steps]], slots: int) -> dict[str, int]:
    """Return the size of each group's packs that ends all groups soonest on ``slots`` slots.

    A group is (searches, steps of each, what was measured). A larger pack has more throughput, but fewer
    packs may leave slots idle: every limit on the size is tried, with each group at the best size under it.
    """
    limits = sorted({size for _, _, steps in groups.values() for size in steps.seconds}) or [1]
    plans = [
        {name: _best(steps, count, limit) for name, (count, _, steps) in groups.items()} for limit in limits
    ]
    return min(plans, key=lambda plan: _makespan(groups, plan, slots))


def _best(steps: Steps, count: int, limit: int) -> int:
    sizes = [size for size in steps.seconds if size <= min(limit, count)] or [1]
    return max(sizes, key=lambda size: size / steps.seconds.get(size, 1.0))


def _makespan(groups: Mapping[str, tuple[int, int, Steps]], sizes: Mapping[str, int], slots: int) -> float:
    """Return when the last slot ends if each takes the next pack as soon as it is free."""
    free = [0.0] * max(slots, 1)
    for name, (count, length, steps) in groups.items():
        if not steps.seconds:
            continue
        for size in dealt(count, sizes[name]):
            # As Ray does it: the next in the plan goes to whichever slot is free first.
            slot = free.index(min(free))
            free[slot] += length * steps.of(size)
    return max(free)
