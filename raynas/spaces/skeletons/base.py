"""The base of all skeletons. A skeleton fixes what YAML cannot say: what a cell reads, is made of and
outputs, what α decides about it, how its cells are written, and how they are stacked.

One module here, without torch, is all that the rest of the house knows of a skeleton; its layers are in
`raynas.nets.supernets` and `raynas.nets.networks`.
"""

import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

from raynas.errors import RaynasError, short, unknown
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Cell, Choice, Decision, Group
from raynas.spaces.operations import OPERATIONS, unknown_operation
from raynas.spaces.skeletons.plan import Plan, Usual
from raynas.spaces.skeletons.subsets import draw_subset
from raynas.spaces.space import Space, graph_problems
from raynas.spaces.texts.snippet import Snippet, Span
from raynas.spaces.trunk import LARGE_INPUT, Trunk

WeightLists = Mapping[str, list[list[float]]]
"""The weights of each group of α, a list for each row, one number per option."""


Edges = Mapping[tuple[int, int], tuple[str, ...]]
"""The candidates on each edge (source, target)."""


class Written(NamedTuple):
    """What a text form says: the space its cells usually come from, nodes, and each kind's choices."""

    space: str
    nodes: int
    cells: Mapping[str, list[Choice]]
    trunk: Trunk | None = None
    outputs: Mapping[str, Sequence[int]] | None = None


