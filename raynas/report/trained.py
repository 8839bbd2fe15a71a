"""The report of a sweep of trainings: its table and learning curves, as one HTML file and in Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.report import figures
from raynas.report.build import render, write_pictures
from raynas.report.facts import resolved_yaml
from raynas.report.figures import Curve, Frame
from raynas.report.pictures import Key, Multiple, Picture
from raynas.report.stats import Spread
from raynas.report.text import MISSING, duration, format_number, percent, spread_percent
from raynas.sweep.cells import cell_label
from raynas.sweep.folder import TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.record import TrainRecord
from raynas.sweep.status import BROKEN, STATUSES
from raynas.train.config import TrainConfig
from raynas.train.recipe import load_recipe

ONCE = (
    "The test images were looked at once, after the last epoch of each training; no epoch, seed or setting "
    "was chosen by them."
)
UNTESTED = "The data set has no test images, so there is no error on any."

_MEASURES = (
    ("train_loss", "Training loss", "training loss / nats"),
    ("train_accuracy", "Accuracy on the training images", "accuracy / %"),
    ("valid_accuracy", "Accuracy on the images held out", "accuracy / %"),
)


@dataclass(frozen=True)
class TrainedRow:
    """All seeds of one cell under one setting.

    ``finished`` of the ``planned`` trainings ran to their end; ``errors`` are (seed, error on the test images
    at the last epoch), in [0, 1], of those that finished; ``departures`` says where the setting parts from
    its recipe.
    """

    label: str
    cell: str
    planned: int
    finished: int
    errors: tuple[tuple[int, float], ...]
    held_out: Spread | None
    parameters: int | None
    seconds: float
    departures: tuple[str, ...]

    @property
    def error(self) -> Spread | None:
        """Mean and sample standard deviation over seeds."""
        return Spread.of(error for _, error in self.errors)

    def cells(self) -> list[str]:
        """Return the row as texts, in the order of `HEADERS`."""
        return [
            self.label,
            spread_percent(self.error),
            ", ".join(f"{percent(error)} (seed {seed})" for seed, error in self.errors) or MISSING,
            f"{self.finished}/{self.planned}",
            spread_percent(self.held_out),
            f"{self.parameters:,}" if self.parameters else MISSING,
            duration(self.seconds),
        ]


MOST_NAMED = 12
"""Colours that a legend explains; more cannot be told apart."""

HEADERS = ("cell", "test error %", "each seed", "seeds", "held out, error %", "parameters", "time")


def trained_rows(sweep: Sweep[TrainConfig], records: Sequence[TrainRecord]) -> list[TrainedRow]:
    """Fold a sweep's trainings into a row per cell and setting, in plan order; seeds are together."""
    groups: dict[str, list[TrainRecord]] = {}
    for record in records:
        groups.setdefault(record.config.model_dump_json(exclude={"seed"}), []).append(record)
    return [_row(group, recipe_of(sweep)) for group in groups.values()]


def _row(group: Sequence[TrainRecord], recipe: str) -> TrainedRow:
    first = group[0]
    ended = [(record.config.seed, record.tested) for record in group if record.tested]
    tested = [(seed, last.test_accuracy) for seed, last in ended if last.test_accuracy is not None]
    valid = [last.valid_accuracy for _, last in ended if last.valid_accuracy is not None]
    return TrainedRow(
        label=first.id.removesuffix(f"-s{first.config.seed}"),
        cell=cell_label(first.config.cell),
        planned=len(group),
        finished=len(ended),
        errors=tuple((seed, 1 - accuracy) for seed, accuracy in tested),
        held_out=Spread.of(1 - accuracy for accuracy in valid),
        parameters=next((record.parameters for record in group if record.parameters), None),
        seconds=sum(report.seconds for record in group for report in record.reports),
        departures=departures(first.config, recipe),
    )


def recipe_of(sweep: Sweep[TrainConfig]) -> str:
    """Return a sweep's recipe: its name, or its file's path."""
    return str(sweep.resolved.get("train", ""))


