"""A search space as data: cells, edges, the candidate operations of every edge, and how cells are stacked.

A space knows no tensors. It comes from a YAML file (see `search_spaces/darts.yaml` for the commented
original) and can be hashed, compared and written into every run's record.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from raynas.core.config import Frozen
from raynas.core.ops.catalogue import OPERATIONS
from raynas.errors import nearest

INPUTS = 2
"""States every cell reads: the outputs of the two cells before it."""

_EDGE = re.compile(r"\s*(\d+)\s*->\s*(\d+)\s*")


def _known_operations(ops: tuple[str, ...]) -> tuple[str, ...]:
    hints = []
    for name in ops:
        if name not in OPERATIONS:
            near = nearest(name, OPERATIONS)
            hints.append(f"{name!r} (nearest: {near})" if near else f"{name!r}")
    if hints:
        raise ValueError(f"unknown operation {', '.join(hints)}; known: {', '.join(OPERATIONS)}")
    if len(set(ops)) != len(ops):
        raise ValueError(f"an operation is listed twice: {', '.join(ops)}")
    return ops


def _edge_name(name: str) -> str:
    if _EDGE.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not an edge; write `source->target`, as 0->2")
    return name


def _pair(name: str) -> tuple[int, int]:
    source, target = name.split("->")
    return int(source), int(target)


Candidates = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_operations)]
"""The operations that may stand on an edge, in index order."""


class Edge(Frozen):
    """One edge of a cell: from state ``source`` to node ``target``, with its candidates in index order."""

    source: int
    target: int
    ops: Candidates


class Cell(Frozen):
    """One kind of cell (normal or reduce): its edges, ordered by target, then source."""

    kind: Literal["normal", "reduce"]
    edges: tuple[Edge, ...] = Field(min_length=1)

    @property
    def width(self) -> int:
        """Most candidates on any edge: the number of columns of this kind's α."""
        return max(len(edge.ops) for edge in self.edges)


class _Space(Frozen):
    """What a space's file and the space itself have in common."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    source: str = ""
    skeleton: Literal["darts"] = "darts"
    nodes: PositiveInt
    keep: PositiveInt = 2
    exclude: Annotated[tuple[str, ...], AfterValidator(_known_operations)] = ("none",)
    default_channels: PositiveInt = 16
    default_cells: int = Field(8, ge=3)


class CellFile(Frozen):
    """A cell as a file has it: one list for every edge, or the edges one by one."""

    ops: Candidates | None = None
    edges: dict[Annotated[str, AfterValidator(_edge_name)], Candidates] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ops is None) == (self.edges is None):
            raise ValueError("give either `ops:` (one list for every edge) or `edges:` (`0->2: [...]`)")
        pairs = [_pair(name) for name in self.edges or {}]
        if len(set(pairs)) != len(pairs):
            raise ValueError("an edge is listed twice")
        return self

    def spread(self, kind: str, nodes: int) -> dict[str, Any]:
        """Return the cell with all its edges, ordered by target, then source."""
        if self.ops is not None:
            targets = range(INPUTS, INPUTS + nodes)
            edges = {(source, target): self.ops for target in targets for source in range(target)}
        else:
            edges = {_pair(name): ops for name, ops in (self.edges or {}).items()}
        ordered = sorted(edges.items(), key=lambda item: (item[0][1], item[0][0]))
        return {"kind": kind, "edges": [{"source": s, "target": t, "ops": ops} for (s, t), ops in ordered]}


class CellsFile(Frozen):
    """The cells of a file."""

    normal: CellFile
    reduce: CellFile


class SpaceFile(_Space):
    """A space's YAML, checked key by key; `resolve` gives the space."""

    cells: CellsFile

    def resolve(self) -> "Space":
        """Return the space with every edge spelled out; raises pydantic's `ValidationError`."""
        cells = [
            self.cells.normal.spread("normal", self.nodes),
            self.cells.reduce.spread("reduce", self.nodes),
        ]
        return Space.model_validate({**self.model_dump(exclude={"cells"}), "cells": cells})


class Space(_Space):
    """A search space: states 0 and 1 are the two cells before; nodes follow; all nodes are concatenated.

    ``keep`` is the number of incoming edges a node keeps when the cell is derived, and ``exclude`` lists
    operations that may be mixed in but never chosen.
    """

    cells: tuple[Cell, ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        wrong = [
            message
            for cell in self.cells
            for message in _graph_problems(cell, self.nodes, self.keep, set(self.exclude))
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def cell(self, kind: str) -> Cell:
        """Return the cell of one kind, ``normal`` or ``reduce``."""
        return next(cell for cell in self.cells if cell.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell, in the file's order."""
        return tuple(cell.kind for cell in self.cells)

    def fingerprint(self) -> str:
        """Return a short hash of everything that defines the space; titles and sources do not count."""
        data = self.model_dump(mode="json", exclude={"name", "title", "source"})
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _graph_problems(cell: Cell, nodes: int, keep: int, exclude: set[str]) -> Iterator[str]:
    last = INPUTS + nodes - 1
    for edge in cell.edges:
        if not (edge.source < edge.target and INPUTS <= edge.target <= last):
            yield (
                f"cells.{cell.kind}: edge {edge.source}->{edge.target} is impossible; a target is a node "
                f"({INPUTS} to {last}) and its source comes before it"
            )
    for node in range(INPUTS, last + 1):
        usable = [edge for edge in cell.edges if edge.target == node and set(edge.ops) - exclude]
        if len(usable) < keep:
            yield (
                f"cells.{cell.kind}: node {node} has {len(usable)} usable incoming edges, "
                f"and keep asks for {keep}"
            )
