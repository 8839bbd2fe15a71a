"""Drawings of cells: nothing overlaps, everything is said, and the files stand on their own."""

import random
import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import combinations, permutations, product
from math import factorial, prod
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from raynas.errors import RaynasError
from raynas.report.cell_layout import _Graph, lay_out_cell
from raynas.report.draw import CARD, INK, LABEL, LINE, MUTED, draw_cell, style_of, write_cells
from raynas.report.drawing import Box
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space, names
from raynas.spaces.operations import FAMILIES, OPERATIONS
from raynas.spaces.skeletons import SKELETONS

SVG = "{http://www.w3.org/2000/svg}"
SPACES = [
    name
    for name in sorted(names("search_spaces"))
    if not (
        skeletons.of(load_space(name)).has_trunk or skeletons.of(load_space(name)).texts
    )  # they have tests of their own
]
Line = tuple[np.ndarray, np.ndarray]


@cache
def random_genotypes(name: str, count: int) -> list[Genotype]:
    """Cells of one space; those after the first half keep any number of edges, as a user's space may."""
    space = load_space(name)
    draw = random.Random(name)
    cells = []
    for i in range(count):
        other = space.model_copy(update={} if i < count / 2 else {"keep": draw.choice([1, 2, 3])})
        weights = {
            g.name: [[draw.random() for _ in range(g.width)] for _ in g.rows] for g in skeletons.groups(other)
        }
        cells.append(derive(other, weights))
    return cells


def both_kinds(space: str, nodes: int, edges: list[Choice]) -> Genotype:
    return Genotype.of(space, nodes, dict.fromkeys(("normal", "reduce"), edges))


ALL_OPS = list(OPERATIONS)
CHAIN = both_kinds("skips", 4, [Choice("skip_connect", s, t) for t in range(2, 6) for s in (t - 2, t - 1)])
EVERY_EDGE = both_kinds(
    "all", 4, [Choice(ALL_OPS[(3 * t + s) % 9], s, t) for t in range(2, 6) for s in range(t)]
)
FROM_INPUTS = both_kinds(
    "wide", 4, [Choice(ALL_OPS[2 * t + s - 4], s, t) for t in range(2, 6) for s in (0, 1)]
)
ONE_INPUT = both_kinds("lonely", 2, [Choice("noise", 1, 2), Choice("none", 2, 3)])
DEEP = both_kinds("deep", 8, [Choice("sep_conv_5x5", s, t) for t in range(2, 10) for s in (0, t - 1)])
SHAPES = {
    "chain": CHAIN,
    "every edge": EVERY_EDGE,
    "inputs": FROM_INPUTS,
    "one input": ONE_INPUT,
    "deep": DEEP,
}


def trace(path: str) -> Line:
    """Follow an SVG path of one M and any C (cubic) and H, densely: its x and y."""
    xs, ys = [], []
    for command, numbers in re.findall(r"([MCH])([^MCH]*)", path):
        values = [float(v) for v in re.findall(r"-?[\d.]+", numbers)]
        if command == "C":
            t = np.linspace(0, 1, 60)
            (x0, y0), (x1, y1, x2, y2, x3, y3) = (xs[-1], ys[-1]), values
            basis = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            xs += list(sum(b * x for b, x in zip(basis, (x0, x1, x2, x3), strict=True)))
            ys += list(sum(b * y for b, y in zip(basis, (y0, y1, y2, y3), strict=True)))
        else:
            ends = (values[0], values[1] if command == "M" else ys[-1])
            xs += list(np.linspace(xs[-1] if xs else ends[0], ends[0], 40))
            ys += [ends[1]] * 40
    return np.array(xs), np.array(ys)


def touches(box: Box, line: Line, room: float) -> bool:
    x, y = line
    inside = (abs(x - box.x) < box.width / 2 + room) & (abs(y - box.y) < box.height / 2 + room)
    return bool(inside.any())


def overlap(one: Box, other: Box, room: float) -> bool:
    apart_x = abs(one.x - other.x) >= (one.width + other.width) / 2 + room
    apart_y = abs(one.y - other.y) >= (one.height + other.height) / 2 + room
    return not (apart_x or apart_y)


