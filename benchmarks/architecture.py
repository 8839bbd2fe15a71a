"""The picture of the rooms in docs/architecture.md, made from the code.

`python -m benchmarks.architecture --write docs/figures/rooms.svg` draws every folder and module right under
`raynas/` on its floor, with what its docstring says of it, its size, and the rooms that it imports. An arrow
that follows from two others is left out, and so are those to the ground floor, which everything uses.
"""

import argparse
import ast
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

from tests.test_packaging import FLOORS, GROUND, PACKAGE, imports, modules, part_of, tree

PAGE = PACKAGE.parent / "docs" / "architecture.md"
WIDTH, HEIGHT, PITCH, STOREY = 2.62, 0.88, 2.82, 1.2
"""Inches: a room, and from the middle of one room or floor to that of the next."""
INK, MUTED, CARD, LINE = "#1f2328", "#59636e", "#ffffff", "#8c959f"
BANDS = ("#eef1f4", "#f7f8fa")
BADGE = "#d55e00"

Arrow = tuple[str, str]


class Room(NamedTuple):
    """A folder or module right under `raynas/`: what it says of itself, and its lines."""

    name: str
    says: str
    lines: int


class Facts(NamedTuple):
    """What the picture shows: rooms by floor from the ground up, arrows, and what the page says."""

    floors: tuple[tuple[str, ...], ...]
    rooms: Mapping[str, Room]
    arrows: tuple[Arrow, ...]
    steps: Mapping[str, tuple[int, ...]]
    questions: Mapping[frozenset[str], str]

    def to_json(self) -> dict[str, object]:
        """Return plain data, to be kept in the picture."""
        return {
            "floors": [sorted(floor) for floor in self.floors],
            "arrows": sorted(map(list, self.arrows)),
            "says": {room.name: room.says for room in self.rooms.values()},
            "lines": {room.name: room.lines for room in self.rooms.values()},
            "questions": {" ".join(sorted(rooms)): asked for rooms, asked in self.questions.items()},
            "steps": {room: list(numbers) for room, numbers in self.steps.items()},
        }


def gather() -> Facts:
    """Read the package and the page."""
    rooms = {name: _room(name) for floor in FLOORS for name in sorted(floor)}
    graph = {name: set[str]() for name in rooms}
    for module in modules():
        for used in imports(module):
            if used.startswith("raynas.") and part_of(module) in graph:
                graph[part_of(module)].add(used.split(".")[1])
    graph = {name: used & set(rooms) - {name} for name, used in graph.items()}
    arrows = tuple((a, b) for a, b in _reduced(graph) if b not in FLOORS[0])
    return Facts(_arranged(arrows), rooms, arrows, _steps(), questions())


def _room(name: str) -> Room:
    own = [module for module in modules() if part_of(module) == name]
    first = next(module for module in own if module.name in (f"{name}.py", "__init__.py"))
    sentence = re.split(r"[.;](?=\s|$)", ast.get_docstring(tree(first)) or "")[0]
    sentence = re.sub(r"`(?:\w+\.)*(\w+)`", r"\1", sentence)
    lines = sum(len((PACKAGE / module).read_text(encoding="utf-8").splitlines()) for module in own)
    return Room(name, " ".join(sentence.split()), lines)


def _reduced(graph: Mapping[str, set[str]]) -> Iterator[Arrow]:
    """Yield the arrows that do not follow from others."""

    @cache
    def reach(name: str) -> set[str]:
        return graph[name].union(*(reach(each) for each in graph[name]))

    for name, used in graph.items():
        for each in sorted(used):
            if not any(each in reach(other) for other in used - {each}):
                yield name, each


