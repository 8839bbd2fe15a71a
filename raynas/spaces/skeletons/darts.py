"""The skeletons of DARTS: cells that read the two cells before (Liu et al. 2019), and variants of them."""

from collections.abc import Iterator
from typing import ClassVar

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.skeletons.base import Written
from raynas.spaces.skeletons.canonical import canonical_edges
from raynas.spaces.skeletons.edges import EdgeSkeleton
from raynas.spaces.skeletons.plan import Plan, Usual, reducing_cells
from raynas.spaces.texts import darts as darts_text
from raynas.spaces.texts.darts import DartsText, fields_in
from raynas.spaces.texts.snippet import Snippet, Span


class Darts(EdgeSkeleton):
    """A cell outputs all of its nodes side by side."""

    name = "darts"
    notation = "DARTS’"
    kinds: ClassVar[tuple[str, ...]] = ("normal", "reduce")
    inputs = 2
    extras = True
    partial = True
    repeats = True
    usual_large = Usual(224, 1000, 48, 14)
    builder = "raynas.nets.supernets.edges:EdgeBuilder"
    layer = "raynas.nets.networks.edges:EdgeCell"

    def gathered(self, genotype: Genotype, kind: str) -> tuple[int, ...]:
        """Return all nodes, or those that the genotype names."""
        return dict(genotype.outputs).get(kind, tuple(self.targets(genotype.nodes)))

    def to_text(self, genotype: Genotype) -> str:
        """Return ``Genotype(normal=[('sep_conv_3x3', 1), …], …)``.

        Where every edge has a skip beside its operation, which DARTS' cells do not, ``skeleton='…'`` says so.
        Raises `RaynasError` unless every node has exactly two incoming edges: the form has no room for
        targets, so it can say nothing else.
        """
        fields = []
        for kind, choices in genotype.cells:
            for node in self.targets(genotype.nodes):
                edges = sum(choice.target == node for choice in choices)
                if edges != 2:
                    raise RaynasError(
                        "DARTS' text form has exactly two edges per node",
                        got=f"{edges} into node {node} of the {kind} cell",
                        next_step="save the genotype as JSON instead",
                    )
            pairs = ", ".join(f"({choice.op!r}, {choice.source})" for choice in choices)
            outputs = self.gathered(genotype, kind)
            states = list(outputs) if kind in dict(genotype.outputs) else self.targets(genotype.nodes)
            fields.append(f"{kind}=[{pairs}], {kind}_concat={states}")
        if self.skips:
            fields.append(f"skeleton={self.name!r}")
        return f"Genotype({', '.join(fields)})"

    def spans(self, text: str) -> Iterator[Span]:
        """Yield genotypes, and dictionaries of their fields."""
        return darts_text.spans(text)

    def from_text(self, text: Snippet) -> Written:
        """Parse DARTS' text form; nothing is evaluated."""
        read = DartsText(text, self.kinds, self.inputs, partial=self.partial, repeats=self.repeats)
        nodes, cells = read.cells()
        chosen = {kind: [Choice(*edge) for edge in cells[kind]] for kind in cells}
        return Written("darts", nodes, chosen, outputs=read.outputs)

    def canonical(self, genotype: Genotype) -> str:
        """Return a text without the nodes' numbers: all are outputs, so their order is that of channels."""
        return canonical_edges(genotype, self.targets(genotype.nodes))

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Stack cells with reductions (Liu et al. 2019, A.1.1 and A.3), all nodes as output."""
        states = {
            kind: nodes if genotype is None else len(self.gathered(genotype, kind)) for kind in self.kinds
        }
        return reducing_cells(side, cells, channels, states, searched=genotype is None)


class Reducing(Darts):
    """A stack of reduction cells alone: in DARTS' code a network of one cell is one (1 // 3 is 0)."""

    name = "darts-reducing"
    kinds = ("reduce",)
    fewest_cells = 1

    def reads(self, text: str) -> bool:
        """Tell whether the text has a reduction cell and no normal one."""
        return fields_in(text) == {"reduce"}


class Skipping(Darts):
    """Every edge adds a skip to what its operation gives, which α does not weigh (Jha et al. 2025)."""

    name = "darts-skipping"
    notation = "DARTS’ (with raynas’ own `skeleton`)"
    skips = True
    layer = "raynas.nets.networks.edges:SkippingCell"
    repeats = False  # is the skip one of the edge, or one of each operation? No source says

    def reads(self, text: str) -> bool:
        """Tell whether the text names the skeleton."""
        return self.name in fields_in(text)


class ReducingSkipping(Skipping):
    """Both: a stack of reduction cells alone, a skip on every edge."""

    name = "darts-reducing-skipping"
    kinds = ("reduce",)
    fewest_cells = 1