def longest_run_together(one: Line, other: Line) -> float:
    """The longest stretch, in pixels along x, on which two lines are closer than their thickness."""
    start, stop = max(one[0][0], other[0][0]), min(one[0][-1], other[0][-1])
    x = np.arange(start, stop, 1.0)
    close = abs(np.interp(x, *one) - np.interp(x, *other)) < 2.5
    run = longest = 0
    for near in close:
        run = run + 1 if near else 0
        longest = max(longest, run)
    return longest


def check_drawing(genotype: Genotype, kind: str) -> None:
    plan = lay_out_cell(genotype, kind)
    root = ElementTree.fromstring(draw_cell(genotype, kind))
    lines = [trace(path.attrib["d"]) for path in root.iter(f"{SVG}path")]
    assert len(lines) == len(plan.wires)
    pills = [wire.pill for wire in plan.wires if wire.pill]
    for one, other in combinations([*pills, *plan.blocks], 2):
        assert not overlap(one, other, room=4), (one, other)
    for wire, line in zip(plan.wires, lines, strict=True):
        assert (np.diff(line[0]) >= -1e-9).all()
        assert line[0].min() > 0
        assert line[0].max() < plan.width
        assert line[1].min() > 40
        assert line[1].max() < plan.height
        touched = [block.text for block in plan.blocks if touches(block, line, room=4)]
        assert len(touched) == 2, (wire, touched)
        assert not [pill for pill in pills if pill is not wire.pill and touches(pill, line, room=3)], wire
        assert wire.pill is None or touches(wire.pill, line, room=-5)
    for one, other in combinations(lines, 2):
        # A crossing brings two lines together for a moment; on one track they would stay for a column.
        assert longest_run_together(one, other) < 24


@pytest.mark.parametrize("name", SPACES)
def test_nothing_overlaps_in_random_cells(name: str) -> None:
    cells = random_genotypes(name, 12)
    few = 8 if cells[0].skeleton == "macro" else 1  # a hundred lines each
    for i, genotype in enumerate(cells[::few]):
        check_drawing(genotype, genotype.kinds[i % len(genotype.kinds)])


@pytest.mark.parametrize("name", SHAPES)
def test_nothing_overlaps_in_extreme_cells(name: str) -> None:
    check_drawing(SHAPES[name], "normal")


def drawn_crossings(genotype: Genotype, kind: str) -> int:
    root = ElementTree.fromstring(draw_cell(genotype, kind))
    crossings = 0
    for one, other in combinations([trace(path.attrib["d"]) for path in root.iter(f"{SVG}path")], 2):
        start, stop = max(one[0][0], other[0][0]), min(one[0][-1], other[0][-1])
        if start < stop:
            x = np.linspace(start + 0.1, stop - 0.1, 2000)
            above = np.interp(x, *one) > np.interp(x, *other)
            crossings += int((above[1:] != above[:-1]).sum())
    return crossings


def crossings(graph: _Graph, columns: Iterable[Sequence[int]]) -> int:
    rank = {place: i for column in columns for i, place in enumerate(column)}
    return sum(
        (rank[a] - rank[c]) * (rank[b] - rank[d]) < 0
        for (a, b), (c, d) in combinations(graph.links, 2)
        if graph.column[a] == graph.column[c]
    )


def fewest_crossings(genotype: Genotype, kind: str) -> int | None:
    """Try every order of the places in the columns, unless there are too many."""
    graph = _Graph(genotype, kind)
    first, *others = graph.columns
    if prod(factorial(len(column)) for column in others) > 300:
        return None
    return min(crossings(graph, (first, *orders)) for orders in product(*map(permutations, others)))


def test_no_move_of_one_place_saves_a_crossing() -> None:
    for genotype in (*random_genotypes("darts", 12), EVERY_EDGE):
        graph = _Graph(genotype, "normal")
        graph.untangle()
        least = crossings(graph, graph.columns)
        for number, column in list(enumerate(graph.columns))[1:]:
            for place, position in product(column, range(len(column))):
                rest = [other for other in column if other != place]
                moved = [*rest[:position], place, *rest[position:]]
                columns = [*graph.columns[:number], moved, *graph.columns[number + 1 :]]
                assert crossings(graph, columns) >= least


