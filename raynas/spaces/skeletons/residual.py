"""The skeleton of NAS-Bench-201: stages of equal cells, residual blocks between (Dong & Yang 2020)."""

from collections.abc import Iterator
from itertools import pairwise

from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.skeletons.base import Written
from raynas.spaces.skeletons.edges import EdgeSkeleton
from raynas.spaces.skeletons.plan import CellPlan, HalfPlan, LayerPlan, Plan, Usual
from raynas.spaces.texts import nasbench201
from raynas.spaces.texts.snippet import Snippet, Span


class Residual(EdgeSkeleton):
    """A cell reads the layer before as it is, and its last node is its output."""

    name = "residual"
    notation = "NAS-Bench-201’s"
    counts = "cells in each of three stages"
    fewest_cells = 1
    extras = True
    table_key = "arch"
    benchmark = "NAS-Bench-201"
    usual = Usual(32, 10, 16, 5)
    builder = "raynas.nets.supernets.edges:LastBuilder"
    layer = "raynas.nets.networks.edges:LastCell"

    def canonical(self, genotype: Genotype) -> str:
        """Return a text without names of nodes, skips or zeros (`nasbench201.canonical_edges_text`)."""
        return nasbench201.canonical_edges_text(_edges(genotype, self.targets(genotype.nodes)))

    def to_text(self, genotype: Genotype) -> str:
        """Return ``|op~0|+|op~0|op~1|+…``."""
        return nasbench201.write(_edges(genotype, self.targets(genotype.nodes)))

    def spans(self, text: str) -> Iterator[Span]:
        """Yield the benchmark's strings, and ``Structure([…])`` as in AutoDL-Projects."""
        return nasbench201.spans(text)

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with a bar, or is such a call."""
        return text.startswith(("|", "Structure"))

    def from_text(self, text: Snippet) -> Written:
        """Parse NAS-Bench-201's text form."""
        bars = text.text.startswith("|")
        edges = nasbench201.read(text.text) if bars else nasbench201.read_structure(text)
        nodes = max((target for _, _, target in edges), default=0)
        return Written("nas-bench-201", nodes, {"normal": [Choice(*edge) for edge in edges]})

    def sketch(self, nodes: int, stem: bool) -> Plan:
        """Lay out a cell of three channels or more in each stage, or, without a stem, one cell of one."""
        if stem:
            return self.stack(0, nodes, 1, 3, None)
        return Plan("none", 1, (CellPlan("normal", 1, (1,)),), 1, 1, "norm")

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Three stages of ``cells`` cells, a residual block of stride 2 between them (section 2.1)."""
        widths = [channels, 2 * channels, 4 * channels]
        layers: list[LayerPlan] = [CellPlan("normal", channels, (channels,))] * cells
        for before, width in pairwise(widths):
            layers += [HalfPlan(before, width, residual=True), *[CellPlan("normal", width, (width,))] * cells]
        return Plan("small", channels, tuple(layers), widths[-1], widths[-1], "norm")


def _edges(genotype: Genotype, targets: range) -> nasbench201.EdgesInto:
    triples = [(choice.op, choice.source, choice.target) for choice in genotype.cell("normal")]
    return nasbench201.edges_of(triples, targets)
