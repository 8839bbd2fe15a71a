"""Finding YAML files by name: a path first, then a folder of yours, then the packaged ones."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from raynas.disk import expanded, read_bounded
from raynas.errors import MOST_PROBLEMS, FileProblems, Problem, RaynasError, nearest, quoted, unknown
from raynas.spaces.space import Space
from raynas.spaces.space_file import SpaceFile
from raynas.yaml_text import MOST_BYTES, NotYaml, parse_yaml

Shelf = Literal["search_spaces", "trials", "recipes", "cells"]

_WORDS: Mapping[str, tuple[str, str]] = {
    "search_spaces": ("search space", "spaces"),
    "trials": ("trial file", "trials"),
    "recipes": ("recipe", "recipes"),
    "cells": ("cell", "cells"),
}
"""What one thing of a shelf is called, and what `raynas ls` calls the shelf."""


def names(shelf: Shelf) -> dict[str, Path]:
    """Return every name on a shelf with its file; a file of yours hides a packaged one."""
    found: dict[str, Path] = {}
    for folder in (Path(str(files(f"raynas.{shelf}"))), Path(shelf)):
        found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return found


def locate(shelf: Shelf, name: str) -> Path:
    """Return the file that ``name`` (a path or a shelf's name) stands for, or raise with the nearest."""
    path = expanded(name)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if path.is_file():
            return path
        raise RaynasError(
            f"no file {quoted(name)}",
            got=f"looked in {Path.cwd()}, where the command runs" if not path.is_absolute() else None,
            expected="a YAML file",
            next_step=f"raynas ls {_WORDS[shelf][1]}",
        )
    known = names(shelf)
    if name not in known:
        raise unknown(_WORDS[shelf][0], name, known, next_step=f"raynas ls {_WORDS[shelf][1]}")
    return known[name]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; raises `FileProblems` with line and column when it cannot be parsed.

    Raises `RaynasError` when the file cannot be opened.
    """
    try:
        data = parse_yaml(read_bounded(path, MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise RaynasError(f"cannot read {path}", got=error.strerror, expected="a YAML file") from None
    except NotYaml as error:
        raise FileProblems(str(path), [Problem(error.where, str(error))]) from None
    except ValueError as error:  # too large, or no UTF-8
        raise FileProblems(str(path), [Problem("", f"not YAML text: {error}")]) from None
    if data is None:
        raise FileProblems(str(path), [Problem("", "the file is empty; expected a mapping of keys")])
    if not isinstance(data, dict):
        raise FileProblems(str(path), [Problem("", f"expected a mapping of keys, got {type(data).__name__}")])
    return data


def load_space(name: str) -> Space:
    """Load a search space by name or path, or raise with every mistake in its file."""
    path = locate("search_spaces", name)
    try:
        status = path.stat()
    except OSError as error:
        raise RaynasError(f"cannot read {path}", got=error.strerror, expected="a YAML file") from None
    return _read_space(path.absolute(), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _read_space(path: Path, _changed: int, _size: int) -> Space:
    """Read a space; kept as long as its file stays the same, for a sweep asks for it thousands of times."""
    try:
        return SpaceFile.model_validate(read_yaml(path)).resolve()
    except ValidationError as error:
        raise FileProblems(str(path), explain(error, SpaceFile)) from None


def explain(
    error: ValidationError, model: type[BaseModel], strange: Callable[[str], str | None] = lambda path: None
) -> list[Problem]:
    """Turn pydantic's errors into problems: the key's path, what was expected and got, the nearest key.

    ``strange`` may say of the path of an unknown key what is meant by it.
    """
    problems: dict[str, list[tuple[str, str]]] = {}
    for detail in error.errors()[:MOST_PROBLEMS]:
        places = [part for part in _untagged(model, detail["loc"]) if part != "[key]"]
        dotted = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in places)
        path = "".join(dotted).lstrip(".")
        if detail["type"] == "extra_forbidden":
            key, known = str(detail["loc"][-1]), _keys(model, detail["loc"][:-1])
            near = nearest(key, known)
            what = f"unknown key; nearest: {near}" if near else f"unknown key; known: {', '.join(known)}"
            what, got = strange(path) or what, ""
        else:
            what = _expected(detail)
            got = f"; got {quoted(detail['input'])}{_as_text(detail)}"
            if detail["type"] == "literal_error":
                near = nearest(detail["input"], re.findall(r"'(.*?)'", detail["ctx"]["expected"]))
                got += f"; nearest: {near}" if near else ""
            got = "" if detail["type"] in {"value_error", "missing"} else got
        problems.setdefault(path, []).append((what, got))
    return [Problem(path, message) for path, said in problems.items() for message in _joined(said)]


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping of keys",
    "model": "a mapping of keys",
}
"""What a value of each kind is called, by how pydantic's names of errors begin."""


def _expected(detail: Mapping[str, Any]) -> str:
    """Say what was expected, in other words than pydantic's where these are of programming."""
    kind, _, how = detail["type"].partition("_")
    if kind in _KINDS and how in {"type", "parsing", "parsing_size", "from_float"}:
        return f"expected {_KINDS[kind]}"
    if detail["type"] == "missing":
        return "is missing"
    words = str(detail["msg"]).removeprefix("Value error, ")
    return re.sub("^Input should be ", "expected a number " if "than" in kind + how else "expected ", words)


def _joined(said: list[tuple[str, str]]) -> Iterator[str]:
    """Yield messages about one place: where a value may be of several kinds, one that names them all."""
    first = said[0]
    if len(said) > 1 and all(what.startswith("expected ") for what, _ in said):
        others = [what.removeprefix("expected ") for what, _ in said[1:]]
        yield " or ".join([first[0], *others]) + max((got for _, got in said), key=len)
    else:
        yield from (what + got for what, got in said)


def _untagged(model: type[BaseModel], path: Iterable[int | str]) -> Iterator[int | str]:
    """Yield a path without pydantic's names of the kinds that a value may be of."""
    inside: type[BaseModel] | None = model
    kinds = 0
    for part in path:
        if kinds > 1:
            kinds = 0
            continue
        yield part
        field = inside.model_fields.get(str(part)) if inside else None
        options = [each for each in get_args(field.annotation) if each is not type(None)] if field else []
        kinds = len(options) if field and get_origin(field.annotation) in (Union, UnionType) else 0
        models = [*options, field.annotation] if field else []
        inside = next((m for m in models if isinstance(m, type) and issubclass(m, BaseModel)), None)


def _as_text(detail: Mapping[str, Any]) -> str:
    """Say how a text is written that YAML takes for a number, a truth or nothing."""
    if detail["type"] != "string_type" or not isinstance(detail["input"], bool | int | float):
        return ""
    return f"; a text that looks like one is written in quotes: '{str(detail['input']).lower()}'"


def _keys(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Return the keys known at ``path`` inside ``model``."""
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        for inner in (annotation, *get_args(annotation)):  # a model, or a model or nothing
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return list(model.model_fields)
