"""The skeleton of ENAS' macro search: a whole network, layer by layer (Pham et al. 2018, section 2.3).

Layer l, state l + 1, applies one operation to the layer before; a bit for every state before that one says
whether it is added. The cell is the network: there is one.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from math import comb

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group, Row
from raynas.spaces.skeletons.base import Skeleton, WeightLists, Written
from raynas.spaces.skeletons.plan import CellPlan, Plan, Usual
from raynas.spaces.skeletons.rows import by_row, heaviest
from raynas.spaces.space import Space
from raynas.spaces.texts import enas as enas_text
from raynas.spaces.texts.snippet import Snippet, Span

BITS = ("no", "skip")


class Macro(Skeleton):
    """``nodes`` counts the layers; states halve and widen after layers N/3 − 1 and 2N/3 − 1."""

    name = "macro"
    notation = "ENAS’"
    counts = "network of all layers, which `nodes` in the space's file counts"
    fewest_cells = 1
    most_cells = 1
    usual = Usual(32, 10, 96, 1)
    bare = True
    builder = "raynas.nets.supernets.macro:MacroBuilder"
    layer = "raynas.nets.networks.macro:MacroLayers"

    def edges(self, ops: tuple[str, ...], nodes: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """Let every layer apply an operation to the state before it, and skip from all earlier ones."""
        edges = super().edges(("identity",), nodes)
        return edges | {(target - 1, target): ops for target in self.targets(nodes)}

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield layers without an operation, and skips that hold one."""
        for layer in space.targets:
            sources = {edge.source: edge.ops for edge in cell.into(layer)}
            if layer - 1 not in sources:
                yield f"cells.{cell.kind}: layer {layer} has no edge {layer - 1}->{layer} for its operation"
            if any(ops != ("identity",) for source, ops in sources.items() if source < layer - 1):
                yield f"cells.{cell.kind}: edges that skip layers into layer {layer} must be [identity]"

    def groups(self, space: Space) -> tuple[Group, ...]:
        """An operation for each layer, and yes or no for each skip."""
        [cell] = space.cells
        ops = [Row(f"layer {e.target}: operation", e.ops) for e in cell.edges if e.source == e.target - 1]
        bits = [Row(_bit(e.source, e.target), BITS) for e in cell.edges if e.source < e.target - 1]
        groups = [
            Group("operations", "operations", tuple(ops)),
            Group("skips", "skips", tuple(bits), operations=False),
        ]
        return tuple(group for group in groups if group.rows)

    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Give each layer its heaviest operation and the skips whose yes weighs more than their no."""
        [cell] = space.cells
        weights = by_row(self.groups(space), tables)
        chosen = []
        for edge in cell.edges:
            if edge.source == edge.target - 1:
                _, op = heaviest(weights[f"layer {edge.target}: operation"], edge.ops, space)
                chosen.append(Choice(op, edge.source, edge.target))
            else:
                no, yes = weights[_bit(edge.source, edge.target)]
                chosen += [Choice("identity", edge.source, edge.target)] if yes > no else []
        return {"normal": chosen}

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield each layer's operation, and each skip's yes or no."""
        there = {(choice.source, choice.target): choice.op for choice in genotype.cell("normal")}
        for edge in space.cell("normal").edges:
            source, target = edge.source, edge.target
            if source == target - 1:
                yield Decision("operations", f"layer {target}: operation", there[source, target])
            else:
                yield Decision("skips", _bit(source, target), BITS[(source, target) in there])

    def architectures(self, space: Space) -> int:
        """Count every choice of operations, times two for every skip."""
        total = 1
        for edge in space.cell("normal").edges:
            total *= len(space.allowed(edge)) if edge.source == edge.target - 1 else len(BITS)
        return total

    def draw(self, space: Space, source: random.Random) -> dict[str, list[Choice]]:
        """Draw each layer's operation, and for every skip yes or no."""
        chosen = []
        for edge in space.cell("normal").edges:
            if edge.source == edge.target - 1:
                chosen.append(Choice(source.choice(space.allowed(edge)), edge.source, edge.target))
            elif source.randrange(len(BITS)):
                chosen.append(Choice("identity", edge.source, edge.target))
        return {"normal": chosen}

    def chance(self, space: Space) -> float:
        """Return the mean over both networks' numbers of skips, each a binomial one."""
        [cell] = space.cells
        ops = [len(space.allowed(e)) for e in cell.edges if e.source == e.target - 1]
        bits = len(cell.edges) - len(ops)
        same = sum(1 / count for count in ops)
        likely: list[float] = [comb(bits, skips) / 2**bits for skips in range(bits + 1)]
        return sum(
            p * q * (same + (one * other / bits if bits else 0)) / (len(ops) + max(one, other))
            for one, p in enumerate(likely)
            for other, q in enumerate(likely)
        )

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Refuse, further, layers without an operation on the layer before, and skips with one."""
        super().check_cell(genotype, kind, choices)
        applied = {choice.target for choice in choices if choice.source == choice.target - 1}
        for layer in self.targets(genotype.nodes):
            if layer not in applied:
                raise RaynasError(f"layer {layer} applies no operation to the state before it")
        for choice in choices:
            if choice.source < choice.target - 1 and choice.op != "identity":
                raise RaynasError(
                    "skips must be identity", got=f"{choice.op} on {choice.source}->{choice.target}"
                )

    def node_operations(self, genotype: Genotype, kind: str) -> dict[int, str]:
        """Return the layers' operations."""
        return {c.target: c.op for c in genotype.cell(kind) if c.source == c.target - 1}

    def to_text(self, genotype: Genotype) -> str:
        """Return ENAS' numbers, a line per layer: its operation, then its bits."""
        there = {(choice.source, choice.target) for choice in genotype.cell("normal")}
        ops = self.node_operations(genotype, "normal")
        layers = [(op, [(s, layer) in there for s in range(layer - 1)]) for layer, op in ops.items()]
        return enas_text.write_macro(layers)

    def spans(self, text: str) -> Iterator[Span]:
        """Yield lists of numbers as ENAS' code prints them."""
        return enas_text.spans(text)

    def reads(self, text: str) -> bool:
        """Tell whether the text is numbers, as many as some number of layers has."""
        return enas_text.is_macro(enas_text.bare(text))

    def from_text(self, text: Snippet) -> Written:
        """Parse ENAS' numbers, in any number of lines but two."""
        choices = []
        layers = enas_text.read_macro(enas_text.bare(text.text))
        for layer, (op, bits) in enumerate(layers, start=1):
            choices += [Choice("identity", source, layer) for source, bit in enumerate(bits) if bit]
            choices.append(Choice(op, layer - 1, layer))
        return Written("enas-macro", len(layers), {"normal": choices})

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Give the one cell everything between the stem and the linear head."""
        width = channels * 2 ** len(pooled_after(nodes))
        return Plan("small", channels, (CellPlan("normal", channels, (channels,)),), width, width)


def pooled_after(layers: int) -> tuple[int, ...]:
    """Return the layers (counted from 1, as states are) after which the resolution halves: N/3 and 2N/3."""
    third = layers // 3
    return (third, 2 * third) if third else ()


def kept_states(layer: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Return which states, up to ``layer``, the layers after it read over (source, target) ``edges``."""
    return sorted({source for source, target in edges if source <= layer < target})


def _bit(source: int, target: int) -> str:
    return f"layer {target}: skip from {source}"
