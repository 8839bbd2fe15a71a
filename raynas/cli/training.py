"""Trainings on the command line: the live display, how a sweep of them stands, and its table at the end."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from raynas.cli.display import LINE_EVERY, at_rest, doing, moved
from raynas.cli.output import say, show_table, table
from raynas.cli.screen import Screen
from raynas.cli.tables import MOST_DAMAGE, MOST_ROWS, with_log
from raynas.errors import plural, printable, short
from raynas.launch.observer import Observer
from raynas.report.build import build_report
from raynas.report.text import duration, format_number, percent
from raynas.report.trained import build_trained, headers_of, of_texts, tested_words, trained_rows
from raynas.sweep.folder import TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.pulse import Pulse, pulse_of
from raynas.sweep.record import TrainRecord
from raynas.sweep.status import BROKEN, ENDED, STATUSES
from raynas.train.config import TrainConfig

_NUMBERS = ("epoch", "train loss", "acc %", "held out", "acc %", "test acc %", "s/epoch")
_NUMBERS_OF_TEXTS = ("epoch", "train loss", "acc %", "held out", "perplexity", "test perplexity", "s/epoch")


class TrainDisplay(Observer[TrainConfig, TrainRecord]):
    """Shows trainings while they run: a table that renews itself in a terminal, plain lines elsewhere.

    ``clock`` returns seconds and never runs backwards.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._screen = Screen(console, self._view)
        self._records: dict[str, TrainRecord] = {}
        self._name, self._planned, self._began, self._line_at = "", 0, clock(), float("-inf")
        self._folder: TrainSweep | None = None
        self._told: set[str] = set()

    def on_phase(self, what: str) -> None:
        self._screen.enter(what)
        self._screen.open()
        if not self._screen.renews:
            self._print(what)

    def on_start(self, folder: TrainSweep) -> None:
        self._records = {record.id: at_rest(record) for record in folder.records()}
        self._folder, self._name, self._planned = folder, folder.name, len(folder.sweep().trials)
        self._screen.open()
        if not self._screen.renews:
            self._print(self._head())

    def close(self) -> None:
        """Leave the terminal as it was, also where the trainings did not get as far as `on_end`."""
        self._screen.close()

    def on_repaired(self, done: Sequence[str]) -> None:
        for what in done:
            self._print(f"repaired: {what}")

    def on_trial(self, record: TrainRecord) -> None:
        before = self._records.get(record.id)
        self._records[record.id] = record
        if before and (told := moved(before, record)) and told not in self._told:
            self._told.add(told)
            self._print(told)
        if record.status in BROKEN and (before is None or before.status not in ENDED):
            self._print(f"{record.id}  {record.status}: {(record.reason.splitlines() or [''])[0]}")
        elif self._screen.renews or before is None or len(record.reports) == len(before.reports):
            return
        elif record.status in ENDED or self._clock() - self._line_at >= LINE_EVERY:
            self._line_at = self._clock()
            values = zip(_names([record]), _numbers(record), strict=True)
            self._print(f"{record.id}  " + "  ".join(f"{name} {value}" for name, value in values))

    def on_end(self, folder: TrainSweep) -> None:
        self._screen.phase = ""
        if self._screen.renews:
            self.close()
        else:
            self._print(self._head())

    def _head(self) -> str:
        ended = sum(record.status == "finished" for record in self._records.values())
        running = any(record.status == "running" for record in self._records.values())
        phase = "" if running and not self._screen.stopping else self._screen.phase
        phase += ", " if phase else ""
        if not self._name:
            return f"{phase}{duration(self._clock() - self._began)}"
        elapsed = duration(self._clock() - self._began)
        return f"{self._name}: {ended} of {self._planned} trained, {phase}{elapsed}"

    def _view(self) -> Table:
        shown = Table(box=None, pad_edge=False, title=self._head(), title_justify="left")
        for place, header in enumerate(("training", *_names(list(self._records.values())), "now")):
            shown.add_column(header, justify="right" if place else "left", no_wrap=True)
        running = [record for record in self._records.values() if record.status == "running"]
        for record in running[: max(1, self._console.height - 4)]:
            shown.add_row(record.id, *_numbers(record), doing(self._pulse(record)))
        return shown

    def _pulse(self, record: TrainRecord) -> Pulse | None:
        if self._folder is None:
            return None
        attempt = (record.start or {}).get("attempt", 1)
        return pulse_of(self._folder.trial(record.id), attempt, len(record.reports))

    def _print(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


class TrainedWriter(Observer[TrainConfig, TrainRecord]):
    """Writes the report once the trainings ended or were interrupted, and anew that of their searches."""

    def __init__(self) -> None:
        self.paths: tuple[Path, ...] = ()

    def on_end(self, folder: TrainSweep) -> None:
        self.paths = build_trained(folder)
        if folder.behind is not None:
            build_report(folder.behind)


def _names(records: Sequence[TrainRecord]) -> tuple[str, ...]:
    """Return what the columns of `_numbers` are called."""
    return _NUMBERS_OF_TEXTS if of_texts(records) else _NUMBERS


def _numbers(record: TrainRecord) -> list[str]:
    last, texts = record.newest, of_texts([record])
    if last is None:
        return [f"0/{record.epochs}", *[format_number(None)] * (len(_NUMBERS) - 1)]
    return [
        f"{last.epoch + 1}/{record.epochs}",
        format_number(last.train_loss),
        percent(last.train_accuracy),
        format_number(last.valid_loss),
        format_number(last.valid_perplexity) if texts else percent(last.valid_accuracy),
        format_number(last.test_perplexity) if texts else percent(last.test_accuracy),
        f"{last.seconds:.1f}",
    ]


def trainings(sweep: Sweep[TrainConfig]) -> str:
    """Say how many trainings a sweep holds: ``6 trainings (2 cells × 3 seeds), 10 epochs each``."""
    configs = [trial.config for trial in sweep.trials if trial.config is not None]
    cells, seeds = len({c.cell for c in configs}), len({c.seed for c in configs})
    others = len({c.model_dump_json(exclude={"cell", "seed"}) for c in configs})
    counted = ((cells, "cell"), (seeds, "seed"), (others, "setting"))
    varied = " × ".join(plural(count, word) for count, word in counted if count > 1)
    *shorter, longest = sorted({config.epochs for config in configs}) or [0]
    epochs = "/".join([*map(str, shorter), plural(longest, "epoch")])
    return f"{plural(len(configs), 'training')}" + (f" ({varied})" if varied else "") + f", {epochs} each"


def train_standing(folder: TrainSweep) -> dict[str, Any]:
    """Return how a sweep of trainings stands: who drives it, each training's last numbers, the table."""
    sweep, records = folder.sweep(), folder.records()
    held_by = short(folder.driver or "") or None
    statuses = {
        record.id: "stopped" if record.status == "running" and not held_by else record.status
        for record in records
    }
    counted = {word: sum(each == word for each in statuses.values()) for word in (*STATUSES, "stopped")}
    left = any(counted[word] for word in ("running", "waiting", "stopped"))
    return {
        "name": folder.name,
        "kind": "train",
        "path": str(folder.path),
        "state": "running" if held_by else "stopped" if left else "done",
        "driver": held_by,
        "trainings": len(sweep.trials),
        "columns": _names(records),
        "counts": {word: count for word, count in counted.items() if count},
        "trials": [
            {
                "id": record.id,
                "status": statuses[record.id],
                "reason": record.reason,
                "numbers": _numbers(record),
                "report": record.newest.to_json() if record.newest else None,
                "log": str(folder.trial(record.id).log),
            }
            for record in records
        ],
        "damage": folder.damage(),
    }


def print_train_standing(facts: Mapping[str, Any]) -> None:
    """Print how a sweep of trainings stands: a head line, a row per training, failures with their logs."""
    counts = ", ".join(f"{count} {status}" for status, count in facts["counts"].items())
    by = f" ({facts['driver']})" if facts["driver"] else ""
    say(f"{facts['name']}: {facts['state']}{by}; {plural(facts['trainings'], 'training')}: {counts}")
    shown = table("training", "status", *facts["columns"], right=facts["columns"])
    for trial in facts["trials"][:MOST_ROWS]:
        shown.add_row(trial["id"], trial["status"], *trial["numbers"])
    show_table(shown)
    if (more := len(facts["trials"]) - MOST_ROWS) > 0:
        say(f"+ {more} more; --json has them all")
    broken = [trial for trial in facts["trials"] if trial["status"] in BROKEN]
    for trial in broken[:MOST_DAMAGE]:
        say(f"{trial['id']} {trial['status']}: {with_log(trial['reason'], trial['log'])}")


def print_trained(folder: TrainSweep) -> None:
    """Print the table of what was trained, where it parts from the recipe, and what the test images saw."""
    records = folder.records()
    rows = trained_rows(folder, records)
    headers = headers_of(records)
    shown = table(*headers, right=headers[1:])
    for row in rows:
        shown.add_row(*row.cells())
    show_table(shown)
    for row in rows:
        if row.departures:
            say(f"{row.label} parts from its recipe: {'; '.join(row.departures)}")
    if words := tested_words(records):
        say(words)
