"""The layout of the drawing of a derived cell, one for every kind of picture.

States are blocks in columns by depth. Every line crosses a column horizontally in a slot of its own and
bends only between columns, where all lines share one S shape: so lines never overlap each other, a block
or a label, and two lines cross at most once per gap.
"""

from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from random import Random
from statistics import fmean

from raynas.errors import RaynasError
from raynas.report.drawing import (
    APART,
    BLOCK,
    HEADING,
    LEAD,
    LETTER,
    MARGIN,
    PILL,
    PORT,
    SLOT,
    TAIL,
    Box,
    Drawing,
    Wire,
)
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.operations import OPERATIONS

STARTS = 12
"""Orders of the places to start from when looking for few crossings. Of 50 random cells of DARTS one order
leaves 1.76 on average, 3 leave 1.46, 12 leave 1.42 in 3 ms per cell, and so do 48."""

MOST_LINES = 1_000
"""Edges of the largest cell that is drawn: a page of 100 columns, beyond what anybody can follow."""

MOST_WORK = 6_000_000
"""Places and links that are weighed at most while looking for few crossings, some ten seconds' worth."""


class _Graph:
    """The cell as columns of places: blocks, and a place for every line in each column that it passes.

    Places are numbered: the cell's states first, the last of them its ``output``, then the places where lines
    pass. ``links`` lead from a place to one in the next column; ``chains`` hold every line's
    choice (or, if it leads to an output that gathers states, its state) and places.
    """

    def __init__(self, genotype: Genotype, kind: str) -> None:
        self.genotype, self.choices = genotype, genotype.cell(kind)
        self.work = 0
        if len(self.choices) > MOST_LINES:
            raise RaynasError(
                "the cell has too many edges to draw",
                got=f"{len(self.choices)} in the {kind} cell",
                expected=f"{MOST_LINES} or fewer",
            )
        skeleton = skeletons.of(genotype)
        self.gathered = skeleton.gathered(genotype, kind)
        gathers = bool(self.gathered)
        self.targets = skeleton.targets(genotype.nodes)
        self.output = self.targets[-1] + gathers
        self.ops = skeleton.node_operations(genotype, kind)
        self.per_node = bool(self.ops)
        self.beside = OPERATIONS["skip_connect"] if skeleton.skips else None
        self.labelled = set() if self.per_node else set(self.targets)
        self.block = max(BLOCK, *(_block_width(c.op) for c in self.choices)) if self.per_node else BLOCK
        depth = dict.fromkeys(range(skeleton.inputs), 0)
        lines = Counter((choice.source, choice.target) for choice in self.choices)
        for choice in self.choices:  # ordered by target, so every source's depth is final
            # Parallel lines part in a column between their ends.
            columns = 1 + (lines[choice.source, choice.target] > 1)
            depth[choice.target] = max(depth.get(choice.target, 0), depth[choice.source] + columns)
        depth[self.output] = max(depth.values()) + gathers
        self.columns: list[list[int]] = [[] for _ in range(depth[self.output] + 1)]
        self.column: dict[int, int] = {}
        for state, column in sorted(depth.items()):
            self._add(state, column)
        self.chains: list[tuple[Choice | int, list[int]]] = []
        self.links: list[tuple[int, int]] = []
        ends: list[tuple[Choice | int, int, int]] = [(c, c.source, c.target) for c in self.choices]
        ends += [(node, node, self.output) for node in self.gathered]
        count = self.output + 1
        for key, source, target in ends:
            passed = range(depth[source] + 1, depth[target])
            for place, column in enumerate(passed, start=count):
                self._add(place, column)
            self.chains.append((key, [source, *range(count, count + len(passed)), target]))
            self.links += pairwise(self.chains[-1][1])
            count += len(passed)
        self.before: dict[int, list[int]] = defaultdict(list)
        self.after: dict[int, list[int]] = defaultdict(list)
        for left, right in self.links:
            self.before[right].append(left)
            self.after[left].append(right)

    def _add(self, place: int, column: int) -> None:
        self.columns[column].append(place)
        self.column[place] = column

    def height(self, place: int) -> float:
        """Return how much of its column a place fills: nothing for a line that passes."""
        if place > self.output:
            return 0.0
        slots = (len(self.before[place]) - 1) * self._pitch(place) + PILL + 8
        return float(max(slots, (len(self.after[place]) - 1) * PORT + PILL, BLOCK * 0.75))

    def in_port(self, left: int, right: int) -> float:
        """Return where a link ends, below the middle of its right place."""
        lines = self.before[right]
        return (lines.index(left) - (len(lines) - 1) / 2) * self._pitch(right)

    def _pitch(self, place: int) -> int:
        return SLOT if place in self.labelled or place > self.output else APART

    def out_port(self, left: int, right: int) -> float:
        """Return where a link begins, below the middle of its left place."""
        lines = self.after[left]
        return (lines.index(right) - (len(lines) - 1) / 2) * PORT

    def climb(self, left: int, right: int, y: Mapping[int, float]) -> float:
        """Return how far down a link leads when its places are at the heights ``y``."""
        return y[right] + self.in_port(left, right) - y[left] - self.out_port(left, right)

    def stiffness(self, left: int, right: int) -> float:
        """Return how much a link should be level: long lines more, or they would wave."""
        return (1.0, 4.0, 16.0)[(left > self.output) + (right > self.output)]

    def ranks(self) -> dict[int, int]:
        """Return every place's position in its column."""
        return {place: rank for column in self.columns for rank, place in enumerate(column)}

    def cost(self, first: int = 0, last: int | None = None) -> tuple[int, int]:
        """Return crossings, then how many ranks links lead up or down, between columns first to last."""
        crossings = steps = 0
        for left, right in pairwise(self.columns[first : None if last is None else last + 1]):
            here = {place: rank for rank, place in enumerate(left)}
            there = {place: rank for rank, place in enumerate(right)}
            ranks = [(here[place], there[other]) for place in left for other in self.after[place]]
            steps += sum(abs(a - b) for a, b in ranks)
            self.work += len(left) + len(right) + len(ranks)
            ends: list[int] = []
            for _, end in sorted(ranks):  # a line crosses those from above it that end below it
                crossings += len(ends) - bisect_right(ends, end)
                insort(ends, end)
        return crossings, steps

    def untangle(self) -> None:
        """Order the columns for few crossings (often the fewest), and then the links at each place."""
        draw = Random(0)  # noqa: S311 - the same starts every time
        best = (self.cost(), self.columns)
        for start in range(STARTS):
            if self.work > MOST_WORK:
                break
            self.columns = [self.columns[0], *(draw.sample(c, len(c)) for c in self.columns[1:])]
            for turn in range(4):
                self._sweep(forward=(start + turn) % 2 == 0)
            best = min(best, (self.cost(), self.columns))
        self.columns = best[1]
        self._sift()
        rank = self.ranks()
        for lines in (*self.before.values(), *self.after.values()):
            lines.sort(key=rank.__getitem__)

    def _sweep(self, forward: bool) -> None:
        """Sort each column by the mean rank of its neighbours (if any) on one side, column by column."""
        beside, inner = self.before if forward else self.after, range(1, len(self.columns) - 1)
        rank = self.ranks()
        for index in inner if forward else reversed(inner):
            middle = {p: fmean(rank[q] for q in beside[p] or [p]) for p in self.columns[index]}
            self.columns[index].sort(key=middle.__getitem__)
            rank |= {place: place_rank for place_rank, place in enumerate(self.columns[index])}

    def _sift(self) -> None:
        """Move each place to where in its column it costs least, until nothing improves."""
        movable = [(p, n) for p, n in self.column.items() if n and len(self.columns[n]) > 1]
        better = True
        while better and self.work <= MOST_WORK:
            better = False
            for place, number in movable:
                if self.work > MOST_WORK:
                    break
                column, cost = self.columns[number], self.cost(number - 1, number + 1)
                rest = [other for other in column if other != place]
                for position in range(len(column)):
                    self.columns[number] = [*rest[:position], place, *rest[position:]]
                    if (changed := self.cost(number - 1, number + 1)) < cost:
                        cost, better, column = changed, True, self.columns[number]
                self.columns[number] = column


