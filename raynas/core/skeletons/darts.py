"""The skeletons of DARTS: cells that read the two cells before (Liu et al. 2019), and variants of them."""

from typing import TYPE_CHECKING, ClassVar

from raynas.core.darts_text import DartsText
from raynas.core.skeletons.base import Choice, Written
from raynas.core.skeletons.edges import EdgeSkeleton
from raynas.core.skeletons.plan import Plan, reducing_cells
from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.core.genotype import Genotype


class Darts(EdgeSkeleton):
    """A cell puts out all of its nodes side by side."""

    name = "darts"
    text_form = "DARTS’"
    kinds: ClassVar[tuple[str, ...]] = ("normal", "reduce")
    inputs = 2
    extras = True

    def gathered(self, genotype: "Genotype", kind: str) -> tuple[int, ...]:
        """Return all nodes."""
        return tuple(genotype.targets)

    def to_text(self, genotype: "Genotype") -> str:
        """Return ``Genotype(normal=[('sep_conv_3x3', 1), …], …)``.

        Raises `RaynasError` unless every node has exactly two incoming edges: the form has no room for
        targets, so it can say nothing else.
        """
        fields = []
        for kind, choices in genotype.cells:
            for node in genotype.targets:
                edges = sum(choice.target == node for choice in choices)
                if edges != 2:
                    raise RaynasError(
                        "DARTS' text form has exactly two edges per node",
                        got=f"{edges} into node {node} of the {kind} cell",
                        next_step="save the genotype as JSON instead",
                    )
            pairs = ", ".join(f"({choice.op!r}, {choice.source})" for choice in choices)
            fields.append(f"{kind}=[{pairs}], {kind}_concat={genotype.targets}")
        return f"Genotype({', '.join(fields)})"

    def from_text(self, text: str) -> Written:
        """Parse DARTS' text form, with or without ``NAME =`` before it; nothing is evaluated."""
        nodes, cells = DartsText(text, self.kinds, self.inputs).cells()
        return Written("darts", nodes, {kind: [Choice(*edge) for edge in cells[kind]] for kind in cells})

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: "Genotype | None") -> Plan:
        """Stack cells with reductions (Liu et al. 2019, A.1.1 and A.3), all nodes put out."""
        return reducing_cells(side, cells, channels, dict.fromkeys(self.kinds, nodes))


class Reducing(Darts):
    """A stack of reduction cells alone: in DARTS' code a network of one cell is one (1 // 3 is 0)."""

    name = "darts-reducing"
    kinds = ("reduce",)
    fewest_cells = 1


class Skipping(Darts):
    """Every edge adds a skip to what its operation gives, which α does not weigh (Jha et al. 2025)."""

    name = "darts-skipping"
    skips = True


class ReducingSkipping(Reducing):
    """Both."""

    name = "darts-reducing-skipping"
    skips = True
