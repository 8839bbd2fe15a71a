"""The skeleton of ProxylessNAS: a chain of blocks, each with an operation of its own (Cai et al. 2019)."""

import json
import re
from collections.abc import Iterator, Sequence

from raynas.errors import RaynasError, short
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group, Row
from raynas.spaces.operations import OPERATIONS, canonical_name
from raynas.spaces.skeletons.base import Edges, Written
from raynas.spaces.skeletons.edges import EdgeSkeleton
from raynas.spaces.skeletons.plan import BlockPlan, ConvolutionPlan, Plan, Usual
from raynas.spaces.space import Space
from raynas.spaces.texts.snippet import Snippet, Span, lines_like
from raynas.spaces.trunk import Trunk, TrunkStage

_NUMBER = r"\s*([1-9]\d{0,8})\s*"
_STEM = re.compile(rf"\s*chain{_NUMBER},{_NUMBER}")
_STAGE = re.compile(rf"{_NUMBER}/\s*([12])\s*:([\w\s]+)")


class Chain(EdgeSkeleton):
    """Block b is the edge from state b − 1 to state b; widths and strides are the space's `trunk`."""

    name = "chain"
    notation = "raynas’ own"
    counts = "choice blocks (its `trunk` says how many)"
    fewest_cells = 1
    has_trunk = True
    epsilon = 1e-3
    builder = "raynas.nets.supernets.chain:ChainBuilder"
    layer = "raynas.nets.networks.chain:chain_layer"

    def edges(self, ops: tuple[str, ...], nodes: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """Let every block have the same candidates."""
        return {(block - 1, block): ops for block in range(1, nodes + 1)}

    def fitting(self, edges: Edges, trunk: Trunk | None) -> Edges:
        """Leave `zero` to the blocks with a shortcut: without one, nothing would reach the rest."""
        blocks = trunk.blocks if trunk else ()
        return {
            (source, target): ops
            if target > len(blocks) or blocks[target - 1].shortcut
            else tuple(op for op in ops if not _is_zero(op))
            for (source, target), ops in edges.items()
        }

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield a trunk that does not fit, edges that are not a chain, and operations of other skeletons."""
        if space.trunk is None:
            yield "trunk: a chain needs its widths, `trunk: {stem: [32, 16], stages: [...], last: 1280}`"
            return
        blocks = space.trunk.blocks
        if len(blocks) != space.nodes:
            yield f"nodes: the stages of the trunk have {len(blocks)} blocks; got nodes: {space.nodes}"
            return
        if space.default_cells != space.nodes:
            yield f"default_cells: a chain has its {space.nodes} blocks; got {space.default_cells}"
        for edge in cell.edges:
            place = f"cells.{cell.kind}: block {edge.target}"
            if edge.source != edge.target - 1:
                yield f"{place} reads the block before it; got the edge {edge.source}->{edge.target}"
            for op in edge.ops:
                if OPERATIONS[op].family != "inverted" and not _is_zero(op):
                    yield f"{place} holds inverted bottlenecks and zero; got {op}"
                if _is_zero(op) and edge.target <= len(blocks) and not blocks[edge.target - 1].shortcut:
                    yield f"{place} has no shortcut (stride 2, or another width), so it cannot be {op}"

    def groups(self, space: Space) -> tuple[Group, ...]:
        """Return one tensor with a row for each block."""
        [cell] = space.cells
        rows = tuple(Row(f"block {edge.target}", edge.ops) for edge in cell.edges)
        return (Group(cell.kind, "blocks", rows),)

    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield every block's operation."""
        for choice in genotype.cell("normal"):
            yield Decision("normal", f"block {choice.target}", choice.op)

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Refuse what the trunk has no room for."""
        super().check_cell(genotype, kind, choices)
        if genotype.trunk is None:
            raise RaynasError("a chain's genotype lacks its trunk", expected="stem, stages and last")
        blocks = genotype.trunk.blocks
        if len(blocks) != genotype.nodes:
            raise RaynasError(
                "a chain's trunk does not fit", got=f"{len(blocks)} blocks", expected=genotype.nodes
            )
        for choice in choices:
            if choice.source != choice.target - 1:
                raise RaynasError("a block reads the one before it", got=f"{choice.source}->{choice.target}")
            if OPERATIONS[choice.op].family != "inverted" and not (
                _is_zero(choice.op) and blocks[choice.target - 1].shortcut
            ):
                raise RaynasError(
                    f"no operation of block {choice.target}",
                    got=choice.op,
                    expected="an inverted bottleneck, or zero where there is a shortcut",
                )

    def node_operations(self, genotype: Genotype, kind: str) -> dict[int, str]:
        """Return the blocks' operations."""
        return {choice.target: choice.op for choice in genotype.cell(kind)}

    def usually(self, genotype: Genotype, image: int | None = None) -> Usual:
        """Return ImageNet, and the depth and width that the trunk has."""
        return Usual(224, 1000, _trunk_of(genotype).stem[0], genotype.nodes)

    def canonical(self, genotype: Genotype) -> str:
        """Return the trunk's numbers and the blocks' operations."""
        data = genotype.to_json()
        return json.dumps([data["trunk"], data["cells"]], sort_keys=True)

    def to_text(self, genotype: Genotype) -> str:
        """Return ``chain 32,16 | 24/2: mbconv3_3x3 zero … | … | 1280``: widths, strides and operations."""
        trunk = _trunk_of(genotype)
        ops = [choice.op for choice in genotype.cell("normal")]
        stages = [
            f"{stage.width}/{stage.stride}: {' '.join(ops[start:stop])}"
            for stage, (start, stop) in zip(trunk.stages, trunk.bounds(), strict=True)
        ]
        first = f"chain {trunk.stem[0]},{trunk.stem[1]}"
        return " | ".join([first, *stages, str(trunk.last)])

    def spans(self, text: str) -> Iterator[Span]:
        """Yield lines that have this form, or the whole text where it is all of it."""
        return lines_like(r"chain\s+\d+\s*,", text)

    def reads(self, text: str) -> bool:
        """Tell whether the text begins with ``chain``."""
        return text.startswith("chain ")

    def from_text(self, text: Snippet) -> Written:
        """Parse the text form; block by block, stage by stage."""
        first, *middle, end = text.text.split("|")
        stem, last = _STEM.fullmatch(first), re.fullmatch(_NUMBER, end)
        found = [_STAGE.fullmatch(part) for part in middle]
        ops: list[str] = []
        stages = []
        for stage in found:
            names = stage[3].split() if stage else []
            if stage and names:
                width, stride = int(stage[1]), 1 if stage[2] == "1" else 2
                stages.append(TrunkStage(width=width, blocks=len(names), stride=stride))
                ops += names
        if stem is None or last is None or not stages or len(stages) < len(middle):
            raise RaynasError(
                "not a chain's text form",
                got=short(text.text),
                expected="chain 32,16 | 24/2: mbconv3_3x3 zero | 1280 (width/stride: a stage's operations)",
            )
        trunk = Trunk(stem=(int(stem[1]), int(stem[2])), stages=tuple(stages), last=int(last[1]))
        choices = [Choice(canonical_name(op) or op, block, block + 1) for block, op in enumerate(ops)]
        return Written("proxyless", len(ops), {"normal": choices}, trunk)

    def plan(
        self,
        shape: Sequence[int],
        nodes: int,
        cells: int,
        channels: int,
        genotype: Genotype | None = None,
        trunk: Trunk | None = None,
    ) -> Plan:
        """Lay out the chain, all widths in proportion to the first convolution's, which are ``channels``."""
        if trunk is None:
            raise RaynasError("a chain needs its trunk", expected="widths and strides")
        if cells != nodes:
            raise RaynasError(
                "a chain has as many cells as its trunk has blocks",
                got=f"cells: {cells}",
                expected=f"cells: {nodes}, or none given",
                next_step="for a shorter chain copy the space and shorten its `trunk`",
            )
        narrow = trunk.scaled(channels)
        first, *strides = trunk.strides(min(shape[1:]))
        layers = [
            BlockPlan(narrow_block.inputs, narrow_block.outputs, stride, block.shortcut, row)
            for row, (block, narrow_block, stride) in enumerate(
                zip(trunk.blocks, narrow.blocks, strides, strict=True)
            )
        ]
        width = layers[-1].outputs
        before = (
            ConvolutionPlan(shape[0], narrow.stem[0], 3, first),
            BlockPlan(*narrow.stem, 1, shortcut=False, row=None),
        )
        after = ConvolutionPlan(width, narrow.last, 1, 1)
        return Plan("none", shape[0], (*before, *layers, after), narrow.last, narrow.last)


def _is_zero(op: str) -> bool:
    return OPERATIONS[op].name == "zero"


def _trunk_of(genotype: Genotype) -> Trunk:
    if genotype.trunk is None:
        raise RaynasError("a chain's genotype lacks its trunk", expected="stem, stages and last")
    return genotype.trunk
