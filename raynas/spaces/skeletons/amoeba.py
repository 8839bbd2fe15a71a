"""AmoebaNet's skeleton: blocks of two slots in a network that begins with reductions (Real et al. 2019).

As its authors build it: tensorflow/tpu 7dc921f, models/official/amoeba_net, model_builder.py.
"""

import re
from collections.abc import Iterator

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.operations import canonical_name, unknown_operation
from raynas.spaces.skeletons.base import Written
from raynas.spaces.skeletons.pairs import Pairs
from raynas.spaces.skeletons.plan import CellPlan, LayerPlan, Plan, Usual, reducing_cells
from raynas.spaces.texts.snippet import Snippet, Span, lines_like
from raynas.spaces.trunk import LARGE_INPUT

STEM = 32
"""Channels of the first convolution, whatever those of the cells."""
LEAST = 2
"""Channels of a stem cell at least; the authors' code takes even numbers of 4 and more."""


class Amoeba(Pairs):
    """A cell reads two states and outputs every state that no slot has read, or those that it names.

    Its inputs may be among these. The discrete network is the authors': a 3×3 convolution without padding,
    for large images of stride 2 and followed by two reduction cells of a quarter and half the channels, which
    ``cells`` does not count. Its supernet is that of `Pairs`, whose reduction cells halve their inputs first.
    Batch norms add 1e-3.
    """

    name = "amoeba"
    notation = "raynas’ own"
    bare = False
    partial = True
    epsilon = 1e-3
    usual_large = Usual(224, 1000, 50, 14)
    layer = "raynas.nets.networks.amoeba:AmoebaCell"

    def outputs(self, nodes: int) -> range:
        """Return all states."""
        return range(self.inputs + nodes)

    def gathered(self, genotype: Genotype, kind: str) -> tuple[int, ...]:
        """Return the states that the genotype names, or those that no slot reads."""
        return dict(genotype.outputs).get(kind) or super().gathered(genotype, kind)

    def to_text(self, genotype: Genotype) -> str:
        """Return ``amoeba normal 1 avg_pool_3x3 … > 0 3 4 6 reduce …``: each slot, then the outputs."""
        words = ["amoeba"]
        for kind in self.kinds:
            slots = (f"{choice.source} {choice.op}" for choice in genotype.cell(kind))
            words += [kind, *slots, ">", *map(str, self.gathered(genotype, kind))]
        return " ".join(words)

    def spans(self, text: str) -> Iterator[Span]:
        """Yield lines that have this form, or the whole text where it is all of it."""
        return lines_like(r"amoeba\s+normal", text)

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with ``amoeba normal``."""
        return text.split()[:2] == ["amoeba", "normal"]

    def from_text(self, text: Snippet) -> Written:
        """Parse both cells; raises `RaynasError` for anything else than `to_text` writes."""
        slots = r"((?: \d{1,3} [\w-]+ \d{1,3} [\w-]+)+) >((?: \d{1,3})+)"
        found = re.fullmatch(f"amoeba normal{slots} reduce{slots}", " ".join(text.text.split()))
        if found is None:
            raise RaynasError(
                "not the text form of AmoebaNet's cells",
                got=text.where(1, 1),
                expected="amoeba normal STATE OPERATION STATE OPERATION … > OUTPUTS reduce … > OUTPUTS",
            )
        cells = {"normal": _choices(found[1]), "reduce": _choices(found[3])}
        outputs = {"normal": list(map(int, found[2].split())), "reduce": list(map(int, found[4].split()))}
        return Written("amoebanet", len(cells["normal"]) // 2, cells, outputs=outputs)

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Stack cells with reductions at 1/3 and 2/3 of the depth, for large images behind two stem cells."""
        if genotype is None:
            return super().stack(side, nodes, cells, channels, genotype)
        states = {kind: len(self.gathered(genotype, kind)) for kind in self.kinds}
        large = side >= LARGE_INPUT
        stem = [max(channels // part, LEAST) for part in (4, 2)] if large else []
        layers: list[LayerPlan] = []
        before, previous, reduced = STEM, STEM, False
        main = reducing_cells(4, cells, channels, states, searched=False).cells
        kinds = [("reduce", width) for width in stem]
        kinds += [(layer.kind, layer.channels) for layer in main if isinstance(layer, CellPlan)]
        for kind, width in kinds:
            inputs = (before, previous) if layers else (previous,)
            layers.append(CellPlan(kind, width, inputs, reduced))
            before, previous, reduced = previous, states[kind] * width, kind == "reduce"
        return Plan("strided" if large else "unpadded", STEM, tuple(layers), previous, previous, "relu")


def _choices(text: str) -> list[Choice]:
    words = text.split()
    choices = []
    for place in range(0, len(words), 2):
        op = canonical_name(words[place + 1])
        if op is None:
            raise unknown_operation(words[place + 1])
        choices.append(Choice(op, int(words[place]), 2 + place // 4))
    return choices
