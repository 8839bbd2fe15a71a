"""Functions that load data: of the working folder, or registered by an installed package."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

from raynas.spaces.here import Wanted, find_here, imported
from raynas.spaces.outside import offered

GROUP = "raynas.data"

_WANTED = Wanted("data set", "function", GROUP)


@dataclass(frozen=True)
class Loader:
    """A function that loads data, and the code that calling it runs: ``module:function of FILE``."""

    call: Callable[..., Any]
    runs: str


def is_function(name: str) -> bool:
    """Tell whether a data set's name stands for a function."""
    return ":" in name or name in offered(GROUP)


def find_function(name: str) -> Loader:
    """Import, and do not call, the function behind ``module:function`` or the name a package registered.

    Raises `RaynasError` when there is none, or when it lies neither in the working folder nor in a package
    that registered it.
    """
    for point in offered(GROUP).values():
        if name in (point.name, point.value):
            call = imported(point.load, name, point.module, _WANTED)
            return Loader(call, f"{point.value} of {_origin(point)}")
    function, file = find_here(name, _WANTED)
    return Loader(function, f"{name} of {file}")


def _origin(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else "an installed package"
