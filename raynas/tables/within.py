"""The cells of a table that a search space can express: regret is to the best of those."""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations, product
from math import inf

from raynas.spaces import skeletons
from raynas.spaces.space import Space
from raynas.spaces.texts import nasbench101

_EDGE = re.compile(r"([^|~+]+)~(\d+)")


def expressible(space: Space) -> Callable[[str], bool]:
    """Return a test of a row's name: may a search of this space derive the cell?

    A name is NAS-Bench-201's text form in a space of the residual skeleton, NAS-Bench-101's hash in one of
    choice blocks. All hashes of a space are listed at the first call: that takes a second or two, or ten
    for the largest of NAS-Bench-1Shot1.
    """
    return _hashes(space).__contains__ if skeletons.of(space).table_key == "hash" else _by_edges(space)


def _by_edges(space: Space) -> Callable[[str], bool]:
    (cell,) = space.cells
    usable = {(e.source, e.target): set(space.allowed(e)) for e in cell.edges}
    kept = {target: space.kept(cell, target) for target in space.targets}

    def derivable(text: str) -> bool:
        for target, group in enumerate(text.split("+"), start=1):
            least = most = 0
            for op, source in _EDGE.findall(group):
                ops = usable.get((int(source), target), set())
                # A `none` may have been chosen, or stand for an edge that was not kept.
                fits = op in ops
                least += op != "none"
                most += fits
                if op != "none" and not fits:
                    return False
            if not least <= kept.get(target, -inf) <= most:
                return False
        return True

    return derivable


@cache
def _hashes(space: Space) -> frozenset[str]:
    return frozenset(nasbench101.module_hash(matrix, ops) for matrix, ops in _cells(space))


def _cells(space: Space) -> Iterator[tuple[nasbench101.Matrix, tuple[str, ...]]]:
    """Yield every cell of choice blocks without its loose ends, each labelled graph once."""
    (cell,) = space.cells
    ops = {target: cell.into(target)[0].ops for target in space.targets}
    parents = [
        combinations([edge.source for edge in space.usable(cell, target)], space.kept(cell, target))
        for target in space.targets
    ]
    for graph in {_reached(space, read) for read in product(*map(list, parents))}:
        numbers = {0: 0, **{target: number for number, (target, _) in enumerate(graph, start=1)}}
        blocks = [set(ops[target]) - set(space.exclude) for target, _ in graph[:-1]]
        for chosen in product(*blocks):
            edges = [
                (op, numbers[source], numbers[target])
                for op, (target, read) in zip((*chosen, "output"), graph, strict=True)
                for source in read
            ]
            yield nasbench101.from_edges(edges, len(numbers))


Graph = tuple[tuple[int, tuple[int, ...]], ...]
"""Blocks, the output last, and the states that each reads."""


def _reached(space: Space, parents: tuple[tuple[int, ...], ...]) -> Graph:
    """Return the blocks that the output reads, directly or through others."""
    reached = {space.targets[-1]}
    graph = list(zip(space.targets, parents, strict=True))
    for target, read in reversed(graph):
        reached |= set(read) if target in reached else set()
    return tuple((target, read) for target, read in graph if target in reached)
