"""Finding YAML files by name: a path first, then a folder of yours, then the packaged ones."""

import re
from collections.abc import Hashable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError

from raynas.core.space import Space, SpaceFile
from raynas.errors import FileProblems, Problem, RaynasError, nearest, unknown

Shelf = Literal["search_spaces", "trials"]


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error instead of the last one winning."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, Hashable):
            raise yaml.constructor.ConstructorError(
                None, None, f"a list or a mapping cannot be a key: {key!r}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} is given twice", key_node.start_mark
            )
        seen.add(key)
    return dict(loader.construct_pairs(node, deep=True))


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def names(shelf: Shelf) -> dict[str, Path]:
    """Return every name on a shelf with its file; a file of yours hides a packaged one."""
    found: dict[str, Path] = {}
    for folder in (Path(str(files(f"raynas.{shelf}"))), Path(shelf)):
        found |= {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return found


def locate(shelf: Shelf, name: str) -> Path:
    """Return the file that ``name`` (a path or a shelf's name) stands for, or raise with the nearest."""
    path = Path(name).expanduser()
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        if path.is_file():
            return path
        raise RaynasError(
            f"no file {name!r}",
            got=f"looked in {Path.cwd()}, where the command runs" if not path.is_absolute() else None,
            expected="a YAML file",
            next_step=f"raynas ls {_listing(shelf)}",
        )
    known = names(shelf)
    if name not in known:
        raise unknown(_singular(shelf), name, known, next_step=f"raynas ls {_listing(shelf)}")
    return known[name]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; raises `FileProblems` with line and column when it cannot be parsed."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise FileProblems(str(path), [Problem(where, error.problem or "not YAML")]) from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: bad UTF-8, month 13
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
        return SpaceFile.model_validate(read_yaml(path)).resolve()
    except ValidationError as error:
        raise FileProblems(str(path), explain(error, SpaceFile)) from None


def explain(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Turn pydantic's errors into problems: the key's path, what was expected and got, the nearest key."""
    problems = []
    for detail in error.errors():
        places = [part for part in detail["loc"] if part != "[key]"]
        dotted = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in places)
        path = "".join(dotted).lstrip(".")
        if detail["type"] == "extra_forbidden":
            key, known = str(detail["loc"][-1]), _keys(model, detail["loc"][:-1])
            near = nearest(key, known)
            message = f"unknown key; nearest: {near}" if near else f"unknown key; known: {', '.join(known)}"
        elif detail["type"] in {"model_type", "dict_type"}:
            message = f"expected a mapping of keys; got {detail['input']!r}"
        else:
            message = detail["msg"].removeprefix("Value error, ")
            if detail["type"] not in {"value_error", "missing"}:
                message = f"{message}; got {detail['input']!r}"
            if detail["type"] == "literal_error":
                near = nearest(detail["input"], re.findall(r"'(.*?)'", detail["ctx"]["expected"]))
                message += f"; nearest: {near}" if near else ""
        problems.append(Problem(path, message))
    return problems


def _keys(model: type[BaseModel], path: Iterable[int | str]) -> list[str]:
    """Return the keys known at ``path`` inside ``model``."""
    for part in path:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        for inner in (annotation, *get_args(annotation)):  # a model, or a model or nothing
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                model = inner
    return list(model.model_fields)


def _listing(shelf: Shelf) -> str:
    return "spaces" if shelf == "search_spaces" else "trials"


def _singular(shelf: Shelf) -> str:
    return "search space" if shelf == "search_spaces" else "trial file"