@pytest.mark.slow
def test_lines_cross_no_more_than_they_must() -> None:
    tried = [
        (cell, fewest_crossings(cell, cell.kinds[0]))
        for name in SPACES
        for cell in random_genotypes(name, 34)
    ]
    known = [(cell, fewest) for cell, fewest in tried if fewest is not None]
    assert len(known) > 40
    more = [drawn_crossings(cell, "normal") - fewest for cell, fewest in known]
    assert min(more) == 0
    assert max(more) <= 1
    assert more.count(0) >= 0.97 * len(more)


@pytest.mark.parametrize("genotype", [*(random_genotypes(name, 12)[0] for name in SPACES), *SHAPES.values()])
def test_one_line_per_choice_and_one_label_per_operation(genotype: Genotype) -> None:
    for kind in genotype.kinds:
        root = ElementTree.fromstring(draw_cell(genotype, kind))
        choices = genotype.cell(kind)
        labelled, plain = root.findall(f"{SVG}g/{SVG}path"), root.findall(f"{SVG}path")
        labels = [text.text for text in root.findall(f"{SVG}g/{SVG}text")]
        blocks = ["".join(text.itertext()) for text in root.findall(f"{SVG}text")][2:]
        if genotype.skeleton in ("blocks", "dense"):
            ops = {choice.target: choice.op for choice in choices if choice.op != "identity"}
            names = ["ck−1", "ck", *(OPERATIONS[op].short for op in ops.values())]
            assert (len(labelled), len(plain), labels) == (0, len(choices), [])
        elif genotype.skeleton == "macro":
            names = ["ck−1", *(OPERATIONS[c.op].short for c in choices if c.source == c.target - 1)]
            assert (len(labelled), len(plain), labels) == (0, len(choices), [])
        else:
            to_output = len(skeletons.of(genotype).gathered(genotype, kind))
            two = skeletons.of(genotype).inputs == 2
            inputs = ["ck−2", "ck−1"] if two else ["ck−1"]
            nodes = range(genotype.nodes) if two else range(1, genotype.nodes)
            names = [*inputs, "ck", *map(str, nodes)]
            assert (len(labelled), len(plain)) == (len(choices), to_output)
            beside = " + skip" if skeletons.of(genotype).skips else ""
            assert sorted(labels) == sorted(OPERATIONS[choice.op].short + beside for choice in choices)
        assert sorted(blocks) == sorted(names)


def test_every_line_joins_the_states_its_title_names() -> None:
    plan = lay_out_cell(EVERY_EDGE, "normal")
    blocks = {block.text: block for block in plan.blocks}
    titles = {0: "c_{k-2}", 1: "c_{k-1}"} | {state: str(state - 2) for state in range(2, 6)}
    for wire in plan.wires:
        if wire.choice is None:
            continue
        source, target = blocks[titles[wire.choice.source]], blocks[titles[wire.choice.target]]
        (x0, y0), (x1, y1) = wire.points[0], wire.points[-1]
        assert x0 == source.x + source.width / 2
        assert x1 == target.x - target.width / 2
        assert abs(y0 - source.y) < source.height / 2 - 4
        assert abs(y1 - target.y) < target.height / 2 - 4


def test_words_for_those_who_cannot_see_it() -> None:
    root = ElementTree.fromstring(draw_cell(FROM_INPUTS, "normal"))
    assert root.attrib["role"] == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == root.attrib["aria-label"] == "Normal cell"
    assert root[1].tag == f"{SVG}desc"
    words = root[1].text or ""
    assert words.startswith("node 0 = none(c_{k-2}) + max_pool_3x3(c_{k-1}); node 1 = avg_pool_3x3(c_{k-2})")
    tips = [title.text for title in root.findall(f"{SVG}g/{SVG}title")]
    for choice in FROM_INPUTS.cell("normal"):
        assert choice.op in words
        assert any(tip and tip.endswith(f"node {choice.target - 2}: {choice.op}") for tip in tips)


