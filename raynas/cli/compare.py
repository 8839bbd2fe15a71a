"""`raynas show METHOD --measure`: what an epoch of a method costs beside one of DARTS, first order."""

from collections.abc import Mapping
from typing import Any

from raynas.cli.describe import print_fields, usual_data
from raynas.cli.describe import print_method as print_parts
from raynas.errors import ordinal

SIZE: Mapping[str, Any] = {"space": "darts", "channels": 8, "cells": 3, "batch": 8}
"""What a method is measured at unless told otherwise: seconds on one core."""

REFERENCE = "darts"


def with_darts(name: str, size: Mapping[str, Any]) -> dict[str, Any]:
    """Measure a method and DARTS at the same ``size`` (keys of `SearchConfig`) on random data.

    Raises `RaynasError` when the method cannot search the space.
    """
    from raynas import methods
    from raynas.config import SearchConfig
    from raynas.errors import RaynasError
    from raynas.launch.device import local_device
    from raynas.search.measure import ROUNDS, compare
    from raynas.spaces import library

    path = str(library.locate("search_spaces", str(size["space"])))
    space = library.load_space(path)
    # A stop rule takes no time, and some ask for curvature, which is not part of what is compared.
    wanted = {**size, "space": path, "hessian": {"every": 0}}
    config, other = (
        SearchConfig(**wanted, method={"base": method, "stop": None}) for method in (name, REFERENCE)
    )
    method = methods.resolve(name)
    usual = {"epochs": config.epochs, **methods.defaults_of(name, space=space)}
    if reasons := list(methods.reasons(method, space, usual)):
        raise RaynasError(f"{name} cannot search {space.name}", got="; ".join(reasons))
    device = local_device("auto")
    shape, classes, data = usual_data(space)
    found = compare(config, other, space, shape, classes, device)
    return {
        "time": found.time,
        "memory": found.memory,
        "seconds": list(found.seconds),
        "memory_mib": list(found.memory_mib),
        "more_epochs": found.more_epochs,
        "more": found.more,
        "curvature_every": _curvature_every(name),
        "space": space.name,
        "data": data,
        **{key: size[key] for key in ("channels", "cells", "batch")},
        "epochs_measured": ROUNDS,
        "threads": config.threads,
        "device": str(device),
    }


def _curvature_every(name: str) -> int:
    """Return every how many epochs a method's stop rule reads curvature; 0 where it needs none."""
    from raynas import methods

    return int(str(methods.defaults_of(name).get("hessian.every", 0)))


def print_compared(facts: Mapping[str, Any]) -> None:
    """Print a method, and below it what was measured."""
    print_parts({key: value for key, value in facts.items() if key != "measured"})
    if (found := facts["measured"]) is None:
        return
    (mine, other), (used, others) = found["seconds"], found["memory_mib"]
    print_fields(
        {
            "an epoch": f"{found['time']:.2f} × DARTS', first order "
            f"({1000 * mine:.0f} ms a step against {1000 * other:.0f} ms){_plus(found)}",
            "memory": f"{found['memory']:.2f} × DARTS' ({used:.0f} MiB against {others:.0f} MiB)",
            "measured on": f"{found['space']}, {found['channels']} channels, {found['cells']} cells, batch "
            f"{found['batch']}, {found['data']}, {found['device']}, {found['threads']} thread; medians "
            f"of {found['epochs_measured']} epochs, in turns with DARTS'",
        }
    )


def _plus(found: Mapping[str, Any]) -> str:
    """Name what comes on top of the epochs."""
    more = []
    if found["more_epochs"]:
        more.append(
            f"{found['more_epochs']} epochs of fine tuning and its decisions, in all {found['more']:.0f} of "
            "DARTS' epochs"
        )
    if found["curvature_every"]:
        more.append(f"the curvature of every {ordinal(found['curvature_every'])} epoch")
    return f", plus {' and '.join(more)}" if more else ""
