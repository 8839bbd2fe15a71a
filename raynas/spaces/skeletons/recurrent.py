"""The skeleton of DARTS' recurrent cell: a language model reads a text with it, word after word."""

from collections.abc import Iterator, Sequence
from typing import Never

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons.base import Written
from raynas.spaces.skeletons.canonical import canonical_edges
from raynas.spaces.skeletons.edges import EdgeSkeleton
from raynas.spaces.skeletons.plan import Usual
from raynas.spaces.texts import darts as darts_text
from raynas.spaces.texts.darts import DartsText, fields_in
from raynas.spaces.texts.snippet import Snippet, Span
from raynas.spaces.trunk import Trunk


class Recurrent(EdgeSkeleton):
    """A cell reads a word and its own last output; its output is the mean of its nodes, or of some."""

    name = "recurrent"
    notation = "DARTS’"
    kinds = ("recurrent",)
    counts = "the one that reads the text"
    fewest_cells = 1
    most_cells = 1
    texts = True
    partial = True
    usual = Usual(0, 10_000, 850, 1)
    gathering = "their mean"

    def takes(self, op: str) -> bool:
        """Take activations; `identity` is the one that changes nothing."""
        return OPERATIONS[op].family == "activation" or op in ("none", "identity")

    def gathered(self, genotype: Genotype, kind: str) -> tuple[int, ...]:
        """Return all nodes, or those that the genotype names."""
        return dict(genotype.outputs).get(kind, tuple(self.targets(genotype.nodes)))

    def _needs(self, genotype: Genotype, kind: str, node: int) -> bool:
        """Need every node: each has a weight of its own, read or not."""
        return True

    def symbols(self) -> tuple[str, ...]:
        """Call the first state s₀ and the output hₜ."""
        return "s_{0}", "h_{t}"

    def canonical(self, genotype: Genotype) -> str:
        """Return a text without the nodes' numbers, as every node has weights of its own and is an output."""
        return canonical_edges(genotype, self.targets(genotype.nodes))

    def to_text(self, genotype: Genotype) -> str:
        """Return ``Genotype(recurrent=[('sigmoid', 0), …], concat=range(1, 9))``.

        Raises `RaynasError` unless every node reads exactly one state.
        """
        choices = genotype.cell("recurrent")
        if len(choices) != genotype.nodes:
            raise RaynasError(
                "DARTS' text form has exactly one edge per node",
                got=f"{len(choices)} edges, {genotype.nodes} nodes",
                next_step="save the genotype as JSON instead",
            )
        pairs = ", ".join(f"({choice.op!r}, {choice.source})" for choice in choices)
        states = (
            list(self.gathered(genotype, "recurrent")) if genotype.outputs else self.targets(genotype.nodes)
        )
        return f"Genotype(recurrent=[{pairs}], concat={states})"

    def spans(self, text: str) -> Iterator[Span]:
        """Yield genotypes, and dictionaries of their fields."""
        return darts_text.spans(text)

    def reads(self, text: str) -> bool:
        """Tell whether the text has a recurrent cell."""
        return fields_in(text) == {"recurrent"}

    def from_text(self, text: Snippet) -> Written:
        """Parse DARTS' text form; nothing is evaluated."""
        read = DartsText(text, self.kinds, self.inputs, each=1, partial=self.partial)
        nodes, cells = read.cells()
        chosen = {kind: [Choice(*edge) for edge in cells[kind]] for kind in cells}
        return Written("darts-rnn", nodes, chosen, outputs=read.outputs)

    def plan(
        self,
        shape: Sequence[int],
        nodes: int,
        cells: int,
        channels: int,
        genotype: Genotype | None = None,
        trunk: Trunk | None = None,
    ) -> Never:
        """Raise `RaynasError`: nothing is stacked."""
        raise RaynasError(
            "a recurrent cell reads a text, and is not stacked on images",
            got=f"images of shape {tuple(shape)}",
            expected="a text, as python-docs",
        )
