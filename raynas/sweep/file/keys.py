"""The keys of a sweep file: those of a search, those of a sweep, and the overrides from the command line.

The keys of a search are flat with dots (``data.valid``), checked one value at a time.
"""

import copy
import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from raynas.config import DataConfig, Frozen, SearchConfig
from raynas.disk import expanded
from raynas.errors import Problem, RaynasError, quoted
from raynas.spaces.library import explain, locate
from raynas.sweep.file.shell import SweepConfig
from raynas.sweep.file.words import SEARCHES, unknown_key
from raynas.yaml_text import NotYaml, parse_value

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

SEARCH_KEYS = (*LEAVES, *_GROUPS)
"""Every key a sweep file may vary: the leaves, and the groups (``data``, ``hessian``) as a whole."""


@dataclass(frozen=True)
class KeyValue:
    """One checked value of a key: where it is in the file, itself, and the leaves it sets."""

    path: str
    key: str
    value: Any
    leaves: dict[str, Any]

    def path_of(self, leaf: str) -> str:
        """Return where one of its leaves is in the file."""
        return self.path + leaf.removeprefix(self.key) if isinstance(self.value, Mapping) else self.path


def leaves_of(key: str, value: Any, groups: Container[str] = _GROUPS) -> dict[str, Any]:
    """Return the leaves that ``key`` sets: a group's mapping is taken apart, the rest is one leaf."""
    if key in groups and isinstance(value, Mapping):
        return {f"{key}.{sub}": item for sub, item in value.items()}
    if key == "data" and isinstance(value, str):
        return {"data.name": value}
    return {key: value}


def all_leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves of a whole configuration."""
    return {leaf: item for key, value in config.items() for leaf, item in leaves_of(key, value).items()}


def nest(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `all_leaves`: return the mapping that `SearchConfig` reads."""
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
    written = SearchConfig(space="-").model_dump(mode="json", exclude={"space"})
    # In the order of declaration, with what is written only where it is given.
    fields = DataConfig.model_fields
    data = {name: written["data"].get(name, field.default) for name, field in fields.items()}
    return all_leaves({**written, "data": data})


def check_value(key: str, value: Any, path: str) -> tuple[KeyValue | None, list[Problem]]:
    """Check one value of one key (of `SEARCH_KEYS`) by itself: its entry, or what is wrong with it.

    Numbers written as text (YAML reads ``3e-4`` as text) become numbers, and files named relative to the
    folder of the driver become absolute, because a trial runs in a folder of its own.
    """
    if not is_plain(value):
        return None, [
            Problem(path, f"expected numbers, text, lists or mappings of text; got {quoted(value)}")
        ]
    if key == "method" and not isinstance(value, str | Mapping):
        return None, [
            Problem(path, f"expected a method's name or a mapping with `base:`; got {quoted(value)}")
        ]
    given = leaves_of(key, value)
    try:
        config = SearchConfig.model_validate({"space": "-", **nest(given)})
    except ValidationError as error:
        problems = explain(error, SearchConfig, SEARCHES.strange)
        return None, [Problem(path + p.path.removeprefix(key), p.message) for p in problems]
    leaves = {leaf: _portable(leaf, _get(config, leaf)) for leaf in given}
    group = key in _GROUPS and isinstance(value, Mapping)
    entry = KeyValue(path, key, nest(leaves).get(key, {}) if group else next(iter(leaves.values())), leaves)
    wrong = ((leaf, implausible(given[leaf], leaves[leaf])) for leaf in leaves)
    problems = [Problem(entry.path_of(leaf), message) for leaf, message in wrong if message is not None]
    return (None, problems) if problems else (entry, [])


def is_plain(value: object) -> bool:
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


def implausible(given: object, value: object) -> str | None:
    """Say why a value can hardly be meant as it was read; None for one that can."""
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


SWEEP_KEYS = tuple(key for key in SweepConfig.model_fields if key != "base")


AXES = ("grid", "zip", "sample")
_SECTIONS = ("resources", "select", "track", "benchmark", "retrain", "control")
_PLAIN = ("name", "samples", "strategy")


def apply_overrides(
    raw: Mapping[str, Any], overrides: Sequence[str], keys: tuple[str, ...] = SEARCH_KEYS
) -> tuple[dict[str, Any], list[Problem]]:
    """Return a copy of the file's data with the overrides in it, and what is wrong with the overrides.

    An override replaces whatever the file says of that key, wherever it says it: ``seed=0`` takes the seed
    out of the grid, ``grid.seed=[0,1]`` puts it there instead of at the top level. ``keys`` are those that a
    trial has.
    """
    data = copy.deepcopy(dict(raw))
    problems = []
    for text in overrides:
        key, equals, value_text = text.partition("=")
        key = key.strip()
        if not equals or not key:
            problems.append(Problem(text, "an override is written key=value, as in seed=0"))
            continue
        try:
            value = parse_value(value_text)
        except NotYaml as error:
            problems.append(Problem(key, f"not a YAML value: {quoted(value_text)}: {error}"))
            continue
        problems += _apply(data, key, value, keys)
    return data, problems


def _apply(data: dict[str, Any], key: str, value: Any, keys: tuple[str, ...]) -> list[Problem]:
    head, _, rest = key.partition(".")
    if key in (*AXES, *_SECTIONS, *_PLAIN):
        data[key] = value
    elif head in AXES:
        _remove(data, rest)
        _section(data, head)[rest] = value
    elif head in _SECTIONS:
        _section(data, head)[rest] = value
    elif head == "method" and rest:
        return _override_method(data, key, rest, value)
    elif key in keys or key.startswith("data.options."):
        _remove(data, key)
        _set(data, key, value)
    else:
        known = keys if "cell" in keys else (*keys, *AXES, *_SECTIONS, *_PLAIN)
        return [unknown_key(key, known, key)]
    return []


def _section(data: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(data.get(name), dict):
        data[name] = {}
    section: dict[str, Any] = data[name]
    return section


def _remove(data: dict[str, Any], key: str) -> None:
    """Take a key out of the top level and of every axis."""
    head, _, rest = key.partition(".")
    data.pop(key, None)
    if rest and isinstance(data.get(head), dict):
        data[head].pop(rest, None)
    for name in AXES:
        if isinstance(data.get(name), dict):
            data[name].pop(key, None)


def _set(data: dict[str, Any], key: str, value: Any) -> None:
    *groups, last = key.split(".")
    target = data
    if groups and isinstance(data.get(groups[0]), str):
        leaves = leaves_of(groups[0], data[groups[0]])
        data[groups[0]] = {leaf.partition(".")[2]: item for leaf, item in leaves.items()}
    for group in groups:
        target = _section(target, group)
    target[last] = value


def _override_method(data: dict[str, Any], key: str, part: str, value: Any) -> list[Problem]:
    if any(isinstance(data.get(name), dict) and "method" in data[name] for name in AXES):
        message = "the method varies in this file; override it whole: method=NAME or grid.method=[...]"
        return [Problem(key, message)]
    method = data.get("method", "darts")
    data["method"] = {**(method if isinstance(method, dict) else {"base": method}), part: value}
    return []