class Skeleton(ABC):
    """One skeleton. It holds no state: one instance of each is in `raynas.spaces.skeletons.SKELETONS`.

    A cell's states are numbered: first the ``inputs`` it reads, then its nodes. ``counts`` says what a
    configuration's number of cells means, ``fewest_cells`` its least and ``most_cells`` its most. With
    ``edgewise``, α has a group for each kind of cell and in it a row for each edge (see `EdgeSkeleton`); what
    methods do to edges needs that. ``extras`` says that its supernet can be built with partial channels and
    auxiliary skips; with ``skips`` every edge has one more skip by itself, in the supernet and in the
    discrete network. Two choices may share source and target where edges may be ``parallel``, and a node may
    read nothing where it may be ``loose``. With ``partial`` a cell may output some of its nodes only, and a
    node that reads nothing and is read by nothing may be absent; with ``repeats`` an edge may have several
    operations, though no search derives that. Its cells read images or, where it says so, ``texts``;
    ``gathering`` says what becomes of the states in `gathered`, ``epsilon`` what batch norms add to the
    variance. ``notation`` says whose text form `to_text` writes (``DARTS’``). Where there are tables of
    accuracies, ``table_key`` is the column that names a cell, of the benchmark ``benchmark``. With
    ``has_trunk`` a space says widths and strides (`raynas.spaces.trunk`), and a genotype keeps them.
    ``usual`` is how the field trains such networks, ``usual_large`` how on images of 96 pixels per side and
    more, where that differs. A ``bare`` text form has no mark of its own: numbers.

    ``builder`` and ``layer`` name (``module:name``) what needs torch: the subclass of
    `raynas.nets.supernets.base.Builder` that makes its supernet, and what makes a layer of its discrete
    network from a genotype, the layer's plan, and whether batch norms learn scales. Skeletons of ``texts``
    have neither: their networks are those of `recurrent`.
    """

    name: ClassVar[str]
    notation: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("normal",)
    inputs: ClassVar[int] = 1
    counts: ClassVar[str] = "cells in all"
    fewest_cells: ClassVar[int] = 3
    most_cells: ClassVar[int | None] = None
    edgewise: ClassVar[bool] = False
    extras: ClassVar[bool] = False
    skips: ClassVar[bool] = False
    parallel: ClassVar[bool] = False
    loose: ClassVar[bool] = False
    partial: ClassVar[bool] = False
    repeats: ClassVar[bool] = False
    has_trunk: ClassVar[bool] = False
    texts: ClassVar[bool] = False
    gathering: ClassVar[str] = "concatenated"
    epsilon: ClassVar[float] = 1e-5
    table_key: ClassVar[str] = ""
    benchmark: ClassVar[str] = ""
    bare: ClassVar[bool] = False
    usual: ClassVar[Usual] = Usual(32, 10, 36, 20)
    usual_large: ClassVar[Usual | None] = None
    builder: ClassVar[str] = ""
    layer: ClassVar[str] = ""

    def targets(self, nodes: int) -> range:
        """Return the numbers of the states that edges lead to."""
        return range(self.inputs, self.inputs + nodes)

    def outputs(self, nodes: int) -> range:
        """Return the states that a cell may output where it is ``partial``."""
        return self.targets(nodes)

    def edges(self, ops: tuple[str, ...], nodes: int) -> dict[tuple[int, int], tuple[str, ...]]:
        """Return what ``ops:`` in a file stands for: the candidates on every edge (source, target)."""
        return {(source, target): ops for target in self.targets(nodes) for source in range(target)}

    def fitting(self, edges: Edges, trunk: Trunk | None) -> Edges:
        """Return what `edges` gives without what does not fit an edge: all of it, for most."""
        return edges

    def takes(self, op: str) -> bool:
        """Tell whether an operation may be in a cell."""
        return OPERATIONS[op].skeleton in ("", self.name)

    def cell_problems(self, space: Space, cell: Cell) -> Iterator[str]:
        """Yield what is wrong with a cell of a space, beyond what would be wrong in any skeleton."""
        yield from ()

    def problems(self, space: Space) -> Iterator[str]:
        """Yield everything that is wrong with a space of this skeleton."""
        targets = self.targets(space.nodes)
        if space.kinds != self.kinds:
            yield (
                f"cells: the {self.name} skeleton stacks {' and '.join(self.kinds)} cells; "
                f"got {' and '.join(space.kinds)}"
            )
        if space.trunk is not None and not self.has_trunk:
            yield f"trunk: the {self.name} skeleton has none"
        if wrong := self.wrong_cells(space.default_cells):
            yield f"default_cells: {wrong}; got {space.default_cells}"
        if isinstance(space.keep, tuple) and len(space.keep) != len(targets):
            last = " and the output" if len(targets) > space.nodes else ""
            each = f"a list has one number for each of the {space.nodes} nodes{last}"
            yield f"keep: {each}; got {len(space.keep)}"
        for cell in space.cells:
            if strange := {op for edge in cell.edges for op in edge.ops if not self.takes(op)}:
                yield (
                    f"cells.{cell.kind}: there is no {', '.join(sorted(strange))} in cells of the "
                    f"{self.name} skeleton; they have {', '.join(op for op in OPERATIONS if self.takes(op))}"
                )
            yield from graph_problems(space, cell, targets)
            if space.targets == targets:
                yield from self.cell_problems(space, cell)

    @abstractmethod
    def groups(self, space: Space) -> tuple[Group, ...]:
        """Return what α decides."""

    @abstractmethod
    def derive(self, space: Space, tables: WeightLists) -> dict[str, list[Choice]]:
        """Return each kind's choices under weights that are complete and in order; ties: lowest index."""

    def above(
        self, space: Space, tables: WeightLists, least: float, most: int | None
    ) -> dict[str, list[Choice]]:
        """Return the choices that weigh at least ``least``, and anything, at most ``most`` a node.

        The skeleton's own rule, `derive`, where rows of α are neither edges nor connections.
        """
        return self.derive(space, tables)

    @abstractmethod
    def decisions(self, space: Space, genotype: Genotype) -> Iterator[Decision]:
        """Yield the entries of α that make a genotype; those of a row that α does not have are ignored."""

    @abstractmethod
    def architectures(self, space: Space) -> int:
        """Count the genotypes of a space."""

    def draw(self, space: Space, source: random.Random) -> dict[str, list[Choice]]:
        """Return each kind's choices of a genotype drawn uniformly from those that `architectures` counts.

        Here each node keeps some of its usable edges, each with an operation of its own: a set of edges is as
        likely as it has forms.
        """
        chosen: dict[str, list[Choice]] = {}
        for cell in space.cells:
            chosen[cell.kind] = []
            for node in space.targets:
                usable = [(edge, space.allowed(edge)) for edge in space.usable(cell, node)]
                kept = draw_subset([len(ops) for _, ops in usable], space.kept(cell, node), source)
                for edge, ops in (usable[place] for place in kept):
                    chosen[cell.kind].append(Choice(source.choice(ops), edge.source, node))
        return chosen

    def chance(self, space: Space) -> float:
        """Return the share of choices that two genotypes have in common, expected of uniform draws.

        Here each node keeps some of its usable edges, each kept edge one of its allowed operations. So an
        edge is in both with chance (kept / edges)², and has the same operation with 1 / operations.
        """
        common, total = 0.0, 0
        for cell in space.cells:
            for node in space.targets:
                usable = [len(space.allowed(edge)) for edge in space.usable(cell, node)]
                kept = space.kept(cell, node)
                common += sum((kept / len(usable)) ** 2 / ops for ops in usable)
                total += kept
        return common / total

    def check(self, genotype: Genotype) -> None:
        """Raise `RaynasError` unless a genotype has such cells: all kinds, nothing impossible in any."""
        if (genotype.trunk is not None) != self.has_trunk:
            wants = "lacks its trunk" if self.has_trunk else "has no trunk"
            raise RaynasError(f"a cell of the {self.name} skeleton {wants}", got=short(repr(genotype.trunk)))
        for kind in genotype.kinds:
            if kind not in self.kinds:
                raise unknown("kind of cell", kind, self.kinds)
        if sorted(genotype.kinds) != list(self.kinds):
            raise RaynasError(
                f"a genotype has {' and '.join(f'one {kind}' for kind in self.kinds)} cell",
                got=", ".join(genotype.kinds) or "no cell",
            )
        targets = self.targets(genotype.nodes)
        possible = self.outputs(genotype.nodes)
        for kind, states in genotype.outputs:
            if not self.partial or not set(states) <= set(possible):
                raise RaynasError(
                    f"the {kind} cell cannot output {', '.join(map(str, states))}",
                    got=f"a cell of the {self.name} skeleton with {genotype.nodes} nodes",
                    expected=f"some of the nodes {possible[0]} to {possible[-1]}"
                    if self.partial
                    else "no outputs: its skeleton says what it outputs",
                )
        for kind, choices in genotype.cells:
            for choice in choices:
                if choice.target not in targets:
                    raise impossible(kind, choice, targets)
            self.check_cell(genotype, kind, choices)

    def check_cell(self, genotype: Genotype, kind: str, choices: Sequence[Choice]) -> None:
        """Raise `RaynasError` unless ``choices`` are such a cell; their states and operations are sound.

        ``choices`` are in order. Here edges are checked: parallel ones, and nodes without any; and whether
        the skeleton has such operations.
        """
        for choice in choices:
            if not self.takes(choice.op):
                raise RaynasError(
                    f"{choice.op} cannot be in a {kind} cell",
                    got=f"{choice.source}->{choice.target}",
                    expected=", ".join(op for op in OPERATIONS if self.takes(op)),
                )
        for one, other in pairwise(choices):
            if (one.source, one.target) == (other.source, other.target) and not (
                self.parallel or self.repeats
            ):
                raise RaynasError(
                    f"two operations on one edge of the {kind} cell",
                    got=f"{one.op} and {other.op} on {one.source}->{one.target}",
                    expected="every edge at most once",
                )
        reached = {choice.target for choice in choices}
        for node in self.targets(genotype.nodes):
            absent = self.partial and not self._needs(genotype, kind, node)
            if node not in reached and not self.loose and not absent:
                raise RaynasError(f"node {node} of the {kind} cell has no incoming edge")

    def _needs(self, genotype: Genotype, kind: str, node: int) -> bool:
        """Tell whether a cell outputs a node, or another of its nodes reads it."""
        read = {choice.source for choice in genotype.cell(kind)}
        return node in read or node in self.gathered(genotype, kind)

    def unsearchable(self, space: Space, genotype: Genotype) -> Iterator[str]:
        """Yield why no search of a space can derive a genotype of this skeleton; nothing if one can."""
        if genotype.skeleton != space.skeleton:
            yield f"its skeleton is {genotype.skeleton}, and the space's is {space.skeleton}"
            return
        if genotype.nodes != space.nodes or genotype.trunk != space.trunk:
            yield f"it has {genotype.nodes} nodes or a trunk that are not the space's"
            return
        for kind, states in genotype.outputs:
            yield f"its {kind} cell outputs {', '.join(map(str, states))} only: a search has all outputs"
        for cell in space.cells:
            choices = genotype.cell(cell.kind)
            allowed = {(e.source, e.target): set(space.allowed(e)) for e in cell.edges}
            edges = [(choice.source, choice.target) for choice in choices]
            for choice, edge in zip(choices, edges, strict=True):
                if choice.op not in allowed.get(edge, set()):
                    yield f"the space has no {choice.op} to choose on {edge[0]}->{edge[1]} ({cell.kind})"
                if edges.count(edge) > 1 and not self.parallel:
                    yield f"the {cell.kind} cell has several operations on {edge[0]}->{edge[1]}"
            reading = {target for _, target in edges}
            absent = [node for node in space.targets if node not in reading and not self.loose]
            if absent:
                yield f"the {cell.kind} cell lacks node {', '.join(map(str, absent))}"

    def operations(self, genotype: Genotype, kind: str) -> tuple[str, ...]:
        """Return the operations of one kind of cell: one per edge, or per block where blocks have them."""
        blocks = self.node_operations(genotype, kind)
        return tuple(blocks.values()) if blocks else tuple(choice.op for choice in genotype.cell(kind))

    def count(self, genotype: Genotype, op: str) -> dict[str, int]:
        """Return how many edges, or blocks, of each kind of cell hold the operation ``op``."""
        if op not in OPERATIONS:
            raise unknown_operation(op)
        return {kind: self.operations(genotype, kind).count(op) for kind in genotype.kinds}

    def node_operations(self, genotype: Genotype, kind: str) -> dict[int, str]:
        """Return each node's operation where operations are in nodes; nothing where they are on edges."""
        return {}

    def gathered(self, genotype: Genotype, kind: str) -> tuple[int, ...]:
        """Return the states that a cell's output puts side by side; none if its last target is its output."""
        return ()

    def symbols(self) -> tuple[str, ...]:
        """Return what drawings call the states that a cell reads, and its output (``c_{k}``)."""
        return (*(f"c_{{k-{back}}}" for back in range(self.inputs, 0, -1)), "c_{k}")

    def canonical(self, genotype: Genotype) -> str:
        """Return a text that is equal for two genotypes exactly when they are the same network."""
        return json.dumps(genotype.to_json()["cells"], sort_keys=True)

    def table_name(self, genotype: Genotype) -> str:
        """Return what names a cell in tables of accuracies."""
        return self.to_text(genotype)

    def usually(self, genotype: Genotype, image: int | None = None) -> Usual:
        """Return how such a genotype's network is usually trained on images of ``image`` pixels per side."""
        large = image is not None and image >= LARGE_INPUT
        return self.usual_large if large and self.usual_large else self.usual

    @abstractmethod
    def to_text(self, genotype: Genotype) -> str:
        """Return the text form of the genotype's own field; raises `RaynasError` when it cannot say it."""

    def spans(self, text: str) -> Iterator[Span]:
        """Yield where in a longer text, such as a log, this skeleton's form begins and ends."""
        yield from ()

    def reads(self, text: str) -> bool:
        """Tell whether a text looks as if it were written in this skeleton's form."""
        return False

    @abstractmethod
    def from_text(self, text: Snippet) -> Written:
        """Parse a text that `reads` takes for its own; raises `RaynasError` with the place of a mistake."""

    def plan(
        self,
        shape: Sequence[int],
        nodes: int,
        cells: int,
        channels: int,
        genotype: Genotype | None = None,
        trunk: Trunk | None = None,
    ) -> Plan:
        """Lay out a supernet, or a genotype's network, for images of ``shape`` (channels, height, width).

        Raises `RaynasError` when the skeleton has no stack of so many cells, at too few pixels for two
        halvings, or without images.
        """
        if not shape:
            raise RaynasError("these cells read images", got="a text", expected="images, as digits")
        self.check_depth(cells)
        side = min(shape[1:])
        if side < 4:
            raise RaynasError(
                "images are too small for two reductions",
                got=f"{shape[1]}×{shape[2]} pixels",
                expected="4×4 or more",
            )
        return self.stack(side, nodes, cells, channels, genotype)

    def check_depth(self, cells: int) -> None:
        """Raise `RaynasError` when there is no stack of so many cells."""
        if wrong := self.wrong_cells(cells):
            nearest = max(min(cells, self.most_cells or cells), self.fewest_cells)
            next_step = f"set cells={nearest}, or leave it out"
            raise RaynasError(wrong, got=f"cells: {cells}", next_step=next_step)

    def wrong_cells(self, cells: int) -> str | None:
        """Say why there is no stack of so many cells, if there is none."""
        least, most = self.fewest_cells, self.most_cells
        if cells >= least and (most is None or cells <= most):
            return None
        limit = "exactly" if least == most else "at least" if cells < least else "at most"
        number = least if cells < least else most
        return f"a stack has {limit} {number} cell{'' if number == 1 else 's'} ({self.counts})"

    def stack(self, side: int, nodes: int, cells: int, channels: int, genotype: Genotype | None) -> Plan:
        """Lay out what `plan` has checked; ``side`` is the images' shorter side in pixels.

        A skeleton has this or a `plan` of its own.
        """
        raise NotImplementedError


def impossible(kind: str, choice: Choice, targets: range) -> RaynasError:
    """Build the error for an edge that leads to none of a cell's ``targets``."""
    return RaynasError(
        f"an impossible edge in the {kind} cell",
        got=f"{choice.source}->{choice.target}",
        expected=f"a target from {targets[0]} to {targets[-1]}, and a source from 0 to the target less one",
    )
