"""Whether what a sweep has still to run is what it was begun as: the records of its methods."""

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.sweep.plan import Sweep

Given = str | Mapping[str, Any]
"""A method as a trial's configuration has it."""


def records_of(methods: Iterable[Given]) -> tuple[dict[str, Any], ...]:
    """Return, for each different method, how it was given, its fingerprint and its record."""
    from raynas.methods import resolve  # brings torch
    from raynas.methods.identity import fingerprint_of, record_of

    different = {_key(method): method for method in methods}
    found = []
    for method in different.values():
        record = record_of(resolve(method))
        found.append({"method": method, "fingerprint": fingerprint_of(record), "record": record})
    return tuple(found)


def check_unchanged(sweep: "Sweep", typed: str, source: str, methods: Iterable[Given]) -> None:
    """Raise `RaynasError` when a method that has still to run is not what the sweep was begun with.

    ``methods`` are those of the trials to come, ``typed`` is what commands name the sweep by, ``source`` the
    sweep file in its folder.
    """
    from raynas.methods import resolve
    from raynas.methods.identity import UNRECORDED, changes

    begun = {_key(each["method"]): each for each in sweep.methods}
    lines = []
    for key, given in {_key(method): method for method in methods}.items():
        try:
            method, then = resolve(given), begun.get(key)
        except RaynasError:
            continue  # its package has gone: its trials will say so, and the others go on
        if then and then["fingerprint"] == method.fingerprint:
            continue
        if found := changes(then["record"] if then else None, method):
            was = then["fingerprint"] if then else UNRECORDED
            lines.append(
                f"{method.name}: {'; '.join(found)} (fingerprint {was} then, {method.fingerprint} now)"
            )
    if lines:
        from raynas import __version__

        version = sweep.versions.get("raynas")
        raise RaynasError(
            f"sweep {typed!r} was begun with raynas {version}; in raynas {__version__} "
            f"{'a method' if len(lines) == 1 else f'{len(lines)} methods'} that it has still to run "
            f"{'computes' if len(lines) == 1 else 'compute'} something else",
            got="\n            ".join(lines),
            expected="the methods as they were, so that its searches compare",
            next_step=f"begin it anew: {_anew(sweep, source)}; or go on with raynas {version}. Nothing was "
            f"started or changed, and what has ended can be read as before: raynas report {typed}",
        )


def _anew(sweep: "Sweep", source: str) -> str:
    """Return the command that begins a sweep once more, under another name, with its own overrides."""
    words: list[str] = []
    with suppress(ValueError):  # of a damaged file
        words = shlex.split(sweep.command)[1:]
    verb, given = (words[0], words[2:]) if words else ("sweep", [])
    kept = [word for word in given if not word.startswith("name=")]
    return shlex.join(["raynas", verb, source, *kept, f"name={sweep.name}-2"])


def _key(method: Given) -> str:
    return json.dumps(method, sort_keys=True)
