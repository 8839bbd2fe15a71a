"""The report of a sweep of trainings: its table and learning curves, as one HTML file and in Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raynas.disk import write_atomic
from raynas.errors import RaynasError, plural
from raynas.report import figures
from raynas.report.curves import Curve, Frame
from raynas.report.page import render, write_pictures
from raynas.report.pictures import Key, Multiple, Picture
from raynas.report.provenance import resolved_yaml
from raynas.report.stats import Spread
from raynas.report.text import MISSING, duration, format_number, percent, spread, spread_percent
from raynas.sweep.cells import cell_label
from raynas.sweep.control import is_random
from raynas.sweep.folder import TRAINED, SweepFolder, TrainSweep
from raynas.sweep.plan import Sweep
from raynas.sweep.record import TrainRecord
from raynas.sweep.short_results import SHORT
from raynas.sweep.status import BROKEN, STATUSES
from raynas.train.config import TrainConfig
from raynas.train.recipe import load_recipe

ONCE = (
    "The test images were looked at once, after the last epoch of each training; no epoch, seed or setting "
    "was chosen by them."
)
UNTESTED = "The data set has no test images, so there is no error on any."
CHOOSES = "No test image was looked at: what is held out (data.select) is to choose among the cells."
ONCE_WORDS = (
    "The words of the test were read once, after the last epoch of each training; no epoch, seed or setting "
    "was chosen by them."
)
UNTESTED_WORDS = "The text has no words to test on, so there is no perplexity of any."

_MEASURES = (
    ("train_loss", "Training loss", "training loss / nats"),
    ("train_accuracy", "Accuracy on the training images", "accuracy / %"),
    ("valid_accuracy", "Accuracy on the images held out", "accuracy / %"),
)
_MEASURES_OF_TEXTS = (
    ("train_loss", "Training loss", "training loss / nats"),
    ("valid_loss", "Loss on the words held out", "loss / nats"),
    ("valid_perplexity", "Perplexity of the words held out", "perplexity"),
)


@dataclass(frozen=True)
class TrainedRow:
    """All seeds of one cell under one setting.

    ``finished`` of the ``planned`` trainings ran to their end; ``errors`` are (seed, error on the test images
    at the last epoch), in [0, 1], of those that finished, or of ``texts`` perplexities; ``departures`` says
    where the setting parts from its recipe. A row of ``random`` cells, so many, has a mean for each of them
    in place of the seeds.
    """

    label: str
    cell: str
    planned: int
    finished: int
    errors: tuple[tuple[int, float], ...]
    held_out: Spread | None
    parameters: int | None
    multiply_adds: int | None
    seconds: float
    departures: tuple[str, ...]
    texts: bool = False
    random: int = 0

    @property
    def error(self) -> Spread | None:
        """Mean and sample standard deviation over seeds."""
        return Spread.of(error for _, error in self.errors)

    def cells(self) -> list[str]:
        """Return the row as texts, in the order of `headers_of`."""
        number, spread_of = (format_number, spread) if self.texts else (percent, spread_percent)
        return [
            self.label,
            spread_of(self.error),
            ", ".join(
                f"{number(error)}{'' if self.random else f' (seed {seed})'}" for seed, error in self.errors
            )
            or MISSING,
            f"{self.finished}/{self.planned}",
            spread_of(self.held_out),
            f"{self.parameters:,}" if self.parameters else MISSING,
            f"{self.multiply_adds:,}" if self.multiply_adds else MISSING,
            duration(self.seconds),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain numbers: errors, as fractions in [0, 1], or of texts perplexities.

        Null where there is none.
        """
        error, held_out, told = self.error, self.held_out, "perplexity" if self.texts else "error"
        return {
            "cell": self.label,
            f"{told}_mean": error.mean if error else None,
            f"{told}_sd": error.sd if error else None,
            "seeds": [{"seed": seed, told: value} for seed, value in self.errors],
            "planned": self.planned,
            "finished": self.finished,
            f"held_out_{told}_mean": held_out.mean if held_out else None,
            f"held_out_{told}_sd": held_out.sd if held_out else None,
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "seconds": self.seconds,
            "departures": list(self.departures),
        }


MOST_NAMED = 12
"""Colours that a legend explains; more cannot be told apart."""

_HEADERS = (
    "cell",
    "test error %",
    "each seed",
    "seeds",
    "held out, error %",
    "parameters",
    "multiply-adds",
    "time",
)
_HEADERS_OF_TEXTS = (
    "cell", "test perplexity", "each seed", "seeds", "held out, perplexity", "parameters",
    "multiply-adds", "time",
)  # fmt: skip


