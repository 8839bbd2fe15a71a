"""The skeleton of NAS-Bench-1Shot1: choice blocks, which become NAS-Bench-101's cells."""

import math
import random
from collections.abc import Iterator, Sequence

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group, Row
from raynas.spaces.skeletons.base import Skeleton, WeightLists, Written
from raynas.spaces.skeletons.plan import CellPlan, HalfPlan, LayerPlan, Plan, TailKind, Usual, is_reduced
from raynas.spaces.skeletons.rows import by_row, heaviest
from raynas.spaces.skeletons.subsets import draw_subset
from raynas.spaces.space import Space
from raynas.spaces.texts import nasbench101
from raynas.spaces.texts.snippet import Snippet, Span


class Blocks(Skeleton):
    """An operation is chosen for all edges into a block; the output is one more target, of chosen blocks."""

    name = "blocks"
    notation = "NAS-Bench-101’s"
    table_key = "hash"
    benchmark = "NAS-Bench-101"
    usual = Usual(32, 10, 128, 9)
    builder = "raynas.nets.supernets.blocks:BlocksBuilder"
    layer = "raynas.nets.networks.blocks:BlocksCell"

    def targets(self, nodes: int) -> range:
        """Return the blocks, and last the output."""
        return range(1, nodes + 2)

    def edges(self, ops: tuple[str, ...], nodes: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """Let every block read every earlier state, and the output all of them as they are."""
        edges = super().edges(ops, nodes)
        return edges | {(source, nodes + 1): ("identity",) for source in range(nodes + 1)}

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield blocks of several lists of operations, and edges into the output that hold one."""
        *blocks, output = space.targets
        for block in blocks:
            if len({edge.ops for edge in cell.into(block)}) > 1:
                yield f"cells.{cell.kind}: all edges into block {block} must list the same operations"
        if any(edge.ops != ("identity",) for edge in cell.into(output)):
            yield f"cells.{cell.kind}: edges into {output}, the output, must be [identity]"

    def groups(self, space: Space) -> tuple[Group, ...]:
        """An operation for each block, parents for each block that has a choice, parents of the output."""
        [cell] = space.cells
        *blocks, output = space.targets
        free = [block for block in blocks if len(cell.into(block)) > space.kept(cell, block)]
        parents = {target: tuple(str(edge.source) for edge in cell.into(target)) for target in space.targets}
        groups = [
            Group(
                "operations",
                "operations",
                tuple(Row(f"block {b}: operation", cell.into(b)[0].ops) for b in blocks),
            ),
            Group(
                "inputs",
                "inputs",
                tuple(Row(f"block {b}: parents", parents[b]) for b in free),
                operations=False,
            ),
            Group("output", "output", (Row("output: parents", parents[output]),), operations=False),
        ]
        return tuple(group for group in groups if group.rows)

    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Give each block its heaviest operation and its heaviest parents (Zela et al. 2020, section 3)."""
        [cell] = space.cells
        weights = by_row(self.groups(space), tables)
        chosen = []
        for target in space.targets:
            edges = cell.into(target)
            place = "output" if target == space.targets[-1] else f"block {target}"
            _, op = heaviest(weights.get(f"{place}: operation", [0.0]), edges[0].ops, space)
            parents = weights.get(f"{place}: parents", [0.0] * len(edges))
            rated = sorted(zip(parents, edges, strict=True), key=lambda pair: -pair[0])
            chosen += [Choice(op, edge.source, target) for _, edge in rated[: space.kept(cell, target)]]
        return {"normal": chosen}

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield each block's operation and the parents of blocks and output."""
        for choice in genotype.cell("normal"):
            parent = str(choice.source)
            if choice.target == space.targets[-1]:
                yield Decision("output", "output: parents", parent)
            else:
                yield Decision("operations", f"block {choice.target}: operation", choice.op)
                yield Decision("inputs", f"block {choice.target}: parents", parent)

    def architectures(self, space: Space) -> int:
        """Count every choice of parents, and of one operation a block."""
        [cell] = space.cells
        total = 1
        for node in space.targets:
            usable = [len(space.allowed(edge)) for edge in space.usable(cell, node)]
            total *= math.comb(len(usable), space.kept(cell, node)) * usable[0]
        return total

    def draw(self, space: Space, source: random.Random) -> dict[str, list[Choice]]:
        """Draw each target's parents, and one operation for all edges into a block."""
        [cell] = space.cells
        chosen = []
        for target in space.targets:
            usable = space.usable(cell, target)
            op = source.choice(space.allowed(usable[0]))
            parents = draw_subset([1] * len(usable), space.kept(cell, target), source)
            chosen += [Choice(op, usable[place].source, target) for place in parents]
        return {"normal": chosen}

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Refuse, further, two operations in one block, and operations on what the output reads."""
        super().check_cell(genotype, kind, choices)
        for node in self.targets(genotype.nodes):
            ops = {choice.op for choice in choices if choice.target == node}
            if len(ops) > 1:
                raise RaynasError(
                    f"two operations in one block of the {kind} cell",
                    got=f"{' and '.join(sorted(ops))} into node {node}",
                )
            if node == self.targets(genotype.nodes)[-1] and ops != {"identity"}:
                raise RaynasError("edges into the output must be identity", got=", ".join(ops))

    def node_operations(self, genotype: Genotype, kind: str) -> dict[int, str]:
        """Return the blocks' operations."""
        ops = {choice.target: choice.op for choice in genotype.cell(kind)}
        return {block: ops[block] for block in self.targets(genotype.nodes)[:-1]}

    def canonical(self, genotype: Genotype) -> str:
        """Return NAS-Bench-101's hash."""
        return nasbench101.module_hash(*to_matrix(genotype))

    def table_name(self, genotype: Genotype) -> str:
        """Return NAS-Bench-101's hash."""
        return self.canonical(genotype)

    def to_text(self, genotype: Genotype) -> str:
        """Return ``ModelSpec(matrix=…, ops=…)``."""
        return nasbench101.write(*to_matrix(genotype))

    def spans(self, text: str) -> Iterator[Span]:
        """Yield the calls by which the benchmark's package is asked for a cell."""
        return nasbench101.spans(text)

    def reads(self, text: str) -> bool:
        """Tell whether the text is such a call."""
        return text.startswith("ModelSpec")

    def from_text(self, text: Snippet) -> Written:
        """Parse ``ModelSpec(…)``; as in the benchmark, vertices on no way to the output are left out."""
        matrix, ops = nasbench101.prune(*nasbench101.read(text))
        last = len(matrix) - 1
        choices = [
            Choice("identity" if target == last else ops[target], source, target)
            for source, row in enumerate(matrix)
            for target, edge in enumerate(row)
            if edge
        ]
        if last < 2:
            raise RaynasError(
                "the cell has no operation between its input and its output",
                got=text.where(1, 1),
                expected="a vertex between them, on a way from one to the other",
            )
        return Written("nas-bench-101", last - 1, {"normal": choices})

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Stack cells, before those at 1/3 and 2/3 of the depth a pooling, and from there twice the channels.

        A supernet's cell outputs all of its blocks side by side and ends in a projection (Zela, Siems,
        Hutter 2020); a discrete one divides its channels among the blocks it outputs (Ying et al. 2019).
        """
        layers: list[LayerPlan] = []
        before, width = channels, channels
        for index in range(cells):
            if is_reduced(index, cells):
                layers.append(HalfPlan(before, before, residual=False))
                width *= 2
            layers.append(CellPlan("normal", width, (before,)))
            before = nodes * width if genotype is None else width
        tail: TailKind = "projection" if genotype is None else "none"
        return Plan("small", channels, tuple(layers), before, width, tail, rectified=True)


def to_matrix(genotype: Genotype) -> tuple[nasbench101.Matrix, tuple[str, ...]]:
    """Return a cell of choice blocks as NAS-Bench-101's matrix and operations, loose blocks removed.

    Raises `RaynasError` for cells of any other skeleton.
    """
    if genotype.skeleton != Blocks.name:
        raise RaynasError(
            "only a cell of choice blocks is a NAS-Bench-101 cell",
            got=f"a cell of the {genotype.skeleton} skeleton",
        )
    choices = genotype.cell("normal")
    return nasbench101.from_edges([(c.op, c.source, c.target) for c in choices], genotype.nodes + 2)
