"""A search space as data: cells, edges, the candidate operations of every edge, and how cells are stacked.

A space knows no tensors. It comes from a YAML file (see `search_spaces/darts.yaml` for the commented
original) and can be hashed, compared and written into every run's record.
"""

import hashlib
import json
import re
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from raynas.core.config import Frozen
from raynas.core.ops.catalogue import OPERATIONS
from raynas.errors import nearest

INPUTS = 2
"""States every cell reads: the outputs of the two cells before it."""

_EDGE = re.compile(r"\s*(\d+)\s*->\s*(\d+)\s*")


class Edge(Frozen):
    """One edge of a cell: from state ``source`` to node ``target``, with its candidates in index order."""

    source: int
    target: int
    ops: tuple[str, ...] = Field(min_length=1)

    @field_validator("ops")
    @classmethod
    def _known(cls, ops: tuple[str, ...]) -> tuple[str, ...]:
        for name in ops:
            if name not in OPERATIONS:
                near = nearest(name, OPERATIONS)
                hint = f"; nearest: {near}" if near else ""
                raise ValueError(f"unknown operation {name!r}{hint}; known: {', '.join(OPERATIONS)}")
        if len(set(ops)) != len(ops):
            raise ValueError(f"an operation is listed twice: {', '.join(ops)}")
        return ops


class Cell(Frozen):
    """One kind of cell (normal or reduce): its edges, ordered by target, then source."""

    kind: Literal["normal", "reduce"]
    edges: tuple[Edge, ...] = Field(min_length=1)

    @property
    def width(self) -> int:
        """Most candidates on any edge: the number of columns of this kind's α."""
        return max(len(edge.ops) for edge in self.edges)


class Space(Frozen):
    """A search space: states 0 and 1 are the two cells before; nodes follow; all nodes are concatenated.

    ``keep`` is the number of incoming edges a node keeps when the cell is derived, and ``exclude`` lists
    operations that may be mixed in but never chosen.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str
    source: str = ""
    skeleton: Literal["darts"] = "darts"
    nodes: PositiveInt
    cells: tuple[Cell, ...]
    keep: PositiveInt = 2
    exclude: tuple[str, ...] = ("none",)
    default_channels: PositiveInt = 16
    default_cells: int = Field(8, ge=3)

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, data: Any) -> Any:
        """Turn the file's compact form (``ops`` for all edges, or ``edges`` one by one) into edges."""
        if not isinstance(data, dict) or not isinstance(data.get("cells"), dict):
            return data
        nodes = data.get("nodes")
        if not isinstance(nodes, int):
            return data
        return {**data, "cells": [_cell(kind, cell, nodes) for kind, cell in data["cells"].items()]}

    @model_validator(mode="after")
    def _sound(self) -> Self:
        kinds = [cell.kind for cell in self.cells]
        if sorted(kinds) != ["normal", "reduce"]:
            raise ValueError(f"cells must be `normal` and `reduce`, each once; got {', '.join(kinds)}")
        for cell in self.cells:
            _check_graph(cell, self.nodes, self.keep, set(self.exclude))
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


def _cell(kind: str, cell: Any, nodes: int) -> Any:
    if not isinstance(cell, dict) or set(cell) not in ({"ops"}, {"edges"}):
        raise ValueError(
            f"cells.{kind} must hold either `ops:` (one list for every edge) or `edges:` (`0->2: [...]`)"
        )
    if "ops" in cell:
        pairs = [(source, target) for target in range(INPUTS, INPUTS + nodes) for source in range(target)]
        return {"kind": kind, "edges": [{"source": s, "target": t, "ops": cell["ops"]} for s, t in pairs]}
    edges = []
    for name, ops in cell["edges"].items():
        match = _EDGE.fullmatch(str(name))
        if match is None:
            raise ValueError(f"cells.{kind}.edges: {name!r} is not an edge; write `source->target`, as 0->2")
        edges.append({"source": int(match[1]), "target": int(match[2]), "ops": ops})
    return {"kind": kind, "edges": sorted(edges, key=lambda e: (e["target"], e["source"]))}


def _check_graph(cell: Cell, nodes: int, keep: int, exclude: set[str]) -> None:
    last = INPUTS + nodes - 1
    pairs = [(edge.source, edge.target) for edge in cell.edges]
    if len(set(pairs)) != len(pairs):
        raise ValueError(f"cells.{cell.kind}: an edge is listed twice")
    for source, target in pairs:
        if not (source < target and INPUTS <= target <= last):
            raise ValueError(
                f"cells.{cell.kind}: edge {source}->{target} is impossible; a target is a node "
                f"({INPUTS} to {last}) and its source comes before it"
            )
    for node in range(INPUTS, last + 1):
        usable = [e for e in cell.edges if e.target == node and set(e.ops) - exclude]
        if len(usable) < keep:
            raise ValueError(
                f"cells.{cell.kind}: node {node} has {len(usable)} usable incoming edges but keep is {keep}"
            )
