"""The skeleton of DARTS' recurrent cell: a language model reads a text with it, word after word."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Never

from raynas.core.darts_text import DartsText
from raynas.core.ops.catalogue import OPERATIONS
from raynas.core.skeletons.base import Choice, Written
from raynas.core.skeletons.edges import EdgeSkeleton
from raynas.core.skeletons.trunk import Trunk
from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.core.genotype import Genotype


class Recurrent(EdgeSkeleton):
    """A cell reads a word and its own last output; its output is the mean of its nodes."""

    name = "recurrent"
    text_form = "DARTS’"
    kinds = ("recurrent",)
    counts = "the one that reads the text"
    fewest_cells = 1
    most_cells = 1
    texts = True
    gathering = "their mean"

    def takes(self, op: str) -> bool:
        """Take activations; `identity` is the one that changes nothing."""
        return OPERATIONS[op].family == "activation" or op in ("none", "identity")

    def gathered(self, genotype: "Genotype", kind: str) -> tuple[int, ...]:
        """Return all nodes."""
        return tuple(genotype.targets)

    def symbols(self) -> tuple[str, ...]:
        """Call the first state s₀ and the output hₜ."""
        return "s_{0}", "h_{t}"

    def canonical(self, genotype: "Genotype") -> str:
        """Return a text without the nodes' numbers, as every node has weights of its own and is put out.

        Cells in which a node reads several states are compared as they are written.
        """
        readers: dict[int, list[Choice]] = {}
        for choice in genotype.cell("recurrent"):
            readers.setdefault(choice.source, []).append(choice)
        if sum(map(len, readers.values())) > genotype.nodes:
            return super().canonical(genotype)

        def spelled(state: int) -> str:
            return f"({','.join(sorted(c.op + spelled(c.target) for c in readers.get(state, ())))})"

        return spelled(0)

    def to_text(self, genotype: "Genotype") -> str:
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
        return f"Genotype(recurrent=[{pairs}], concat={genotype.targets})"

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with a field of that name."""
        return re.search(r"Genotype\(\s*recurrent\s*=", text) is not None

    def from_text(self, text: str) -> Written:
        """Parse DARTS' text form, with or without ``NAME =`` before it; nothing is evaluated."""
        nodes, cells = DartsText(text, self.kinds, self.inputs, each=1).cells()
        return Written("darts-rnn", nodes, {kind: [Choice(*edge) for edge in cells[kind]] for kind in cells})

    def plan(
        self,
        shape: Sequence[int],
        nodes: int,
        cells: int,
        channels: int,
        genotype: "Genotype | None" = None,
        trunk: Trunk | None = None,
    ) -> Never:
        """Raise `RaynasError`: nothing is stacked."""
        raise RaynasError(
            "a recurrent cell reads a text, and is not stacked on images",
            got=f"images of shape {tuple(shape)}",
            expected="a text, as python-docs",
        )
