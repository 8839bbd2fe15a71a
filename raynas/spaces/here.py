"""Code of the working folder that a file names, ``module:name``: found and imported there, and nowhere else.

A trial file may come from a stranger. What it names is code to run, so it is held to what the user has put
beside the file: `subprocess:getoutput` is not that. Whoever only looks imports nothing (`only_looking`).
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from raynas.errors import RaynasError, nearest, quoted


class Wanted(NamedTuple):
    """What is looked for: in words (``data set``, ``function``), and where else it may come from."""

    of: str
    what: str
    group: str
    refused: str = "is not called"


_looking = False


@contextmanager
def only_looking(wanted: bool = True) -> Iterator[None]:
    """Let nothing of the working folder be imported for a method while this lasts (or let it be again)."""
    global _looking
    before, _looking = _looking, wanted
    try:
        yield
    finally:
        _looking = before


def looks_only() -> bool:
    """Tell whether nothing is to be imported now."""
    return _looking


def find_here(name: str, wanted: Wanted) -> tuple[Any, Path]:
    """Import the module of ``module:name`` and return what it has of that name, with the module's file.

    Raises `RaynasError` when there is none, or when it does not lie in the working folder.
    """
    module_name, _, inside = name.partition(":")
    importlib.invalidate_caches()  # the file may be a second old
    file = file_here(name, wanted)
    module = imported(lambda: importlib.import_module(module_name), name, module_name, wanted)
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise refused(name, f"this process has imported {module_name} from {module.__file__}", wanted)
    found = getattr(module, inside, None)
    if not callable(found):
        missing = "is not callable" if hasattr(module, inside) else f"is not in {module_name}"
        near = nearest(inside, [key for key, value in vars(module).items() if callable(value)])
        raise RaynasError(f"{quoted(inside)} {missing}", near=near)
    home = getattr(found, "__module__", None) or type(found).__module__
    if not _lies_here(str(home).partition(".")[0]):
        raise refused(name, f"{inside} is {home}'s own, not written in {file}", wanted)
    return found, file


def file_here(name: str, wanted: Wanted) -> Path:
    """Return the file of a ``module:name`` of the working folder, without importing anything."""
    top, *rest = name.partition(":")[0].split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        raise RaynasError(f"{quoted(name)} does not name a module", expected=f"module:{wanted.what}")
    path = Path.cwd().joinpath(top, *rest)
    files = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    if not files:
        missing = f"there is no {Path(top, *rest).with_suffix('.py')} in {Path.cwd()}"
        raise refused(name, missing, wanted)
    if not _lies_here(top):
        why = f"Python has another module {top!r}, which comes before the one in {Path.cwd()}"
        raise refused(name, why, wanted)
    return files[0]


def imported(load: Callable[[], Any], name: str, module: str, wanted: Wanted) -> Any:
    """Return what ``load`` imports; raises `RaynasError` whatever comes out of the user's module."""
    try:
        return load()
    except (Exception, SystemExit) as error:
        raise RaynasError(
            f"module {module!r} of {wanted.of} {name!r} does not import",
            got=f"{type(error).__name__}: {error}",
            expected=f"module:{wanted.what}, with the module in the working folder",
            next_step=f"python -c 'import {module}'",
        ) from error


def refused(name: str, why: str, wanted: Wanted) -> RaynasError:
    """Return the error of code that a file may not run."""
    return RaynasError(
        f"{quoted(name)} {wanted.refused}: a trial file may only run code of the folder that raynas runs in, "
        "or of a package installed for it",
        got=why,
        expected=f"a {wanted.what} of a module in {Path.cwd()}, or an entry point of the group "
        f"{wanted.group!r}",
        next_step=f"write the {wanted.what} into a file here, or run raynas in the folder that holds it",
    )


def _lies_here(top: str) -> bool:
    """Tell whether importing a top-level name takes it from the working folder."""
    if top in sys.builtin_module_names or top == "raynas":
        return False
    try:
        loaded = sys.modules.get(top)
        spec = loaded.__spec__ if loaded else PathFinder.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None:
        return False
    here = Path.cwd().resolve()
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any(
        Path(place).resolve() in (here / f"{top}.py", here / top / "__init__.py", here / top)
        for place in places
    )
