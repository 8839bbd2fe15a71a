"""Functions that load data: found in the working folder or registered by an installed package, nowhere else.

A trial file may come from a stranger. ``module:function`` names code to run, so it is held to what the user
has put beside the file or installed for this purpose: `subprocess:getoutput` is neither.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError, nearest, quoted
from raynas.spaces.outside import offered

GROUP = "raynas.data"


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
            return Loader(_imported(point.load, name, point.module), f"{point.value} of {_origin(point)}")
    module_name, _, function_name = name.partition(":")
    importlib.invalidate_caches()  # the file may be a second old
    file = _file_here(module_name, name)
    module = _imported(lambda: importlib.import_module(module_name), name, module_name)
    if Path(str(module.__file__)).resolve() != file.resolve():
        raise _refused(name, f"this process has imported {module_name} from {module.__file__}")
    function = getattr(module, function_name, None)
    if not callable(function):
        missing = "is not callable" if hasattr(module, function_name) else f"is not in {module_name}"
        functions = [key for key, value in vars(module).items() if callable(value)]
        raise RaynasError(f"{quoted(function_name)} {missing}", near=nearest(function_name, functions))
    home = getattr(function, "__module__", None) or type(function).__module__
    if not _lies_here(str(home).partition(".")[0]):
        raise _refused(name, f"{function_name} is {home}'s own, not written in {file}")
    return Loader(function, f"{name} of {file}")


def _file_here(module: str, name: str) -> Path:
    """Return the file of a module of the working folder, without importing anything."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in (top, *rest)):
        raise RaynasError(f"{quoted(name)} does not name a module", expected="module:function")
    path = Path.cwd().joinpath(top, *rest)
    files = [each for each in (path.with_suffix(".py"), path / "__init__.py") if each.is_file()]
    if not files:
        raise _refused(name, f"there is no {Path(top, *rest).with_suffix('.py')} in {Path.cwd()}")
    if not _lies_here(top):
        raise _refused(name, f"Python has another module {top!r}, which comes before the one in {Path.cwd()}")
    return files[0]


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


def _imported(load: Callable[[], Any], name: str, module: str) -> Any:
    try:
        return load()
    except (Exception, SystemExit) as error:  # the module is the user's: anything may come out of it
        raise RaynasError(
            f"module {module!r} of data set {name!r} does not import",
            got=f"{type(error).__name__}: {error}",
            expected="module:function, with the module in the working folder",
            next_step=f"python -c 'import {module}'",
        ) from error


def _refused(name: str, why: str) -> RaynasError:
    return RaynasError(
        f"{quoted(name)} is not called: a trial file may only run code of the folder that raynas runs in, "
        "or of a package installed for it",
        got=why,
        expected=f"a function of a module in {Path.cwd()}, or an entry point of the group {GROUP!r}",
        next_step="write the function into a file here, or run raynas in the folder that holds it",
    )


def _origin(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else "an installed package"
