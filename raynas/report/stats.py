"""The arithmetic of the report: spreads over seeds, operation mix, and how alike cells are."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

from raynas.bilevel.records import EpochReport
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Group
from raynas.spaces.operations import OPERATIONS


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of ``count`` values; ``sd`` is None for a single one."""

    mean: float
    sd: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Return the spread of the finite values, or None when there is none."""
        known = [value for value in values if value is not None and math.isfinite(value)]
        if not known:
            return None
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def operation_shares(group: Group, rows: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return each operation's share of all weight in a group of α, in catalogue order.

    Shares sum to 1, or are all 0 where no weight is left.

    ``rows`` is [edges, operations] as in `EpochReport.weights`.
    """
    total: Counter[str] = Counter()
    for row, weights in zip(group.rows, rows, strict=True):
        total.update(dict(zip(row.options, weights, strict=True)))
    weight = sum(total.values())
    return {op: total[op] / weight if weight else 0.0 for op in OPERATIONS if op in total}


def mean_shares(
    group: Group, histories: Iterable[Sequence[EpochReport]]
) -> tuple[list[int], dict[str, list[float]]] | None:
    """Return epochs from 1 on and, per operation, its share of weight, a mean over the searches so long.

    Reports whose weights are not the group's, of a damaged file, are left out; None if none is left.
    """
    found: dict[int, list[dict[str, float]]] = {}
    for reports in histories:
        for report in reports:
            rows = report.weights.get(group.name, [])
            if [len(row) for row in rows] == [len(row.options) for row in group.rows]:
                found.setdefault(report.epoch + 1, []).append(operation_shares(group, rows))
    if not found:
        return None
    epochs = sorted(found)
    ops = list(next(iter(found.values()))[0])
    return epochs, {op: [fmean(shares[op] for shares in found[epoch]) for epoch in epochs] for op in ops}


def derived_counts(genotypes: Sequence[Genotype], kind: str) -> dict[str, float]:
    """Return how many edges of one kind of cell hold each operation, on average, in catalogue order."""
    counts = Counter(op for genotype in genotypes for op in skeletons.of(genotype).operations(genotype, kind))
    return {op: counts[op] / len(genotypes) for op in OPERATIONS if op in counts}


def common_share(one: Genotype, other: Genotype) -> float:
    """Return the share of (kind, edge, operation) choices that two genotypes have in common, in [0, 1]."""
    left, right = _choices(one), _choices(other)
    return len(left & right) / max(len(left), len(right))


@dataclass(frozen=True)
class Alike:
    """How much searches agree: ``matrix`` of `common_share` between items, all pairs, diagonal 1.

    ``within`` spreads over the pairs inside a group, ``between`` over all other pairs; ``by_group`` holds the
    first for each group that has a pair.
    """

    matrix: tuple[tuple[float, ...], ...]
    within: Spread | None
    between: Spread | None
    by_group: dict[str, Spread]


def alike(genotypes: Sequence[Genotype], groups: Sequence[str]) -> Alike:
    """Compare every pair of genotypes; ``groups`` names the group of each."""
    size = len(genotypes)
    matrix = [[1.0] * size for _ in range(size)]
    within: dict[str, list[float]] = {}
    between: list[float] = []
    for i, j in combinations(range(size), 2):
        share = common_share(genotypes[i], genotypes[j])
        matrix[i][j] = matrix[j][i] = share
        (within.setdefault(groups[i], []) if groups[i] == groups[j] else between).append(share)
    return Alike(
        tuple(map(tuple, matrix)),
        Spread.of(share for shares in within.values() for share in shares),
        Spread.of(between),
        {group: found for group, shares in within.items() if (found := Spread.of(shares))},
    )


def _choices(genotype: Genotype) -> set[tuple[str, int, int, str]]:
    return {(kind, c.source, c.target, c.op) for kind, choices in genotype.cells for c in choices}
