"""A derived cell: which operation sits on which edge, as frozen data with JSON and text forms."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError

from raynas.disk import parse_json, read_json, write_atomic
from raynas.errors import RaynasError, short, unknown
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons import DEFAULT, SKELETONS, found_in
from raynas.spaces.skeletons.base import Choice, Skeleton
from raynas.spaces.skeletons.trunk import Trunk
from raynas.spaces.texts.snippet import MOST_NODES, choose, several_cells

FORMAT = "raynas.genotype"
VERSION = 1
FORMS = "Genotype(normal=[('sep_conv_3x3', 0), ...], ...), |op~0|+|op~0|op~1|, ModelSpec(...), ENAS' numbers"
MOST_CELLS = 200
"""Cells of a text that are compared, to see whether all are one."""
SPACE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Genotype:
    """A derived cell of each kind its skeleton has, always valid and in one canonical order.

    ``space`` is the name of the search space it came from, ``nodes`` the number of nodes of each cell.
    Construction checks everything (kinds, operations, edges) and raises `RaynasError`; unless the skeleton
    allows it, no node is without incoming edges and no two edges join the same states. Cells are ordered by
    kind, choices by target, then source, then operation. A chain's has its ``trunk`` as well.
    """

    space: str
    nodes: int
    cells: tuple[tuple[str, tuple[Choice, ...]], ...]
    skeleton: str = DEFAULT
    trunk: Trunk | None = None

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
        if not isinstance(self.skeleton, str) or self.skeleton not in SKELETONS:
            raise unknown("skeleton", self.skeleton, SKELETONS)
        if (self.trunk is not None) != self.form.has_trunk:
            wants = "lacks its trunk" if self.form.has_trunk else "has no trunk"
            raise RaynasError(f"a cell of the {self.skeleton} skeleton {wants}", got=short(repr(self.trunk)))
        for kind, _ in self.cells:
            if kind not in self.form.kinds:
                raise unknown("kind of cell", kind, self.form.kinds)
        if sorted(self.kinds) != list(self.form.kinds):
            raise RaynasError(
                f"a genotype has {' and '.join(f'one {kind}' for kind in self.form.kinds)} cell",
                got=", ".join(self.kinds) or "no cell",
            )
        ordered = tuple(sorted((kind, _checked(self, kind, choices)) for kind, choices in self.cells))
        object.__setattr__(self, "cells", ordered)

    @classmethod
    def of(
        cls,
        space: str,
        nodes: int,
        cells: Mapping[str, Iterable[Choice]],
        skeleton: str = DEFAULT,
        trunk: Trunk | None = None,
    ) -> Self:
        """Build a genotype from a mapping of kind to choices, in any order."""
        chosen = tuple((kind, tuple(choices)) for kind, choices in cells.items())
        return cls(space, nodes, chosen, skeleton, trunk)

    @property
    def form(self) -> Skeleton:
        """What the cells of this genotype's skeleton are made of."""
        return SKELETONS[self.skeleton]

    @property
    def targets(self) -> range:
        """The numbers of the states that edges lead to."""
        return self.form.targets(self.nodes)

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

    def operations(self, kind: str) -> tuple[str, ...]:
        """Return the operations of one kind of cell: one an edge, or one a block where blocks have them."""
        blocks = self.form.node_operations(self, kind)
        return tuple(blocks.values()) if blocks else tuple(choice.op for choice in self.cell(kind))

    def count(self, op: str) -> dict[str, int]:
        """Return how many edges, or blocks, of each kind of cell hold the operation ``op``."""
        if op not in OPERATIONS:
            raise unknown("operation", op, OPERATIONS)
        return {kind: self.operations(kind).count(op) for kind in self.kinds}

    def digest(self) -> str:
        """Return 10 hex digits that depend on the cells only: equal cells, equal digest, everywhere."""
        data = self.to_json()
        parts = [data["nodes"], data["cells"], *([] if self.skeleton == DEFAULT else [self.skeleton])]
        parts += [data["trunk"]] if self.trunk else []
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def canonical(self) -> str:
        """Return a text that is equal for two genotypes exactly when they are the same network.

        What that takes is the skeleton's: a NAS-Bench-201 cell names no nodes, skips or zeros; choice blocks
        give NAS-Bench-101's hash; cells of DARTS, pairs and dense blocks have no numbers of nodes, since what
        reads their outputs learns in whatever order they come. Cells of very many nodes that all look alike
        are compared as they are numbered (`raynas.spaces.isomorphism.first_form`).
        """
        return self.form.canonical(self)

    def same_network(self, other: "Genotype") -> bool:
        """Tell whether both describe one network, though their cells may be written differently."""
        return self.skeleton == other.skeleton and self.canonical() == other.canonical()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; each choice is ``[operation, source, target]``."""
        cells = {kind: [[c.op, c.source, c.target] for c in choices] for kind, choices in self.cells}
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            **({} if self.skeleton == DEFAULT else {"skeleton": self.skeleton}),
            "nodes": self.nodes,
            **({"trunk": self.trunk.model_dump(mode="json")} if self.trunk else {}),
            "cells": cells,
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Rebuild a genotype from `to_json`'s data; raises `RaynasError` on anything else."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            got = repr(data.get("format")) if isinstance(data, dict) else type(data).__name__
            raise RaynasError("not a genotype", got=got, expected=f'a mapping with "format": "{FORMAT}"')
        version = data.get("version")
        if type(version) is not int or version < 1:
            raise RaynasError("the genotype's version is not a whole number from 1 on", got=repr(version))
        if version > VERSION:
            raise RaynasError(
                "the genotype was written by a later raynas",
                got=f"version {version}",
                expected=f"version {VERSION} or earlier",
                next_step="pip install --upgrade raynas",
            )
        if missing := [key for key in ("space", "nodes", "cells") if key not in data]:
            raise RaynasError(f"the genotype lacks {', '.join(missing)}", got=", ".join(map(str, data)))
        cells = data["cells"]
        if not isinstance(cells, dict) or not all(isinstance(rows, list) for rows in cells.values()):
            raise RaynasError("the genotype's cells are not lists by kind", got=short(repr(cells)))
        return cls.of(
            data["space"],
            data["nodes"],
            {kind: [_choice(kind, row) for row in rows] for kind, rows in cells.items()},
            data.get("skeleton", DEFAULT),
            None if data.get("trunk") is None else _trunk(data["trunk"]),
        )

    def save(self, path: Path | str) -> None:
        """Write the genotype as JSON; the file appears whole or not at all. Raises `RaynasError`."""
        write_atomic(Path(path), _pretty(self.to_json()).encode())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a genotype that `save` wrote; raises `RaynasError` when it is missing or damaged."""
        again = "check the path, or write the file again with `raynas report SWEEP`"
        try:
            return cls.from_json(read_json(Path(path)))
        except OSError as error:
            raise RaynasError(
                f"cannot read the genotype: {error.strerror}",
                got=path,
                expected="a genotype.json, such as <runs>/<sweep>/best/genotype.json",
                next_step=again,
            ) from None
        except ValueError as error:
            raise RaynasError(
                "the genotype's file is damaged: it is not JSON", got=f"{path}: {error}", next_step=again
            ) from None
        except RaynasError as error:
            raise RaynasError(
                f"{path}: {error.what}",
                got=error.got,
                expected=error.expected,
                near=error.near,
                next_step=error.next_step or again,
            ) from None

    def to_text(self) -> str:
        """Return the text form of the genotype's own field, such as DARTS' or NAS-Bench-201's.

        Raises `RaynasError` for cells that it cannot express.
        """
        return self.form.to_text(self)

    @classmethod
    def from_text(cls, text: str, space: str | None = None, name: str | None = None) -> Self:
        """Parse the one cell that a text holds, in any skeleton's text form or as JSON; nothing is evaluated.

        What stands around it does not matter: a text may be a line of a log or a whole Python module. Where
        it holds several cells, ``name`` says which, as ``DARTS_V2`` of ``DARTS_V2 = Genotype(…)``, or by the
        number of the line where it begins. ``space`` is the name the genotype gets; the one that such cells
        usually come from if left out. Raises `RaynasError` with the place of what is not the form itself, and
        `SeveralCells`.
        """
        if name is None and text.lstrip()[:1] == "{" and f'"{FORMAT}"' in text:
            try:
                return cls.from_json(parse_json(text))
            except ValueError as error:
                raise RaynasError("the genotype is damaged: it is not JSON", got=short(str(error))) from None
        found = dict(found_in(text))
        if name is not None:
            found = {snippet: found[snippet] for snippet in choose(text, list(found), name)}
        several = f"several cells are called {name}" if name else f"the text has {len(found)} cells"
        if not found:
            raise RaynasError("no genotype in the text", got=short(repr(text.strip())), expected=FORMS)
        if len(found) > MOST_CELLS:
            raise several_cells(list(found), several)
        cells = set()
        for snippet, form in found.items():
            try:
                written = form.from_text(snippet)
                nodes, trunk = written.nodes, written.trunk
                cells.add(cls.of(space or written.space, nodes, written.cells, form.name, trunk))
            except RaynasError as error:
                if len(found) == 1:
                    raise
                raise several_cells(list(found), several) from error
        if len(cells) > 1:
            raise several_cells(list(found), several)
        return cells.pop()


