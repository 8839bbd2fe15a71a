"""Entry points of raynas: what other distributions offer, found by name, loaded only when asked for.

A group holds one kind of thing (``raynas.operations``); what is raynas' own hides what is offered under the
same name. Nothing here imports torch: what needs it is named by text (``module:name``) and loaded later.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from raynas.errors import RaynasError, quoted

T = TypeVar("T")


@cache
def offered(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name; the first of a name counts, and none is loaded."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        found.setdefault(point.name, point)
    return found


def load_point(point: EntryPoint) -> Any:
    """Return what an entry point names; raises `RaynasError` with the distribution when that fails."""
    try:
        return point.load()
    except Exception as error:
        raise RaynasError(
            f"{origin(point)} cannot be loaded",
            got=f"{type(error).__name__}: {error}",
            next_step=f"fix or uninstall {_distribution(point)}",
        ) from error


def misfit(point: EntryPoint, got: object, expected: str) -> RaynasError:
    """Build the error for an entry point that names something else than its group is for."""
    return RaynasError(
        f"{origin(point)} does not fit",
        got=got,
        expected=expected,
        next_step=f"fix or uninstall {_distribution(point)}",
    )


def origin(point: EntryPoint) -> str:
    """Say which entry point of which distribution: ``flat of outside (raynas.methods)``."""
    return f"{point.name} of {_distribution(point)} ({point.group})"


def load_dotted(name: str, of: str) -> Any:
    """Return what ``module:name`` stands for, which ``of`` says of itself; raises `RaynasError`."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise RaynasError(
            f"{of} names {name or 'nothing'}, which cannot be loaded",
            got=f"{type(error).__name__}: {error}",
            expected="module:name of an installed package",
        ) from error


class Registry(Mapping[str, T]):
    """Raynas' own things by name, then what other distributions offer in an entry point ``group``.

    Distributions are looked at when a name that is not raynas' own, or all names, are asked for; then all of
    the group are loaded. ``accept`` returns what an entry point stands for, given what it names, or raises
    `misfit`.
    """

    def __init__(self, own: Mapping[str, T], group: str, accept: Callable[[EntryPoint, Any], T]) -> None:
        self._own, self._group, self._accept = own, group, accept
        self._others: Mapping[str, T] | None = None
        self._registered: dict[str, T] = {}

    def register(self, name: str, thing: T, kind: str) -> None:
        """Make one more known by its name, in this process alone; of two of one name the later counts.

        ``kind`` is what a message calls it. Raises `RaynasError` for a name that raynas or a package has.
        """
        if name in self._own or name in self._loaded():
            raise RaynasError(f"there is already {kind} {quoted(name)}", next_step="give yours another name")
        self._registered[name] = thing

    def __getitem__(self, name: str) -> T:
        for known in (self._own, self._registered):
            if name in known:
                return known[name]
        return self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._loaded()
        yield from self._registered

    def __len__(self) -> int:
        return len(self._own) + len(self._loaded()) + len(self._registered)

    def _loaded(self) -> Mapping[str, T]:
        if self._others is None:
            points = (point for name, point in offered(self._group).items() if name not in self._own)
            self._others = {point.name: self._accept(point, load_point(point)) for point in points}
        return self._others


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
