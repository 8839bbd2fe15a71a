"""Methods by name: each a record of parts, so that methods differ in one line and combine in one mapping.

A trial file names a method (`method: darts-2nd`) or starts from one and replaces parts:
`method: {base: darts-2nd, estimator: {use: second-order, mixed: exact}}`.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from raynas.config import SearchConfig
from raynas.errors import RaynasError
from raynas.methods.build import as_written, methods, proposes, register_method, resolve
from raynas.methods.compatibility import reasons
from raynas.methods.kinds import PARTS, parts
from raynas.methods.layout import lay_out
from raynas.methods.record import Method
from raynas.spaces.library import load_space
from raynas.spaces.space import Space

__all__ = [
    "PARTS",
    "Method",
    "bundled",
    "check_search",
    "defaults_of",
    "describe",
    "lay_out",
    "method_names",
    "parts",
    "proposes",
    "reasons",
    "register_method",
    "resolve",
    "with_defaults",
]


def method_names() -> tuple[str, ...]:
    """Return the names of all methods, in the order they are taught."""
    return tuple(methods())


def describe(name: str) -> dict[str, Any]:
    """Return a method as plain data: its words, version and fingerprint, parts with settings, defaults."""
    method = resolve(name)
    filled = {slot: as_written(getattr(method, slot)) for slot in PARTS}
    return {
        "name": method.name,
        "title": method.title,
        "source": method.source,
        "validated": method.validated,
        "version": method.version,
        "fingerprint": method.fingerprint,
        "parts": {slot: part for slot, part in filled.items() if part not in (None, [])},
        "waits": list(method.waits),
        "order": method.order,
        "learns_from": method.learns_from,
        "every": method.every,
        "nesterov": method.nesterov,
        "without": list(method.without),
        "defaults": dict(method.defaults),
        "on": {place: _plainly(changes) for place, changes in method.on.items()},
    }


def _plainly(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {slot: dict(part) if slot == "defaults" else as_written(part) for slot, part in changes.items()}


def defaults_of(
    method: str | Mapping[str, Any], epochs: int | None = None, space: Space | None = None
) -> dict[str, Any]:
    """Return the values of a search's configuration that a method brings along on a space, keys dotted.

    A ``warmup`` below 1 is a share of ``epochs`` (the method's own, where None), so that shorter searches
    keep the source's proportion.
    """
    found = dict(resolve(method, space).defaults)
    if isinstance(share := found.get("warmup"), float):
        total = epochs or int(str(found.get("epochs", 50)))
        found["warmup"] = min(int(share * total), total - 1)
    return found


def bundled(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a search's method and space bring along, keys dotted; the space's override the method's.

    A space that cannot be loaded brings nothing.
    """
    space = None
    with suppress(RaynasError):
        space = load_space(values["space"]) if "space" in values else None
    found = defaults_of(values.get("method", "darts"), values.get("epochs"), space)
    return found if space is None else found | dict(space.defaults)


def with_defaults(config: SearchConfig) -> SearchConfig:
    """Return a configuration with its method's and its space's defaults where it was given no value.

    A value counts as given when it was passed in, even if it is the same as the plain default. Settling
    twice changes nothing.
    """
    given = config.model_fields_set
    changes: dict[str, Any] = {}
    for key, value in bundled({name: getattr(config, name) for name in given}).items():
        group, _, leaf = key.partition(".")
        if not leaf:
            changes |= {} if group in given else {group: value}
            continue
        inner = changes.get(group, getattr(config, group))
        if leaf not in inner.model_fields_set:
            changes[group] = inner.model_copy(update={leaf: value})
    return config.model_copy(update=changes)


def check_search(config: SearchConfig, space: Space) -> None:
    """Raise `RaynasError` with the reasons when a method cannot search a space like this."""
    values = {**config.model_dump(), "hessian.every": config.hessian.every}
    method = resolve(config.method, space)
    if found := list(reasons(method, space, values)):
        raise RaynasError(f"{method.name} cannot search like this: {'; '.join(found)}")
