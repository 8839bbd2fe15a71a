"""What a shell completes for a verb's words: names on shelves and in folders, without torch.

`raynas --install-completion` sets it up for bash, zsh and fish. Folders are listed and no file of theirs is
opened, so a damaged folder of sweeps completes as any other.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import typer

Completer = Callable[[typer.Context, str], list[str]]


def _completer(*lists: Callable[[typer.Context], Iterable[str]]) -> Completer:
    """Return what typer asks for the names of several lists that begin as what is typed so far."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        found: dict[str, None] = {}
        for names in lists:
            with suppress(OSError):
                found |= dict.fromkeys(name for name in names(context) if name.startswith(incomplete))
        return list(found)

    return complete


def _sweeps(context: typer.Context) -> Iterator[str]:
    runs = Path(context.params.get("runs") or "runs")
    found = (*runs.glob("*/sweep.json"), *runs.glob("*/trained/*/sweep.json"))
    yield from sorted(str(path.parent.relative_to(runs)) for path in found)


def _on_shelf(shelf: str) -> Callable[[typer.Context], Iterator[str]]:
    def names(_: typer.Context) -> Iterator[str]:
        from raynas.spaces import library

        yield from library.names(shelf)  # type: ignore[arg-type]

    return names


def _files(_: typer.Context) -> Iterator[str]:
    yield from sorted(str(path) for path in Path().glob("*.y*ml"))


def _keys(_: typer.Context) -> Iterator[str]:
    """Yield what begins an override: the keys that hold a value, and those of axes."""
    from raynas.sweep.file.words import SEARCHES

    for name, word in SEARCHES.items():
        if word.inside is None:
            yield f"{name}="
    for axis in ("grid", "zip", "sample"):
        yield from (f"{axis}.{name}=" for name, word in SEARCHES.items() if word.inside is None)


def _named_keys(_: typer.Context) -> Iterator[str]:
    from raynas.sweep.file.words import SEARCHES, TRAININGS

    yield from (*SEARCHES, *TRAININGS, "schema")


def _methods(_: typer.Context) -> Iterator[str]:
    """Yield methods by the schema of trial files, as importing them brings torch; then those of others."""
    from raynas.spaces.outside import offered
    from raynas.sweep.file.schema_file import shipped

    known = json.loads(shipped())["else"]["properties"]["method"]["anyOf"]
    yield from (name for each in known for name in each.get("enum", ()))
    yield from offered("raynas.methods")


def _operations(_: typer.Context) -> Iterator[str]:
    from raynas.spaces.operations import OPERATIONS

    yield from OPERATIONS


def _data_sets(_: typer.Context) -> Iterator[str]:
    from raynas.data.catalogue import titles

    yield from titles()


def _rules(_: typer.Context) -> Iterator[str]:
    from raynas.sweep.sections import CRITERIA

    yield from CRITERIA


SWEEPS = _completer(_sweeps)
TRIALS = _completer(_on_shelf("trials"), _files)
SPACES = _completer(_on_shelf("search_spaces"), _files)
FILES = _completer(_on_shelf("trials"), _on_shelf("search_spaces"), _files)
RECIPES = _completer(_on_shelf("recipes"), _files)
CELLS = _completer(_sweeps, _on_shelf("cells"))
RULES = _completer(_rules)
OVERRIDES = _completer(_keys)
ANYTHING = _completer(
    *(_on_shelf(shelf) for shelf in ("search_spaces", "trials", "cells", "recipes")),
    _methods,
    _operations,
    _data_sets,
    _named_keys,
    _sweeps,
    _files,
)
