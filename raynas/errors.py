"""Errors meant for users: what went wrong, what was got and expected, the nearest name, the next step."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

MOST_PROBLEMS = 50
"""Mistakes of one kind that are told; a file that has more is mostly wrong in one place."""

MOST_LISTED = 60
"""Names that an error lists; of more, nobody reads any."""

MOST_NEAR = 3
"""Names that are offered for one that is unknown."""

LEAST_ALIKE = 0.65
"""How alike two names must be for one to be meant by the other: at 0.6, `patience` would be `space`."""

LEAST_LETTERS = 2
"""A name of no more letters stands inside too many others."""

LONGEST_NAME = 200
"""Letters of the longest name that is compared with others: comparing takes time quadratic in them."""


def nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like ``name``, or None when nothing is close."""
    if len(text := str(name).lower()) > LONGEST_NAME:
        return None
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(text, by_lower, n=1, cutoff=LEAST_ALIKE)
    return by_lower[close[0]] if close else None


def neighbours(name: object, known: Iterable[str]) -> list[str]:
    """Return the names that a wrong one may mean: those that have it in theirs, or the nearest.

    So ``conv_3x3`` is any of the convolutions of that size, and not what has most letters in common with it.
    """
    names, flat = list(known), _flat(str(name))
    having = [each for each in names if len(flat) > LEAST_LETTERS and flat in _flat(each)]
    near = nearest(name, names)
    return having or ([near] if near else [])


def _flat(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def short(text: str, most: int = 80) -> str:
    """Cut a text that would not fit a line of a message."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted(value: object, most: int = 80) -> str:
    """Write a value as a message quotes it: cut short, without the signs that a terminal would obey."""
    return short(printable(repr(value)), most)


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Count a noun: ``1 search``, ``8 searches``."""
    return f"{count} {noun if count == 1 else several or noun + 's'}"


def ordinal(number: int) -> str:
    """Write a place in a row: ``1st``, ``2nd``, ``11th``."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return a text whose control characters are written out: an escape sequence as `\\x1b[31m`.

    Line ends and tabs stay; so do letters of every script, but not the signs that turn their direction.
    """
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


class RaynasError(Exception):
    """A mistake the user can fix; quoted without a traceback, exit code 2.

    Only ``what`` is required; each other part becomes a line of the message when given.
    """

    def __init__(
        self,
        what: str,
        *,
        got: object = None,
        expected: object = None,
        near: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.got = got
        self.expected = expected
        self.near = near
        self.next_step = next_step
        super().__init__(what)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep all the parts when Ray pickles the error across processes."""
        return (_rebuild, (type(self), self.what, self.got, self.expected, self.near, self.next_step))

    def __str__(self) -> str:
        parts = {
            "got": self.got,
            "expected": self.expected,
            "nearest": self.near,
            "next": self.next_step,
        }
        lines = [f"  {label + ':':<10}{part}" for label, part in parts.items() if part is not None]
        return "\n".join([self.what, *lines])


def _rebuild(
    kind: type[RaynasError],
    what: str,
    got: object,
    expected: object,
    near: str | None,
    next_step: str | None,
) -> RaynasError:
    return kind(what, got=got, expected=expected, near=near, next_step=next_step)


def unknown(kind: str, name: object, known: Iterable[str], next_step: str | None = None) -> RaynasError:
    """Build the error for a name that is not among the known ones."""
    names = sorted(known)
    return RaynasError(
        f"unknown {kind} {quoted(str(name))}",
        expected=f"one of {', '.join(names)}" if len(names) <= MOST_LISTED else f"one of {len(names)}",
        near=", ".join(sorted(neighbours(name, names), key=len)[:MOST_NEAR]) or None,
        next_step=next_step,
    )


@dataclass(frozen=True)
class Problem:
    """One mistake in a file: where it is (``grid.method[1]``) and what it is."""

    path: str
    message: str


class FileProblems(RaynasError):
    """Every mistake found in one user file, all at once."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__(f"{file}: {plural(len(self.problems), 'problem')}")

    def __reduce__(self) -> tuple[object, ...]:
        return (FileProblems, (self.file, self.problems))

    def __str__(self) -> str:
        rows = []
        for problem in self.problems:
            first, *rest = problem.message.splitlines()
            rows += [f"  {problem.path or '(top level)'}: {first}", *(f"    {line}" for line in rest)]
        return "\n".join([self.what, *rows])


class Diverged(RaynasError):
    """A loss stopped being a finite number, in a search or a training."""
