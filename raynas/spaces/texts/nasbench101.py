"""NAS-Bench-101's form of a cell: an adjacency matrix and an operation for every vertex, and its hash.

Vertex 0 is the cell's input, the last one its output (Ying et al. 2019).
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from raynas.spaces.texts.literal import Literal
from raynas.spaces.texts.snippet import Snippet, Span, enclosed

Matrix = tuple[tuple[int, ...], ...]

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The operations in the order whose indices enter the hash."""
MOST_VERTICES, MOST_EDGES = 7, 9

_MARK = re.compile(r"\bModelSpec[ \t]*\(")
_NOTATION = "ModelSpec(matrix=[[0, 1, ...], ...], ops=['input', ..., 'output'])"


def from_edges(triples: Iterable[tuple[str, int, int]], vertices: int) -> tuple[Matrix, tuple[str, ...]]:
    """Return matrix and operations of (operation of the target, source, target) edges, pruned."""
    rows = [[0] * vertices for _ in range(vertices)]
    ops = ["input"] * vertices
    for op, source, target in triples:
        rows[source][target] = 1
        ops[target] = op
    ops[-1] = "output"
    return prune(tuple(map(tuple, rows)), ops)


def prune(matrix: Sequence[Sequence[int]], ops: Sequence[str]) -> tuple[Matrix, tuple[str, ...]]:
    """Remove the vertices that are not on a way from input to output."""
    last = len(matrix) - 1
    forth, back = {0}, {last}
    for vertex in range(1, last + 1):
        forth |= {vertex for source in forth if matrix[source][vertex]}
    for vertex in reversed(range(last)):
        back |= {vertex for target in back if matrix[vertex][target]}
    alive = sorted((forth & back) | {0, last})
    return tuple(tuple(matrix[a][b] for b in alive) for a in alive), tuple(ops[v] for v in alive)


def padded(matrix: Matrix, ops: Sequence[str]) -> tuple[Matrix, tuple[str, ...]]:
    """Return the same cell with seven vertices: the missing ones are put, unconnected, before the last."""
    missing = max(0, MOST_VERTICES - len(matrix))
    rows = [(*row[:-1], *[0] * missing, row[-1]) for row in matrix]
    empty = [(0,) * (len(matrix) + missing)] * missing
    return (*rows[:-1], *empty, rows[-1]), (*ops[:-1], *[OPS[1]] * missing, ops[-1])


def is_valid(matrix: Matrix, ops: Sequence[str]) -> bool:
    """Tell whether the benchmark holds the cell: connected, at most 7 vertices, 9 edges, its operations."""
    matrix, ops = prune(matrix, ops)
    upper = all(not cell for i, row in enumerate(matrix) for cell in row[: i + 1])
    small = len(matrix) <= MOST_VERTICES and sum(map(sum, matrix)) <= MOST_EDGES
    return upper and small and any(row[-1] for row in matrix) and set(ops[1:-1]) <= set(OPS)


def module_hash(matrix: Matrix, ops: Sequence[str]) -> str:
    """Return the benchmark's hash of a cell: equal for isomorphic ones, whatever their vertices' order.

    Every vertex starts from its degrees and operation and takes in, once per vertex of the cell, what its
    neighbours are by then.
    """
    matrix, ops = prune(matrix, ops)
    size = len(matrix)
    labels = [-1, *(OPS.index(op) for op in ops[1:-1]), -2]
    columns = list(zip(*matrix, strict=True))
    hashes = [_md5(str((sum(matrix[v]), sum(columns[v]), labels[v]))) for v in range(size)]
    for _ in range(size):
        hashes = [
            _md5(
                "|".join(
                    [
                        "".join(sorted(hashes[w] for w in range(size) if matrix[w][v])),
                        "".join(sorted(hashes[w] for w in range(size) if matrix[v][w])),
                        hashes[v],
                    ]
                )
            )
            for v in range(size)
        ]
    return _md5(str(sorted(hashes)))


def write(matrix: Matrix, ops: Sequence[str]) -> str:
    """Return the call by which the benchmark's own package is asked for a cell."""
    return f"ModelSpec(matrix={[list(row) for row in matrix]}, ops={list(ops)})"


def spans(text: str) -> Iterator[Span]:
    """Yield where a text has this form."""
    for start, end in enclosed(_MARK, text):
        if end is not None and "[" in text[start:end]:
            yield start, end


def read(snippet: Snippet) -> tuple[Matrix, tuple[str, ...]]:
    """Parse ``ModelSpec(matrix=[[…], …], ops=[…])``, the matrix in ``np.array(…)`` or not.

    Operations are quoted, or the constants of the benchmark's own examples (``CONV3X3``). Raises
    `RaynasError` with line and column; nothing is evaluated.
    """
    literal = Literal(snippet, "NAS-Bench-101's", _NOTATION)
    fields = literal.call(("matrix", "ops"))
    if missing := [name for name in ("matrix", "ops") if name not in fields]:
        raise literal.error(f"{', '.join(missing)} missing", literal.tree, _NOTATION)
    tree = fields["matrix"]
    match tree:
        case ast.Call(func=ast.Attribute(attr="array"), args=[inner, *_]):
            tree = inner
    rows = literal.items(tree, "a list of rows")
    matrix = tuple(tuple(literal.numbers(row, "zeros and ones")) for row in rows)
    ops = literal.items(fields["ops"], "a list of operations")
    for place, (row, line) in enumerate(zip(rows, matrix, strict=True)):
        upper = len(line) == len(ops) == len(rows) and not any(line[: place + 1]) and set(line) <= {0, 1}
        if not upper:
            raise literal.error(
                f"row {place} of the matrix is not one of an upper triangle",
                row,
                f"{len(ops)} numbers, 0 up to the diagonal, 0 or 1 after it",
            )
    if len(ops) < 2:
        raise literal.error("a cell has an input and an output", fields["ops"], _NOTATION)
    inner_ops = tuple(literal.operation(op) for op in ops[1:-1])
    return matrix, ("input", *inner_ops, "output")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
