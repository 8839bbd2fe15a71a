"""`raynas show SPACE|FILE --measure`: what a step of a search takes here, in time and memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.config import SearchConfig
    from raynas.spaces.space import Space


def measured_step(
    config: "SearchConfig", space: "Space", shape: tuple[int, ...], classes: int
) -> dict[str, Any]:
    """Measure a step of a search on random images of one shape, in this process."""
    from raynas.launch.device import local_device
    from raynas.search.measure import measure

    device = local_device("auto")
    found = measure(config, space, shape, classes, device)
    return {
        "of": f"{config.method} on {space.name}, batch {config.batch}, on {device}",
        "parameters": found.parameters,
        "seconds_per_step": found.seconds_per_step,
        "peak_memory_mib": found.peak_memory_mib,
    }


def measured_each(configs: "list[SearchConfig]") -> list[dict[str, Any]]:
    """Measure each differently sized search in a process of its own: what memory one leaves, none finds."""
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    from raynas.methods import proposes

    # What decides the size and the speed of a step; seeds and strengths do not.
    keys = ("space", "method", "batch", "channels", "cells", "data", "threads")
    trained = [each for each in configs if not proposes(each.method)]  # others cost nothing
    different = {repr([getattr(config, key) for key in keys]): config for config in trained}
    found = []
    for config in different.values():
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            try:
                found.append(alone.submit(_measure_alone, config).result())
            except BrokenProcessPool:
                raise RaynasError(
                    f"the process that measured {config.method} on {config.space} was ended from outside",
                    next_step="mostly there was not enough memory: a smaller batch, channels or cells",
                ) from None
    return found


def _measure_alone(config: "SearchConfig") -> dict[str, Any]:
    from raynas.data.load import load_data
    from raynas.spaces import library

    data, space = load_data(config.data), library.load_space(config.space)
    return measured_step(config, space, data.shape, data.classes)


def measured_text(measured: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what was measured as labels and texts; nothing where it was not."""
    if measured is None:
        return {}
    return {
        "one step": f"{1000 * measured['seconds_per_step']:.1f} ms ({measured['of']})",
        "peak memory": f"{measured['peak_memory_mib']:.0f} MiB",
    }
