"""The axes of a sweep file: its values, checked one by one, its ranges, and all settings they combine to."""

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from raynas.errors import MOST_PROBLEMS, Problem, RaynasError, nearest, quoted, short
from raynas.sweep.file.keys import LEAVES, SEARCH_KEYS, KeyValue, check_value, defaults
from raynas.sweep.file.words import unknown_key
from raynas.sweep.plan import Distribution
from raynas.sweep.sections import MOST_TRIALS

DISTRIBUTIONS = ("log", "uniform", "int", "choice")

_FORM = (
    "expected one of {log: [low, high]}, {uniform: [low, high]}, {int: [low, high]}, {choice: [a, b, ...]}"
)
_TRIES = 1000
_IN_A_ROW = 100_000


@dataclass(frozen=True)
class Axis:
    """One key that varies, with its values."""

    key: str
    entries: tuple[KeyValue, ...]

    @cached_property
    def varies(self) -> bool:
        """Whether there is more than one value."""
        return len({same(entry.leaves) for entry in self.entries}) > 1


@dataclass(frozen=True)
class Combination:
    """One combination of values, for all its seeds: leaves, defaults filled in, and where the file has them.

    ``axes`` holds the values of the axes that vary (seeds apart).
    """

    leaves: dict[str, Any]
    paths: dict[str, str]
    axes: dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """The search keys of a sweep file: what is fixed, what varies, what is sampled."""

    base: tuple[KeyValue, ...]
    grid: tuple[Axis, ...]
    zip: tuple[Axis, ...]
    sample: dict[str, Distribution]

    @cached_property
    def seeds(self) -> Axis | None:
        """The grid's axis of seeds, when there are several."""
        return next((axis for axis in self.grid if axis.key == "seed" and axis.varies), None)

    @property
    def size(self) -> int:
        """How many combinations there are, seeds included, samples not."""
        size = len(self.zip[0].entries) if self.zip else 1
        for axis in self.grid:
            size *= len(axis.entries)
        return size

    @cached_property
    def settings(self) -> tuple[Combination, ...]:
        """Every combination of zip rows and grid values apart from seeds, in file order."""
        start = defaults()
        grid = [axis for axis in self.grid if axis is not self.seeds]
        axes = [*self.zip, *grid]
        known: dict[str, dict[str, Any]] = {}
        settings = []
        rows = list(zip(*(axis.entries for axis in self.zip), strict=True)) if self.zip else [()]
        for row in rows:
            for picks in product(*(axis.entries for axis in grid)):
                given: dict[str, Any] = {}
                paths: dict[str, str] = {}
                entries = [*row, *picks]
                for entry in (*self.base, *entries):
                    given |= entry.leaves
                    paths |= {leaf: entry.path_of(leaf) for leaf in entry.leaves}
                # Only these decide what is brought along: resolved once for each combination of them, not
                # once per row of a grid of 10,000.
                mark = same({key: given.get(key) for key in ("method", "space", "epochs")})
                if mark not in known:
                    known[mark] = _brought(given)
                leaves = start | known[mark] | given
                values = zip(axes, entries, strict=True)
                varying = {axis.key: entry.value for axis, entry in values if axis.varies}
                settings.append(Combination(leaves, paths, varying))
        return tuple(settings)