def _checked(genotype: Genotype, kind: str, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    first, last = genotype.targets[0], genotype.targets[-1]
    for choice in choices:
        if choice.op not in OPERATIONS:
            raise unknown(f"operation in the {kind} cell", choice.op, OPERATIONS)
        if not (0 <= choice.source < choice.target and first <= choice.target <= last):
            raise RaynasError(
                f"an impossible edge in the {kind} cell",
                got=f"{choice.source}->{choice.target}",
                expected=f"a target from {first} to {last}, and a source from 0 to the target less one",
            )
    ordered = tuple(sorted(choices, key=lambda choice: (choice.target, choice.source, choice.op)))
    genotype.form.check(genotype, kind, ordered)
    return ordered


def _trunk(data: object) -> Trunk:
    try:
        return Trunk.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["trunk", *map(str, first["loc"])])
        raise RaynasError("the genotype's trunk is malformed", got=f"{place}: {first['msg']}") from None


def _choice(kind: str, row: object) -> Choice:
    match row:
        case [str(op), int(source), int(target)] if bool not in (type(source), type(target)):
            return Choice(op, source, target)
    raise RaynasError(
        f"a choice of the {kind} cell is malformed",
        got=short(repr(row)),
        expected='["operation", source, target], as ["sep_conv_3x3", 0, 2]',
    )


def _pretty(data: dict[str, Any]) -> str:
    """Indent the JSON, but keep each choice on one line."""
    text = json.dumps(data, indent=2)
    return re.sub(r"\[\s+(\"[\w-]+\"),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"
