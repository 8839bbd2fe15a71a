"""A search space's YAML, checked key by key and then as a whole: every mistake is told at once."""

import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator

from raynas.config import Frozen
from raynas.errors import quoted
from raynas.spaces import skeletons
from raynas.spaces.graph import DEFAULT_SKELETON, Candidates, known_name
from raynas.spaces.space import Space, SpaceFacts

_EDGE = re.compile(r"\s*([0-9]{1,3})\s*->\s*([0-9]{1,3})\s*")


def _edge_name(name: str) -> str:
    if _EDGE.fullmatch(name) is None:
        raise ValueError(f"{quoted(name)} is not an edge; write `source->target`, as 0->2")
    return name


def _pair(name: str) -> tuple[int, int]:
    source, target = name.split("->")
    return int(source), int(target)


def _known_kind(name: str) -> str:
    # Raynas' own come first, so that other distributions are looked at only for a name that is none of them.
    if any(name in skeleton.kinds for skeleton in skeletons.SKELETONS.values()):
        return name
    return known_name("kind of cell", name, skeletons.kinds())


Kind = Annotated[str, AfterValidator(_known_kind)]
SkeletonName = Annotated[str, AfterValidator(lambda name: known_name("skeleton", name, skeletons.SKELETONS))]


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

    def spread(self, kind: str, space: SpaceFacts) -> dict[str, Any]:
        """Return the cell with all its edges, ordered by target, then source."""
        if self.ops is not None:
            skeleton = skeletons.SKELETONS[space.skeleton]
            edges = dict(skeleton.fitting(skeleton.edges(self.ops, space.nodes), space.trunk))
        else:
            edges = {_pair(name): ops for name, ops in (self.edges or {}).items()}
        ordered = sorted(edges.items(), key=lambda item: (item[0][1], item[0][0]))
        return {"kind": kind, "edges": [{"source": s, "target": t, "ops": ops} for (s, t), ops in ordered]}


class SpaceFile(SpaceFacts):
    """A space's YAML, checked key by key; `resolve` gives the space."""

    skeleton: SkeletonName = DEFAULT_SKELETON
    cells: dict[Kind, CellFile]

    def resolve(self) -> Space:
        """Return the space with every edge spelled out; raises pydantic's `ValidationError`."""
        order = dict.fromkeys((*skeletons.SKELETONS[self.skeleton].kinds, *self.cells))
        cells = [self.cells[kind].spread(kind, self) for kind in order if kind in self.cells]
        return sound_space({**self.model_dump(exclude={"cells"}), "cells": cells})


class _Checked(Space):
    @model_validator(mode="after")
    def _sound(self) -> Self:
        if wrong := [*skeletons.problems(self)]:
            raise ValueError("\n".join(wrong))
        return self


def sound_space(data: object) -> Space:
    """Return the space that a file or a record holds, checked against its skeleton.

    Raises pydantic's `ValidationError`, a `ValueError`, with everything that is wrong with its graph.
    """
    _Checked.model_validate(data)
    return Space.model_validate(data)
