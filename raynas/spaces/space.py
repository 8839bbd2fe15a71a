"""A search space as data: cells, edges, the candidate operations of every edge, and how cells are stacked.

A space knows no tensors. It comes from a YAML file (see `search_spaces/darts.yaml` for the commented
original) and can be hashed, compared and written into every run's record.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from raynas.config import Frozen, SearchConfig, folder_name
from raynas.errors import MOST_PROBLEMS, nearest, quoted
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons import DEFAULT, SKELETONS, kinds
from raynas.spaces.skeletons.base import Group, Skeleton
from raynas.spaces.skeletons.trunk import Trunk
from raynas.spaces.texts.snippet import MOST_NODES

_EDGE = re.compile(r"\s*([0-9]{1,3})\s*->\s*([0-9]{1,3})\s*")


def _known(thing: str, name: str, known: Collection[str]) -> str:
    if name not in known:
        near = nearest(name, known)
        hint = f" (nearest: {near})" if near else ""
        raise ValueError(f"unknown {thing} {quoted(name)}{hint}; known: {', '.join(known)}")
    return name


def _known_kind(name: str) -> str:
    if any(name in skeleton.kinds for skeleton in SKELETONS.values()):
        return name
    return _known("kind of cell", name, kinds())


def _known_operations(ops: tuple[str, ...]) -> tuple[str, ...]:
    hints = []
    for name in ops:
        if name not in OPERATIONS:
            near = nearest(name, OPERATIONS)
            hints.append(f"{quoted(name)} (nearest: {near})" if near else quoted(name))
        if len(hints) == MOST_PROBLEMS:
            break
    if hints:
        raise ValueError(f"unknown operation {', '.join(hints)}; known: {', '.join(OPERATIONS)}")
    if len(set(ops)) != len(ops):
        raise ValueError(f"an operation is listed twice: {', '.join(ops)}")
    return ops


def _pairs(values: object) -> object:
    return tuple(values.items()) if isinstance(values, dict) else values


def _settings(pairs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    for key, _ in pairs:
        _known("key of a search", key, [name for name in SearchConfig.model_fields if name != "space"])
    try:
        SearchConfig.model_validate({"space": "-", **dict(pairs)})
    except ValidationError as error:
        detail = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None
    return pairs


def _edge_name(name: str) -> str:
    if _EDGE.fullmatch(name) is None:
        raise ValueError(f"{quoted(name)} is not an edge; write `source->target`, as 0->2")
    return name


def _pair(name: str) -> tuple[int, int]:
    source, target = name.split("->")
    return int(source), int(target)


def _counts(keep: object) -> object:
    numbers = keep if isinstance(keep, list | tuple) else [keep]
    if keep != "all" and (not numbers or not all(type(n) is int and n > 0 for n in numbers)):
        raise ValueError(
            "expected how many edges a node keeps: a number, `all`, or a list, a number for each node; "
            f"got {quoted(keep)}"
        )
    return keep


Candidates = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_operations)]
"""The operations that may stand on an edge, in index order."""

Kind = Annotated[str, AfterValidator(_known_kind)]
SkeletonName = Annotated[str, AfterValidator(lambda name: _known("skeleton", name, SKELETONS))]

Defaults = Annotated[
    tuple[tuple[str, bool | int | float | str], ...], BeforeValidator(_pairs), AfterValidator(_settings)
]
"""Keys of a search and their values; in a file a mapping, here pairs, so that a space can be hashed."""

Keep = Annotated[int | Literal["all"] | tuple[int, ...], BeforeValidator(_counts)]
"""How many incoming edges a node keeps when the cell is derived: a number, all of them, or node by node."""


class Edge(Frozen):
    """One edge of a cell: from state ``source`` to node ``target``, with its candidates in index order."""

    source: int
    target: int
    ops: Candidates


class Cell(Frozen):
    """One kind of cell: its edges, ordered by target, then source."""

    kind: Kind
    edges: tuple[Edge, ...] = Field(min_length=1)

    @property
    def width(self) -> int:
        """Most candidates on any edge."""
        return max(len(edge.ops) for edge in self.edges)

    def into(self, target: int) -> tuple[Edge, ...]:
        """Return the edges that lead to a node, ordered by source."""
        return tuple(edge for edge in self.edges if edge.target == target)


class DerivedNetwork(Frozen):
    """How the networks of a space's cells are trained from scratch, where its skeleton's are not like that.

    ``image`` is the side of the images in pixels; ``cells`` counts as in the space's skeleton.
    """

    image: PositiveInt = 32
    classes: PositiveInt = 10
    channels: PositiveInt
    cells: PositiveInt


class _Space(Frozen):
    """What a space's file and the space itself have in common."""

    name: Annotated[str, AfterValidator(folder_name)]
    title: str
    source: str = ""
    skeleton: SkeletonName = DEFAULT
    trunk: Trunk | None = None
    nodes: Annotated[int, Field(gt=0, le=MOST_NODES)]
    keep: Keep = 2
    exclude: Annotated[tuple[str, ...], AfterValidator(_known_operations)] = ("none",)
    default_channels: PositiveInt = Field(16, le=4096)
    default_cells: PositiveInt = Field(8, le=1000)
    network: DerivedNetwork | None = None
    defaults: Defaults = ()

    @property
    def form(self) -> Skeleton:
        """What the cells of this space's skeleton are made of."""
        return SKELETONS[self.skeleton]

    @property
    def targets(self) -> range:
        """The numbers of the states that edges lead to: the nodes, and the output where it chooses."""
        return self.form.targets(self.nodes)


