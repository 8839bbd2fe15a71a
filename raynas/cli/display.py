"""The live display of a sweep: a table that renews itself in a terminal, plain lines everywhere else."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raynas.cli.progress import MARK, RISES, MethodLine, SweepProgress, rising, skips
from raynas.cli.screen import STOPPING, Screen
from raynas.cli.tables import with_log
from raynas.errors import printable
from raynas.launch.observer import Observer
from raynas.report.text import (
    MISSING,
    duration,
    format_number,
    percent,
    ranked_number,
    ranked_spread,
)
from raynas.sweep.folder import SweepFolder
from raynas.sweep.pulse import Pulse, pulse_of
from raynas.sweep.record import Record, T, TrialRecord
from raynas.sweep.status import ENDED

MOST_RUNNING_ROWS = 16
"""Running trials shown at once, on a terminal high enough."""

LINE_EVERY = 5.0
"""Seconds between two epoch lines where the display is plain; the end of a trial is always said."""

_WIDE, _NARROW = 100, 76
"""Columns from which the bar is long, and below which it goes, with the training loss."""

_HEADERS = ("train", "valid", "acc %", "λmax", "skips", "s/epoch")


class LiveDisplay(Observer):
    """Shows a sweep while it runs.

    ``clock`` returns seconds and never runs backwards.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._screen = Screen(console, self._view)
        self._progress: SweepProgress | None = None
        self._folder: SweepFolder | None = None
        self._line_at = float("-inf")
        self._began, self._explained = clock(), False
        self._told: set[str] = set()

    def on_phase(self, what: str) -> None:
        self._screen.enter(what)
        self._screen.open()
        if not self._screen.renews:
            self._print([self._stamp(what)])

    def on_start(self, folder: SweepFolder) -> None:
        records = [at_rest(trial.record()) for trial in folder.trials()]
        self._folder = folder
        self._progress = SweepProgress(folder.sweep(), records, self._began, folder.lookups)
        self._screen.open()
        if not self._screen.renews:
            self._print(_heads(self._progress, self._clock(), self._console.width))

    def close(self) -> None:
        """Leave the terminal as it was, also where the sweep did not get as far as `on_end`."""
        self._screen.close()

    def on_repaired(self, done: Sequence[str]) -> None:
        self._print([self._stamp(f"repaired: {what}", "yellow") for what in done])

    def on_trial(self, record: TrialRecord) -> None:
        if self._progress is None:
            return
        before = self._progress.records.get(record.id)
        self._progress.update(record, self._clock())
        seen = before.status if before else "waiting"
        if record.start and record.start != (before.start if before else None):
            self.on_repaired([f"{record.id}: {what}" for what in record.start.get("mended", ())])
        if before and (told := moved(before, record)) and told not in self._told:
            self._told.add(told)
            self._print([self._stamp(told, "yellow")])
        if record.status in ENDED and seen not in ENDED:
            self._say_end(record)
        elif len(record.errors) > (len(before.errors) if before else 0):
            self._say_retry(record)
        elif not self._screen.renews and len(record.reports) > (len(before.reports) if before else 0):
            self._say_epoch(record)

    def on_end(self, folder: SweepFolder) -> None:
        if self._screen.renews:
            self.close()
        elif self._progress is not None:
            self._print(_heads(self._progress, self._clock(), self._console.width))

    def _view(self) -> "ProgressView | Text":
        if self._progress is None:
            return Text(f"{self._screen.phase} · {duration(self._clock() - self._began)}")
        return ProgressView(self._progress, self._clock(), self._screen.phase, self._pulse)

    def _pulse(self, record: TrialRecord) -> Pulse | None:
        """Return what a running trial is at within its epoch."""
        if self._folder is None:
            return None
        attempt = (record.start or {}).get("attempt", 1)
        return pulse_of(self._folder.trial(record.id), attempt, len(record.reports))

    def _say_epoch(self, record: TrialRecord) -> None:
        if self._clock() - self._line_at >= LINE_EVERY:
            self._line_at = self._clock()
            self._print([self._stamp(_line(record))])
            if rising(record.reports) and not self._explained:
                self._explained = True
                self._print([Text(RISES)])

    def _say_end(self, record: TrialRecord) -> None:
        if record.status != "finished":
            text = f"{record.id}  {record.status}: {with_log(record.reason, self._log(record))}"
            self._print([self._stamp(text, "red")])
        elif not self._screen.renews:
            self._print([self._stamp(f"{_line(record)}  finished")])

    def _say_retry(self, record: TrialRecord) -> None:
        text = f"{record.id}  trying again after: {with_log(record.errors[-1], self._log(record))}"
        self._print([self._stamp(text, "yellow")])

    def _log(self, record: TrialRecord) -> str:
        return str(self._folder.trial(record.id).log) if self._folder else MISSING

    def _stamp(self, text: str, style: str = "") -> Text:
        return Text(f"[{_clock_text(self._clock() - self._began)}] {printable(text)}", style=style)

    def _print(self, lines: list[Text]) -> None:
        for line in lines:
            self._console.print(line if self._screen.renews else Text(line.plain), soft_wrap=True)


