"""The report's plots as SVG text that reads on light and dark ground alike.

Matplotlib draws with stand-in colours; each is then replaced by a CSS variable (``--ink``, ``--s0`` …) with
the light colour as fallback. In the HTML report the page sets the variables, a file of its own carries them.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, NullFormatter, ScalarFormatter

from raynas.report.curves import Band, Curve, Frame
from raynas.report.draw import style_of
from raynas.spaces.operations import OPERATIONS

_GROUND: dict[str, tuple[str, str]] = {
    # name: (on light ground, on dark ground)
    "ink": ("#5c6370", "#a3abb8"),
    "rule": ("#e4e6ea", "#2e343d"),
    "ground": ("#ffffff", "#1a1e24"),
    # Strengths: Okabe and Ito's colour-blind-safe hues, darkened or lightened for contrast of 3:1 or more.
    "s0": ("#0b6fb8", "#56b4e9"),
    "s1": ("#d55e00", "#f08a3c"),
    "s2": ("#008a64", "#2fc39a"),
    "s3": ("#b4538c", "#dd8fbd"),
    "s4": ("#8a7400", "#d8c545"),
    "s5": ("#51565e", "#c3c8d0"),
    "s6": ("#6650b8", "#a99bf0"),
    "s7": ("#a02c2c", "#f08080"),
}


def operation_colours(op: str) -> tuple[str, str]:
    """Return an operation's colours on light and on dark ground: its family's, as cells are drawn.

    Within a family those of smaller kernels, and narrower ones, are lighter and a little turned in hue.
    """
    family = OPERATIONS[op].family
    mates = [each for each in OPERATIONS.values() if each.family == family]
    mates.sort(key=lambda each: (each.kernel, each.ratio, each.dilation))
    below = len(mates) - 1 - [each.name for each in mates].index(op)
    hue, saturation, value = mpl.colors.rgb_to_hsv(mpl.colors.to_rgb(style_of(op)[0]))
    turned = mpl.colors.hsv_to_rgb(((hue + 0.03 * below) % 1, saturation, value))
    paler = 0.6 * below / max(len(mates) - 1, 1)
    light, dark = (
        mpl.colors.to_hex([number + share * (1 - number) for number in turned])
        for share in (paler, 0.2 + 0.6 * paler)
    )
    return light, dark


def palette() -> Mapping[str, tuple[str, str]]:
    """Return every colour by name, on light and on dark ground; of each operation ``op-NAME``."""
    return _palette(tuple(OPERATIONS))


@cache
def _palette(operations: tuple[str, ...]) -> Mapping[str, tuple[str, str]]:
    return _GROUND | {f"op-{op}": operation_colours(op) for op in operations}


def _stand_in(name: str) -> str:
    """Return what matplotlib paints for a name of the palette: a colour that nobody uses."""
    return f"#01{list(palette()).index(name) + 1:04x}"


STRENGTH_COLOURS = 6
MARKS = ("line", "dash", "dot")  # how a legend calls lines that are solid, dashed and dotted
_DASHES = ("-", (0, (3, 2)), (0, (1, 1.5)))
WIDTHS = {2: 5.35, 3: 3.5}  # inches of a panel, by the number of panels in a row
_LABEL = 9.0


def _style() -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "text.parse_math": False,
        "axes.unicode_minus": True,
        "font.size": _LABEL,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.edgecolor": _stand_in("rule"),
        "axes.labelcolor": _stand_in("ink"),
        "axes.labelsize": _LABEL,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": _stand_in("rule"),
        "grid.linewidth": 0.8,
        "xtick.color": _stand_in("ink"),
        "ytick.color": _stand_in("ink"),
        "xtick.labelsize": _LABEL,
        "ytick.labelsize": _LABEL,
        "xtick.major.size": 0.0,
        "ytick.major.size": 0.0,
        "xtick.minor.size": 0.0,
        "ytick.minor.size": 0.0,
    }


def strength_colour(place: int, count: int) -> str:
    """Return the colour of strength ``place`` of ``count``: its own hue, or beyond 6 a step of a scale."""
    if count <= STRENGTH_COLOURS:
        return f"s{place}"
    scale = mpl.colormaps["viridis"]
    return mpl.colors.to_hex(scale(0.15 + 0.65 * place / (count - 1)))


def css_variables(*, dark: bool) -> str:
    """Return the declarations of every colour for one ground, to go inside a CSS rule."""
    return " ".join(f"--{name}: {pair[dark]};" for name, pair in palette().items())


def line_panel(
    name: str,
    curves: Sequence[Curve],
    frame: Frame,
    label: str,
    columns: int = 3,
    bands: Sequence[Band] = (),
) -> str:
    """Draw thin lines over epochs in a shared frame, over ``bands``; ``label`` names the value and its unit.

    ``columns`` is how many panels the page sets side by side: text has the same size in all of them.
    """
    with _panel(name, WIDTHS[columns], 2.1) as (figure, axes):
        draw_lines(axes, curves, frame, label, bands)
        return _svg(figure)


def draw_lines(
    axes: Axes, curves: Sequence[Curve], frame: Frame, label: str, bands: Sequence[Band] = ()
) -> None:
    """Draw what `line_panel` does into any axes; see `in_light`."""
    axes.set_xlim(*frame.epochs)
    if frame.log:
        axes.set_yscale("log")
    axes.set_ylim(*frame.values)
    for band in bands:
        _draw_band(axes, band)
    for curve in curves:
        _draw_curve(axes, curve)
    _label_axes(axes, label)
    if frame.log:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(_plain_numbers())


def choice_panel(name: str, curves: Sequence[Curve], band: Band | None, label: str, hours: float) -> str:
    """Draw values over numbers of searches, doubling, with what each costs in hours above them.

    The curves' ``epochs`` are numbers of searches, ``hours`` what one takes.
    """
    with _panel(name, WIDTHS[2], 3.0) as (figure, axes):
        axes.set_xscale("log", base=2)
        if band is not None:
            _draw_band(axes, band)
        for curve in curves:
            _draw_curve(axes, curve)
        ticks = sorted({size for curve in curves for size in curve.epochs})
        above = axes.twiny()
        above.set_xscale("log", base=2)
        above.set_xlim(axes.get_xlim())
        above.grid(visible=False)
        for axis, words, title in (
            (axes, [str(size) for size in ticks], "searches"),
            (above, [f"{size * hours:.3g}" for size in ticks], "hours of search"),
        ):
            axis.set_xticks(ticks, words)
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.set_xlabel(title)
        axes.set_ylabel(label)
        axes.yaxis.set_major_formatter(_plain_numbers())
        return _svg(figure)


def front_panel(
    name: str,
    points: Sequence[tuple[float, float, str]],
    steps: Sequence[tuple[float, float]],
    chosen: tuple[float, float] | None,
    labels: tuple[str, str],
    limit: float | None,
) -> str:
    """Draw points (x, y, colour) of which the lowest on both axes are best, joined by ``steps``.

    A ring marks the ``chosen`` one, an upright line the ``limit`` of x.
    """
    with _panel(name, WIDTHS[2], 2.6) as (figure, axes):
        if len(steps) > 1:
            x, y = zip(*steps, strict=True)
            axes.plot(x, y, drawstyle="steps-post", color=_colour("ink"), lw=1.1)
        for x_of, y_of, colour in points:
            axes.plot(x_of, y_of, "o", ms=5, color=_colour(colour), alpha=0.85)
        if chosen is not None:
            axes.plot(*chosen, "o", ms=10, mfc="none", mec=_colour("s0"), mew=1.6, clip_on=False)
        if limit is not None:
            axes.axvline(limit, color=_colour("s1"), lw=1.1, ls=_DASHES[1])
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.yaxis.set_major_formatter(_plain_numbers())
        return _svg(figure)


def share_panel(
    name: str,
    epochs: Sequence[float],
    shares: Mapping[str, Sequence[float]],
    last_epoch: int,
    columns: int = 3,
) -> str:
    """Draw how the weight of a cell's edges is shared among its operations, stacked to 100 %."""
    with _panel(name, WIDTHS[columns], 1.9) as (figure, axes):
        draw_shares(axes, epochs, shares, last_epoch)
        return _svg(figure)