def of_texts(records: Sequence[TrainRecord]) -> bool:
    """Tell whether a sweep trains language models."""
    return any(record.config.text is not None for record in records)


def headers_of(records: Sequence[TrainRecord]) -> tuple[str, ...]:
    """Return the headers of the table: errors of images, perplexities of texts."""
    return _HEADERS_OF_TEXTS if of_texts(records) else _HEADERS


def trained_rows(folder: TrainSweep, records: Sequence[TrainRecord]) -> list[TrainedRow]:
    """Fold a sweep's trainings into a row per cell and setting, in plan order; seeds are together."""
    groups: dict[str, list[TrainRecord]] = {}
    for record in records:
        groups.setdefault(record.config.model_dump_json(exclude={"seed"}), []).append(record)
    recipe = recipe_of(folder.sweep(), folder.recipe)
    rows = [_row(group, recipe) for group in groups.values()]
    drawn = [row for row, group in zip(rows, groups.values(), strict=True) if is_random(group[0].config.cell)]
    return [*(row for row in rows if row not in drawn), *([_random_row(drawn)] if drawn else [])]


def _random_row(rows: Sequence[TrainedRow]) -> TrainedRow:
    """Fold the rows of random cells into one: each cell's mean over its seeds."""
    means = [row.error.mean for row in rows if row.error]
    held_out = Spread.of(row.held_out.mean for row in rows if row.held_out)
    return replace(
        rows[0],
        label=f"{len(rows)} random cells",
        cell="random",
        planned=sum(row.planned for row in rows),
        finished=sum(row.finished for row in rows),
        errors=tuple(enumerate(means)),
        held_out=held_out,
        parameters=None,
        multiply_adds=None,
        seconds=sum(row.seconds for row in rows),
        random=len(rows),
    )


def _row(group: Sequence[TrainRecord], recipe: str) -> TrainedRow:
    first = group[0]
    ended = [(record.config.seed, record.tested) for record in group if record.tested]
    texts = of_texts(group)
    tested = [(seed, _told(last.test_accuracy, last.test_perplexity, texts)) for seed, last in ended]
    valid = [_told(last.valid_accuracy, last.valid_perplexity, texts) for _, last in ended]
    return TrainedRow(
        label=first.id.removesuffix(f"-s{first.config.seed}"),
        cell=cell_label(first.config.cell),
        planned=len(group),
        finished=len(ended),
        errors=tuple((seed, told) for seed, told in tested if told is not None),
        held_out=Spread.of(told for told in valid if told is not None),
        parameters=next((record.parameters for record in group if record.parameters), None),
        multiply_adds=next((record.multiply_adds for record in group if record.multiply_adds), None),
        seconds=sum(report.seconds for record in group for report in record.reports),
        departures=departures(first.config, recipe),
        texts=texts,
    )


def _told(accuracy: float | None, perplexity: float | None, texts: bool) -> float | None:
    """Return the number that a training is told by: its error, or of a language model its perplexity."""
    if texts or accuracy is None:
        return perplexity if texts else None
    return 1 - accuracy


def recipe_of(sweep: Sweep[TrainConfig], kept: Path | None = None) -> str:
    """Return a sweep's recipe: the path of the one that its folder has ``kept``, or its name or file."""
    return str(kept) if kept is not None and kept.is_file() else str(sweep.resolved.get("train", ""))


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
    if any(record.config.data.select for record in records):
        return CHOOSES
    once, untested = (ONCE_WORDS, UNTESTED_WORDS) if of_texts(records) else (ONCE, UNTESTED)
    return once if any(report.test_accuracy is not None for report in ended) else untested


