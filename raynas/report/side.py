"""Cells drawn side by side: as a page that stands alone, or as one PNG."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from raynas.disk import write_atomic
from raynas.errors import RaynasError
from raynas.report.compare import Comparison, edge_rows
from raynas.report.draw import draw_cell, draw_png
from raynas.report.page import render
from raynas.trust.contenders import Contender

GAP, HEAD = 24, 40
"""Pixels between the cells of a PNG, and above them for their names."""


def check_drawable(to: Path) -> None:
    """Raise `RaynasError` for a file that cells are not drawn into: one that is neither .html nor .png."""
    if to.suffix.lower() not in (".html", ".png"):
        raise RaynasError(
            "cells are drawn side by side as .html or .png",
            got=to.name,
            expected="--draw cells.html, or --draw cells.png",
        )


def write_side_by_side(comparison: Comparison, contenders: Sequence[Contender], to: Path) -> None:
    """Write cells beside one another to ``to``.

    Raises `RaynasError` as `check_drawable`, and when the file cannot be written.
    """
    check_drawable(to)
    writer = _page if to.suffix.lower() == ".html" else _png
    write_atomic(to, writer(comparison, contenders))


def _page(comparison: Comparison, contenders: Sequence[Contender]) -> bytes:
    content: dict[str, Any] = {
        "comparison": comparison,
        "headers": comparison.headers(),
        "rows": comparison.rows(),
        "drawn": [
            (each.label, [draw_cell(each.genotype, kind) for kind in each.genotype.kinds])
            for each in contenders
        ],
        "edges": edge_rows(contenders),
    }
    return render("compare.html", content).encode()


def _png(comparison: Comparison, contenders: Sequence[Contender]) -> bytes:
    """Draw a column for each cell, a row for each of its kinds."""
    import matplotlib.image
    from matplotlib.figure import Figure

    columns = [
        [matplotlib.image.imread(BytesIO(draw_png(each.genotype, kind))) for kind in each.genotype.kinds]
        for each in contenders
    ]
    widths = [max(image.shape[1] for image in column) for column in columns]
    height = max(sum(image.shape[0] + GAP for image in column) for column in columns) + HEAD
    width = sum(widths) + GAP * (len(columns) + 1)
    dpi = 144
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="white")
    left = GAP
    for each, column, wide in zip(comparison.cells, columns, widths, strict=True):
        figure.text(left / width, 1 - HEAD / 2 / height, each.label, va="center", parse_math=False, size=12)
        top = height - HEAD
        for image in column:
            top -= image.shape[0]
            figure.figimage(image, left, top)
            top -= GAP
        left += wide + GAP
    stream = BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
