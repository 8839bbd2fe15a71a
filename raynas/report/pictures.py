"""The plots of the report: the facts turned into small multiples with a caption for each."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from raynas.report import figures
from raynas.report.curves import Band, Curve, Frame
from raynas.report.facts import Facts, MethodSetting, measured
from raynas.report.stats import Alike, alike, mean_shares
from raynas.report.text import slug
from raynas.spaces import skeletons
from raynas.sweep.record import TrialRecord
from raynas.sweep.status import BROKEN

MOST_LINES = 40
"""Most lines of a panel: more cannot be told apart, and what was drawn last hides the others."""

MOST_STEPS = 8
"""Most lines of a panel of whole numbers, which lie upon each other."""

LARGEST_MAP = 48
"""Most cells compared in one heat map; beyond, its squares are too small to read."""


@dataclass(frozen=True)
class Picture:
    """One plot: ``name`` is its file's stem, ``title`` is printed above it, ``alt`` says what it shows."""

    name: str
    title: str
    alt: str
    svg: str


@dataclass(frozen=True)
class Key:
    """One entry of a legend; ``mark`` is one of `raynas.report.figures.MARKS` or ``area``, ``colour`` CSS."""

    label: str
    colour: str
    mark: str


@dataclass(frozen=True)
class Multiple:
    """Panels of one measure, one per method, ``columns`` side by side, with the legend they share."""

    title: str
    panels: tuple[Picture, ...]
    legend: tuple[Key, ...]
    columns: int


@dataclass(frozen=True)
class Likeness:
    """How alike the ranked trials' cells are.

    ``grouping`` says what the trials of a group share, ``setting`` or ``method``. ``picture`` is None for
    too many trials, ``chance`` (the share of two random cells) without the space; ``labels`` are the trials'.
    """

    alike: Alike
    grouping: str
    picture: Picture | None
    chance: float | None
    labels: tuple[str, ...] = ()


MEASURED = {
    "eig_max": ("λmax of the Hessian", "λmax / nats"),
    "valid_loss": ("Validation loss", "validation loss / nats"),
    "table_regret": ("Regret in the table", "regret / %"),
}
"""What the report draws over epochs, a line per trial: title, and label of the axis."""


def curves(facts: Facts) -> list[Multiple]:
    """Return λmax, validation loss and the cell's regret over epochs; what no trial has is left out."""
    found = []
    for name, (title, label) in MEASURED.items():
        lines = lines_of(facts, name)
        multiple = _line_multiple(facts, title, label, lines, name, from_zero=name == "table_regret")
        found += [multiple] if multiple else []
    return found


def lines_of(facts: Facts, name: str) -> dict[str, list[Curve]]:
    """Return each trial's values of one of `Facts.measures` over epochs; those that have none are left out.

    Of ``skips`` those of each kind of cell, in dashes of its own.
    """
    names = [f"skips_{kind}" for kind in facts.kinds] if name == "skips" else [name]
    found: dict[str, list[Curve]] = {}
    for record in facts.records:
        each = (_curve(facts, record, one, dashes) for dashes, one in enumerate(names))
        if drawn := [curve for curve in each if curve]:
            found[record.id] = drawn
    return found


def skip_counts(facts: Facts) -> Multiple | None:
    """Return skip connections in the derived cells over epochs: each kind in dashes of its own."""
    lines = lines_of(facts, "skips")
    multiple = _line_multiple(facts, "Skip connections", "skips in the cell", lines, "skips", from_zero=True)
    if multiple is None:
        return None
    kinds = [
        Key(f"{kind} cell", "var(--ink)", mark)
        for kind, mark in zip(facts.kinds, cycle(figures.MARKS), strict=False)
    ]
    if len(kinds) < 2:
        return multiple
    return replace(multiple, legend=(*multiple.legend, *kinds))


def operation_mix(facts: Facts) -> list[Multiple]:
    """Return the share of each operation's weight over epochs, one row per group of α."""
    if facts.space is None:
        return []
    last = max((report.epoch + 1 for record in facts.records for report in record.reports), default=1)
    found = []
    for group in (group for group in skeletons.groups(facts.space) if group.operations):
        panels, used = [], dict[str, None]()
        for place, method in enumerate(facts.methods):
            histories = [record.reports for record in _of_method(facts, method)]
            if (mix := mean_shares(group, histories)) is None:
                continue
            epochs, shares = mix
            used |= dict.fromkeys(shares)
            final = ", ".join(
                f"{figures.operation_label(op)} {100 * s[-1]:.0f} %" for op, s in shares.items()
            )
            name = _name("mix", group.name, place, method)
            svg = figures.share_panel(name, epochs, shares, last, _columns(facts))
            alt = f"Share of weight by operation, {group.title}, {method}; at the last epoch: {final}"
            panels.append(Picture(name, method, alt, svg))
        legend = tuple(Key(figures.operation_label(op), figures.operation_css(op), "area") for op in used)
        if panels:
            found.append(Multiple(group.title.capitalize(), tuple(panels), legend, _columns(facts)))
    return found


def likeness(facts: Facts) -> Likeness | None:
    """Compare the ranked trials' last cells pair by pair; None below two trials.

    Groups are settings, so that only the seed differs inside one; methods if no setting has two trials.
    """
    ranked = sorted(facts.ranked, key=lambda record: _place(facts, record))
    cells = [record.deciding.genotype for record in ranked if record.deciding]
    if len(cells) < 2:
        return None
    settings = [facts.setting(record) for record in ranked]
    grouping = "setting" if len(set(settings)) < len(settings) else "method"
    groups = [_setting_label(facts, s) if grouping == "setting" else s.method for s in settings]
    found = alike(cells, groups)
    picture = None
    if len(cells) <= LARGEST_MAP:
        breaks = [place for place in range(1, len(groups)) if groups[place] != groups[place - 1]]
        svg = figures.heat_map("alike", found.matrix, [record.id for record in ranked], breaks)
        alt = "Share of choices that each pair of cells has in common, in percent"
        picture = Picture("alike", "", alt, svg)
    chance = skeletons.of(facts.space).chance(facts.space) if facts.space else None
    return Likeness(found, grouping, picture, chance, tuple(record.id for record in ranked))