class CellFile(Frozen):
    """A cell as a file has it: one list for every edge, or the edges one by one."""

    ops: Candidates | None = None
    edges: dict[Annotated[str, AfterValidator(_edge_name)], Candidates] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.ops is None) == (self.edges is None):
            raise ValueError("give either `ops:` (one list for every edge) or `edges:` (`0->2: [...]`)")
        pairs = [_pair(name) for name in self.edges or {}]
        if len(set(pairs)) != len(pairs):
            raise ValueError("an edge is listed twice")
        return self

    def spread(self, kind: str, space: _Space) -> dict[str, Any]:
        """Return the cell with all its edges, ordered by target, then source."""
        if self.ops is not None:
            edges = dict(space.form.fitting(space.form.edges(self.ops, space.nodes), space.trunk))
        else:
            edges = {_pair(name): ops for name, ops in (self.edges or {}).items()}
        ordered = sorted(edges.items(), key=lambda item: (item[0][1], item[0][0]))
        return {"kind": kind, "edges": [{"source": s, "target": t, "ops": ops} for (s, t), ops in ordered]}


class SpaceFile(_Space):
    """A space's YAML, checked key by key; `resolve` gives the space."""

    cells: dict[Kind, CellFile]

    def resolve(self) -> "Space":
        """Return the space with every edge spelled out; raises pydantic's `ValidationError`."""
        order = dict.fromkeys((*SKELETONS[self.skeleton].kinds, *self.cells))
        cells = [self.cells[kind].spread(kind, self) for kind in order if kind in self.cells]
        return Space.model_validate({**self.model_dump(exclude={"cells"}), "cells": cells})


class Space(_Space):
    """A search space: what its cells read, are made of and put out is said by its skeleton.

    ``network`` says how large the derived network usually is, for `raynas size`.
    ``keep`` is the number of incoming edges a node keeps when the cell is derived, and ``exclude`` lists
    operations that may be mixed in but never chosen. ``defaults`` are values of a search's configuration that
    the space's source uses.
    """

    cells: tuple[Cell, ...]

    @model_validator(mode="after")
    def _sound(self) -> Self:
        wrong = [*_stack_problems(self), *chain(*(_graph_problems(self, cell) for cell in self.cells))]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def cell(self, kind: str) -> Cell:
        """Return the cell of one kind, such as ``normal``."""
        return next(cell for cell in self.cells if cell.kind == kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell, in the skeleton's order."""
        return tuple(cell.kind for cell in self.cells)

    def usable(self, cell: Cell, target: int) -> tuple[Edge, ...]:
        """Return the edges into a node that hold an operation which may be chosen."""
        return tuple(edge for edge in cell.into(target) if set(edge.ops) - set(self.exclude))

    def kept(self, cell: Cell, target: int) -> int:
        """Return how many incoming edges a node keeps when the cell is derived."""
        if self.keep == "all":
            return len(self.usable(cell, target))
        return self.keep if isinstance(self.keep, int) else self.keep[target - self.targets[0]]

    @property
    def groups(self) -> tuple[Group, ...]:
        """What α decides, as the skeleton has it: for most, a tensor for each kind of cell."""
        return self.form.groups(self)

    def fingerprint(self) -> str:
        """Return a short hash of everything that defines the space.

        Titles, defaults and the derived network's usual size do not count.
        """
        data = self.model_dump(
            mode="json", exclude={"name", "title", "source", "defaults", "network"}, exclude_none=True
        )
        # Skeletons that have an ε of their own once had the usual one: other numbers, another fingerprint.
        data |= {} if self.form.epsilon == Skeleton.epsilon else {"epsilon": self.form.epsilon}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


def _stack_problems(space: Space) -> Iterator[str]:
    form = space.form
    if space.kinds != form.kinds:
        yield (
            f"cells: the {space.skeleton} skeleton stacks {' and '.join(form.kinds)} cells; "
            f"got {' and '.join(space.kinds)}"
        )
    if space.trunk is not None and not form.has_trunk:
        yield f"trunk: the {space.skeleton} skeleton has none"
    if wrong := form.wrong_cells(space.default_cells):
        yield f"default_cells: {wrong}; got {space.default_cells}"
    if isinstance(space.keep, tuple) and len(space.keep) != len(space.targets):
        last = " and the output" if len(space.targets) > space.nodes else ""
        yield f"keep: a list has one number for each of the {space.nodes} nodes{last}; got {len(space.keep)}"


def _graph_problems(space: Space, cell: Cell) -> Iterator[str]:
    first, last = space.targets[0], space.targets[-1]
    if strange := {op for edge in cell.edges for op in edge.ops if not space.form.takes(op)}:
        yield (
            f"cells.{cell.kind}: there is no {', '.join(sorted(strange))} in cells of the {space.skeleton} "
            f"skeleton; they have {', '.join(op for op in OPERATIONS if space.form.takes(op))}"
        )
    for edge in cell.edges:
        if not (edge.source < edge.target and first <= edge.target <= last):
            yield (
                f"cells.{cell.kind}: edge {edge.source}->{edge.target} is impossible; a target is a node "
                f"({first} to {last}) and its source comes before it"
            )
    if isinstance(space.keep, tuple) and len(space.keep) != len(space.targets):
        return
    for node in space.targets:
        usable, kept = len(space.usable(cell, node)), space.kept(cell, node)
        if usable < max(kept, 1):
            yield (
                f"cells.{cell.kind}: node {node} has {usable} usable incoming edges, "
                f"and keep asks for {max(kept, 1)}"
            )
    yield from space.form.problems(space, cell)
