"""The report's figures drawn into matplotlib axes, for a notebook or a paper."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from raynas.errors import RaynasError, unknown
from raynas.report import figures, pictures
from raynas.report.facts import MEASURES, Facts
from raynas.report.stats import mean_shares
from raynas.spaces import skeletons

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from raynas.report.pictures import Key

COUNTED = {"skips": ("Skip connections", "skips in the cell")}

MOST_COLUMNS = 4
"""Panels of a row; more would not fit a page."""

LEGEND_INCHES = 1.4
"""Width of a legend's entry."""

OTHERS = ("operations", "alike")
"""What is drawn besides lines over epochs: shares of the operations' weight, and how alike the cells are."""


def draw(facts: Facts, name: str, ax: "Axes | Sequence[Axes] | None" = None) -> "list[Axes]":
    """Draw a figure of the report and return its axes, one per method; see `Results.plot`."""
    if name == "operations":
        return _operations(facts, ax)
    if name == "alike":
        return _alike(facts, ax)
    titles = titles_of(facts)
    if name not in titles:
        raise unknown("figure", name, [*titles, *OTHERS])
    counts = name.startswith("skips")
    framed = pictures.in_one_frame(
        facts, pictures.lines_of(facts, name), counts=counts, from_zero=counts or name == "table_regret"
    )
    if framed is None:
        raise _nothing(name)
    frame, found = framed
    title, label = titles[name]
    with _panels(ax, len(found), title) as axes:
        for one, (method, (_, curves, bands)) in zip(axes, found.items(), strict=True):
            with figures.in_light():
                figures.draw_lines(one, curves, frame, label, bands)
            one.set_title(method)
        _add_legend(axes, _handles(pictures.strength_legend(facts)), own=ax is None)
    return axes


def titles_of(facts: Facts) -> Mapping[str, tuple[str, str]]:
    """Return title and axis label of all that can be drawn over epochs."""
    each = {name: (words.capitalize(), words) for name, words in MEASURES.items()}
    kinds = {f"skips_{kind}": (f"Skips in {kind} cells", "skips") for kind in facts.kinds}
    return {**each, **pictures.MEASURED, **COUNTED, **kinds}


def _operations(facts: Facts, ax: "Axes | Sequence[Axes] | None") -> "list[Axes]":
    if facts.space is None:
        raise RaynasError("shares of weight need one search space", got="a sweep of several")
    last = max((report.epoch for record in facts.records for report in record.reports), default=0)
    mixes = {}
    for group in (group for group in skeletons.groups(facts.space) if group.operations):
        for method in facts.methods:
            records = (r for r in facts.records if facts.setting(r).method == method)
            if (mix := mean_shares(group, [record.reports for record in records])) is not None:
                mixes[f"{method}, {group.title}"] = mix
    if not mixes:
        raise _nothing("operations")
    columns = len({title.partition(", ")[0] for title in mixes})  # a row for each kind of cell
    with _panels(ax, len(mixes), "Share of each operation's weight", columns) as axes:
        for one, (title, (epochs, shares)) in zip(axes, mixes.items(), strict=True):
            with figures.in_light():
                figures.draw_shares(one, epochs, shares, last)
            one.set_title(title)
        _add_legend(axes, axes[-1].get_legend_handles_labels()[0], own=ax is None)
    return axes


def _alike(facts: Facts, ax: "Axes | Sequence[Axes] | None") -> "list[Axes]":
    if (found := pictures.likeness(facts)) is None or found.picture is None:
        raise _nothing("alike")
    labels = found.labels
    with _panels(ax, 1, "How alike the cells are") as axes:
        [one] = axes
        image = one.imshow(found.alike.matrix, vmin=0, vmax=1, cmap="Blues")
        one.set_xticks([])
        one.set_yticks(range(len(labels)), labels)
        one.figure.colorbar(image, ax=one, label="share of choices in common")
    return axes


@contextmanager
def _panels(
    ax: "Axes | Sequence[Axes] | None", count: int, title: str, columns: int = MOST_COLUMNS
) -> "Iterator[list[Axes]]":
    """Give the axes to draw into, made by pyplot unless given; as many as there are panels.

    A figure that could not be drawn does not stay among those that pyplot will show.
    """
    if ax is not None:
        yield _given(ax, count)
        return
    from matplotlib import pyplot

    columns = min(columns, MOST_COLUMNS, count)
    rows = -(-count // columns)
    figure, made = pyplot.subplots(
        rows, columns, figsize=(4.2 * columns, 3.2 * rows), sharey=True, squeeze=False, layout="constrained"
    )
    try:
        figure.suptitle(title)
        for empty in made.flat[count:]:
            empty.remove()
        yield list(made.flat[:count])
        for place, one in enumerate(made.flat[:count]):
            if place % columns:  # the axis is that of the row's first
                one.set_ylabel("")
    except BaseException:
        pyplot.close(figure)
        raise


def _given(ax: "Axes | Sequence[Axes]", count: int) -> "list[Axes]":
    some: Any = ax
    given = list(some) if isinstance(some, Sequence) or hasattr(some, "ravel") else [some]
    if len(given) != count:
        raise RaynasError(
            "not as many axes as there are panels", got=len(given), expected=f"{count}, one per method"
        )
    return given


def _handles(keys: "Sequence[Key]") -> "list[Artist]":
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=_on_light(key.colour), label=key.label) for key in keys]


def _add_legend(axes: "Sequence[Axes]", handles: "Sequence[Artist]", *, own: bool) -> None:
    """Say what colours mean: below the panels of a figure of its ``own``, else in the last of those given."""
    if not handles:
        return
    figure = axes[-1].get_figure(root=True)
    if own and figure is not None:
        columns = max(int(figure.get_figwidth() / LEGEND_INCHES), 1)
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize="small")
    else:
        axes[-1].legend(handles=handles, fontsize="small")


def _on_light(css: str) -> str:
    """Return the colour on light ground of what CSS calls ``var(--name)``; others as they are."""
    name = css.removeprefix("var(--").rstrip(")")
    return figures.palette()[name][0] if name in figures.palette() else css


def _nothing(name: str) -> RaynasError:
    return RaynasError(f"there is nothing to draw: no trial has {name}")
