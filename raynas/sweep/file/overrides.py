"""Overrides from the command line: ``key.sub=value`` put into the sweep file's data before it is checked."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from raynas.errors import Problem, quoted
from raynas.sweep.file.keys import KEYS, flatten, unknown_key
from raynas.yaml_text import NotYaml, parse_value

AXES = ("grid", "zip", "sample")
_SECTIONS = ("resources", "select", "track", "benchmark")
_PLAIN = ("name", "samples", "strategy")


def apply_overrides(raw: Mapping[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """Return a copy of the file's data with the overrides in it, and what is wrong with the overrides.

    An override replaces whatever the file says of that key, wherever it says it: ``seed=0`` takes the seed
    out of the grid, ``grid.seed=[0,1]`` puts it there instead of at the top level.
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
        problems += _apply(data, key, value)
    return data, problems


def _apply(data: dict[str, Any], key: str, value: Any) -> list[Problem]:
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
    elif key in KEYS or key.startswith("data.options."):
        _remove(data, key)
        _set(data, key, value)
    else:
        return [unknown_key(key, (*KEYS, *AXES, *_SECTIONS, *_PLAIN), key)]
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
        leaves = flatten(groups[0], data[groups[0]])
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
