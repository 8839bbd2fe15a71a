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
    from matplotlib.axes import Axes

    from raynas.report.pictures import Key

COUNTED = {"skips": ("Skip connections", "skips in the cell")}

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
        _add_legend(axes[-1], pictures.strength_legend(facts))
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
    with _panels(ax, len(mixes), "Share of each operation's weight") as axes:
        for one, (title, (epochs, shares)) in zip(axes, mixes.items(), strict=True):
            with figures.in_light():
                figures.draw_shares(one, epochs, shares, last)
            one.set_title(title)
        axes[-1].legend(fontsize="small")
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
def _panels(ax: "Axes | Sequence[Axes] | None", count: int, title: str) -> "Iterator[list[Axes]]":
    """Give the axes to draw into, made by pyplot unless given; as many as there are panels.

    A figure that could not be drawn does not stay among those that pyplot will show.
    """
    if ax is not None:
        yield _given(ax, count)
        return
    from matplotlib import pyplot

    figure, made = pyplot.subplots(
        1, count, figsize=(4.2 * count, 3.2), sharey=True, squeeze=False, layout="constrained"
    )
    try:
        figure.suptitle(title)
        yield list(made[0])
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


def _add_legend(axes: "Axes", keys: "Sequence[Key]") -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_on_light(key.colour), label=key.label) for key in keys]
    if handles:
        axes.legend(handles=handles, fontsize="small")


def _on_light(css: str) -> str:
    """Return the colour on light ground of what CSS calls ``var(--name)``; others as they are."""
    name = css.removeprefix("var(--").rstrip(")")
    return figures.palette()[name][0] if name in figures.palette() else css


def _nothing(name: str) -> RaynasError:
    return RaynasError(f"there is nothing to draw: no trial has {name}")