def _brought(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the leaves that method and space of a setting bring along; none if there is no such method."""
    from raynas.methods import bundled  # brings torch
    from raynas.methods.build import methods

    method = given.get("method", "darts")
    if (method if isinstance(method, str) else method["base"]) not in methods():
        return {}  # so is this, and finding the nearest name of thousands would take minutes
    try:
        return bundled(given)
    except RaynasError:
        return {}  # reported, once, by the check of the method itself


def too_many(grid: Mapping[str, Any], zip_: Mapping[str, Any], samples: int | None) -> list[Problem]:
    """Count the searches of a file before any of its values costs time."""
    size = max((len(values) for values in zip_.values() if isinstance(values, list)), default=1)
    for values in grid.values():
        size *= len(values) if isinstance(values, list) else 1
    count = size * (samples or 1)
    if count <= MOST_TRIALS:
        return []
    return [Problem("grid", f"{count} trials are more than {MOST_TRIALS}; narrow the grid")]


def same(leaves: Mapping[str, Any]) -> str:
    """Return a text that is equal for equal leaves, whatever the order of their keys."""
    return json.dumps(leaves, sort_keys=True)


def read_draft(
    base: Mapping[str, Any], grid: Mapping[str, Any], zip_: Mapping[str, Any], sample: Mapping[str, Any]
) -> tuple[Draft, list[Problem]]:
    """Check every value by itself: a draft of those that are right, and all that is wrong."""
    problems: list[Problem] = []
    entries = []
    for key, value in base.items():
        if isinstance(value, list):
            several = short(str(value))
            problems.append(
                Problem(key, f"expected one value; several go under `grid: {{{key}: {several}}}`")
            )
            continue
        entry, wrong = check_value(key, value, key)
        problems += wrong
        if entry:
            entries.append(entry)
    grid_axes, wrong = _read_axes("grid", grid)
    problems += wrong
    zip_axes, wrong = _read_axes("zip", zip_)
    lengths = {key: len(values) for key, values in zip_.items() if isinstance(values, list)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{key} has {count}" for key, count in lengths.items())
        wrong.append(Problem("zip", f"lists advance together, so they must be equally long; {counts}"))
    problems += wrong
    distributions = {}
    for key, value in sample.items():
        distribution, unfit = read_distribution(key, value)
        problems += unfit
        if distribution:
            distributions[key] = distribution
    # Rows that lost a value would pair wrongly, so a faulty zip takes no part in the checks that follow.
    draft = Draft(tuple(entries), grid_axes, () if wrong else zip_axes, distributions)
    return draft, problems + _given_twice(draft)


def _read_axes(section: str, values: Mapping[str, Any]) -> tuple[tuple[Axis, ...], list[Problem]]:
    axes: list[Axis] = []
    problems: list[Problem] = []
    for key, items in values.items():
        path = f"{section}.{key}"
        if len(problems) >= MOST_PROBLEMS:
            break
        if key not in SEARCH_KEYS:
            problems.append(unknown_key(key, SEARCH_KEYS, path))
        elif not isinstance(items, list):
            problems.append(Problem(path, f"expected a list of values; got {quoted(items)}"))
        elif not items:
            problems.append(Problem(path, "the list is empty"))
        else:
            entries, wrong = _read_values(key, items, path)
            problems += wrong
            if section == "grid":
                entries, repeated = _without_repeats(entries)
                problems += repeated
            if entries:
                axes.append(Axis(key, tuple(entries)))
    return tuple(axes), problems


def _read_values(key: str, items: list[Any], path: str) -> tuple[list[KeyValue], list[Problem]]:
    """Check the values of a list one by one, until too many are wrong."""
    entries: list[KeyValue] = []
    problems: list[Problem] = []
    for i, item in enumerate(items):
        entry, wrong = check_value(key, item, f"{path}[{i}]")
        problems += wrong
        entries += [entry] if entry else []
        if len(problems) >= MOST_PROBLEMS:
            problems.append(Problem(path, f"and maybe more of its {len(items)} values"))
            break
    return entries, problems


def _without_repeats(entries: list[KeyValue]) -> tuple[list[KeyValue], list[Problem]]:
    first: dict[str, KeyValue] = {}
    for entry in entries:
        first.setdefault(same(entry.leaves), entry)
    repeats = [(entry, first[same(entry.leaves)]) for entry in entries]
    problems = [Problem(e.path, f"{quoted(e.value)} is also at {f.path}") for e, f in repeats if e is not f]
    return list(first.values()), problems


def _given_twice(draft: Draft) -> list[Problem]:
    """Find leaves set from two places, where one would silently win."""
    places: list[dict[str, str]] = [{leaf: e.path_of(leaf) for leaf in e.leaves} for e in draft.base]
    places += [
        {leaf: e.path_of(leaf) for e in reversed(axis.entries) for leaf in e.leaves}
        for axis in (*draft.grid, *draft.zip)
    ]
    places.append({leaf: f"sample.{leaf}" for leaf in draft.sample})
    first: dict[str, str] = {}
    problems = []
    for place in places:
        problems += [
            Problem(path, f"also given at {first[leaf]}") for leaf, path in place.items() if leaf in first
        ]
        first = place | first
    return problems


def read_distribution(key: str, entry: Any) -> tuple[Distribution | None, list[Problem]]:
    """Check what the file says under ``sample.<key>``: the distribution, or what is wrong with it."""
    path = f"sample.{key}"
    if key not in LEAVES:
        return None, [unknown_key(key, LEAVES, path)]
    if not may_be_sampled(key):
        message = "cannot be sampled, since searches are compared across it; list its values under `grid`"
        return None, [Problem(path, message)]
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return None, [Problem(path, f"{_FORM}; got {quoted(entry)}")]
    [(kind, values)] = entry.items()
    if kind not in DISTRIBUTIONS:
        near = nearest(kind, DISTRIBUTIONS)
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


def may_be_sampled(key: str) -> bool:
    """Tell whether a leaf may be drawn: searches are compared across the others."""
    return key in LEAVES and key not in ("method", "space", "seed") and not key.startswith("data.")


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
    # A fraction inside the range: a key of whole numbers refuses it, any other takes it. The middle of [0, 2]
    # would be whole.
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
    # Rounding may step over an end: with a low end of .00030004 the draw .0003 would lie below it.
    return min(max(float(f"{value:.4g}"), values[0]), values[1])