def lay_out_cell(genotype: Genotype, kind: str) -> Drawing:
    """Place one kind of cell; raises `RaynasError` on an unknown kind."""
    graph = _Graph(genotype, kind)
    graph.untangle()
    y = _rows(graph)
    top = MARGIN + HEADING - min(y[place] - graph.height(place) / 2 for place in y)
    y = {place: value + top for place, value in y.items()}
    spans = _spans(graph, y)
    title = f"{kind.capitalize()} cell" if len(genotype.kinds) > 1 else "Cell"
    subtitle = f"{genotype.space} · {genotype.digest()}"
    blocks = [
        _box(graph, place, right, y[place])
        for (_, right), places in zip(spans, graph.columns, strict=True)
        for place in places
        if place <= graph.output
    ]
    return Drawing(
        width=max(spans[-1][1], MARGIN + LETTER * (len(title) + len(subtitle) + 6)) + MARGIN,
        height=max(y[place] + graph.height(place) / 2 for place in y) + MARGIN,
        title=title,
        subtitle=subtitle,
        description=_formula(graph),
        blocks=tuple(blocks),
        wires=tuple(_wire(graph, key, chain, y, spans) for key, chain in graph.chains),
    )


def _rows(graph: _Graph) -> dict[int, float]:
    """Return every place's height on the page: lines as level as the room each place needs allows."""
    y: dict[int, float] = {}
    for places in graph.columns:
        y |= _fit(places, dict.fromkeys(places, (0.0, 1.0)), graph)
    for sweep in range(60):
        for places in graph.columns if sweep % 2 else reversed(graph.columns):
            wanted = {}
            for place in places:
                climbs = [(graph.climb(place, right, y), (place, right)) for right in graph.after[place]]
                climbs += [(-graph.climb(left, place, y), (left, place)) for left in graph.before[place]]
                weight = sum(graph.stiffness(*link) for _, link in climbs)
                force = sum(climb * graph.stiffness(*link) for climb, link in climbs)
                wanted[place] = (y[place] + force / weight, weight) if climbs else (y[place], 1e-6)
            y |= _fit(places, wanted, graph)
    return y


