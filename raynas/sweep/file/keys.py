"""The keys of a search in a sweep file, flat with dots (``data.valid``), checked one value at a time."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raynas.config import Frozen, SearchConfig
from raynas.disk import expanded
from raynas.errors import Problem, RaynasError, nearest, quoted
from raynas.spaces.library import explain, locate

_GROUPS: dict[str, type[Frozen]] = {
    name: field.annotation
    for name, field in SearchConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen)
}

LEAVES: tuple[str, ...] = tuple(
    leaf
    for name in SearchConfig.model_fields
    for leaf in ([f"{name}.{sub}" for sub in _GROUPS[name].model_fields] if name in _GROUPS else [name])
)
"""Every key that holds one value, in the order of `SearchConfig`."""

KEYS = (*LEAVES, *_GROUPS)
"""Every key a sweep file may vary: the leaves, and the groups (``data``, ``hessian``) as a whole."""


@dataclass(frozen=True)
class Entry:
    """One checked value of a key: where it stands in the file, itself, and the leaves it sets."""

    path: str
    key: str
    value: Any
    leaves: dict[str, Any]

    def path_of(self, leaf: str) -> str:
        """Return where one of its leaves stands in the file."""
        return self.path + leaf.removeprefix(self.key) if isinstance(self.value, Mapping) else self.path


def flatten(key: str, value: Any) -> dict[str, Any]:
    """Return the leaves that ``key`` sets: a group's mapping is taken apart, the rest is one leaf."""
    if key in _GROUPS and isinstance(value, Mapping):
        return {f"{key}.{sub}": item for sub, item in value.items()}
    if key == "data" and isinstance(value, str):
        return {"data.name": value}
    return {key: value}


def flatten_all(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a whole configuration."""
    return {leaf: item for key, value in config.items() for leaf, item in flatten(key, value).items()}


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `flatten_all`: return the mapping that `SearchConfig` reads."""
    config: dict[str, Any] = {}
    for leaf, value in leaves.items():
        group, _, sub = leaf.partition(".")
        if sub:
            config.setdefault(group, {})[sub] = value
        else:
            config[leaf] = value
    return config


def defaults() -> dict[str, Any]:
    """Return every leaf that has a default, with it."""
    return flatten_all(SearchConfig(space="-").model_dump(mode="json", exclude={"space"}))


def unknown_key(key: object, known: tuple[str, ...], path: str) -> Problem:
    """Return the problem of a key that is not among the known ones, with the nearest."""
    if near := nearest(key, known):
        return Problem(path, f"unknown key; nearest: {near}")
    return Problem(path, f"unknown key; known: {', '.join(name for name in known if '.' not in name)}")


def check_value(key: str, value: Any, path: str) -> tuple[Entry | None, list[Problem]]:
    """Check one value of one key (of `KEYS`) by itself: its entry, or what is wrong with it.

    Numbers written as text (YAML reads ``3e-4`` as text) become numbers, and files named relative to the
    folder of the driver become absolute, because a trial runs in a folder of its own.
    """
    if not _is_plain(value):
        return None, [
            Problem(path, f"expected numbers, text, lists or mappings of text; got {quoted(value)}")
        ]
    if key == "method" and not isinstance(value, str | Mapping):
        return None, [
            Problem(path, f"expected a method's name or a mapping with `base:`; got {quoted(value)}")
        ]
    given = flatten(key, value)
    try:
        config = SearchConfig.model_validate({"space": "-", **nest(given)})
    except ValidationError as error:
        problems = explain(error, SearchConfig)
        return None, [Problem(path + p.path.removeprefix(key), p.message) for p in problems]
    leaves = {leaf: _portable(leaf, _get(config, leaf)) for leaf in given}
    group = key in _GROUPS and isinstance(value, Mapping)
    entry = Entry(path, key, nest(leaves).get(key, {}) if group else next(iter(leaves.values())), leaves)
    wrong = ((leaf, _implausible(leaf, given[leaf], leaves[leaf])) for leaf in leaves)
    problems = [Problem(entry.path_of(leaf), message) for leaf, message in wrong if message is not None]
    return (None, problems) if problems else (entry, [])


def _is_plain(value: object) -> bool:
    """Tell whether JSON gives the value back as it is (dates, infinities and numbered keys do not)."""
    # sweep.json holds it so: what came back as something else would be another search on a resume.
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def _get(config: SearchConfig, leaf: str) -> Any:
    value: Any = config
    for part in leaf.split("."):
        value = getattr(value, part)
    return value


def _implausible(leaf: str, given: object, value: object) -> str | None:
    if isinstance(given, bool) and not isinstance(value, bool):
        return f"expected a number; got {given}, as YAML reads yes, no, on, off, true and false"
    return None


def _portable(leaf: str, value: Any) -> Any:
    if leaf == "space":
        return _portable_space(value)
    if leaf == "data.path" and value is not None and "://" not in value and not value.startswith("~"):
        return str(Path(value).absolute())
    return _portable_tables(value) if leaf == "method" else value


def _portable_tables(value: Any) -> Any:
    """Return a method whose tables of costs have absolute paths."""
    if isinstance(value, list):
        return [_portable_tables(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _portable_tables(each) for key, each in value.items()}
    if found.get("use") == "cost" and isinstance(table := found.get("table"), str):
        found["table"] = str(expanded(table).absolute())
    return found


def _portable_space(name: str) -> str:
    """Return a packaged space's name as it is, and the absolute path of any other space."""
    try:
        path = locate("search_spaces", name).resolve()
    except RaynasError:
        return name  # reported, once, by the check of the space itself
    packaged = Path(str(files("raynas.search_spaces"))).resolve() / f"{name}.yaml"
    return name if path == packaged else str(path)
