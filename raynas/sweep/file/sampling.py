"""Distributions of sampled keys: reading them from the file, and the paired random draws."""

import json
import math
import random
from collections.abc import Mapping
from typing import Any

from raynas.errors import Problem, nearest, quoted
from raynas.sweep.file.keys import LEAVES, check_value, unknown_key
from raynas.sweep.plan import MOST_TRIALS, Distribution

KINDS = ("log", "uniform", "int", "choice")

_FORM = (
    "expected one of {log: [low, high]}, {uniform: [low, high]}, {int: [low, high]}, {choice: [a, b, ...]}"
)
_TRIES = 1000
_IN_A_ROW = 100_000


def read_distribution(key: str, entry: Any) -> tuple[Distribution | None, list[Problem]]:
    """Check what the file says under ``sample.<key>``: the distribution, or what is wrong with it."""
    path = f"sample.{key}"
    if key not in LEAVES:
        return None, [unknown_key(key, LEAVES, path)]
    if key in ("method", "space", "seed") or key.startswith("data."):
        message = "cannot be sampled, since searches are compared across it; list its values under `grid`"
        return None, [Problem(path, message)]
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return None, [Problem(path, f"{_FORM}; got {quoted(entry)}")]
    [(kind, values)] = entry.items()
    if kind not in KINDS:
        near = nearest(kind, KINDS)
        return None, [Problem(f"{path}.{kind}", f"unknown distribution; nearest: {near}" if near else _FORM)]
    if not isinstance(values, list) or not values:
        return None, [Problem(f"{path}.{kind}", f"{_FORM}; got {quoted(values)}")]
    if len(values) > MOST_TRIALS:
        return None, [Problem(f"{path}.{kind}", f"more than {MOST_TRIALS} values")]
    checked = [check_value(key, value, f"{path}.{kind}[{i}]") for i, value in enumerate(values)]
    if problems := [problem for _, wrong in checked for problem in wrong]:
        return None, problems
    distribution = Distribution(kind, tuple(entry.value for entry, _ in checked if entry))
    if (wrong_range := _wrong_range(key, distribution)) is not None:
        return None, [Problem(f"{path}.{kind}", wrong_range)]
    return distribution, []


def _wrong_range(key: str, distribution: Distribution) -> str | None:
    kind, values = distribution.kind, distribution.values
    if kind == "choice":
        texts = [json.dumps(value) for value in values]
        return "a choice is listed twice" if len(set(texts)) < len(texts) else None
    if len(values) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return f"expected two numbers, [low, high]; got {list(values)}"
    low, high = values
    if low >= high:
        return f"expected low below high; got [{low}, {high}]"
    if kind == "log" and low <= 0:
        return f"a logarithmic range starts above 0; got {low}"
    if kind == "int":
        return (
            None if low == int(low) and high == int(high) else f"expected whole numbers; got [{low}, {high}]"
        )
    inside = low + 0.381966 * (high - low)  # between whole numbers
    if check_value(key, inside, key)[1]:
        return f"`{key}` takes whole numbers only; use {{int: [{low}, {high}]}}"
    return None


def paired_draws(sample: Mapping[str, Distribution], count: int) -> list[dict[str, Any]]:
    """Draw ``count`` different points, always the same ones, fewer when many in a row are not new.

    Every key has its own stream, so adding a key leaves the other keys' draws alone. Floats have 4
    significant digits, so an id shows exactly what was run.
    """
    streams = {key: random.Random(key) for key in sample}  # noqa: S311 - no secret
    points: dict[str, dict[str, Any]] = {}
    tries = 0
    for _ in range(count * _TRIES):
        if len(points) == count or tries == _IN_A_ROW:
            break
        point = {key: _draw(distribution, streams[key]) for key, distribution in sample.items()}
        tries = 0 if (text := json.dumps(point)) not in points else tries + 1
        points.setdefault(text, point)
    return list(points.values())


def _draw(distribution: Distribution, stream: random.Random) -> Any:
    values = distribution.values
    match distribution.kind:
        case "choice":
            return stream.choice(values)
        case "int":
            return stream.randint(int(values[0]), int(values[1]))
        case "log":
            value = math.exp(stream.uniform(math.log(values[0]), math.log(values[1])))
        case "uniform":
            value = stream.uniform(values[0], values[1])
    return min(max(float(f"{value:.4g}"), values[0]), values[1])
