"""The skeleton of DSO-NAS: blocks whose operations may read all before them (Zhang, Huang, Wang 2018)."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from raynas.errors import RaynasError, short
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Edge, Group, Row
from raynas.spaces.isomorphism import Arrow, first_text
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons.base import Skeleton, WeightLists, Written
from raynas.spaces.skeletons.plan import DensePlan, DenseReductionPlan, LayerPlan, Plan, Usual
from raynas.spaces.skeletons.rows import by_row
from raynas.spaces.space import Space
from raynas.spaces.texts.snippet import Snippet, Span, lines_like

CONNECTIONS = "connections"
"""The one tensor of α: a row for each node that has a choice of what it reads, and for the output."""
FAMILIES = frozenset({"normed_separable", "normed_max_pool", "normed_avg_pool"})

_WHOLE = re.compile(
    r"\s*dense\s+(\d{1,9}):((?:\s+\d{1,9}=[\w.-]+\(\d{1,9}(?:\+\d{1,9})*\))+)\s+out=\((\d{1,9}(?:\+\d{1,9})*)\)\s*"
)
_NODE = re.compile(r"(\d+)=([\w.-]+)\(([\d+]+)\)")

_Rated = list[tuple[float, Edge]]
_Pick = Callable[[int, _Rated], list[Edge]]


class Dense(Skeleton):
    """State 0 is the block's input; nodes are numbered layer by layer, the output is the last target.

    A node has one operation, on the sum of what it reads. Those of the first layer read the input; the others
    and the output have a connection with a weight to everything before, and keep any number of them.
    """

    name = "dense"
    notation = "raynas’ own"
    counts = "blocks in each of three stages"
    fewest_cells = 1
    loose = True
    usual = Usual(32, 10, 48, 8)
    epsilon = 2e-5
    builder = "raynas.nets.supernets.dense:DenseBuilder"
    layer = "raynas.nets.networks.dense:dense_layer"

    def targets(self, nodes: int) -> range:
        """Return the nodes, and last the output."""
        return range(1, nodes + 2)

    def edges(self, ops: tuple[str, ...], nodes: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """Let each layer hold every operation once, reading the input and all layers before its own."""
        edges: dict[tuple[int, int], tuple[str, ...]] = {}
        for node in range(1, nodes + 1):
            layer, place = divmod(node - 1, len(ops))
            edges |= {(source, node): (ops[place],) for source in range(layer * len(ops) + 1)}
        return edges | {(node, nodes + 1): ("identity",) for node in range(1, nodes + 1)}

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield cells that are not layers of operations, each with all connections to those before."""
        *nodes, output = space.targets
        place = f"cells.{cell.kind}"
        for node in nodes:
            ops = {op for edge in cell.into(node) for op in edge.ops}
            if len(ops) > 1 or any(OPERATIONS[op].family not in FAMILIES for op in ops):
                yield f"{place}: node {node} has one operation on all its edges, such as sep3x3-bn-relu"
        if any(edge.ops != ("identity",) for edge in cell.into(output)):
            yield f"{place}: edges into {output}, the output, must be [identity]"
        if [edge.source for edge in cell.into(output)] != nodes:
            yield f"{place}: the output, {output}, reads every node"
        reads = [[edge.source for edge in cell.into(node)] for node in nodes]
        ends = [len(read) - 1 for read in reads]
        whole = all(read == list(range(end + 1)) for read, end in zip(reads, ends, strict=True))
        rising = all(a == b or b == node for (a, b), node in zip(pairwise(ends), nodes, strict=False))
        if not (whole and rising and ends[0] == 0):
            yield f"{place}: nodes of one layer read the input and all nodes of the layers before, no others"

    def groups(self, space: Space) -> tuple[Group, ...]:
        """Return one tensor: a row of states to read for each node behind the first layer and the output."""
        [cell] = space.cells
        rows = []
        for target in space.targets:
            sources = tuple(str(edge.source) for edge in cell.into(target))
            if len(sources) > 1 or target == space.targets[-1]:
                rows.append(Row(_row(space.targets[-1], target), sources))
        return (Group(CONNECTIONS, "connections", tuple(rows), operations=False),)

    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Let every node keep the ``space.kept`` connections that weigh most; prune what is loose."""
        [cell] = space.cells

        def strongest(target: int, rated: _Rated) -> list[Edge]:
            # `sorted` keeps the order of equals: ties go to the lowest index.
            ordered = sorted(rated, key=lambda pair: -pair[0])
            return [edge for _, edge in ordered[: space.kept(cell, target)]]

        return self._derived(space, tables, strongest)

    def above(
        self, space: Space, tables: WeightLists, least: float, most: int | None
    ) -> dict[str, list[Choice]]:
        """Keep every connection that weighs at least ``least`` and anything, at most ``most`` a node; prune.

        A node left without connections is gone, and with it what only it reads (DSO-NAS' code, prune).
        """

        def passing(target: int, rated: _Rated) -> list[Edge]:
            ordered = sorted(rated, key=lambda pair: -pair[0])
            return [edge for weight, edge in ordered if weight >= least and weight > 0][:most]

        return self._derived(space, tables, passing)

    def _derived(self, space: Space, tables: WeightLists, pick: _Pick) -> dict[str, list[Choice]]:
        [cell] = space.cells
        weights = by_row(self.groups(space), tables)
        *nodes, output = space.targets
        alive = {0}
        kept: dict[int, list[Edge]] = {}
        for target in space.targets:
            edges = cell.into(target)
            row = weights.get(_row(output, target))
            rated = [
                (weight, edge)
                for weight, edge in zip(row or [1.0] * len(edges), edges, strict=True)
                if edge.source in alive
            ]
            kept[target] = [edge for _, edge in rated] if row is None else pick(target, rated)
            if target == output and not kept[target]:
                kept[target] = [max(rated, key=lambda pair: pair[0])[1]]
            if kept[target]:
                alive.add(target)
        needed = {output}
        for target in reversed(space.targets):
            if target in needed:
                needed |= {edge.source for edge in kept[target]}
        choices = [
            Choice(edge.ops[0], edge.source, target) for target in (*nodes, output) for edge in kept[target]
        ]
        return {"normal": [choice for choice in choices if choice.target in needed]}

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield every connection; those of the first layer have no row."""
        for choice in genotype.cell("normal"):
            yield Decision(CONNECTIONS, _row(space.targets[-1], choice.target), str(choice.source))

    def architectures(self, space: Space) -> int:
        """Count every choice of connections with at least one into the output."""
        *free, output = [len(row.options) for group in self.groups(space) for row in group.rows]
        return int(2 ** sum(free) * (2**output - 1))

    def draw(self, space: Space, source: random.Random) -> dict[str, list[Choice]]:
        """Draw every connection as there or not, again until the output reads a node that is there.

        What is then loose is pruned, so a genotype is as likely as it has such patterns of connections.
        """
        [group] = self.groups(space)
        output = space.targets[-1]
        last = _row(output, output)
        while True:
            rows = {row.name: [float(source.randrange(2)) for _ in row.options] for row in group.rows}
            chosen = self.above(space, {group.name: list(rows.values())}, least=1.0, most=None)
            read = {str(choice.source) for choice in chosen["normal"] if choice.target == output}
            names = next(row.options for row in group.rows if row.name == last)
            if all(there for name, there in zip(names, rows[last], strict=True) if name in read):
                return chosen

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Refuse two operations in one node, operations of other skeletons, and what reads nothing."""
        super().check_cell(genotype, kind, choices)
        output = self.targets(genotype.nodes)[-1]
        there = {0} | {choice.target for choice in choices}
        for node in sorted(there - {0}):
            ops = {choice.op for choice in choices if choice.target == node}
            if len(ops) > 1:
                raise RaynasError(f"two operations in node {node}", got=" and ".join(sorted(ops)))
            [op] = ops
            if (op != "identity") if node == output else (OPERATIONS[op].family not in FAMILIES):
                expected = "identity" if node == output else "an operation such as sep3x3-bn-relu"
                raise RaynasError(f"no operation of node {node}", got=op, expected=expected)
        if output not in there:
            raise RaynasError("the block's output reads nothing", expected=f"an edge into {output}")
        for choice in choices:
            if choice.source not in there:
                raise RaynasError(
                    "a node reads one that is not there", got=f"{choice.source}->{choice.target}"
                )
        if any(choice.target == output and choice.source == 0 for choice in choices):
            raise RaynasError("the output reads nodes; the input is added to it anyway", got=f"0->{output}")

    def node_operations(self, genotype: Genotype, kind: str) -> dict[int, str]:
        """Return the operations of the nodes that are left."""
        output = self.targets(genotype.nodes)[-1]
        return {choice.target: choice.op for choice in genotype.cell(kind) if choice.target != output}

    def to_text(self, genotype: Genotype) -> str:
        """Return ``dense 16: 1=sep3x3-bn-relu(0) 5=max3x3-bn-relu(0+1) out=(1+5)``."""
        reads: dict[int, list[int]] = {}
        for choice in genotype.cell("normal"):
            reads.setdefault(choice.target, []).append(choice.source)
        sums = {target: "+".join(map(str, sources)) for target, sources in reads.items()}
        ops = self.node_operations(genotype, "normal")
        nodes = " ".join(f"{node}={op}({sums[node]})" for node, op in ops.items())
        return f"dense {genotype.nodes}: {nodes} out=({sums[self.targets(genotype.nodes)[-1]]})"

    def canonical(self, genotype: Genotype) -> str:
        """Return a text without the nodes' numbers; those that nothing reads are not there."""
        output = self.targets(genotype.nodes)[-1]
        reached = {choice.target for choice in genotype.cell("normal")} - {output}
        arrows = [Arrow(choice.op, choice.source, choice.target) for choice in genotype.cell("normal")]
        return first_text([0, output], reached, arrows)

    def spans(self, text: str) -> Iterator[Span]:
        """Yield lines that have this form, or the whole text where it is all of it."""
        return lines_like(r"dense\s+\d+\s*:", text)

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with ``dense``."""
        return text.startswith("dense ")

    def from_text(self, text: Snippet) -> Written:
        """Parse the text form."""
        found = _WHOLE.fullmatch(text.text)
        if found is None:
            raise RaynasError(
                "not a dense block's text form",
                got=short(text.text),
                expected="dense 16: 1=sep3x3-bn-relu(0) 5=max3x3-bn-relu(0+1) out=(1+5)",
            )
        nodes = int(found[1])
        choices = [
            Choice(op, int(source), int(node))
            for node, op, reads in _NODE.findall(found[2])
            for source in reads.split("+")
        ]
        choices += [Choice("identity", int(source), nodes + 1) for source in found[3].split("+")]
        return Written("dso-nas", nodes, {"normal": choices})

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Three stages of ``cells`` blocks; a reduction between two doubles the channels (its CIFAR code)."""
        layers: list[LayerPlan] = []
        width = channels
        for stage in range(3):
            layers += [DensePlan(width, projected=index == 0) for index in range(cells)]
            if stage < 2:
                layers.append(DenseReductionPlan(width, 2 * width))
                width *= 2
        return Plan("small", channels, tuple(layers), width, width, "norm", rectified=True)


def _row(output: int, target: int) -> str:
    return "output: reads" if target == output else f"node {target}: reads"
