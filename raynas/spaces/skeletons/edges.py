"""Skeletons in which every edge of a cell has an operation of its own, and a row of α."""

from collections.abc import Iterator
from typing import ClassVar

from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group, Row
from raynas.spaces.skeletons.base import Skeleton, WeightLists
from raynas.spaces.skeletons.plan import CellPlan, LayerPlan, Plan
from raynas.spaces.skeletons.rows import heaviest
from raynas.spaces.skeletons.subsets import count_subsets
from raynas.spaces.space import Space


class EdgeSkeleton(Skeleton):
    """Base of skeletons with operations on edges: a node adds up its edges."""

    edgewise: ClassVar[bool] = True

    def groups(self, space: Space) -> tuple[Group, ...]:
        """Return a tensor for each kind of cell, with a row for each edge."""
        return tuple(
            Group(
                cell.kind,
                f"{cell.kind} cell",
                tuple(Row(f"edge {edge.source}->{edge.target}", edge.ops) for edge in cell.edges),
            )
            for cell in space.cells
        )

    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Keep, per node, the edges whose best allowed operation weighs most (``space.kept`` of them).

        Source: Liu et al. 2019, section 2.4.
        """
        return {cell.kind: list(_strongest(space, cell, tables[cell.kind])) for cell in space.cells}

    def sketch(self, nodes: int, stem: bool) -> Plan:
        """Lay out a network of next to nothing: a cell of each kind, of one channel, after a ``stem`` or not.

        A reduction cell is twice as wide; a batch norm and a ReLU follow. Source: the code of Chen, Gong,
        Wang 2021, which measures untrained networks on it.
        """
        before = previous = width = 1
        cells: list[LayerPlan] = []
        for kind in self.kinds:
            width *= 2 if kind == "reduce" else 1
            cells.append(CellPlan(kind, width, (before, previous)))
            before, previous = previous, nodes * width
        return Plan("small" if stem else "none", 1, tuple(cells), previous, previous, "norm")

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield the operation of every chosen edge."""
        for kind in genotype.kinds:
            for choice in genotype.cell(kind):
                yield Decision(kind, f"edge {choice.source}->{choice.target}", choice.op)

    def architectures(self, space: Space) -> int:
        """Count every choice of kept edges, and of one operation on each."""
        total = 1
        for cell in space.cells:
            for node in space.targets:
                usable = [len(space.allowed(edge)) for edge in space.usable(cell, node)]
                total *= count_subsets(usable, space.kept(cell, node))
        return total


def _strongest(space: Space, cell: Cell, table: list[list[float]]) -> Iterator[Choice]:
    best: dict[int, list[tuple[float, Choice]]] = {target: [] for target in space.targets}
    for edge, row in zip(cell.edges, table, strict=True):
        if space.allowed(edge):
            weight, op = heaviest(row, edge.ops, space)
            best[edge.target].append((weight, Choice(op, edge.source, edge.target)))
    for target, rated in best.items():
        # `sorted` keeps the order of equals: ties go to the lowest index.
        kept = sorted(rated, key=lambda pair: -pair[0])[: space.kept(cell, target)]
        yield from (choice for _, choice in kept)