def _fit(places: Sequence[int], wanted: Mapping[int, tuple[float, float]], graph: _Graph) -> dict[int, float]:
    """Return the heights nearest to the wanted (height, weight) ones, in order and apart (least squares)."""
    room = [APART + (graph.height(a) + graph.height(b)) / 2 for a, b in pairwise(places)]
    offsets = list(accumulate(room, initial=0.0))
    pools: list[tuple[float, float, int]] = []  # mean, weight and size of runs that touch each other
    for place, offset in zip(places, offsets, strict=True):
        pool = (wanted[place][0] - offset, wanted[place][1], 1)
        while pools and pools[-1][0] > pool[0]:
            mean, weight, size = pools.pop()
            total = weight + pool[1]
            pool = ((mean * weight + pool[0] * pool[1]) / total, total, size + pool[2])
        pools.append(pool)
    bases = [mean for mean, _, size in pools for _ in range(size)]
    return {place: base + offset for place, base, offset in zip(places, bases, offsets, strict=True)}


def _spans(graph: _Graph, y: Mapping[int, float]) -> list[tuple[float, float]]:
    """Return where each column begins (with its labels, if any) and ends."""
    column = graph.column
    pills, climbs = [0.0] * len(graph.columns), [0.0] * len(graph.columns)
    for choice, _ in graph.chains:
        if isinstance(choice, Choice) and choice.target in graph.labelled:
            pills[column[choice.target]] = max(pills[column[choice.target]], _pill_width(graph, choice.op))
    for left, right in graph.links:
        climbs[column[right]] = max(climbs[column[right]], abs(graph.climb(left, right, y)))
    spans = [(float(MARGIN), float(MARGIN + graph.block))]
    for pill, climb in zip(pills[1:], climbs[1:], strict=True):
        begin = spans[-1][1] + min(max(48, 0.6 * climb), 150)
        spans.append((begin, begin + (pill + LEAD + TAIL if pill else 0) + graph.block))
    return spans


