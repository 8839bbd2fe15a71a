"""The dominant eigenvalue and the skip connections over the epochs of a finished sweep, as a figure.

``python -m benchmarks.eigenvalues runs/robustness-cpu --write docs/figures/s2-eigenvalues.png``
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from raynas.bilevel.records import EpochReport
from raynas.errors import RaynasError, unknown
from raynas.report.facts import Facts, gather, measured
from raynas.report.figures import palette
from raynas.report.pictures import strength_label
from raynas.sweep.folder import SweepFolder
from raynas.sweep.record import TrialRecord
from raynas.track.content import space_name

REFERENCE = "darts"
"""The method whose mean is drawn in every panel, where the sweep has it."""

COLUMNS = 4
WIDTH, HEIGHTS = 2.7, (1.75, 1.25)
"""Inches of a panel, and those of the two rows of a block."""

INK, RULE, MAIN, SECOND = (palette()[name][0] for name in ("ink", "rule", "s0", "s1"))


@dataclass(frozen=True)
class Band:
    """Values over epochs: mean, least and greatest of the trials that have the epoch."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def of(cls, records: Iterable[TrialRecord], value: Callable[[EpochReport], float | None]) -> "Band":
        """Gather the finite values of some trials; empty where there are none."""
        found: dict[int, list[float]] = {}
        for report in (report for record in records for report in record.reports):
            if (number := value(report)) is not None and math.isfinite(number):
                found.setdefault(report.epoch, []).append(number)
        epochs = tuple(sorted(found))
        means, lows, highs = (tuple(of(found[epoch]) for epoch in epochs) for of in (fmean, min, max))
        return cls(epochs, means, lows, highs)


@dataclass(frozen=True)
class Group:
    """The trials of one method at one strength: its eigenvalues, and its skips by kind of cell."""

    label: str
    seeds: int
    eigenvalues: Band
    skips: dict[str, Band]
    searched: int
    """Epochs of the search itself; what comes after is fine tuning."""


def groups(facts: Facts, space: str | None = None) -> list[Group]:
    """Return the groups of a sweep in plan order, of one space where it has several.

    Raises `RaynasError` when no curvature was measured, or it does not say of which space.
    """
    spaces = list(dict.fromkeys(space_name(record.config) for record in facts.records))
    if space is None and len(spaces) > 1:
        raise RaynasError("the sweep has several spaces", got=", ".join(spaces), next_step="--space NAME")
    if space is not None and space not in spaces:
        raise unknown("space of this sweep", space, spaces)
    strengths: dict[str, dict[tuple[str, ...], list[TrialRecord]]] = {}
    axes = [place for place, axis in enumerate(facts.strength_axes) if axis != "space"]
    for record, setting in zip(facts.records, facts.settings, strict=True):
        if record.reports and space_name(record.config) in (space, *(spaces if space is None else ())):
            strength = tuple(setting.strength[place] for place in axes)
            strengths.setdefault(setting.method, {}).setdefault(strength, []).append(record)
    found = [
        _group(_label(method, strength, each, [facts.strength_axes[place] for place in axes]), records)
        for method, each in strengths.items()
        for strength, records in each.items()
    ]
    if not any(group.eigenvalues.epochs for group in found):
        raise RaynasError(
            "no curvature was measured in this sweep", next_step="set `hessian: {every: 1}` in the trial file"
        )
    return found


def _label(
    method: str, strength: tuple[str, ...], others: Iterable[tuple[str, ...]], axes: Sequence[str]
) -> str:
    """Name a method, and of its strength what tells it from the method's others."""
    differing = [place for place in range(len(axes)) if len({other[place] for other in others}) > 1]
    words = strength_label([axes[place] for place in differing], [strength[place] for place in differing])
    return f"{method}, {words}" if words else method


def _group(label: str, records: Sequence[TrialRecord]) -> Group:
    kinds = dict.fromkeys(kind for record in records for kind in record.reports[-1].skips)
    return Group(
        label,
        len(records),
        Band.of(records, _positive),
        {kind: Band.of(records, lambda report, kind=kind: report.skips.get(kind)) for kind in kinds},
        max(record.config.epochs for record in records),
    )


def _positive(report: EpochReport) -> float | None:
    """Return an epoch's eigenvalue; None where it is 0, as once every edge is decided, or below."""
    value = measured(report, "eig_max")
    return value if value is not None and value > 0 else None


