"""A derived cell: which operation sits on which edge, as frozen data that can be written as JSON."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from raynas.disk import write_atomic
from raynas.errors import RaynasError, short, unknown
from raynas.spaces.graph import DEFAULT_SKELETON, MOST_NODES, Choice
from raynas.spaces.operations import OPERATIONS, unknown_operation
from raynas.spaces.trunk import Trunk

FORMAT = "raynas.genotype"
VERSION = 2
"""The latest version of the data: 2 has outputs, which an earlier raynas would pass over; all else is 1."""
SPACE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Genotype:
    """A derived cell of each kind that its skeleton has, in one canonical order.

    ``space`` is the name of the search space it came from, ``nodes`` the number of nodes of each cell.
    Construction raises `RaynasError` for what is not a graph: unknown operations, edges that lead back. What
    its skeleton demands is checked wherever genotypes enter (`raynas.spaces.reading`, `derive`) and where
    networks are built of them. Cells are ordered by kind, choices by target, then source, then operation. A
    chain's has its ``trunk`` as well. ``outputs`` gives the states that a kind of cell outputs, in order,
    where they are not those of the skeleton's rule.
    """

    space: str
    nodes: int
    cells: tuple[tuple[str, tuple[Choice, ...]], ...]
    skeleton: str = DEFAULT_SKELETON
    trunk: Trunk | None = None
    outputs: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.space, str) or re.fullmatch(SPACE_NAME, self.space) is None:
            raise RaynasError(
                "the genotype's space is not a name",
                got=short(repr(self.space)),
                expected="letters, digits, and . _ - after the first",
            )
        if type(self.nodes) is not int or not 1 <= self.nodes <= MOST_NODES:
            raise RaynasError(
                f"the genotype's nodes is not a whole number from 1 to {MOST_NODES}",
                got=short(repr(self.nodes)),
            )
        if not isinstance(self.skeleton, str):
            raise RaynasError("unknown skeleton: not a name", got=short(repr(self.skeleton)))
        if len(set(self.kinds)) != len(self.kinds):
            raise RaynasError("a genotype has one cell of each kind", got=", ".join(self.kinds))
        ordered = tuple(sorted((kind, _in_order(kind, choices)) for kind, choices in self.cells))
        object.__setattr__(self, "cells", ordered)
        for kind, states in self.outputs:
            if kind not in self.kinds:
                raise unknown("kind of cell", kind, self.kinds)
            if not states or min(states) < 0 or len(set(states)) != len(states):
                raise RaynasError(
                    f"the outputs of the {kind} cell are not states, each once", got=short(repr(states))
                )
        chosen = tuple(sorted((kind, tuple(sorted(states))) for kind, states in self.outputs))
        object.__setattr__(self, "outputs", chosen)

    @classmethod
    def of(
        cls,
        space: str,
        nodes: int,
        cells: Mapping[str, Iterable[Choice]],
        skeleton: str = DEFAULT_SKELETON,
        trunk: Trunk | None = None,
        outputs: Mapping[str, Iterable[int]] | None = None,
    ) -> Self:
        """Build a genotype from mappings of kind to choices, and to outputs, in any order."""
        chosen = tuple((kind, tuple(choices)) for kind, choices in cells.items())
        states = tuple((kind, tuple(states)) for kind, states in (outputs or {}).items())
        return cls(space, nodes, chosen, skeleton, trunk, states)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of cell, in canonical order."""
        return tuple(kind for kind, _ in self.cells)

    def cell(self, kind: str) -> tuple[Choice, ...]:
        """Return the choices of one kind of cell, ordered by target, then source."""
        for name, choices in self.cells:
            if name == kind:
                return choices
        raise unknown("kind of cell", kind, self.kinds)

    def digest(self) -> str:
        """Return 10 hex digits that depend on the cells only: equal cells, equal digest, everywhere."""
        data = self.to_json()
        parts = [data["nodes"], data["cells"]]
        parts += [] if self.skeleton == DEFAULT_SKELETON else [self.skeleton]
        parts += [data["trunk"]] if self.trunk else []
        parts += [{"outputs": data["outputs"]}] if self.outputs else []
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; each choice is ``[operation, source, target]``."""
        cells = {kind: [[c.op, c.source, c.target] for c in choices] for kind, choices in self.cells}
        return {
            "format": FORMAT,
            "version": VERSION if self.outputs else 1,
            "space": self.space,
            **({} if self.skeleton == DEFAULT_SKELETON else {"skeleton": self.skeleton}),
            "nodes": self.nodes,
            **({"trunk": self.trunk.model_dump(mode="json")} if self.trunk else {}),
            "cells": cells,
            **({"outputs": {kind: list(states) for kind, states in self.outputs}} if self.outputs else {}),
        }

    def save(self, path: Path | str) -> None:
        """Write the genotype as JSON; the file appears whole or not at all. Raises `RaynasError`."""
        write_atomic(Path(path), _pretty(self.to_json()).encode())


def _in_order(kind: str, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    for choice in choices:
        if choice.op not in OPERATIONS:
            raise unknown_operation(choice.op, f"operation in the {kind} cell")
        if not 0 <= choice.source < choice.target:
            raise RaynasError(
                f"an impossible edge in the {kind} cell",
                got=f"{choice.source}->{choice.target}",
                expected="a source from 0 to the target less one",
            )
    return tuple(sorted(choices, key=lambda choice: (choice.target, choice.source, choice.op)))


def _pretty(data: dict[str, Any]) -> str:
    """Indent the JSON, but keep each choice on one line."""
    text = json.dumps(data, indent=2)
    return re.sub(r"\[\s+(\"[\w-]+\"),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"