def test_svg_stands_alone_and_clashes_with_nothing() -> None:
    text = draw_cell(EVERY_EDGE, "reduce")
    attributes = {name for element in ElementTree.fromstring(text).iter() for name in element.attrib}
    assert not attributes & {"id", "class", "href", "src"}
    assert "url(" not in text
    assert "<style" not in text
    assert text.replace("http://www.w3.org/2000/svg", "").count("://") == 0
    assert text.startswith("<svg ")


def test_drawing_is_deterministic() -> None:
    cells = {kind: list(reversed(EVERY_EDGE.cell(kind))) for kind in reversed(EVERY_EDGE.kinds)}
    again = Genotype.of("all", 4, cells)
    assert draw_cell(again, "normal") == draw_cell(EVERY_EDGE, "normal")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    bright, dark = sorted([luminance(one), luminance(other)], reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_colours_reach_the_contrast_that_wcag_asks_for() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for words in (INK, MUTED):
        assert contrast(words, CARD) >= 4.5
    for line in (LINE, *(family.colour for family in FAMILIES.values())):
        assert contrast(line, CARD) >= 3


def test_every_family_has_its_own_look() -> None:
    assert set(FAMILIES) == {operation.family for operation in OPERATIONS.values()}
    assert len({(family.colour, family.dashes) for family in FAMILIES.values()}) == len(FAMILIES)
    assert FAMILIES["skip"].dashes
    assert not FAMILIES["separable"].dashes


@pytest.mark.parametrize("op", [op.name for op in OPERATIONS.values() if op.skeleton in ("", "recurrent")])
def test_labels_fit_their_pills(op: str) -> None:
    from matplotlib.textpath import TextPath

    if SKELETONS["darts"].takes(op):
        pill = lay_out_cell(both_kinds("x", 1, [Choice(op, 0, 2)]), "normal").wires[0].pill
    else:
        cell = {"recurrent": [Choice(op, 0, 1)]}
        pill = lay_out_cell(Genotype.of("x", 1, cell, "recurrent"), "recurrent").wires[0].pill
    assert pill is not None
    written = TextPath((0, 0), pill.text, size=LABEL).get_extents()
    assert written.width + 8 <= pill.width <= written.width + 26
    assert written.height + 6 <= pill.height


def test_a_long_space_name_widens_the_card() -> None:
    space = "a-space-with-a-name-that-is-much-longer-than-its-small-cell-is-wide"
    plan = lay_out_cell(Genotype.of(space, 2, dict(ONE_INPUT.cells)), "normal")
    assert space in plan.subtitle
    assert plan.width > 6 * len(space)


def test_unknown_kind() -> None:
    with pytest.raises(RaynasError, match="unknown kind of cell 'norm'"):
        draw_cell(CHAIN, "norm")


def test_files(tmp_path: Path) -> None:
    from matplotlib.image import imread

    genotype = random_genotypes("s1", 12)[0]
    paths = write_cells(genotype, tmp_path / "best")
    assert [path.name for path in paths] == [
        "cell-normal.svg",
        "cell-normal.png",
        "cell-reduce.svg",
        "cell-reduce.png",
    ]
    for kind, svg, png in (("normal", *paths[:2]), ("reduce", *paths[2:])):
        assert svg.read_text(encoding="utf-8") == draw_cell(genotype, kind)
        assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        plan, pixels = lay_out_cell(genotype, kind), imread(png)
        assert pixels.shape[:2] == pytest.approx((2 * plan.height, 2 * plan.width), abs=1)
        assert pixels[0, 0, 3] == 0  # outside the card's round corner
        for wire in plan.wires:
            # Each line is painted where the layout has it, in its colour (dotted ones begin with a dot).
            x, y = wire.points[0]
            colour = style_of(wire.choice.op)[0] if wire.choice else LINE
            wanted = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            near = pixels[round(2 * y) - 3 : round(2 * y) + 3, round(2 * x) + 2 : round(2 * x) + 12, :3]
            assert abs(near - wanted).max(axis=-1).min() < 0.12, wire
    assert sorted(tmp_path.joinpath("best").iterdir()) == sorted(paths)
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_cells(genotype, tmp_path / "best")] == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RaynasError, match="cannot write") as caught:
        write_cells(CHAIN, tmp_path / "file" / "best")
    assert str(tmp_path) in str(caught.value)