def build_trained(folder: TrainSweep) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.md`` of a sweep of trainings, whatever its state.

    Also writes ``trained.json``, the table, and the plots of the Markdown as ``report/*.svg``. It is made
    from the folder alone. Raises `RaynasError` when it cannot be read or written.
    """
    sweep, records = folder.sweep(), folder.records()
    rows, curves = trained_rows(folder, records), _curves(records)
    counts = {status: sum(record.status == status for record in records) for status in STATUSES}
    content = {
        "sweep": sweep,
        "counts": {status: count for status, count in counts.items() if count},
        "scope": _scope(records),
        "headers": headers_of(records),
        "rows": rows,
        "says": _says(records),
        "steps": next_steps(folder, records),
        "parts": [(row.label, row.departures) for row in rows],
        "curves": curves,
        "failures": [(each.id, each.status, each.reason) for each in records if each.status in BROKEN],
        "yaml": resolved_yaml(sweep).rstrip(),
    }
    panels = [picture for multiple in curves for picture in multiple.panels]
    write_pictures(panels, folder.path / "report")
    table = [row.to_json() for row in rows]
    write_atomic(folder.path / "trained.json", (json.dumps(table, indent=2) + "\n").encode())
    html, markdown = folder.path / "report.html", folder.path / "report.md"
    for path, template in ((html, "trained.html"), (markdown, "trained.md")):
        write_atomic(path, render(template, content).encode())
    return html, markdown


def _says(records: Sequence[TrainRecord]) -> str:
    words = "Mean ± sample standard deviation over seeds, at the last epoch."
    return f"{words} {tested_words(records)}".rstrip()


def next_steps(folder: TrainSweep, records: Sequence[TrainRecord]) -> list[tuple[str, str]]:
    """Return what can be done with a sweep of trainings by now: in words, and the command."""
    found = []
    if any(record.status in ("running", "waiting") for record in records):
        found = [("go on with what has not ended", f"raynas resume {folder.called}")]
    tested = any(record.tested and record.tested.test_accuracy is not None for record in records)
    if any(record.status == "finished" for record in records):
        found += [("test the first network, class by class", f"raynas evaluate {folder.called}")] * tested
        found += [
            ("ask it about images", f"raynas predict {folder.called} IMAGES"),
            ("hand it on", f"raynas export {folder.called} --to onnx --to model.py"),
        ]
    return found


@dataclass(frozen=True)
class TrainedSweep:
    """A sweep that trains the winners of another, as the other's report shows it."""

    name: str
    scope: str
    says: str
    headers: Sequence[str]
    rows: Sequence[TrainedRow]
    curves: Sequence[Multiple]
    steps: Sequence[tuple[str, str]]


def trained_in(folder: SweepFolder) -> list[TrainedSweep]:
    """Return the sweeps that train a sweep's winners, by name; one that cannot be read says so.

    Short trainings, which choose the winner and test nothing, are not among them.
    """
    names = (name for name in folder.trained() if name != SHORT)
    return [_trained(TrainSweep(folder.path / TRAINED / name)) for name in names]


def _trained(folder: TrainSweep) -> TrainedSweep:
    try:
        records = folder.records()
    except RaynasError as error:
        return TrainedSweep(folder.name, error.what, "", headers_of(()), (), (), ())
    return TrainedSweep(
        folder.name,
        _scope(records),
        _says(records),
        headers_of(records),
        trained_rows(folder, records),
        _curves(records, f"trained-{folder.name}-"),
        next_steps(folder, records),
    )


def _scope(records: Sequence[TrainRecord]) -> str:
    configs = [record.config for record in records]
    recipes = dict.fromkeys(f"recipe {config.recipe}" for config in configs)
    data = dict.fromkeys(f"data {config.data.name}" for config in configs)
    epochs = dict.fromkeys(plural(config.epochs, "epoch") for config in configs)
    return "; ".join(", ".join(words) for words in (recipes, data, epochs))


def _curves(records: Sequence[TrainRecord], prefix: str = "") -> list[Multiple]:
    """Return the learning curves, a colour per cell and setting and a line per seed.

    ``prefix`` stands before the names of the pictures' files.
    """
    groups = list(dict.fromkeys(record.id.rpartition("-s")[0] for record in records))
    colours = {group: figures.strength_colour(place, len(groups)) for place, group in enumerate(groups)}
    found = []
    for name, title, label in _MEASURES_OF_TEXTS if of_texts(records) else _MEASURES:
        lines = (_curve(record, name, colours[record.id.rpartition("-s")[0]]) for record in records)
        drawn = [curve for curve in lines if curve]
        if drawn:
            svg = figures.line_panel(name, drawn, Frame.around(drawn), label, 2)
            panel = Picture(f"{prefix}{name}", title, f"{title} over epochs, one line per training", svg)
            found.append(panel)
    shown = colours.items() if len(colours) <= MOST_NAMED else ()
    css = {group: colour if colour.startswith("#") else f"var(--{colour})" for group, colour in shown}
    legend = tuple(Key(group, colour, "line") for group, colour in css.items())
    return [Multiple("Learning curves", tuple(found), legend, 2)] if found else []


def _curve(record: TrainRecord, name: str, colour: str) -> Curve | None:
    scale = 100.0 if name.endswith("accuracy") else 1.0
    points = [(r.epoch + 1, getattr(r, name)) for r in record.reports if getattr(r, name) is not None]
    if not points:
        return None
    end = "stopped" if record.status in BROKEN else ""
    return Curve(tuple(e for e, _ in points), tuple(scale * v for _, v in points), colour, end=end)


def _plain(value: Any) -> str:
    return format_number(value) if isinstance(value, float) else json.dumps(value)
