"""Drawing a derived cell as SVG and PNG, without any program outside Python."""

from collections.abc import Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from xml.sax.saxutils import escape, quoteattr

from raynas.disk import disk_error, write_atomic
from raynas.report import cell_layout, chain_layout
from raynas.report.drawing import HEADING, MARGIN, TAIL, Box, Drawing, Point, Wire
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.operations import FAMILIES, OPERATIONS, Dashes, Family

INK, MUTED, LINE, EDGE, CARD, FILL = "#1f2328", "#59636e", "#8c959f", "#d0d7de", "#ffffff", "#eef1f4"
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LABEL, NUMBER, TITLE = 11, 14, 13
"""Type sizes; a label's is the one that `cell_layout` makes room for."""
THICK, THIN, RIM = 2.2, 1.2, 1.5

OTHER = Family("other")
"""The family of an operation that is not listed (any more)."""


def style_of(op: str) -> tuple[str, Dashes]:
    """Return an operation's colour and dashes: its family's."""
    family = FAMILIES[OPERATIONS[op].family] if op in OPERATIONS else OTHER
    return family.colour, family.dashes


def draw_cell(genotype: Genotype, kind: str) -> str:
    """Return one kind of cell as a standalone SVG, also fit to be inlined in HTML.

    It brings its own light card, so it reads on any background; it holds no ids, styles or references that
    a page could clash with. Raises `RaynasError` on an unknown kind.
    """
    return _svg(_layout(genotype, kind))


def draw_png(genotype: Genotype, kind: str) -> bytes:
    """Return one kind of cell as PNG, as `draw_cell` has it."""
    return _png(_layout(genotype, kind))


