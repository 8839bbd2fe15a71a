"""How the verbs print: one console, JSON, tables, and the next sensible command."""

import csv
import io
import json
import math
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table

from raynas.cli.options import DEFAULT_RUNS
from raynas.errors import printable

PIPE_WIDTH = 200
"""Columns of a line when stdout is no terminal; rich would take 80 and cut names short."""


def console() -> Console:
    """Return a console on stdout that prints text as it is: no markup, no highlighting."""
    made = Console(markup=False, highlight=False, emoji=False)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made


def say(text: str = "") -> None:
    """Print one line on stdout, never wrapped; what a terminal would obey is written out."""
    sys.stdout.write(f"{printable(text)}\n")


def show_table(made: Table) -> None:
    """Print a table with whole cells: on a narrow terminal its lines run on, and no number is cut."""
    screen = console()
    screen.width = max(
        screen.width, Measurement.get(screen, screen.options.update(width=10_000), made).maximum
    )
    screen.print(made)


def print_json(data: object) -> None:
    """Print strict JSON on stdout: NaN and infinities become null, anything unknown becomes text."""
    say(json.dumps(_plain(data), indent=2, ensure_ascii=False))


def print_csv(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows as CSV on stdout, with the columns of all of them; what a row lacks is empty."""
    text = io.StringIO()
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sys.stdout.write(printable(text.getvalue()))


def next_step(*words: str) -> None:
    """End a verb with the command to try next."""
    say(f"next: raynas {shlex.join(words)}")


def runs_option(runs: Path) -> list[str]:
    """Return the words that make the next command look in the same folder of sweeps."""
    return [] if runs == DEFAULT_RUNS else ["--runs", str(runs)]


class _Cells(Table):
    """A table whose cells hold nothing that a terminal would obey."""

    def add_row(self, *cells: RenderableType | None, **more: Any) -> None:
        """Add a row; texts are made printable."""
        super().add_row(*(None if cell is None else printable(str(cell)) for cell in cells), **more)


def table(*headers: str, right: Iterable[str] = ()) -> Table:
    """Return an unruled table; the columns named in ``right`` hold numbers."""
    made = _Cells(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    numeric = set(right)
    for header in headers:
        justify: Literal["left", "right"] = "right" if header in numeric else "left"
        made.add_column(header, justify=justify, overflow="fold", no_wrap=header in numeric)
    return made


def _plain(data: object) -> Any:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if data is None or isinstance(data, str | int | float | bool):
        return data
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple | set | frozenset):
        return [_plain(value) for value in data]
    return str(data)
