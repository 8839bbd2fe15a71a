"""The picture of which classes a network takes for which, as SVG and as PNG on its own light card."""

from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from raynas.disk import disk_error, write_atomic
from raynas.errors import short
from raynas.report.figures import palette
from raynas.train.evaluate import Evaluation

MOST_NUMBERS, MOST_NAMES = 25, 60
"""Classes up to which the counts are written into the squares, and the names beside them."""

LONGEST = 24
"""Letters of a class name that are shown."""


def write_confusion(found: Evaluation, folder: Path) -> list[Path]:
    """Write ``confusion.svg`` and ``confusion.png`` into ``folder`` and return the paths.

    Creates the folder if needed; raises `RaynasError` when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from None
    paths = []
    settings = {"svg.fonttype": "none", "svg.hashsalt": "confusion", "text.parse_math": False, "font.size": 9}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        figure = _draw(found)
        for suffix in ("svg", "png"):
            buffer = BytesIO()
            metadata = {"Date": None} if suffix == "svg" else None
            figure.savefig(buffer, format=suffix, dpi=160, metadata=metadata)
            paths.append(folder / f"confusion.{suffix}")
            write_atomic(paths[-1], buffer.getvalue())
    return paths


def _draw(found: Evaluation) -> Figure:
    """Draw a square per pair of classes, coloured by the share of the true class (of its row)."""
    ink, ground, blue = (palette()[name][0] for name in ("ink", "ground", "s0"))
    counts = found.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = len(counts)
    square = max(0.06, min(0.42, 6.5 / size))
    side = max(2.4, size * square)
    figure = Figure((side + 1.6, side + 1.6), layout=ConstrainedLayoutEngine(), facecolor=ground)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    hue = mpl.colors.LinearSegmentedColormap.from_list("share", [ground, blue])
    axes.imshow(shares, cmap=hue, vmin=0, vmax=1)
    if size <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            tone = ground if shares[row, column] > 0.55 else ink
            text = str(counts[row, column])
            small = 8 if len(text) < 4 else 6
            axes.text(column, row, text, ha="center", va="center", color=tone, size=small)
    if size <= MOST_NAMES:
        names = [short(name, LONGEST) for name in found.class_names]
        letters = min(9.0, 62 * square)
        upright = size > 1 and max(map(len, names)) * 0.07 > square
        axes.set_xticks(range(size), names, size=letters, rotation=90 if upright else 0)
        axes.set_yticks(range(size), names, size=letters)
    axes.tick_params(length=0, colors=ink)
    counted = "" if size <= MOST_NAMES else " class, by its number"
    axes.set_xlabel(f"predicted{counted}", color=ink)
    axes.set_ylabel(f"true{counted}", color=ink)
    said = f"{found.data}: {100 * found.accuracy:.2f} % of {found.images:,} {found.part} images right"
    figure.suptitle(said, x=0.02, ha="left", color=ink, size=9)
    for spine in axes.spines.values():
        spine.set_color(palette()["rule"][0])
    return figure