def draw(found: Sequence[Group], path: Path) -> None:
    """Draw a block of two panels a group and write it; the file's suffix says in which format."""
    columns = min(COLUMNS, len(found))
    blocks = -(-len(found) // columns)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9, "svg.fonttype": "none", "text.parse_math": False})
        figure = Figure(figsize=(WIDTH * columns, sum(HEIGHTS) * blocks + 0.6), layout="constrained")
        FigureCanvasAgg(figure)
        ratios = [height for _ in range(blocks) for height in HEIGHTS]
        panels = figure.subplots(2 * blocks, columns, squeeze=False, gridspec_kw={"height_ratios": ratios})
        reference = next((group for group in found if group.label == REFERENCE), None)
        for place in range(blocks * columns):
            block, column = divmod(place, columns)
            top, bottom = panels[2 * block][column], panels[2 * block + 1][column]
            if place >= len(found):
                top.set_visible(False)
                bottom.set_visible(False)
                continue
            _block(top, bottom, found[place], reference)
            if column == 0:
                top.set_ylabel("λmax / nats")
                bottom.set_ylabel("skips in the cell")
        _share(found, panels)
        drawn = {line.get_label(): line for each in figure.axes for line in each.get_lines()}
        named = {str(label): line for label, line in drawn.items() if not str(label).startswith("_")}
        figure.legend(
            named.values(),
            named.keys(),
            loc="outside lower center",
            ncols=min(len(named), columns),
            frameon=False,
        )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise RaynasError(
                f"cannot write {path}", got=str(error), next_step="--write FIGURE.png"
            ) from error


def _block(top: Axes, bottom: Axes, group: Group, reference: Group | None) -> None:
    """Draw one group: eigenvalues above with those of the reference in grey, skips below."""
    top.set_title(group.label, fontsize=9.5, color="#1f2328")
    if reference is not None and reference is not group:
        top.plot(
            reference.eigenvalues.epochs,
            reference.eigenvalues.mean,
            color=INK,
            lw=1.0,
            ls=(0, (1, 1.5)),
            label=f"{reference.label}, mean",
        )
    _band(top, group.eigenvalues, MAIN, "-", "λmax, mean and range of the seeds")
    for kind, band in group.skips.items():
        second = kind == "reduce"
        label = f"skips, {kind} cell" if len(group.skips) > 1 else "skips"
        _band(bottom, band, SECOND if second else MAIN, (0, (4, 2)) if second else "-", label)
    for axes in (top, bottom):
        last = max((*group.eigenvalues.epochs, *(e for band in group.skips.values() for e in band.epochs)))
        if last >= group.searched:
            axes.axvline(group.searched - 0.5, color=INK, lw=0.8, ls=(0, (6, 3)), label="end of the search")
        axes.grid(axis="y", color=RULE, lw=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(length=0, labelsize=8, labelcolor=INK, which="both")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    top.tick_params(labelbottom=False)
    bottom.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    bottom.set_xlabel("epoch")


def _band(axes: Axes, band: Band, colour: str, style: object, label: str) -> None:
    marker = "o" if len(band.epochs) == 1 else ""
    axes.fill_between(band.epochs, band.low, band.high, color=colour, alpha=0.18, lw=0)
    axes.plot(band.epochs, band.mean, color=colour, lw=1.5, ls=style, marker=marker, ms=3, label=label)


def _share(found: Sequence[Group], panels: Sequence[Sequence[Axes]]) -> None:
    """Give all panels of a measure one range, λmax a logarithmic one."""
    values = [value for group in found for value in (*group.eigenvalues.low, *group.eigenvalues.high)]
    epochs = [epoch for group in found for band in group.skips.values() for epoch in band.epochs]
    most = max(value for group in found for band in group.skips.values() for value in band.high)
    for place, row in enumerate(panels):
        for column, axes in enumerate(row):
            axes.set_xlim(-0.5, max(epochs) + 0.5)
            if place % 2:
                axes.set_ylim(-0.3, max(most, 1) + 0.3)
            else:
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_locator(NullLocator())
                axes.set_ylim(min(values) / 1.3, max(values) * 1.3)
            if column:
                axes.tick_params(labelleft=False, which="both")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.eigenvalues", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="of a sweep, as runs/robustness-cpu")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE", help="a .png or an .svg")
    parser.add_argument("--space", help="which, where the sweep has several")
    chosen = parser.parse_args(arguments)
    try:
        found = groups(gather(SweepFolder.find(chosen.folder.parent, chosen.folder.name)), chosen.space)
        draw(found, chosen.write)
    except RaynasError as error:
        print(error, file=sys.stderr)
        return 2
    for group in found:
        last = group.eigenvalues.mean[-1] if group.eigenvalues.mean else math.nan
        print(f"{group.label}: {group.seeds} seeds, λmax {last:.3g} at the last measurement")
    print(chosen.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
