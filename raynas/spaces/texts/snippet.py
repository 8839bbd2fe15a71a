"""Finding the texts of cells in what a user has: an argument, a Python module, a log."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from raynas.errors import RaynasError, short, unknown

MOST_TEXT = 200_000
"""Characters of the longest text of a cell; one of 100 nodes that read everything has 130,000."""

Span = tuple[int, int]
"""Where a text begins, and where it has ended."""

Triple = tuple[str, int, int]
"""An operation, the state that it reads, and the node that it leads to."""

_TOKEN = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|#[^\n]*|[()\[\]{}]")
_NAME = re.compile(r"""(?:(\w+)[ \t]*=\s*\\?\s*|["']?(\w+)["']?[ \t]*:[ \t]*)["'(\[]?\s*$""")
_SHOWN = 12


class Snippet(NamedTuple):
    """One text of a cell, where it begins (line and column, from 1), and the name it was given, if any."""

    text: str
    line: int = 1
    column: int = 1
    name: str = ""

    def where(self, line: int, column: int) -> str:
        """Say where in the user's text a place of this one is; both are counted from 1."""
        return f"line {self.line + line - 1}, column {column + (self.column - 1 if line == 1 else 0)}"


class SeveralCells(RaynasError):
    """A text has several cells and none was named; ``first`` is how the first would be."""

    first = ""


def several_cells(snippets: Sequence[Snippet], what: str) -> SeveralCells:
    """Build the error that lists the cells of a text by name and line."""
    shown = [f"{each.name or 'a cell'} (line {each.line})" for each in snippets]
    rest = len(shown) - _SHOWN
    more = [f"and {rest} more, the last on line {snippets[-1].line}"] if rest > 0 else []
    error = SeveralCells(
        what, got=", ".join([*shown[:_SHOWN], *more]), expected="one of them, by its name or its line"
    )
    first, names = snippets[0], [each.name for each in snippets]
    error.first = first.name if first.name and names.count(first.name) == 1 else str(first.line)
    return error


def enclosed(mark: re.Pattern[str], text: str) -> Iterator[tuple[int, int | None]]:
    """Yield where each match of a mark begins, and where the bracket that it opens has been closed.

    Brackets in strings and comments do not count. None stands for one that is not closed before the next
    mark, within `MOST_TEXT`, so that the whole takes linear time.
    """
    found = [match.start() for match in mark.finditer(text)]
    for start, stop in pairwise([*found, len(text)]):
        yield start, _closed(text, start, min(stop, start + MOST_TEXT))


def _closed(text: str, start: int, stop: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(text, start, stop):
        if token[0][0] in "'\"#":
            continue
        depth += 1 if token[0] in "([{" else -1
        if depth <= 0:
            return token.end()
    return None


def lines_like(pattern: str, text: str) -> Iterator[Span]:
    """Yield from where a pattern matches to the end of that line; of the text, where it begins with it."""
    found = [each.span() for each in re.finditer(rf"\b{pattern}[^\n]*", text)]
    if len(found) == 1 and not text[: found[0][0]].strip():
        found = [(found[0][0], len(text.rstrip()))]
    yield from found


def cut(text: str, spans: Iterable[Span]) -> Iterator[Snippet]:
    """Yield the text in each span with its place and name (``NAME = ``, ``"name": ``)."""
    lines = [0, *(found.end() for found in re.finditer("\n", text))]
    for start, end in sorted(spans):
        line = bisect_right(lines, start)
        named = _NAME.search(text[max(0, start - 200) : start])
        name = (named[1] or named[2]) if named else ""
        yield Snippet(text[start:end], line, start - lines[line - 1] + 1, "" if name.isdigit() else name)


def choose(text: str, snippets: Sequence[Snippet], name: str) -> list[Snippet]:
    """Return the texts that are called ``name``, or begin on the line of that number.

    Another name for one of them (``BEST = DARTS_V2``) is followed. Raises `RaynasError` with the nearest.
    """
    names = {each.name for each in snippets}
    for _ in range(len(names) + 1):
        if name in names or (same := re.search(rf"^{re.escape(name)}\s*=\s*(\w+)\s*$", text, re.M)) is None:
            break
        name = same[1]
    if chosen := [each for each in snippets if each.name == name]:
        return chosen
    if chosen := [each for each in snippets if str(each.line) == name]:
        return chosen
    known = sorted(filter(None, names)) or [str(each.line) for each in snippets]
    if not known:
        raise RaynasError(f"no cell {short(name)!r}: the text has none")
    raise unknown("cell in the text", short(name), known)
