"""The words of every graph here: choices of operations on edges, candidates, cells, and what α decides.

Nothing in it knows a skeleton; spaces (`raynas.spaces.space`) and genotypes (`raynas.spaces.genotype`) are
made of it, and skeletons (`raynas.spaces.skeletons`) say what they demand of both.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from raynas.config import Frozen
from raynas.errors import MOST_PROBLEMS, nearest, quoted
from raynas.spaces.operations import OPERATIONS, near_operations

DEFAULT_SKELETON = "darts"
"""The skeleton of spaces and genotypes that name none."""

MOST_NODES = 100
"""Nodes of the largest cell; searches have up to some 20, and whatever looks at cells stays quick."""


def known_name(thing: str, name: str, known: Collection[str]) -> str:
    """Return ``name``; raises `ValueError` with the nearest known one where it is none of them."""
    if name not in known:
        near = nearest(name, known)
        hint = f" (nearest: {near})" if near else ""
        raise ValueError(f"unknown {thing} {quoted(name)}{hint}; known: {', '.join(known)}")
    return name


def known_operations(ops: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``ops``; raises `ValueError` for names that no operation has, and for one named twice."""
    hints = []
    for name in ops:
        if name not in OPERATIONS:
            near = near_operations(name)
            hints.append(f"{quoted(name)} (nearest: {near})" if near else quoted(name))
        if len(hints) == MOST_PROBLEMS:
            break
    if hints:
        raise ValueError(f"unknown operation {', '.join(hints)}; `raynas ls ops` lists all")
    if len(set(ops)) != len(ops):
        raise ValueError(f"an operation is listed twice: {', '.join(ops)}")
    return ops


Candidates = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(known_operations)]
"""The operations that may be on an edge, in index order."""


class Edge(Frozen):
    """One edge of a cell: from state ``source`` to node ``target``, with its candidates in index order."""

    source: int
    target: int
    ops: Candidates


class Cell(Frozen):
    """One kind of cell: its edges, ordered by target, then source."""

    kind: str
    edges: tuple[Edge, ...] = Field(min_length=1)

    @property
    def width(self) -> int:
        """Most candidates on any edge."""
        return max(len(edge.ops) for edge in self.edges)

    def into(self, target: int) -> tuple[Edge, ...]:
        """Return the edges that lead to a node, ordered by source."""
        return tuple(edge for edge in self.edges if edge.target == target)


@dataclass(frozen=True)
class Choice:
    """One chosen operation ``op`` on the edge from state ``source`` to node ``target``."""

    op: str
    source: int
    target: int


@dataclass(frozen=True)
class Row:
    """One row of α: what it decides (``edge 0->2``), and what it chooses among, in index order."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """One tensor of α, [rows, options]: its name, its title in messages, its rows.

    ``operations`` says that the options are operations; otherwise they are states to read from.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    operations: bool = True

    @property
    def width(self) -> int:
        """Most options of any row: the number of columns of this group's α."""
        return max(len(row.options) for row in self.rows)


class Decision(NamedTuple):
    """An entry of α that a genotype stands for: a group, a row of it by name, one of the row's options."""

    group: str
    row: str
    option: str