def _line_multiple(
    facts: Facts, title: str, label: str, lines: dict[str, list[Curve]], stem: str, *, from_zero: bool = False
) -> Multiple | None:
    if (framed := in_one_frame(facts, lines, counts=stem == "skips", from_zero=from_zero)) is None:
        return None
    frame, found = framed
    panels = []
    for method, (count, curves, bands) in found.items():
        name = _name(stem, "", facts.methods.index(method), method)
        svg = figures.line_panel(name, curves, frame, label, _columns(facts), bands)
        shown = f"{count} lines summed up" if bands else "one line per trial"
        panels.append(Picture(name, method, f"{title} over epochs, {method}, {shown}", svg))
    return Multiple(title, tuple(panels), strength_legend(facts), _columns(facts))


def in_one_frame(
    facts: Facts, lines: Mapping[str, list[Curve]], *, counts: bool = False, from_zero: bool = False
) -> tuple[Frame, dict[str, tuple[int, list[Curve], list[Band]]]] | None:
    """Return, by method, how many lines there are and what is drawn for them, and the axes they share.

    ``lines`` are by trial; None where there are none.
    """
    found: dict[str, tuple[int, list[Curve], list[Band]]] = {}
    for method in facts.methods:
        own = [curve for record in _of_method(facts, method) for curve in lines.get(record.id, [])]
        if own:
            most = MOST_STEPS if counts else MOST_LINES
            found[method] = (len(own), *_summed_up(own, most, counts=counts))
    if not found:
        return None
    drawn = [curve for _, curves, _ in found.values() for curve in curves]
    bands = [band for *_, bands in found.values() for band in bands]
    return Frame.around(drawn, bands, from_zero=from_zero), found


def _summed_up(curves: list[Curve], most: int, *, counts: bool) -> tuple[list[Curve], list[Band]]:
    """Return curves as they are, or where there are more than ``most`` a band per colour and the chosen one.

    With more colours than hues all become one band per style.
    """
    if len(curves) <= most:
        return curves, []
    few = len({curve.colour for curve in curves}) <= figures.STRENGTH_COLOURS
    groups: dict[tuple[str, int], list[Curve]] = {}
    for curve in curves:
        colour = curve.colour if few else "ink"
        groups.setdefault((colour, curve.dashes), []).append(replace(curve, colour=colour))
    bands = [Band.of(group, counts=counts) for group in groups.values()]
    return [curve for curve in curves if curve.end == "chosen"], bands


def _curve(facts: Facts, record: TrialRecord, name: str, dashes: int = 0) -> Curve | None:
    """Return one of `Facts.measures` over epochs; None when it has no finite value."""
    values = ((report.epoch + 1, measured(report, name, facts.yardstick)) for report in record.reports)
    unit = 100.0 if name == "table_regret" else 1.0
    points = [(epoch, unit * value) for epoch, value in values if value is not None and math.isfinite(value)]
    if not points:
        return None
    epochs, heights = zip(*points, strict=True)
    winner = facts.selection.winner
    end = "chosen" if winner and winner.trial.id == record.id else ""
    if record.status in BROKEN:
        end = "stopped"
    strength = facts.setting(record).strength
    colour = figures.strength_colour(facts.strengths.index(strength), len(facts.strengths))
    return Curve(epochs, heights, colour, dashes, end)


def strength_legend(facts: Facts) -> tuple[Key, ...]:
    """Name the colours; of a long scale only its two ends."""
    if not facts.strength_axes:
        return ()
    count = len(facts.strengths)
    shown: Iterable[int] = range(count) if count <= figures.STRENGTH_COLOURS else (0, count - 1)
    keys = []
    for place in shown:
        colour = figures.strength_colour(place, count)
        css = colour if colour.startswith("#") else f"var(--{colour})"
        keys.append(Key(strength_label(facts.strength_axes, facts.strengths[place]), css, "line"))
    return tuple(keys)


def strength_label(axes: Sequence[str], strength: Sequence[str]) -> str:
    """Return a strength in words: ``weight_decay 0.0003``."""
    return ", ".join(f"{axis} {value}" for axis, value in zip(axes, strength, strict=True))


def _columns(facts: Facts) -> int:
    """Fill rows evenly: four methods as two by two, else up to three in a row."""
    return 2 if len(facts.methods) in (1, 2, 4) else 3


def _place(facts: Facts, record: TrialRecord) -> tuple[int, int]:
    """Return what orders trials by setting: methods in plan order, then strengths by size."""
    setting = facts.setting(record)
    return facts.methods.index(setting.method), facts.strengths.index(setting.strength)


def _setting_label(facts: Facts, setting: MethodSetting) -> str:
    strength = strength_label(facts.strength_axes, setting.strength)
    return f"{setting.method}, {strength}" if strength else setting.method


def _of_method(facts: Facts, method: str) -> list[TrialRecord]:
    return [r for r, setting in zip(facts.records, facts.settings, strict=True) if setting.method == method]


def _name(stem: str, kind: str, place: int, method: str) -> str:
    return "-".join(part for part in (stem, kind, f"{place + 1}", slug(method)) if part)
