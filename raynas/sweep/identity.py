"""The check that the rest of a sweep is what it was begun as: the records of its methods."""

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError
from raynas.spaces.library import load_space
from raynas.spaces.space import Space

if TYPE_CHECKING:
    from raynas.sweep.plan import Sweep

Given = str | Mapping[str, Any]
"""A method as a trial's configuration has it."""

Searched = tuple[Given, str]
"""Such a method, and the space that it searches, as the configuration names it."""


def records_of(searches: Iterable[Searched]) -> tuple[dict[str, Any], ...]:
    """Return, for each different method, how it was given, its fingerprint and its record, as it is run.

    One that its source has otherwise on some spaces (see `Method.suited`) has a record for each form that it
    takes; ``spaces`` are those that it belongs to.
    """
    from raynas.methods import resolve  # brings torch
    from raynas.methods.identity import fingerprint_of, record_of

    found: dict[tuple[str, str], dict[str, Any]] = {}
    for method, name in different(searches):
        record = record_of(resolve(method).suited(load_space(name)))
        fingerprint = fingerprint_of(record)
        new: dict[str, Any] = {"method": method, "spaces": [], "fingerprint": fingerprint, "record": record}
        found.setdefault((_key(method), fingerprint), new)["spaces"].append(name)
    return tuple(found.values())


def check_unchanged(sweep: "Sweep", typed: str, source: str, searches: Iterable[Searched]) -> None:
    """Raise `RaynasError` when a method that has still to run is not what the sweep was begun with.

    ``searches`` are those of the trials to come, ``typed`` is what commands name the sweep by, ``source`` the
    sweep file in its folder. What is compared is what is run: the methods as they are on these spaces.
    """
    from raynas.methods import resolve
    from raynas.methods.identity import UNRECORDED, changes, fingerprint_of

    begun: dict[str, list[dict[str, Any]]] = {}
    for each in sweep.methods:
        begun.setdefault(_key(each["method"]), []).append(each)
    found = []
    for given, name in different(searches):
        try:
            method = resolve(given)
        except RaynasError:
            continue  # its package has gone: its trials will say so, and the others go on
        space = _space(sweep, name)
        method = method.suited(space) if space else method
        then = _as_run(begun.get(_key(given), []), name, space)
        was = fingerprint_of(then) if then else UNRECORDED
        if was == method.fingerprint:
            continue
        if what := "; ".join(changes(then, method)):
            found.append(f"{method.name}: {what} (fingerprint {was} then, {method.fingerprint} now)")
    if lines := list(dict.fromkeys(found)):
        other = sweep.versions.get("raynas")
        raise RaynasError(
            f"sweep {typed!r} was begun with raynas {other}; in raynas {_installed()} "
            f"{'a method' if len(lines) == 1 else f'{len(lines)} methods'} that it has still to run "
            f"{'computes' if len(lines) == 1 else 'compute'} something else",
            got="\n            ".join(lines),
            expected="the methods as they were, so that its searches compare",
            next_step=f"begin it anew: {anew(sweep, source)}; or go on with raynas {other}. Nothing was "
            f"started or changed, and what has ended can be read as before: raynas report {typed}",
        )


def _installed() -> str:
    """Return this version of raynas, without asking the front door, which knows of sweeps."""
    with suppress(PackageNotFoundError):
        return version("raynas")
    return "of now"


def anew(sweep: "Sweep[Any]", source: str) -> str:
    """Return the command that begins a sweep once more, under another name, with its own overrides."""
    words: list[str] = []
    with suppress(ValueError):  # of a damaged file
        words = shlex.split(sweep.command)[1:]
    verb, given = (words[0], words[2:]) if words else ("sweep", [])
    # The new sweep gets a name of its own below, as the old folder stays.
    kept = [word for word in given if not word.startswith("name=")]
    return shlex.join(["raynas", verb, source, *kept, f"name={sweep.name}-2"])


def _as_run(begun: Iterable[Mapping[str, Any]], name: str, space: Space | None) -> Mapping[str, Any] | None:
    """Return, of a method's records, the one of what a sweep ran on a space; None where it has none.

    A sweep of an earlier version recorded methods as they are before they are suited to a space.
    """
    for each in begun:
        if name in each.get("spaces", [name]):
            record: Mapping[str, Any] = each["record"]
            return record if space is None or "spaces" in each else _suited(record, space)
    return None


def _suited(record: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the record that `Method.suited` makes of the one that a record is of."""
    on = record.get("on")
    places = [on.get(place) for place in (space.skeleton, space.name)] if isinstance(on, Mapping) else []
    parts = [each for each in places if isinstance(each, Mapping)]
    defaults = {
        key: value
        for each in (record, *parts)
        if isinstance(each.get("defaults"), Mapping)
        for key, value in each["defaults"].items()
    }
    suited = {key: value for each in (record, *parts) for key, value in each.items()}
    return {**suited, "defaults": defaults, "on": {}}


def _space(sweep: "Sweep", name: str) -> Space | None:
    """Return a space as the sweep holds it, else as it is by now; None where it has gone."""
    with suppress(RaynasError):
        return sweep.spaces.get(name) or load_space(name)
    return None


def different(searches: Iterable[Searched]) -> list[Searched]:
    """Return each pair of a method and a space once, in the order of the first."""
    return list({(_key(method), name): (method, name) for method, name in searches}.values())


def _key(method: Given) -> str:
    return json.dumps(method, sort_keys=True)