class ProgressView:
    """The whole display at one moment; fits its rows to the terminal's width and height."""

    def __init__(
        self,
        progress: SweepProgress,
        now: float,
        phase: str = "",
        pulse: Callable[[TrialRecord], Pulse | None] = lambda _: None,
    ) -> None:
        self._progress, self._now, self._phase, self._pulse = progress, now, phase, pulse

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        methods = self._progress.methods()
        running = self._progress.running()
        # Six lines are the head, the table's own head, "+ n more", and air.
        room = min(MOST_RUNNING_ROWS, max(1, console.height - len(methods) - 6))
        pulses = {record.id: self._pulse(record) for record in running[:room]}
        begun = {name: pulse.share for name, pulse in pulses.items() if pulse}
        yield Group(*_heads(self._progress, self._now, options.max_width, self._phase, begun))
        if running:
            yield _rows(running[:room], options.max_width, pulses)
        if len(running) > room:
            yield Text(f"+ {len(running) - room} more", style="dim")
        for line in methods:
            yield Text(
                _method(line, self._progress.sweep.select.rule),
                style="green",
                no_wrap=True,
                overflow="ellipsis",
            )


def _heads(
    progress: SweepProgress,
    now: float,
    width: int,
    phase: str = "",
    begun: Mapping[str, float] = MappingProxyType({}),
) -> list[Text]:
    """Return the head line, broken between its parts where the width asks for it.

    ``phase`` is said while no trial runs, and once it is all that matters.
    """
    counts = progress.count()
    left = progress.seconds_left(now, begun)
    parts = [f"{counts['finished']} of {progress.planned} done"]
    if phase.startswith(STOPPING) or (phase and not counts["running"]):
        parts.append(phase)
    parts += [
        f"{counts[status]} {status}"
        for status in ("running", "waiting", "failed", "diverged")
        if counts[status]
    ]
    parts.append(f"{duration(now - progress.started)} elapsed")
    if left is not None:
        parts.append(f"about {duration(left)} left")
    if counts["running"]:
        parts.append(f"{progress.shares()} in use")
    if best := progress.best():
        parts.append(f"best {best}")
    lines = [progress.sweep.name]
    for part in parts:
        joined = f"{lines[-1]} · {part}"
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(f"  {part}")
    return [Text(line, style="bold" if place == 0 else "") for place, line in enumerate(lines)]


def _rows(running: list[TrialRecord], width: int, pulses: Mapping[str, Pulse | None]) -> Table:
    wide, narrow = width >= _WIDE, width < _NARROW
    bar = 20 if wide else 6
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2 if wide else 1, 0, 0))
    # The only column that may shrink: rich takes the space that lacks from those that could wrap.
    table.add_column("trial", overflow="ellipsis", min_width=8)
    table.add_column("epoch", justify="right", no_wrap=True)
    if not narrow:
        table.add_column("", no_wrap=True, width=bar)
    for header in _HEADERS[1:] if narrow else _HEADERS:
        table.add_column(header, justify="right", no_wrap=True)
    if wide:
        table.add_column("now", no_wrap=True)
    rises = any(rising(record.reports) for record in running)
    for record in running:
        done, total = len(record.reports), record.epochs
        pulse = pulses.get(record.id)
        within = done + (pulse.share if pulse else 0)
        first: list[RenderableType] = [record.id, f"{done}/{total}"]
        numbers: list[RenderableType] = [*_numbers(record)]
        middle = numbers[1:] if narrow else [ProgressBar(total=total, completed=within, width=bar), *numbers]
        table.add_row(*first, *middle, *([doing(pulse)] if wide else []))
    if rises:
        table.caption, table.caption_justify = RISES, "left"
    return table


def at_rest(record: T) -> T:
    """Return a record as it is before this run starts its trial: one that was running waits to go on."""
    return replace(record, status="waiting") if record.status == "running" else record


def moved(before: Record[Any, Any], now: Record[Any, Any]) -> str:
    """Say that a trial goes on on another kind of device than it began on; "" where it does not."""
    there, here = (each.start.get("device") if each.start else None for each in (before, now))
    if not there or not here or there == here:
        return ""
    return f"begun on {there}, goes on on {here}: its bits may differ from those of an uninterrupted run"


def doing(pulse: Pulse | None) -> str:
    """Say what a trial is at within its epoch: `training 40 %`; before the first step it is being built."""
    if pulse is None:
        return "building"
    return f"{pulse.doing} {pulse.share:.0%}" if 0 < pulse.share < 1 else pulse.doing


def _numbers(record: TrialRecord) -> list[str | Text]:
    last = record.newest
    if last is None:
        return [MISSING] * 6
    measured = [report.curvature for report in record.reports if report.curvature is not None]
    eig_max = format_number(measured[-1].eig_max) if measured else MISSING
    mark = MARK if rising(record.reports) else " "
    return [
        format_number(last.train_loss),
        format_number(last.valid_loss),
        percent(last.valid_accuracy),
        Text(f"{eig_max} {mark}", style="bold red" if mark == MARK else ""),
        skips(last.skips),
        f"{last.seconds:.1f}",
    ]


def _line(record: TrialRecord) -> str:
    """Return a trial's newest epoch as one plain line."""
    head = f"{record.id}  epoch {len(record.reports)}/{record.epochs}"
    if record.newest is None:
        return head
    train, valid, accuracy, eig_max, skipped, seconds = (str(cell).strip() for cell in _numbers(record))
    return (
        f"{head}  train {train}  valid {valid}  acc {accuracy}%  λmax {eig_max}"
        f"  skips {skipped}  {seconds} s/epoch"
    )


def _method(line: MethodLine, by: str) -> str:
    best = f"best {ranked_number(line.best.value, by)} {line.best.trial.id}"
    return f"{line.method}  {line.values.count} done  mean {ranked_spread(line.values, by)}  {best}"


def _clock_text(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    return f"{minutes:02}:{left:02}"
