"""The skeleton of DARTS: normal and reduction cells that read the two cells before (Liu et al. 2019)."""

from typing import TYPE_CHECKING

from raynas.core.darts_text import DartsText
from raynas.core.skeletons.base import Choice, Written
from raynas.core.skeletons.edges import EdgeSkeleton
from raynas.core.skeletons.plan import LARGE_INPUT, CellPlan, LayerPlan, Plan, StemKind, is_reduced
from raynas.errors import RaynasError

if TYPE_CHECKING:
    from raynas.core.genotype import Genotype


class Darts(EdgeSkeleton):
    """A cell puts out all of its nodes side by side."""

    name = "darts"
    text_form = "DARTS’"
    kinds = ("normal", "reduce")
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

    def stack(self, side: int, nodes: int, cells: int, channels: int, discrete: bool) -> Plan:
        """Stack cells with reductions at 1/3 and 2/3 of the depth, each doubling the channels.

        Small images get a 3×3 stem with 3·channels outputs, large ones three convolutions of stride 2
        (Liu et al. 2019, A.1.1 and A.3).
        """
        stem: StemKind = "large" if side >= LARGE_INPUT else "small"
        stem_channels = channels if stem == "large" else 3 * channels
        before, previous, width = stem_channels, stem_channels, channels
        reduced = stem == "large"
        plans: list[LayerPlan] = []
        for index in range(cells):
            kind = "reduce" if is_reduced(index, cells) else "normal"
            width *= 2 if kind == "reduce" else 1
            plans.append(CellPlan(kind, width, (before, previous), reduced))
            before, previous, reduced = previous, nodes * width, kind == "reduce"
        return Plan(stem, stem_channels, tuple(plans), previous, previous)
