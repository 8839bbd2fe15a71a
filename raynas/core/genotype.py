"""A derived cell: which operation sits on which edge, as frozen data with JSON and DARTS text forms."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from raynas.core.ops.catalogue import OPERATIONS
from raynas.core.space import INPUTS
from raynas.disk import write_atomic
from raynas.errors import RaynasError, unknown

FORMAT = "raynas.genotype"
VERSION = 1
KINDS = ("normal", "reduce")
SPACE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Choice:
    """One chosen operation ``op`` on the edge from state ``source`` to node ``target``."""

    op: str
    source: int
    target: int


@dataclass(frozen=True)
class Genotype:
    """A derived pair of cells, always valid and in one canonical order.

    ``space`` is the name of the search space it came from, ``nodes`` the number of nodes of each cell.
    Construction checks everything (kinds, operations, edges) and raises `RaynasError`; every node has at
    least one incoming edge. Cells are ordered by kind, choices by target, then source.
    """

    space: str
    nodes: int
    cells: tuple[tuple[str, tuple[Choice, ...]], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.space, str) or re.fullmatch(SPACE_NAME, self.space) is None:
            raise RaynasError(
                "the genotype's space is not a name",
                got=_short(repr(self.space)),
                expected="letters, digits, and . _ - after the first",
            )
        if type(self.nodes) is not int or self.nodes < 1:
            raise RaynasError("the genotype's nodes is not a whole number from 1 on", got=repr(self.nodes))
        for kind, _ in self.cells:
            if kind not in KINDS:
                raise unknown("kind of cell", kind, KINDS)
        if sorted(self.kinds) != list(KINDS):
            raise RaynasError(
                "a genotype has one normal and one reduce cell", got=", ".join(self.kinds) or "no cell"
            )
        ordered = tuple(sorted((kind, _checked(kind, choices, self.nodes)) for kind, choices in self.cells))
        object.__setattr__(self, "cells", ordered)

    @classmethod
    def of(cls, space: str, nodes: int, cells: Mapping[str, Iterable[Choice]]) -> Self:
        """Build a genotype from a mapping of kind to choices, in any order."""
        return cls(space, nodes, tuple((kind, tuple(choices)) for kind, choices in cells.items()))

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

    def count(self, op: str) -> dict[str, int]:
        """Return how many edges of each kind of cell hold the operation ``op``."""
        if op not in OPERATIONS:
            raise unknown("operation", op, OPERATIONS)
        return {kind: sum(choice.op == op for choice in choices) for kind, choices in self.cells}

    def digest(self) -> str:
        """Return 10 hex digits that depend on nodes and cells only: equal cells, equal digest, everywhere."""
        data = self.to_json()
        text = json.dumps([data["nodes"], data["cells"]], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; each choice is ``[operation, source, target]``."""
        cells = {kind: [[c.op, c.source, c.target] for c in choices] for kind, choices in self.cells}
        return {
            "format": FORMAT,
            "version": VERSION,
            "space": self.space,
            "nodes": self.nodes,
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
            raise RaynasError("the genotype's cells are not lists by kind", got=_short(repr(cells)))
        return cls.of(
            data["space"],
            data["nodes"],
            {kind: [_choice(kind, row) for row in rows] for kind, rows in cells.items()},
        )

    def save(self, path: Path | str) -> None:
        """Write the genotype as JSON; the file appears whole or not at all. Raises `RaynasError`."""
        write_atomic(Path(path), _pretty(self.to_json()).encode())

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a genotype that `save` wrote; raises `RaynasError` when it is missing or damaged."""
        again = "check the path, or write the file again with `raynas report SWEEP`"
        try:
            return cls.from_json(json.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise RaynasError(
                f"cannot read the genotype: {error.strerror}",
                got=path,
                expected="a genotype.json, such as <runs>/<sweep>/best/genotype.json",
                next_step=again,
            ) from None
        except (ValueError, RecursionError) as error:
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

    def to_darts(self) -> str:
        """Return DARTS' own text form, ``Genotype(normal=[('sep_conv_3x3', 1), …], …)``.

        Raises `RaynasError` unless every node has exactly two incoming edges: the form has no room for
        targets, so it can say nothing else.
        """
        fields = []
        for kind, choices in self.cells:
            for node in range(INPUTS, INPUTS + self.nodes):
                edges = sum(choice.target == node for choice in choices)
                if edges != 2:
                    raise RaynasError(
                        "DARTS' text form has exactly two edges per node",
                        got=f"{edges} into node {node} of the {kind} cell",
                        next_step="save the genotype as JSON instead",
                    )
            pairs = ", ".join(f"({choice.op!r}, {choice.source})" for choice in choices)
            fields.append(f"{kind}=[{pairs}], {kind}_concat=range({INPUTS}, {INPUTS + self.nodes})")
        return f"Genotype({', '.join(fields)})"

    @classmethod
    def from_darts(cls, text: str, space: str = "darts") -> Self:
        """Parse DARTS' text form, with or without ``NAME =`` before it; nothing is evaluated.

        Raises `RaynasError` with line and column on anything but the form itself, on a concat that leaves
        nodes out, and on two edges between the same states (which raynas' cells cannot hold).
        """
        nodes, cells = _DartsText(text).cells()
        return cls.of(space, nodes, cells)


def _checked(kind: str, choices: tuple[Choice, ...], nodes: int) -> tuple[Choice, ...]:
    last = INPUTS + nodes - 1
    for choice in choices:
        if choice.op not in OPERATIONS:
            raise unknown(f"operation in the {kind} cell", choice.op, OPERATIONS)
        if not (0 <= choice.source < choice.target and INPUTS <= choice.target <= last):
            raise RaynasError(
                f"an impossible edge in the {kind} cell",
                got=f"{choice.source}->{choice.target}",
                expected=f"a target from {INPUTS} to {last}, and a source from 0 to the target less one",
            )
    ordered = tuple(sorted(choices, key=lambda choice: (choice.target, choice.source)))
    for one, other in pairwise(ordered):
        if (one.source, one.target) == (other.source, other.target):
            raise RaynasError(
                f"two operations on one edge of the {kind} cell",
                got=f"{one.op} and {other.op} on {one.source}->{one.target}",
                expected="every edge at most once",
            )
    targets = {choice.target for choice in choices}
    if len(targets) < nodes:
        bare = next(node for node in range(INPUTS, last + 1) if node not in targets)
        raise RaynasError(f"node {bare} of the {kind} cell has no incoming edge")
    return ordered


def _choice(kind: str, row: object) -> Choice:
    match row:
        case [str(op), int(source), int(target)] if bool not in (type(source), type(target)):
            return Choice(op, source, target)
    raise RaynasError(
        f"a choice of the {kind} cell is malformed",
        got=_short(repr(row)),
        expected='["operation", source, target], as ["sep_conv_3x3", 0, 2]',
    )


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _pretty(data: dict[str, Any]) -> str:
    """Indent the JSON, but keep each choice on one line."""
    text = json.dumps(data, indent=2)
    return re.sub(r"\[\s+(\"\w+\"),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3]", text) + "\n"


class _DartsText:
    """A walk over Python's syntax tree of DARTS' text form that accepts that form and nothing else."""

    def __init__(self, text: str) -> None:
        self.text = text.lstrip()
        # What `lstrip` took, so that errors count lines and columns in the text as given.
        skipped = text[: len(text) - len(self.text)]
        self.lines = skipped.count("\n")
        self.columns = len(skipped) - (skipped.rfind("\n") + 1)

    def cells(self) -> tuple[int, dict[str, list[Choice]]]:
        """Return the number of nodes and the choices of each kind."""
        fields = self._fields()
        cells = {kind: self._cell(fields[kind]) for kind in KINDS}
        nodes = len(cells["normal"]) // 2
        if len(cells["reduce"]) != len(cells["normal"]):
            raise self._error(
                "the cells differ in size", fields["reduce"], f"{len(cells['normal'])} pairs, as in normal"
            )
        for kind in KINDS:
            self._check_concat(kind, fields[f"{kind}_concat"], nodes)
        return nodes, cells

    def _fields(self) -> dict[str, ast.expr]:
        wanted = [f"{kind}{suffix}" for kind in KINDS for suffix in ("", "_concat")]
        form = f"Genotype({', '.join(f'{name}=...' for name in wanted)})"
        call = self._call(form)
        fields: dict[str, ast.expr] = {}
        for keyword in call.keywords:
            if keyword.arg not in wanted or keyword.arg in fields:
                raise self._error(f"unexpected or repeated field {keyword.arg}", keyword.value, form)
            fields[keyword.arg] = keyword.value
        if missing := [name for name in wanted if name not in fields]:
            raise self._error(f"{', '.join(missing)} missing", call, form)
        return fields

    def _call(self, form: str) -> ast.Call:
        try:
            body = ast.parse(self.text).body
        except SyntaxError as error:
            where = self._where(error.lineno or 1, (error.offset or 1) - 1)
            raise RaynasError(f"not DARTS' text form: {error.msg}", got=where, expected=form) from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise RaynasError(f"not DARTS' text form: {error}", expected=form) from None
        match body:
            case [ast.Expr(value=value)] | [ast.Assign(targets=[ast.Name()], value=value)]:
                match value:
                    case ast.Call(func=ast.Name(id="Genotype"), args=[]):
                        return value
                raise self._error("not DARTS' text form", value, form)
        if not body:
            raise RaynasError("no genotype in the text", got=repr(self.text), expected=form)
        raise self._error("not DARTS' text form: one genotype, alone or as `NAME = ...`", body[-1], form)

    def _cell(self, tree: ast.expr) -> list[Choice]:
        pairs = self._items(tree, "a list of pairs, as [('sep_conv_3x3', 1), ...]")
        if not pairs or len(pairs) % 2:
            raise self._error(f"a cell with {len(pairs)} pairs", tree, "two pairs per node")
        choices = []
        for place, pair in enumerate(pairs):
            match pair:
                case ast.Tuple(elts=[op, source]) | ast.List(elts=[op, source]):
                    target = INPUTS + place // 2
                    choices.append(Choice(self._operation(op), self._source(source, target), target))
                case _:
                    raise self._error("not a pair", pair, "(operation, source), as ('sep_conv_3x3', 1)")
        return choices

    def _operation(self, tree: ast.expr) -> str:
        match tree:
            case ast.Constant(value=str(name)):
                if name in OPERATIONS:
                    return name
                error = unknown("operation", name, OPERATIONS)
                raise self._error(error.what, tree, error.expected, error.near)
        raise self._error("not an operation's name", tree, "a quoted name, as 'sep_conv_3x3'")

    def _source(self, tree: ast.expr, target: int) -> int:
        source = self._number(tree)
        if source >= target:
            raise self._error(
                f"node {target} cannot read state {source}", tree, f"a state from 0 to {target - 1}"
            )
        return source

    def _check_concat(self, kind: str, tree: ast.expr, nodes: int) -> None:
        whole = range(INPUTS, INPUTS + nodes)
        match tree:
            case ast.Call(func=ast.Name(id="range"), args=[start, stop], keywords=[]):
                complete = range(self._number(start), self._number(stop)) == whole
            case _:
                items = self._items(tree, f"{whole} or {list(whole)}")
                complete = sorted(map(self._number, items)) == list(whole)
        if not complete:
            raise self._error(
                f"{kind}_concat is not all nodes; raynas' cells concatenate every node", tree, whole
            )

    def _items(self, tree: ast.expr, expected: str) -> list[ast.expr]:
        if not isinstance(tree, ast.List | ast.Tuple):
            raise self._error("not a list", tree, expected)
        return tree.elts

    def _number(self, tree: ast.expr) -> int:
        match tree:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return number
        raise self._error("not a whole number", tree, "0, 1, 2, ...")

    def _where(self, line: int, column: int) -> str:
        return f"line {line + self.lines}, column {column + 1 + (self.columns if line == 1 else 0)}"

    def _error(
        self, what: str, tree: ast.expr | ast.stmt, expected: object, near: str | None = None
    ) -> RaynasError:
        segment = " ".join((ast.get_source_segment(self.text, tree) or "").split())
        got = f"{_short(segment)} ({self._where(tree.lineno, tree.col_offset)})"
        return RaynasError(what, got=got, expected=expected, near=near)