def _wire(
    graph: _Graph,
    key: Choice | int,
    chain: Sequence[int],
    y: Mapping[int, float],
    spans: Sequence[tuple[float, float]],
) -> Wire:
    points = [(spans[graph.column[chain[0]]][1], y[chain[0]] + graph.out_port(chain[0], chain[1]))]
    for left, right in pairwise(chain):
        level = y[right] + graph.in_port(left, right)
        begin, end = spans[graph.column[right]]
        points += [(begin, level), (end - graph.block if right == chain[-1] else end, level)]
    if isinstance(key, int) or key.target not in graph.labelled:
        return Wire(tuple(points), None, None)
    x, level = points[-1]
    width = _pill_width(graph, key.op)
    pill = Box(x - TAIL - width / 2, level, width, PILL, _label(graph, key.op))
    title = f"{_state(graph, key.source)} → {_state(graph, key.target)}: {_applied(graph, key.op)}"
    return Wire(tuple(points), key, pill, title)


def _label(graph: _Graph, op: str) -> str:
    """Return what is written on an edge: its operation, and the skip beside it where every edge has one."""
    return f"{OPERATIONS[op].short} + {graph.beside.short}" if graph.beside else OPERATIONS[op].short


def _applied(graph: _Graph, op: str) -> str:
    """Return the same in the names of the catalogue."""
    return f"{op} + {graph.beside.name}" if graph.beside else op


def _pill_width(graph: _Graph, op: str) -> float:
    return LETTER * len(_label(graph, op)) + PILL - 4


def _block_width(op: str) -> float:
    return 8.2 * len(OPERATIONS[op].short) + 16


def _box(graph: _Graph, place: int, right: float, y: float) -> Box:
    op = graph.ops.get(place)
    text = OPERATIONS[op].short if op else _name(graph, place)
    return Box(right - graph.block / 2, y, graph.block, graph.height(place), text, op)


def _name(graph: _Graph, place: int) -> str:
    """Return what a state's block says; DARTS counts its nodes from 0, others count the input as 0."""
    inputs = skeletons.of(graph.genotype).inputs
    *read, output = skeletons.of(graph.genotype).symbols()
    if place == graph.output:
        return output
    return read[place] if place < inputs else str(place - (inputs if inputs > 1 else 0))


def _state(graph: _Graph, place: int) -> str:
    """Return a state's name in words: ``c_{k-2}``, ``c_{k-1}``, ``node 0``."""
    name = _name(graph, place)
    return f"node {name}" if name.isdigit() else name


def _formula(graph: _Graph) -> str:
    """Say the cell in words: ``node 0 = skip_connect(c_{k-2}) + ...``."""
    sums = []
    for node in graph.targets:
        into = [choice for choice in graph.choices if choice.target == node]
        states = [_state(graph, choice.source) for choice in into]
        if not into:
            continue
        op = graph.ops.get(node)
        if not graph.per_node:
            names = [f"({_applied(graph, c.op)})" if graph.beside else c.op for c in into]
            value = " + ".join(f"{name}({state})" for name, state in zip(names, states, strict=True))
        elif op is None:
            value = ", ".join(states)
        else:
            read = [state for c, state in zip(into, states, strict=True) if c.op == op]
            added = [state for c, state in zip(into, states, strict=True) if c.op != op]
            value = " + ".join([f"{op}({' + '.join(read)})", *added])
        sums.append(f"{_state(graph, node)} = {value}")
    if graph.gathered:
        loose = ", ".join(_state(graph, state) for state in graph.gathered)
        gathered = "all nodes" if graph.gathered == tuple(graph.targets) else loose
        skeleton = skeletons.of(graph.genotype)
        sums.append(f"{skeleton.symbols()[-1]} = {gathered}, {skeleton.gathering}")
    return "; ".join(sums)
