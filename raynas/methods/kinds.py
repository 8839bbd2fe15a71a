"""The classes of parts by slot and name: raynas' own, and those of other distributions.

Other distributions offer a part's class under the entry points ``raynas.parts`` (``relaxation.my-softmax``).
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from raynas.bilevel.part import Part
from raynas.errors import RaynasError
from raynas.parts import BASES, INNER_SLOTS, METHOD_SLOTS, registered
from raynas.spaces.outside import load_point, offered, origin

Kinds = Mapping[str, type[Any]]

PARTS: Mapping[str, Kinds] = {
    slot: {kind.use: kind for kind in registered() if slot in kind.slots} for slot in METHOD_SLOTS
}
"""The parts a trial file may name, by slot of a method."""

INNER: Mapping[str, Kinds] = {
    slot: {kind.use: kind for kind in registered() if slot in kind.slots} for slot in INNER_SLOTS
}
"""Those it may name inside other parts, by setting; under ``schedule`` what may replace any number."""


@cache
def parts(slot: str) -> Kinds:
    """Return the parts of a slot, or of a setting that is a part, by the name they are used by.

    An entry point under ``stop`` or ``sampler`` counts wherever such parts may be named. Raises `RaynasError`
    where one cannot be loaded or is not a part.
    """
    found = dict(PARTS[slot] if slot in PARTS else INNER[slot])
    for point in offered("raynas.parts").values():
        where, _, use = point.name.partition(".")
        if where in BASES and slot in BASES[where].slots:
            found.setdefault(use, _part_of(point, BASES[where], use))
    return found


def _part_of(point: EntryPoint, base: type[Part], use: str) -> type[Part]:
    kind = load_point(point)
    if not (isinstance(kind, type) and issubclass(kind, base) and is_dataclass(kind)):
        raise RaynasError(
            f"{origin(point)} offers no part",
            got=getattr(kind, "__name__", type(kind).__name__),
            expected=f"a frozen dataclass below {base.__module__}.{base.__name__}",
        )
    if vars(kind).get("use", use) != use:
        raise RaynasError(f"{origin(point)} has two names", got=f"use: {kind.use}", expected=f"use: {use}")
    return kind


def use_of(kind: type) -> str | None:
    """Return the name by which a trial file uses a class of parts; None for one that none can name."""
    return _uses().get(kind)


@cache
def _uses() -> Mapping[type, str]:
    return {kind: use for slot in (*PARTS, *INNER) for use, kind in parts(slot).items()}