def departures(config: TrainConfig, recipe: str) -> tuple[str, ...]:
    """Say where a training parts from its recipe, a key each."""
    try:
        found = load_recipe(recipe).departures(config)
    except RaynasError as error:
        return (f"the recipe cannot be read any more: {error.what}",)
    return tuple(f"{key} {_plain(ours)} instead of {_plain(theirs)}" for key, (theirs, ours) in found.items())


def tested_words(records: Sequence[TrainRecord]) -> str:
    """Say what became of the test images; empty before any training has finished."""
    ended = [record.tested for record in records if record.tested]
    if not ended:
        return ""
    return ONCE if any(report.test_accuracy is not None for report in ended) else UNTESTED


def build_trained(folder: TrainSweep) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.md`` of a sweep of trainings, whatever its state.

    Also writes ``trained.json``, the table, and the plots of the Markdown as ``report/*.svg``. It is made
    from the folder alone. Raises `RaynasError` when it cannot be read or written.
    """
    sweep, records = folder.sweep(), folder.records()
    rows, curves = trained_rows(sweep, records), _curves(records)
    counts = {status: sum(record.status == status for record in records) for status in STATUSES}
    content = {
        "sweep": sweep,
        "counts": {status: count for status, count in counts.items() if count},
        "scope": _scope(records),
        "headers": HEADERS,
        "rows": rows,
        "tested": tested_words(records),
        "parts": [(row.label, row.departures) for row in rows],
        "curves": curves,
        "failures": [(each.id, each.status, each.reason) for each in records if each.status in BROKEN],
        "yaml": resolved_yaml(sweep).rstrip(),
    }
    panels = [picture for multiple in curves for picture in multiple.panels]
    write_pictures(panels, folder.path / "report")
    table = [dict(zip(HEADERS, row.cells(), strict=True)) for row in rows]
    write_atomic(folder.path / "trained.json", (json.dumps(table, indent=2) + "\n").encode())
    html, markdown = folder.path / "report.html", folder.path / "report.md"
    for path, template in ((html, "trained.html"), (markdown, "trained.md")):
        write_atomic(path, render(template, content).encode())
    return html, markdown


def _scope(records: Sequence[TrainRecord]) -> str:
    configs = [record.config for record in records]
    recipes = dict.fromkeys(f"recipe {config.recipe}" for config in configs)
    data = dict.fromkeys(f"data {config.data.name}" for config in configs)
    epochs = dict.fromkeys(f"{config.epochs} epochs" for config in configs)
    return "; ".join(", ".join(words) for words in (recipes, data, epochs))


def _curves(records: Sequence[TrainRecord]) -> list[Multiple]:
    """Return the learning curves, a colour per cell and setting and a line per seed."""
    groups = list(dict.fromkeys(record.id.rpartition("-s")[0] for record in records))
    colours = {group: figures.strength_colour(place, len(groups)) for place, group in enumerate(groups)}
    found = []
    for name, title, label in _MEASURES:
        lines = (_curve(record, name, colours[record.id.rpartition("-s")[0]]) for record in records)
        drawn = [curve for curve in lines if curve]
        if drawn:
            svg = figures.line_panel(name, drawn, Frame.around(drawn), label, 2)
            panel = Picture(name, title, f"{title} over epochs, one line per training", svg)
            found.append(panel)
    shown = colours.items() if len(colours) <= MOST_NAMED else ()
    css = {group: colour if colour.startswith("#") else f"var(--{colour})" for group, colour in shown}
    legend = tuple(Key(group, colour, "line") for group, colour in css.items())
    return [Multiple("Learning curves", tuple(found), legend, 2)] if found else []


def _curve(record: TrainRecord, name: str, colour: str) -> Curve | None:
    scale = 100.0 if name.endswith("accuracy") else 1.0
    points = [(r.epoch, getattr(r, name)) for r in record.reports if getattr(r, name) is not None]
    if not points:
        return None
    end = "stopped" if record.status in BROKEN else ""
    return Curve(tuple(e for e, _ in points), tuple(scale * v for _, v in points), colour, end=end)


def _plain(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else json.dumps(value)
