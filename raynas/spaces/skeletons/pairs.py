"""The skeleton of NASNet and of ENAS' micro search: blocks that add up two slots.

Each slot chooses one earlier state and one operation; both slots of a block may choose the same
(Zoph et al. 2018, section 3; Pham et al. 2018, section 2.4).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group, Row
from raynas.spaces.skeletons.base import Skeleton, WeightLists, Written
from raynas.spaces.skeletons.canonical import canonical_edges
from raynas.spaces.skeletons.plan import Plan, reducing_cells
from raynas.spaces.skeletons.rows import heaviest
from raynas.spaces.space import Space
from raynas.spaces.texts import enas as enas_text
from raynas.spaces.texts.snippet import Snippet, Span

SLOTS = "ab"
ENAS = "enas-micro"


class Pairs(Skeleton):
    """A cell reads two states and outputs, side by side, every state that no slot has read."""

    name = "pairs"
    notation = "ENAS’"
    kinds = ("normal", "reduce")
    inputs = 2
    parallel = True
    bare = True
    builder = "raynas.nets.supernets.pairs:PairsBuilder"
    layer = "raynas.nets.networks.pairs:pairs_cell"

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield blocks of several lists of operations, and another number of slots than two."""
        if any(space.kept(cell, block) != 2 for block in space.targets):
            yield "keep: every block of the pairs skeleton has two slots; expected 2"
        for block in space.targets:
            if len({edge.ops for edge in cell.into(block)}) > 1:
                yield f"cells.{cell.kind}: all edges into block {block} must list the same operations"

    def groups(self, space: Space) -> tuple[Group, ...]:
        """Of each kind an operation for each slot, and a state for each slot."""
        groups = []
        for cell in space.cells:
            slots = [(f"slot {block}{slot}", cell.into(block)) for block in space.targets for slot in SLOTS]
            title = f"{cell.kind} cell"
            ops = tuple(Row(f"{name}: operation", edges[0].ops) for name, edges in slots)
            states = tuple(
                Row(f"{name}: state", tuple(str(edge.source) for edge in edges)) for name, edges in slots
            )
            groups.append(Group(f"{cell.kind}-operations", f"{title}: operations", ops))
            groups.append(Group(f"{cell.kind}-inputs", f"{title}: inputs", states, operations=False))
        return tuple(groups)

    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Give each slot its heaviest operation and its heaviest state."""
        chosen: dict[str, list[Choice]] = {}
        for cell in space.cells:
            ops, states = (tables[f"{cell.kind}-{part}"] for part in ("operations", "inputs"))
            chosen[cell.kind] = []
            for row, (op_weights, state_weights) in enumerate(zip(ops, states, strict=True)):
                block = space.targets[row // 2]
                edges = cell.into(block)
                _, op = heaviest(op_weights, edges[0].ops, space)
                best = max(range(len(edges)), key=state_weights.__getitem__)
                chosen[cell.kind].append(Choice(op, edges[best].source, block))
        return chosen

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield operation and state of both slots of every block, in the genotype's order."""
        for kind in genotype.kinds:
            for place, choice in enumerate(genotype.cell(kind)):
                slot = f"slot {choice.target}{SLOTS[place % 2]}"
                yield Decision(f"{kind}-operations", f"{slot}: operation", choice.op)
                yield Decision(f"{kind}-inputs", f"{slot}: state", str(choice.source))

    def architectures(self, space: Space) -> int:
        """Count every choice of two slots per block; which of them comes first does not matter."""
        total = 1
        for count in self._slot_choices(space):
            total *= count * (count + 1) // 2
        return total

    def draw(self, space: Space, source: random.Random) -> dict[str, list[Choice]]:
        """Draw each block's two slots as a pair without an order: two equal slots are one of n(n + 1)/2."""
        chosen: dict[str, list[Choice]] = {}
        for cell in space.cells:
            chosen[cell.kind] = []
            for block in space.targets:
                edges = cell.into(block)
                slots = [Choice(op, edge.source, block) for edge in edges for op in space.allowed(edge)]
                chosen[cell.kind] += source.choice(list(combinations_with_replacement(slots, 2)))
        return chosen

    def chance(self, space: Space) -> float:
        """Return the expected common choices over the expected choices; two equal slots are one choice."""
        taken = [(count, 1 - (1 - 1 / count) ** 2) for count in self._slot_choices(space)]
        return sum(count * p**2 for count, p in taken) / sum(count * p for count, p in taken)

    def _slot_choices(self, space: Space) -> Iterator[int]:
        """Yield for each block how many choices each of its slots has."""
        for cell in space.cells:
            for block in space.targets:
                edges = cell.into(block)
                yield len(edges) * len(set(edges[0].ops) - set(space.exclude))

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Refuse, further, blocks of more or fewer than two slots."""
        super().check_cell(genotype, kind, choices)
        for block in self.targets(genotype.nodes):
            slots = sum(choice.target == block for choice in choices)
            if slots != 2:
                raise RaynasError(f"block {block} of the {kind} cell has {slots} slots", expected="two")

    def gathered(self, genotype: Genotype, kind: str) -> tuple[int, ...]:
        """Return the loose ends: the states, the cell's inputs among them, that no slot reads."""
        read = {choice.source for choice in genotype.cell(kind)}
        return tuple(state for state in range(self.targets(genotype.nodes)[-1] + 1) if state not in read)

    def canonical(self, genotype: Genotype) -> str:
        """Return a text without the blocks' numbers: which states are loose is all that they decide."""
        return canonical_edges(genotype, self.targets(genotype.nodes))

    def to_text(self, genotype: Genotype) -> str:
        """Return ENAS' numbers, or names where an operation has none; the normal cell, then the other."""
        cells = [[(c.op, c.source, c.target) for c in genotype.cell(kind)] for kind in self.kinds]
        return enas_text.write_micro(cells)

    def spans(self, text: str) -> Iterator[Span]:
        """Yield lists of numbers as ENAS' code prints them."""
        return enas_text.spans(text)

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with numbers, or a number and an operation, and is not a macro one."""
        plain = enas_text.bare(text)
        return enas_text.is_enas(plain) and not enas_text.is_macro(plain)

    def from_text(self, text: Snippet) -> Written:
        """Parse both cells; the order of a block's slots is not kept."""
        cells = enas_text.read_micro(enas_text.bare(text.text))
        choices = [[Choice(*slot) for slot in cell] for cell in cells]
        enas = all(choice.op in enas_text.MICRO for cell in choices for choice in cell)
        space = ENAS if enas else "nasnet"
        return Written(space, len(cells[0]) // 2, dict(zip(self.kinds, choices, strict=True)))

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Stack cells with reductions, as DARTS does; a supernet's cell outputs all states."""
        states = {
            kind: self.inputs + nodes if genotype is None else len(self.gathered(genotype, kind))
            for kind in self.kinds
        }
        plan = reducing_cells(side, cells, channels, states, searched=genotype is None)
        enas = genotype is not None and in_enas_form(genotype)
        return replace(plan, tail="relu") if enas else plan


def in_enas_form(genotype: Genotype) -> bool:
    """Tell whether a cell becomes ENAS' final network, which is not built as its search's is."""
    return genotype.space == ENAS
