"""Reading DARTS' own text form of a cell, ``Genotype(normal=[('sep_conv_3x3', 1), ...], ...)``."""

import ast

from raynas.core.ops.catalogue import OPERATIONS
from raynas.errors import RaynasError, short, unknown

Triple = tuple[str, int, int]


class DartsText:
    """A walk over Python's syntax tree of DARTS' text form that accepts that form and nothing else.

    ``kinds`` are the kinds of cell it names, ``inputs`` is how many states such a cell reads, ``each`` how
    many each of its nodes reads.
    """

    def __init__(self, text: str, kinds: tuple[str, ...], inputs: int, each: int = 2) -> None:
        self.kinds, self.inputs, self.each = kinds, inputs, each
        self.concat = {kind: f"{kind}_concat" if len(kinds) > 1 else "concat" for kind in kinds}
        self.text = text.lstrip()
        # What `lstrip` took, so that errors count lines and columns in the text as given.
        skipped = text[: len(text) - len(self.text)]
        self.lines = skipped.count("\n")
        self.columns = len(skipped) - (skipped.rfind("\n") + 1)

    def cells(self) -> tuple[int, dict[str, list[Triple]]]:
        """Return the number of nodes, and of each kind the operation, source and target of every edge."""
        fields = self._fields()
        cells: dict[str, list[Triple]] = {kind: self._cell(fields[kind]) for kind in self.kinds}
        first, *others = self.kinds
        nodes = len(cells[first]) // self.each
        for kind in others:
            if len(cells[kind]) != len(cells[first]):
                raise self._error(
                    "the cells differ in size", fields[kind], f"{len(cells[first])} pairs, as in {first}"
                )
        for name in self.concat.values():
            self._check_concat(name, fields[name], nodes)
        return nodes, cells

    def _fields(self) -> dict[str, ast.expr]:
        wanted = [name for kind in self.kinds for name in (kind, self.concat[kind])]
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

    def _cell(self, tree: ast.expr) -> list[Triple]:
        pairs = self._items(tree, "a list of pairs, as [('sep_conv_3x3', 1), ...]")
        if not pairs or len(pairs) % self.each:
            wanted = "two pairs per node" if self.each == 2 else "a pair per node"
            raise self._error(f"a cell with {len(pairs)} pairs", tree, wanted)
        choices = []
        for place, pair in enumerate(pairs):
            match pair:
                case ast.Tuple(elts=[op, source]) | ast.List(elts=[op, source]):
                    target = self.inputs + place // self.each
                    choices.append((self._operation(op), self._source(source, target), target))
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

    def _check_concat(self, name: str, tree: ast.expr, nodes: int) -> None:
        whole = range(self.inputs, self.inputs + nodes)
        match tree:
            case ast.Call(func=ast.Name(id="range"), args=[start, stop], keywords=[]):
                complete = range(self._number(start), self._number(stop)) == whole
            case _:
                items = self._items(tree, f"{whole} or {list(whole)}")
                complete = sorted(map(self._number, items)) == list(whole)
        if not complete:
            raise self._error(f"{name} is not all nodes; raynas' cells put out every node", tree, whole)

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
        got = f"{short(segment)} ({self._where(tree.lineno, tree.col_offset)})"
        return RaynasError(what, got=got, expected=expected, near=near)