def draw_shares(
    axes: Axes, epochs: Sequence[float], shares: Mapping[str, Sequence[float]], last_epoch: int
) -> None:
    """Draw what `share_panel` does into any axes; see `in_light`."""
    if len(epochs) == 1:
        # One epoch has no width of its own: draw it as a bar around itself.
        epochs = [epochs[0] - 0.4, epochs[0] + 0.4]
        shares = {op: [values[0], values[0]] for op, values in shares.items()}
    axes.stackplot(
        epochs,
        *([100 * value for value in values] for values in shares.values()),
        colors=[_colour(_entry(op)) for op in shares],
        edgecolor=_colour("ground"),
        linewidth=0.8,
        labels=[operation_label(op) for op in shares],
    )
    axes.set_xlim(min(1, epochs[0]), max(last_epoch, epochs[-1]))
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 25, 50, 75, 100])
    axes.grid(visible=False)
    _label_axes(axes, "share of weight / %")


def heat_map(
    name: str, matrix: Sequence[Sequence[float]], labels: Sequence[str], breaks: Sequence[int]
) -> str:
    """Draw a square of shares in [0, 1] as one hue from clear to full, with gaps before the ``breaks``."""
    size = len(matrix)
    shift = [sum(place >= cut for cut in breaks) * 0.35 for place in range(size)]
    side = size + (shift[-1] if size else 0)
    cell = max(0.11, min(0.36, 5.2 / side))
    widest = 0.078 * max(map(len, labels), default=0)
    with _panel(name, side * cell + widest, side * cell + 0.05) as (figure, axes):
        for row in range(size):
            for column in range(size):
                corner = (column + shift[column] + 0.04, row + shift[row] + 0.04)
                share = matrix[row][column]
                axes.add_patch(
                    mpl.patches.Rectangle(
                        corner, 0.92, 0.92, color=_colour("s0"), alpha=0.06 + 0.94 * share, lw=0
                    )
                )
                if cell > 0.3 and row != column:
                    tone = _colour("ground") if share > 0.55 else _colour("ink")
                    middle = (corner[0] + 0.46, corner[1] + 0.48)
                    axes.text(*middle, f"{100 * share:.0f}", ha="center", va="center", color=tone, size=8)
        axes.set_xlim(0, side)
        axes.set_ylim(side, 0)
        axes.set_xticks([])
        middles = [place + shift[place] + 0.5 for place in range(size)]
        axes.set_yticks(middles, labels, size=min(_LABEL, 62 * cell))
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return _svg(figure)