def _steps() -> dict[str, tuple[int, ...]]:
    """Return the numbers that the page's list of steps gives to rooms."""
    found: dict[str, tuple[int, ...]] = {}
    for number, room in re.findall(
        r"^(\d)\. [^\n]*?`raynas/(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        found[room] = (*found.get(room, ()), int(number))
    return found


def questions() -> dict[frozenset[str], str]:
    """Return the page's table of floors: each floor's rooms with the question that they answer."""
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*\?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {frozenset(re.findall(r"`(\w+)`", rooms)): asked for rooms, asked in rows}


def _arranged(arrows: Sequence[Arrow]) -> tuple[tuple[str, ...], ...]:
    """Return the floors with each one's rooms in the order that keeps arrows shortest."""
    upper = [list(permutations(sorted(floor))) for floor in FLOORS[1:]]

    def length(floors: Sequence[Sequence[str]]) -> float:
        place = {name: x for floor in floors for name, x in zip(floor, _columns(len(floor)), strict=True)}
        return sum((place[a] - place[b]) ** 2 for a, b in arrows)

    best = min(product(*upper), key=length)
    return (tuple(sorted(FLOORS[0])), *best)


def _columns(count: int) -> list[float]:
    return [PITCH * (index - (count - 1) / 2) for index in range(count)]


def draw(facts: Facts, path: Path) -> None:
    """Draw the picture; an SVG carries its facts as its description."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "raynas", "svg.fonttype": "none", "font.family": "sans-serif"})
    wide = PITCH * max(map(len, facts.floors)) + 0.5
    high = STOREY * len(facts.floors)
    figure = plt.figure(figsize=(wide, high))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-wide / 2, wide / 2), ylim=(0, high))
    axes.axis("off")
    place = {
        name: (x, STOREY * (floor + 0.5))
        for floor, names in enumerate(facts.floors)
        for name, x in zip(names, _columns(len(names)), strict=True)
    }
    _draw_floors(axes, facts, wide)
    for arrow in facts.arrows:
        _draw_arrow(axes, place[arrow[0]], place[arrow[1]])
    for name, (x, y) in place.items():
        _draw_room(axes, facts.rooms[name], facts.steps.get(name, ()), x, y)
    metadata = {"Description": json.dumps(facts.to_json(), ensure_ascii=False), "Date": None}
    figure.savefig(path, **({"metadata": metadata} if path.suffix == ".svg" else {"dpi": 110}))
    plt.close(figure)


def _draw_floors(axes, facts: Facts, wide: float) -> None:  # type: ignore[no-untyped-def]
    for floor in range(len(facts.floors)):
        band = (-wide / 2, STOREY * floor), wide, STOREY
        axes.add_patch(_patches().Rectangle(*band, color=BANDS[floor % 2], linewidth=0, zorder=0))
        asked = facts.questions.get(frozenset(facts.floors[floor]), "") if floor else ""
        space = wide / 2 + _columns(len(facts.floors[floor]))[0] - WIDTH / 2 - 0.4
        # Beside the rooms, or above them where they fill the floor: 0.16 inches hold a line of 8 points.
        beside = space > 1
        asked = textwrap.fill(asked, int(space / 0.09)) if beside else asked
        axes.text(
            0.14 - wide / 2, STOREY * (floor + (0.5 if beside else 0.99)), asked,
            color=INK, fontsize=9.5 if beside else 8, style="italic", va="center" if beside else "top",
            linespacing=1.4, zorder=4,
        )  # fmt: skip
    border = STOREY * sum(1 for names in facts.floors if set(names) <= GROUND)
    axes.plot(
        [-wide / 2, wide / 2], [border, border], color=BADGE, linewidth=1, linestyle=(0, (5, 4)), zorder=1
    )
    for text, up, align in (
        ("above: Ray, MLflow, the terminal", 0.07, "bottom"),
        ("below: plain PyTorch that prints nothing", -0.07, "top"),
    ):
        axes.text(wide / 2 - 0.12, border + up, text, color=BADGE, fontsize=8, ha="right", va=align, zorder=4)
    ground = "the ground: every room may use it"
    axes.text(wide / 2 - 0.12, STOREY + 0.06, ground, color=MUTED, fontsize=8, ha="right", zorder=4)


def _draw_room(axes, room: Room, steps: Sequence[int], x: float, y: float) -> None:  # type: ignore[no-untyped-def]
    corner = (x - WIDTH / 2 + 0.06, y - HEIGHT / 2 + 0.06)
    shape = _patches().BoxStyle("Round", pad=0.06, rounding_size=0.09)
    size = (WIDTH - 0.12, HEIGHT - 0.12)
    axes.add_patch(
        _patches().FancyBboxPatch(
            corner, *size, boxstyle=shape, facecolor=CARD, edgecolor=LINE, linewidth=1, zorder=3
        )
    )
    left, top = x - WIDTH / 2 + 0.12, y + HEIGHT / 2 - 0.1
    axes.text(left, top, room.name, color=INK, fontsize=11, weight="bold", va="top", zorder=4)
    amount = f"{room.lines / 1000:.1f}k lines" if room.lines > 950 else f"{round(room.lines, -1)} lines"
    amount = amount if round(room.lines, -1) else "data alone"
    axes.text(
        x + WIDTH / 2 - 0.12, top - 0.03, amount, color=MUTED, fontsize=7, ha="right", va="top", zorder=4
    )
    says = textwrap.fill(room.says, 43, max_lines=3, placeholder=" …")
    axes.text(left, top - 0.25, says, color=MUTED, fontsize=7.2, va="top", linespacing=1.3, zorder=4)
    for index, number in enumerate(steps):
        center = x - WIDTH / 2 - 0.05, y + HEIGHT / 2 - 0.02 - 0.27 * index
        axes.add_patch(
            _patches().Circle(center, 0.12, facecolor=BADGE, edgecolor=CARD, linewidth=1.2, zorder=5)
        )
        axes.text(
            *center, str(number), color=CARD, fontsize=8, weight="bold", ha="center", va="center", zorder=6
        )


def _draw_arrow(axes, start: tuple[float, float], end: tuple[float, float]) -> None:  # type: ignore[no-untyped-def]
    """Draw from the edge of one room to that of another: straight, or around the floors between."""
    (x0, y0), (x1, y1) = start, end
    bend = "arc3,rad=0"
    if abs(y0 - y1) < STOREY / 2:  # on one floor
        side = WIDTH / 2 if x1 > x0 else -WIDTH / 2
        x0, x1 = x0 + side, x1 - side
    elif y0 - y1 < 1.5 * STOREY:
        reach = WIDTH / 2 - 0.3
        x0, x1 = x0 + max(min((x1 - x0) * 0.45, reach), -reach), x1 + max(min((x0 - x1) * 0.3, reach), -reach)
        y0, y1 = y0 - HEIGHT / 2, y1 + HEIGHT / 2
    elif abs(x0 - x1) > WIDTH / 2:
        x0, y1 = x0 + (WIDTH / 2 if x1 > x0 else -WIDTH / 2), y1 + HEIGHT / 2
        bend = "angle,angleA=0,angleB=90,rad=14"
    else:
        x0, x1 = x0 + WIDTH / 2, x1 + WIDTH / 2
        bend = "arc3,rad=-0.5"
    axes.add_patch(
        _patches().FancyArrowPatch(
            (x0, y0), (x1, y1), connectionstyle=bend, arrowstyle="-|>", mutation_scale=11,
            color=MUTED, linewidth=1.2, shrinkA=0, shrinkB=0, zorder=2,
        )
    )  # fmt: skip


def _patches():  # type: ignore[no-untyped-def]
    from matplotlib import patches

    return patches


def kept_in(path: Path) -> dict[str, object]:
    """Return the facts that a picture was drawn from."""
    import html

    text = path.read_text(encoding="utf-8")
    [found] = re.findall(r"<dc:description>(.*?)</dc:description>", text, re.DOTALL)
    facts: dict[str, object] = json.loads(html.unescape(found))
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.architecture", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--write", type=Path, required=True, metavar="FILE", help="an .svg, or a .png to look at"
    )
    chosen = parser.parse_args(arguments)
    facts = gather()
    draw(facts, chosen.write)
    print(f"{len(facts.rooms)} rooms, {len(facts.arrows)} arrows: {chosen.write}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
