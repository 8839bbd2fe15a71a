"""NAS-Bench-201's text form of a cell, and which of its cells are the same network.

The form has one group per node, ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``: an operation and its source state
for every edge (Dong & Yang 2020).
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from raynas.errors import RaynasError, short
from raynas.spaces.isomorphism import Arrow, first_text
from raynas.spaces.operations import canonical_name, unknown_operation
from raynas.spaces.texts.literal import Literal
from raynas.spaces.texts.snippet import Snippet, Span, Triple, enclosed

EdgesInto = Mapping[int, Mapping[int, str]]
"""The operation on every edge, by target, then source."""

STRUCTURE = "Structure([((operation, source), ...), ...])"
"""What D-X-Y/AutoDL-Projects writes in programs: for each node the edges that are not `none`."""

_BARS = re.compile(r"\|\s*[\w.-]+\s*~\s*\w(?:\s*[\w.-]+\s*~\s*\w*\s*\|?|[\w.~-]+\s*\|?|\s*\+\s*\|?|\|)*")
_CALL = re.compile(r"\bStructure[ \t]*\(\s*[\[(]")

NOTATION = "|op~0|+|op~0|op~1|+..., a group per node and a source for each state before it"


def edges_of(triples: Iterable[Triple], targets: range) -> dict[int, dict[int, str]]:
    """Arrange (operation, source, target) by target and source; `none` is on every edge left out."""
    edges = {target: dict.fromkeys(range(target), "none") for target in targets}
    for op, source, target in triples:
        edges[target][source] = op
    return edges


def write(edges: EdgesInto) -> str:
    """Return the text form."""
    groups = ("".join(f"|{op}~{source}" for source, op in into.items()) + "|" for into in edges.values())
    return "+".join(groups)


def read(text: str) -> list[Triple]:
    """Parse the text form into the operation, source and target of every edge.

    Spaces and line breaks do not count. Raises `RaynasError` with the group and the edge on anything but the
    form itself.
    """
    triples = []
    for target, group in enumerate("".join(text.split()).split("+"), start=1):
        if len(group) < 2 or group[0] != "|" or group[-1] != "|":
            raise RaynasError(
                "not NAS-Bench-201's text form", got=f"{short(group)!r} (group {target})", expected=NOTATION
            )
        edges = [_edge(part, target) for part in group[1:-1].split("|")]
        if sorted(source for _, source, _ in edges) != list(range(target)):
            raise RaynasError(
                f"group {target} does not name every state before node {target} once",
                got=short(group),
                expected=f"{target} edges, from {', '.join(map(str, range(target)))}",
            )
        triples += edges
    return triples


def _edge(part: str, target: int) -> Triple:
    op, mark, source = part.partition("~")
    if not mark or not (source.isascii() and source.isdecimal()):
        raise RaynasError(
            "not an edge of NAS-Bench-201's text form",
            got=f"{short(part)!r} (group {target})",
            expected="operation~source, as nor_conv_3x3~0",
        )
    known = canonical_name(op)
    if known is None:
        raise unknown_operation(op)
    return known, int(source[:9]), target


def spans(text: str) -> Iterator[Span]:
    """Yield where a text has this form, or a ``Structure([…])`` of it."""
    yield from (found.span() for found in _BARS.finditer(text))
    yield from ((start, end) for start, end in enclosed(_CALL, text) if end is not None)


def read_structure(snippet: Snippet) -> list[Triple]:
    """Parse ``Structure([…])``; nothing is evaluated. Raises `RaynasError` with line and column."""
    literal = Literal(snippet, "NAS-Bench-201's", STRUCTURE)
    match literal.tree:
        case ast.Call(args=[nodes], keywords=[]):
            pass
        case _:
            raise literal.error("not NAS-Bench-201's text form", literal.tree, STRUCTURE)
    triples: list[Triple] = []
    for target, node in enumerate(literal.items(nodes, "a list of nodes"), start=1):
        for edge in literal.items(node, "the edges into a node"):
            pair = literal.items(edge, "(operation, source)")
            if len(pair) != 2:
                raise literal.error("not a pair", edge, "(operation, source), as ('nor_conv_3x3', 0)")
            op, source = literal.operation(pair[0]), literal.number(pair[1])
            if not 0 <= source < target:
                raise literal.error(f"node {target} cannot read it", edge, f"a source from 0 to {target - 1}")
            if (source, target) in {triple[1:] for triple in triples}:
                raise literal.error(
                    f"two operations on one edge, {source}->{target}, which no cell of NAS-Bench-201 has",
                    edge,
                    "every edge at most once",
                )
            triples.append((op, source, target))
    return triples


def unique_string(edges: EdgesInto) -> str:
    """Return the text by which the benchmark counts its cells: 15,625 become 6,466 (Dong & Yang 2020).

    Skips are replaced by what they hand on, and operations on zeros by ``#``, a zero. It tells apart some
    cells that are one network (a zero stays in a sum, sums in sums keep their brackets), and takes for one
    some that are not (one convolution read twice, two convolutions read once):
    `canonical_edges_text` does neither.
    """
    values = {0: "0"}
    for target, into in edges.items():
        terms = []
        for source, op in into.items():
            if op == "none" or values[source] == "#":
                terms.append("#")
            else:
                terms.append(values[source] if op == "skip_connect" else f"({values[source]})@{op}")
        values[target] = "+".join(sorted(terms))
    return values[max(values)]


Sum = Counter[int]
"""A sum: how often it holds the result of each step, by the step's number; the cell's input is step -1."""


@dataclass
class _Steps:
    """The operations a cell applies, each to a sum of earlier results; skips and zeros are gone."""

    applied: list[tuple[str, Sum]] = field(default_factory=list)

    def run(self, edges: EdgesInto) -> Sum:
        """Apply a cell's operations and return its output."""
        values: dict[int, Sum] = {0: Counter({-1: 1})}
        for target, into in edges.items():
            total: Sum = Counter()
            for source, op in into.items():
                if op == "none" or not values[source]:
                    continue
                if op == "skip_connect":
                    total.update(values[source])
                else:
                    self.applied.append((op, values[source]))
                    total[len(self.applied) - 1] = 1
            values[target] = total
        return values[max(values)]

    def needed(self, output: Sum) -> list[int]:
        """Return the steps that reach the output, in order."""
        found: set[int] = set()
        waiting = [step for step in output if step >= 0]
        while waiting:
            step = waiting.pop()
            if step not in found:
                found.add(step)
                waiting += [inner for inner in self.applied[step][1] if inner >= 0]
        return sorted(found)


def canonical_edges_text(edges: EdgesInto) -> str:
    """Return a text that is equal for two cells exactly when they are the same network.

    Skips hand on what they read, `none` and every operation on nothing are nothing, sums have no order, and
    nodes no names. An operation that is read twice stays one operation. So 15,625 cells are 5,425 networks.
    (With learned shifts, a convolution of nothing could learn a constant; that is not counted as different.)
    """
    steps = _Steps()
    output = steps.run(edges)
    needed = steps.needed(output)
    sums = [(step, *steps.applied[step]) for step in needed] + [(len(steps.applied), "", output)]
    arrows = [
        Arrow(f"{op}*{times}", inner, step) for step, op, value in sums for inner, times in value.items()
    ]
    return first_text([-1, len(steps.applied)], needed, arrows)