def as_file(svg: str) -> str:
    """Return a plot as a file of its own that follows the viewer's light or dark ground."""
    style = (
        f"<style>svg {{ {css_variables(dark=False)} font-family: system-ui, sans-serif; }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {css_variables(dark=True)} }} }}</style>"
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        + re.sub(r"(<svg[^>]*>)", rf"\1{style}", svg, count=1)
        + "\n"
    )


@contextmanager
def _panel(name: str, width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a fresh figure of this size in inches, outside pyplot so that nothing global is touched.

    ``name`` goes into the ids inside the SVG, so that plots can share a page.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_style(), "svg.hashsalt": name})
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02))
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def _draw_band(axes: Axes, band: Band) -> None:
    colour = _colour(band.colour)
    style = _DASHES[band.dashes % len(_DASHES)]
    axes.fill_between(band.epochs, band.low, band.high, color=colour, alpha=0.16, lw=0)
    axes.plot(band.epochs, band.middle, color=colour, lw=1.6, ls=style)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    colour = _colour(curve.colour)
    style = _DASHES[curve.dashes % len(_DASHES)]
    alone = "o" if len(curve.epochs) == 1 else ""
    axes.plot(curve.epochs, curve.values, color=colour, lw=1.1, alpha=0.85, ls=style, marker=alone, ms=3)
    if curve.end:
        marker = "o" if curve.end == "chosen" else "x"
        last = curve.epochs[-1], curve.values[-1]
        axes.plot(*last, marker=marker, ms=6.5, mfc="none", mec=colour, mew=1.6, clip_on=False)


def _label_axes(axes: Axes, label: str) -> None:
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _plain_numbers() -> ScalarFormatter:
    formatter = ScalarFormatter(useOffset=False)
    formatter.set_powerlimits((-4, 5))
    return formatter


_IN_LIGHT = ContextVar("in the colours of light ground", default=False)


@contextmanager
def in_light() -> Iterator[None]:
    """Draw in the colours of light ground, for axes that are not made into the report's SVG."""
    token = _IN_LIGHT.set(True)
    try:
        yield
    finally:
        _IN_LIGHT.reset(token)


def _colour(name: str) -> str:
    """Return the stand-in of a palette entry; other colours stand for themselves."""
    if name not in palette():
        return name
    return palette()[name][0] if _IN_LIGHT.get() else _stand_in(name)


def _svg(figure: Figure) -> str:
    """Return the figure as one ``<svg>`` element: colours as CSS variables, only the ids in use."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    for name, (light, _) in palette().items():
        svg = svg.replace(_stand_in(name), f"var(--{name}, {light})")
    return svg.strip()


def operation_css(op: str) -> str:
    """Return an operation's colour as CSS."""
    return f"var(--{_entry(op)})"


def _entry(op: str) -> str:
    """Return the palette's entry of an operation; one that is no longer listed is grey."""
    return f"op-{op}" if op in OPERATIONS else "s5"


def operation_label(op: str) -> str:
    """Return an operation's short label, as drawn on cells."""
    return OPERATIONS[op].short if op in OPERATIONS else op
