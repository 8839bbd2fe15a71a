"""NAS-Bench-101's form of a cell: an adjacency matrix and an operation for every vertex, and its hash.

Vertex 0 is the cell's input, the last one its output (Ying et al. 2019).
"""

import hashlib
from collections.abc import Iterable, Sequence

Matrix = tuple[tuple[int, ...], ...]

OPS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""The operations in the order whose indices enter the hash."""
MOST_VERTICES, MOST_EDGES = 7, 9


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
    """Return the same cell with seven vertices: the missing ones stand, unconnected, before the last."""
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


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
