"""Deriving the discrete cell from operation weights, by DARTS' rule."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from raynas.core.genotype import Choice, Genotype
from raynas.core.space import INPUTS, Cell, Space
from raynas.errors import RaynasError


class Array(Protocol):
    """Anything with `tolist`: a tensor or an array."""

    def tolist(self) -> Any:
        """Return nested lists of plain floats."""


Rows = Sequence[Sequence[float]] | Array


def derive(space: Space, weights: Mapping[str, Rows]) -> Genotype:
    """Keep, per node, the ``space.keep`` incoming edges whose best allowed operation weighs most.

    ``weights`` maps each kind of cell to [edges, operations], rows in the cell's edge order and columns in
    the edge's operation order; columns beyond an edge's own operations are padding and ignored. Operations
    in ``space.exclude`` are never chosen; ties go to the lowest index, between edges and between
    operations. Raises `RaynasError` on a missing kind, a wrong shape or a NaN.
    Source: Liu et al. 2019, section 2.4.
    """
    chosen: dict[str, list[Choice]] = {}
    for cell in space.cells:
        if cell.kind not in weights:
            raise RaynasError(f"no weights for the {cell.kind} cell", got=", ".join(weights) or "nothing")
        rows = _rows(cell, weights[cell.kind])
        chosen[cell.kind] = [
            choice
            for node in range(INPUTS, INPUTS + space.nodes)
            for choice in _best(cell, rows, node, space.keep, frozenset(space.exclude))
        ]
    return Genotype.of(space.name, space.nodes, chosen)


def _best(cell: Cell, rows: list[list[float]], node: int, keep: int, exclude: frozenset[str]) -> list[Choice]:
    best: list[tuple[float, Choice]] = []
    for edge, row in zip(cell.edges, rows, strict=True):
        allowed = [(weight, op) for weight, op in zip(row, edge.ops, strict=True) if op not in exclude]
        if edge.target == node and allowed:
            weight, op = max(allowed, key=lambda pair: pair[0])
            best.append((weight, Choice(op, edge.source, edge.target)))
    # `max` takes the first of equals and `sorted` keeps their order: ties go to the lowest index.
    return [choice for _, choice in sorted(best, key=lambda pair: -pair[0])[:keep]]


def _rows(cell: Cell, weights: Rows) -> list[list[float]]:
    """Return the weights as floats, one row per edge, cut to the edge's own operations."""
    table = weights if isinstance(weights, Sequence) else weights.tolist()
    if len(table) != len(cell.edges):
        raise RaynasError(
            f"weights of the {cell.kind} cell have the wrong shape",
            got=f"{len(table)} rows",
            expected=f"{len(cell.edges)}, one per edge",
        )
    rows = []
    for edge, values in zip(cell.edges, table, strict=True):
        row = [float(value) for value in values[: len(edge.ops)]]
        where = f"edge {edge.source}->{edge.target} of the {cell.kind} cell"
        if len(row) < len(edge.ops):
            raise RaynasError(
                f"too few weights on {where}",
                got=len(row),
                expected=f"{len(edge.ops)}: {', '.join(edge.ops)}",
            )
        if any(math.isnan(weight) for weight in row):
            raise RaynasError(f"a weight on {where} is NaN", got=row, expected="numbers")
        rows.append(row)
    return rows