def write_cells(genotype: Genotype, folder: Path) -> list[Path]:
    """Write ``cell-<kind>.svg`` and ``.png`` for every kind into ``folder`` and return the paths.

    Creates the folder if needed; raises `RaynasError` when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_error(error, folder) from None
    paths = []
    for kind in genotype.kinds:
        drawing = _layout(genotype, kind)
        for suffix, data in (("svg", _svg(drawing).encode()), ("png", _png(drawing))):
            paths.append(folder / f"cell-{kind}.{suffix}")
            write_atomic(paths[-1], data)
    return paths


def _layout(genotype: Genotype, kind: str) -> Drawing:
    place = chain_layout.lay_out_chain if skeletons.of(genotype).has_trunk else cell_layout.lay_out_cell
    return place(genotype, kind)


class _Canvas(Protocol):
    """What a kind of picture must be able to paint; later strokes cover earlier ones."""

    def box(self, box: Box, radius: float, fill: str, rim: str, thick: float) -> None: ...

    def curve(self, points: Sequence[Point], colour: str, dashes: Dashes, thick: float) -> None: ...

    def polygon(self, points: Sequence[Point], colour: str) -> None: ...

    def text(self, x: float, y: float, words: str, size: int, colour: str, anchor: str) -> None: ...

    def group(self, title: str) -> None: ...

    def end_group(self) -> None: ...


def _paint(drawing: Drawing, canvas: _Canvas) -> None:
    width, height = drawing.width, drawing.height
    canvas.box(Box(width / 2, height / 2, width - 1, height - 1, ""), 12, CARD, EDGE, 1)
    canvas.text(MARGIN, HEADING, drawing.title, TITLE, INK, "start")
    canvas.text(width - MARGIN, HEADING, drawing.subtitle, LABEL, MUTED, "end")
    for wire in drawing.wires:
        _paint_wire(wire, canvas)
    for block in drawing.blocks:
        rim, thick = (style_of(block.op)[0], THICK) if block.op else (MUTED, THIN)
        canvas.box(block, 8, FILL if _is_symbol(block.text) else CARD, rim, thick)
        canvas.text(block.x, block.y + 0.35 * NUMBER, block.text, NUMBER, INK, "middle")


def _paint_wire(wire: Wire, canvas: _Canvas) -> None:
    if wire.choice is None or wire.pill is None:
        canvas.curve(wire.points, LINE, (), THIN)
        return
    choice, pill = wire.choice, wire.pill
    colour, dashes = style_of(choice.op)
    canvas.group(wire.title or choice.op)
    canvas.curve(wire.points, colour, dashes, THICK)
    canvas.polygon(_arrow(wire.points[-1]), colour)
    canvas.box(pill, pill.height / 2, CARD, colour, RIM)
    canvas.text(pill.x, pill.y + 0.35 * LABEL, pill.text, LABEL, INK, "middle")
    canvas.end_group()


def _arrow(tip: Point) -> list[Point]:
    """Return an arrow from the label to ``tip``, its shaft solid where the line may be dashed."""
    x, y = tip
    back, half, wing = x - 8, THICK / 2, 4
    upper = [(x - TAIL, y - half), (back, y - half), (back, y - wing)]
    return [*upper, tip, *((px, 2 * y - py) for px, py in reversed(upper))]


def _is_symbol(text: str) -> bool:
    return text[1:3] == "_{"


def _bends(points: Sequence[Point]) -> list[tuple[Point, Point, Point, Point]]:
    """Return each bend of a wire as two control points, the bend's end, and the level line's end."""
    bends = []
    for (x, y), (bend, level), end in zip(points[:-1:2], points[1::2], points[2::2], strict=True):
        middle = (x + bend) / 2
        bends.append(((middle, y), (middle, level), (bend, level), end))
    return bends


def _svg(drawing: Drawing) -> str:
    canvas = _Svg()
    _paint(drawing, canvas)
    size = f"{_n(drawing.width)} {_n(drawing.height)}".split()
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {" ".join(size)}" width="{size[0]}" '
            f'height="{size[1]}" style="max-width:100%;height:auto" role="img" '
            f"aria-label={quoteattr(drawing.title)} font-family={quoteattr(FONTS)}>",
            f"<title>{escape(drawing.title)}</title>",
            f"<desc>{escape(drawing.description)}</desc>",
            *canvas.rows,
            "</svg>\n",
        ]
    )


class _Svg:
    def __init__(self) -> None:
        self.rows: list[str] = []

    def box(self, box: Box, radius: float, fill: str, rim: str, thick: float) -> None:
        left, top = _n(box.x - box.width / 2), _n(box.y - box.height / 2)
        self.rows.append(
            f'<rect x="{left}" y="{top}" width="{_n(box.width)}" height="{_n(box.height)}" rx="{_n(radius)}" '
            f'fill="{fill}" stroke="{rim}" stroke-width="{thick}"/>'
        )

    def curve(self, points: Sequence[Point], colour: str, dashes: Dashes, thick: float) -> None:
        path = f"M{_pair(points[0])}"
        for *bend, (end, _) in _bends(points):
            path += f"C{' '.join(map(_pair, bend))}H{_n(end)}"
        dash = f' stroke-dasharray="{" ".join(map(_n, dashes))}"' if dashes else ""
        self.rows.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{thick}" '
            f'stroke-linecap="round"{dash}/>'
        )

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        self.rows.append(f'<polygon points="{" ".join(map(_pair, points))}" fill="{colour}"/>')

    def text(self, x: float, y: float, words: str, size: int, colour: str, anchor: str) -> None:
        content = escape(words)
        if _is_symbol(words):
            below = f'<tspan dy="3" font-size="{size - 4}">{words[3:-1].replace("-", "−")}</tspan>'
            content = f'<tspan font-style="italic">{words[0]}</tspan>{below}'
        weight = ' font-weight="600"' if size == TITLE else ""
        self.rows.append(
            f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size}"{weight} text-anchor="{anchor}" '
            f'fill="{colour}">{content}</text>'
        )

    def group(self, title: str) -> None:
        self.rows.append(f"<g><title>{escape(title)}</title>")

    def end_group(self) -> None:
        self.rows.append("</g>")


def _n(number: float) -> str:
    """Write a coordinate with one decimal, or none."""
    return f"{number:.1f}".removesuffix(".0")


def _pair(point: Point) -> str:
    return f"{_n(point[0])},{_n(point[1])}"


def _png(drawing: Drawing) -> bytes:
    canvas = _Png(drawing.width, drawing.height)
    _paint(drawing, canvas)
    stream = BytesIO()
    canvas.figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


class _Png:
    """The canvas of matplotlib: one of its points to a pixel of the layout, two pixels to a point."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(width / 72, height / 72), dpi=144, facecolor="none")
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self.axes.axis("off")
        self.order = count()

    def _patch(self, patch: Any) -> None:
        patch.set_zorder(next(self.order))
        self.axes.add_patch(patch)

    def box(self, box: Box, radius: float, fill: str, rim: str, thick: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        corner = (box.x - box.width / 2, box.y - box.height / 2)
        shape = f"round,pad=0,rounding_size={radius}"
        patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=shape)
        patch.set(facecolor=fill, edgecolor=rim, linewidth=thick)
        self._patch(patch)

    def curve(self, points: Sequence[Point], colour: str, dashes: Dashes, thick: float) -> None:
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path as Curve

        bends = _bends(points)
        vertices = [points[0], *(point for bend in bends for point in bend)]
        codes = [Curve.MOVETO] + [Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO] * len(bends)
        # Matplotlib counts dashes in line widths.
        line = (0, tuple(dash / thick for dash in dashes)) if dashes else "solid"
        patch = PathPatch(Curve(vertices, codes), fill=False)
        patch.set(edgecolor=colour, linewidth=thick, linestyle=line, capstyle="round")
        self._patch(patch)

    def polygon(self, points: Sequence[Point], colour: str) -> None:
        from matplotlib.patches import Polygon

        self._patch(Polygon(points, facecolor=colour, edgecolor="none"))

    def text(self, x: float, y: float, words: str, size: int, colour: str, anchor: str) -> None:
        symbol = _is_symbol(words)
        self.axes.text(
            x,
            y,
            f"${words.replace('-', '{-}')}$" if symbol else words,
            fontsize=size,
            color=colour,
            ha={"start": "left", "middle": "center", "end": "right"}[anchor],
            weight="bold" if size == TITLE else "normal",
            parse_math=symbol,
            zorder=next(self.order),
        )

    def group(self, title: str) -> None:
        """Do nothing: a PNG has no groups."""

    def end_group(self) -> None:
        """Do nothing: a PNG has no groups."""
