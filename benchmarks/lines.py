"""One measured number with its unit and its target, and how a list of them is printed."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

DIGITS = {
    "×": 2,
    "ms": 1,
    "s": 2,
    "MiB": 1,
    "%": 1,
    "": 0,
    "images/s": 0,
    "GFLOP/s": 1,
    "GB/s": 1,
    "share": 3,
    "h": 2,
    "per s": 2,
}
"""Units and the decimals they are given with; a number without a unit is a count.

Beside them an ``error`` is a relative one, and ``yes`` says that 1 is true and 0 is false.
"""


@dataclass(frozen=True)
class Target:
    """What a number should reach (``at_least``) or not exceed."""

    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Say whether ``value`` is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:.3g}"


def at_least(limit: float | None) -> Target | None:
    """Return a lower bound; None stays None."""
    return None if limit is None else Target(limit, True)


def at_most(limit: float | None) -> Target | None:
    """Return an upper bound; None stays None."""
    return None if limit is None else Target(limit, False)


@dataclass(frozen=True)
class Line:
    """One number: what it is, its unit (see `DIGITS`), its target if it has one, what to know of it."""

    what: str
    value: float
    unit: str = "×"
    target: Target | None = None
    note: str = ""

    @property
    def number(self) -> str:
        """The value as it is printed."""
        if self.unit == "error" or math.isnan(self.value):
            return f"{self.value:.1e}" if self.value else "0"
        if self.unit == "yes":
            return "yes" if self.value else "no"
        unit = "" if self.unit == "share" else self.unit
        return f"{self.value:,.{DIGITS[self.unit]}f} {unit}".rstrip()

    @property
    def verdict(self) -> str:
        """The target and whether it was met; empty without one."""
        if self.target is None:
            return ""
        met = "met" if self.target.met(self.value) else "missed"
        return met if self.unit == "yes" else f"{self.target} {met}"


@dataclass(frozen=True)
class Result:
    """The lines of one topic at one size; ``title`` says what was measured."""

    topic: str
    title: str
    lines: tuple[Line, ...]

    def text(self) -> str:
        """Return a table for a terminal."""
        rows = [
            f"  {line.what:<54}{line.number:>16}  {line.verdict:<14}  {line.note}".rstrip()
            for line in self.lines
        ]
        return "\n".join([f"{self.topic}: {self.title}", *rows])

    def to_json(self) -> dict[str, Any]:
        """Return plain data; a target becomes the text it is printed as."""
        lines = [
            {**asdict(line), "target": None if line.target is None else str(line.target)}
            for line in self.lines
        ]
        return {"topic": self.topic, "title": self.title, "lines": lines}


def markdown(results: Iterable[Result]) -> str:
    """Return one section a topic with one table a size, ready for docs/performance.md."""
    parts: list[str] = []
    for topic, group in groupby(results, key=lambda result: result.topic):
        parts.append(f"### {topic.capitalize()}")
        for result in group:
            rows = [
                f"| {line.what}{f' ({line.note})' if line.note else ''} | {line.number} | {line.verdict} |"
                for line in result.lines
            ]
            parts.append("\n".join([result.title, "", "| | | target |", "|---|---:|---|", *rows]))
    return "\n\n".join(parts)


def dump(results: Sequence[Result], machine: dict[str, Any], command: str) -> str:
    """Return everything as JSON."""
    data = {"command": command, "machine": machine, "results": [result.to_json() for result in results]}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
