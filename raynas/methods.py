"""Methods by name: each a record of parts, so that methods differ in one line and combine in one mapping.

A trial file names a method (`method: darts-2nd`) or starts from one and replaces parts:
`method: {base: darts-2nd, estimator: {use: second-order, mixed: difference}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from raynas.core.bilevel import Relaxation
from raynas.errors import RaynasError, unknown
from raynas.parts.estimators import Estimator, FirstOrder, SecondOrder
from raynas.parts.relaxations import Softmax


@dataclass(frozen=True)
class Method:
    """One way to search: how α becomes weights, how its gradient is estimated, how it moves.

    ``betas`` are Adam's on α.
    """

    name: str
    title: str
    source: str
    relaxation: Relaxation = field(default_factory=Softmax)
    estimator: Estimator = field(default_factory=FirstOrder)
    betas: tuple[float, float] = (0.5, 0.999)

    def with_(self, name: str, title: str, source: str | None = None, **parts: Any) -> Self:
        """Return a new method that differs in the given parts."""
        return replace(self, name=name, title=title, source=source or self.source, **parts)


PARTS: Mapping[str, Mapping[str, type[Any]]] = {
    "relaxation": {"softmax": Softmax},
    "estimator": {"first-order": FirstOrder, "second-order": SecondOrder},
}
"""The parts a trial file may name, by slot."""

_darts = Method(
    "darts",
    "DARTS, first order: descend α on the validation loss at the current weights",
    "Liu, Simonyan, Yang 2019, eq. 2 and 3 with ξ = 0",
)
_ALL = (
    _darts,
    _darts.with_(
        "darts-2nd",
        "DARTS, second order: differentiate through one step of the weights, exactly",
        "Liu, Simonyan, Yang 2019, eq. 5 to 8",
        estimator=SecondOrder(),
    ),
)
_METHODS = {method.name: method for method in _ALL}


def names() -> tuple[str, ...]:
    """Return the names of all methods, in the order they are taught."""
    return tuple(_METHODS)


def resolve(method: str | Mapping[str, Any]) -> Method:
    """Return the method a trial file asks for, or raise with the nearest name."""
    if isinstance(method, str):
        if method not in _METHODS:
            raise unknown("method", method, _METHODS, next_step="raynas ls methods")
        return _METHODS[method]
    base = resolve(method["base"])
    changes = {key: value for key, value in method.items() if key not in {"base", "name"}}
    parts = {slot: _part(slot, value) for slot, value in changes.items()}
    name = str(method.get("name", base.name))
    return base.with_(name, f"{base.title}, changed: {', '.join(parts) or 'nothing'}", **parts)


def describe(name: str) -> dict[str, Any]:
    """Return a method's name, title, source and parts with their settings, as plain data."""
    method = resolve(name)
    parts = {
        slot: {"use": use, **{f.name: getattr(part, f.name) for f in fields(part)}}
        for slot, known in PARTS.items()
        for use, kind in known.items()
        if isinstance(part := getattr(method, slot), kind)
    }
    return {
        "name": method.name,
        "title": method.title,
        "source": method.source,
        "parts": parts,
        "betas": list(method.betas),
    }


def _part(slot: str, value: Any) -> Any:
    """Build the part a mapping asks for: a name, or `use:` with the part's settings."""
    if slot == "betas":
        return _validated(tuple[float, float], value, slot)
    if slot not in PARTS:
        raise unknown("part of a method", slot, [*PARTS, "betas"], next_step="raynas show darts")
    if not isinstance(value, str | Mapping):
        raise RaynasError(
            f"{slot} must be a name or a mapping",
            got=repr(value),
            expected=f"one of {', '.join(PARTS[slot])}",
        )
    settings = {"use": value} if isinstance(value, str) else dict(value)
    use = settings.pop("use", None)
    if use not in PARTS[slot]:
        raise unknown(slot, use, PARTS[slot], next_step="raynas show darts")
    kind = PARTS[slot][use]
    known = [f.name for f in fields(kind)]
    for key in settings:
        if key not in known:
            raise unknown(f"setting of {use}", key, known)
    return _validated(kind, settings, f"{slot}.{use}")


def _validated(kind: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in (where, *detail["loc"]))
        raise RaynasError(f"{place}: {detail['msg']}", got=detail["input"]) from None
