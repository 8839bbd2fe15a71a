"""Reading DARTS' own text form of a cell, ``Genotype(normal=[('sep_conv_3x3', 1), ...], ...)``.

Public repositories write it in several ways; all that say one thing are read:

- a call of whatever ends in ``Genotype``, its fields by name or in DARTS' order, or a dictionary of them;
- pairs (operation, source), two per node; or grouped node by node, any number in each (khanrc/pt.darts, GDAS
  in D-X-Y/AutoDL-Projects); or triples with source and target in either order, the smaller is the source
  (xiaomi-automl/FairDARTS: there a node that no edge leads to is absent, whatever its list of outputs says,
  and so are the edges out of it); or every edge of the cell, node by node (SNAS-Series/SNAS-Series,
  ``edge_all``);
- fields beside these that hold nothing (``connectN=None``), or ``layout='cell'`` (ahundt/sharpDARTS).
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from raynas.spaces.graph import MOST_NODES
from raynas.spaces.texts.literal import Literal
from raynas.spaces.texts.snippet import Snippet, Span, Triple, enclosed

_MARK = re.compile(r"Genotype[ \t]*\(|\{\s*[\"'](?:normal|reduce|recurrent)(?:_concat)?[\"']\s*:")
_BEFORE = re.compile(r"[\w.]*$")
_LATER = "which raynas computes in no such cell"


def spans(text: str) -> Iterator[Span]:
    """Yield where a text has this form; a call in a program, of variables, is not taken for one.

    One that is never closed is yielded up to the end of its line when there is no other.
    """
    broken: Span | None = None
    whole = 0
    for mark, end in enclosed(_MARK, text):
        before = _BEFORE.search(text[max(0, mark - 80) : mark])
        start = mark - (len(before[0]) if before and text[mark] != "{" else 0)
        if text[max(0, start - 6) : start].endswith(("class ", "def ")):
            continue
        if end is None:
            broken = broken or (start, (text.find("\n", start) + 1 or len(text) + 1) - 1)
        elif any(quote in text[start:end] for quote in "'\""):
            whole += 1
            yield start, end
    if not whole and broken:
        yield broken


class DartsText:
    """One text of that form; ``kinds`` are the kinds of cell that it must have.

    ``inputs`` is how many states such a cell reads, ``each`` how many each node reads where pairs do not say
    for which node they are. With ``partial`` some nodes may not be output, or be absent, with ``repeats`` an
    edge may have several operations; after `cells`, ``outputs`` has the nodes of kinds that output only some.
    """

    def __init__(
        self,
        snippet: Snippet,
        kinds: tuple[str, ...],
        inputs: int,
        each: int = 2,
        partial: bool = False,
        repeats: bool = False,
    ) -> None:
        self.kinds, self.inputs, self.each = kinds, inputs, each
        self.partial, self.repeats = partial, repeats
        self.outputs: dict[str, list[int]] = {}
        self.concat = {kind: "concat" if kind == "recurrent" else f"{kind}_concat" for kind in kinds}
        wanted = [name for kind in kinds for name in (kind, self.concat[kind])]
        notation = f"Genotype({', '.join(f'{name}=...' for name in wanted)})"
        self.literal = Literal(snippet, "DARTS'", notation)
        self.fields = self._fields(wanted)

    def cells(self) -> tuple[int, dict[str, list[Triple]]]:
        """Return the number of nodes, and of each kind the operation, source and target of every edge."""
        found = {kind: self._cell(kind) for kind in self.kinds}
        first, *others = self.kinds
        nodes = found[first][0]
        for kind in others:
            if found[kind][0] != nodes:
                raise self.literal.error(
                    f"the cells differ in size: {nodes} and {found[kind][0]} nodes, {_LATER}",
                    self.fields[kind],
                    f"{nodes} nodes, as in {first}",
                )
        return nodes, {kind: edges for kind, (_, edges) in found.items()}

    def _fields(self, wanted: Sequence[str]) -> dict[str, ast.expr]:
        literal = self.literal
        fields = {
            name: value for name, value in literal.call(tuple(wanted)).items() if not _is_nothing(value)
        }
        for name, value in fields.items():
            said = name == "layout" and isinstance(value, ast.Constant) and value.value == "cell"
            if name not in (*wanted, "skeleton") and not said:
                what = "layout is not 'cell'" if name == "layout" else f"unexpected or repeated field {name}"
                raise literal.error(what, value, literal.notation)
        needed = [
            name for name in wanted if name in self.kinds or self.kinds == ("recurrent",)
        ]  # a list of all nodes may be left out: DARTSGenotype has none
        if missing := [name for name in needed if name not in fields]:
            for name in {*self.kinds} & {*fields}:
                self._check_names(fields[name])  # other operations are the deeper reason
            raise literal.error(f"{', '.join(missing)} missing", literal.tree, literal.notation)
        return fields

    def _check_names(self, tree: ast.expr) -> None:
        for node in ast.walk(tree):
            match node:
                case ast.Tuple(elts=[ast.Constant(value=str()) as op, *_]):
                    self.literal.operation(op)

    def _cell(self, kind: str) -> tuple[int, list[Triple]]:
        """Return the number of nodes and the edges of one kind of cell."""
        tree = self.fields[kind]
        items = self.literal.items(tree, "a list of pairs, as [('sep_conv_3x3', 1), ...]")
        gathered = self._gathered(self.concat[kind])
        last = self._last(gathered)
        if items and all(self._width(item) == 3 for item in items):
            edges = [(self._triple(item), item) for item in items]
            nodes = max(last or 0, *(target - self.inputs + 1 for (_, _, target), _ in edges))
            if self.partial:
                edges, gathered = self._present(edges, gathered, nodes)
        else:
            groups = self._groups(items, last, tree)
            nodes = len(groups)
            edges = [
                (self._pair(item, self.inputs + node), item)
                for node, group in enumerate(groups)
                for item in group
            ]
        if nodes > MOST_NODES:
            raise self.literal.error(
                f"a cell has at most {MOST_NODES} nodes", tree, f"{MOST_NODES} nodes, not {nodes}"
            )
        self._check_concat(kind, gathered, nodes)
        self._check_edges(kind, edges, nodes)
        return nodes, [edge for edge, _ in edges]

    def _present(
        self, edges: list[tuple[Triple, ast.expr]], gathered: Sequence[int] | None, nodes: int
    ) -> tuple[list[tuple[Triple, ast.expr]], Sequence[int]]:
        """Return triples and outputs without the nodes that no edge leads to (FairDARTS' `DCOCell`)."""
        whole = range(self.inputs, self.inputs + nodes)
        absent = {*whole} - {target for (_, _, target), _ in edges}
        said = (whole if gathered is None else gathered)[: MOST_NODES + self.inputs + 1]
        left = [(edge, item) for edge, item in edges if edge[1] not in absent]
        return left, [state for state in said if state not in absent]

    def _groups(self, items: Sequence[ast.expr], last: int | None, tree: ast.expr) -> list[list[ast.expr]]:
        """Return the pairs node by node."""
        if items and all(self._nested(item) for item in items):
            return [self.literal.items(item, "pairs") for item in items]
        every = [self.inputs + node for node in range(last or 0)]
        if last and len(items) == sum(every) != self.each * last:
            ends = [sum(every[: node + 1]) for node in range(last)]
            groups = [list(items[end - size : end]) for size, end in zip(every, ends, strict=True)]
            for group in groups:
                read = [self._pair(item, self.inputs + last)[1] for item in group]
                if sorted(read) != list(range(len(group))):
                    raise self.literal.error(
                        f"a cell with {len(items)} pairs, as many as it has edges, but not each edge once",
                        group[0],
                        f"sources 0 to {len(group) - 1}",
                    )
            return groups
        if not items or len(items) % self.each:
            wanted = "two pairs per node" if self.each == 2 else "a pair per node"
            raise self.literal.error(f"a cell with {len(items)} pairs", tree, wanted)
        return [list(items[place : place + self.each]) for place in range(0, len(items), self.each)]

    def _width(self, item: ast.expr) -> int:
        match item:
            case ast.Tuple(elts=parts) | ast.List(elts=parts) if not self._nested(item):
                return len(parts)
        return 0

    def _nested(self, item: ast.expr) -> bool:
        match item:
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return all(isinstance(part, ast.Tuple | ast.List) for part in parts)
        return False

    def _pair(self, item: ast.expr, target: int) -> Triple:
        match item:
            case ast.Tuple(elts=[op, state]) | ast.List(elts=[op, state]):
                name, source = self.literal.operation(op), self.literal.number(state)
                if source >= target or source < 0:
                    raise self.literal.error(
                        f"node {target} cannot read state {source}", state, f"a state from 0 to {target - 1}"
                    )
                return name, source, target
        raise self.literal.error("not a pair", item, "(operation, source), as ('sep_conv_3x3', 1)")

    def _triple(self, item: ast.expr) -> Triple:
        op, *ends = self.literal.items(item, "a triple")
        name = self.literal.operation(op)
        match ends[1]:
            case ast.Constant(value=float(weight)):
                raise self.literal.error(
                    f"an edge with a weight of its own, {weight}: a genotype has none",
                    item,
                    "(operation, source)",
                )
        source, target = sorted(map(self.literal.number, ends))
        if source < 0 or source == target or target < self.inputs:
            raise self.literal.error(
                "not an edge",
                item,
                "(operation, node, state) with an earlier state, as ('sep_conv_3x3', 2, 0)",
            )
        return name, source, target

    def _gathered(self, name: str) -> Sequence[int] | None:
        if name not in self.fields:
            return None
        return self.literal.numbers(self.fields[name], "the numbers of all nodes, as range(2, 6)")

    def _last(self, gathered: Sequence[int] | None) -> int | None:
        """Return how many nodes there are if the last is output, None if that is not said."""
        if not gathered:
            return None
        last = (gathered[-1] if isinstance(gathered, range) else max(gathered)) - self.inputs + 1
        return last if 1 <= last <= MOST_NODES else None

    def _check_concat(self, kind: str, gathered: Sequence[int] | None, nodes: int) -> None:
        whole = range(self.inputs, self.inputs + nodes)
        name = self.concat[kind]
        if gathered is None:
            return
        listed = gathered[: MOST_NODES + self.inputs + 1] if isinstance(gathered, range) else gathered
        if sorted(listed) == list(whole):
            return
        if self.partial and listed and set(listed) < set(whole) and len(set(listed)) == len(listed):
            self.outputs[kind] = sorted(listed)
            return
        out = [str(node) for node in whole if node not in listed]
        inner = set(listed) <= set(whole)
        reason = (
            f"the output leaves out node {', '.join(out)}, {_LATER}"
            if out and inner
            else f"the edges make {nodes} nodes"
        )
        raise self.literal.error(f"{name} is not all nodes: {reason}", self.fields[name], whole)

    def _check_edges(self, kind: str, edges: Sequence[tuple[Triple, ast.expr]], nodes: int) -> None:
        seen: Counter[tuple[int, int]] = Counter()
        for (_, source, target), item in edges:
            seen[source, target] += 1
            if seen[source, target] > 1 and not self.repeats:
                raise self.literal.error(
                    f"two operations on one edge of the {kind} cell, {source}->{target}, {_LATER}",
                    item,
                    "every edge at most once",
                )
            if target >= self.inputs + nodes:
                raise self.literal.error(f"no node {target} in the {kind} cell", item, f"{nodes} nodes")
        for node in range(self.inputs, self.inputs + nodes):
            output = node in self.outputs.get(kind, [node])
            read = any(source == node for (_, source, _), _ in edges)
            absent = self.partial and not output and not read
            if not absent and not any(target == node for (_, _, target), _ in edges):
                raise self.literal.error(
                    f"node {node} of the {kind} cell reads nothing, and is {'output' if output else 'read'}",
                    self.fields[kind],
                    "an edge into every node",
                )


def _is_nothing(tree: ast.expr) -> bool:
    match tree:
        case ast.Constant(value=None) | ast.Name(id="null"):
            return True
    return False


def fields_in(text: str) -> set[str]:
    """Return the kinds of cell that a text of this form names, and the skeleton, if any."""
    named = set(re.findall(r"\b(normal|reduce|recurrent)[\"']?\s*[=:]", text))
    skeleton = re.search(r"\bskeleton[\"']?\s*[=:]\s*[\"']([\w-]+)[\"']", text)
    return named | ({skeleton[1]} if skeleton else set())
