"""Deriving cells: DARTS' rule against an enumeration of every cell, ties, exclusions and bad weights."""

import random
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space, names
from raynas.spaces.space import Space
from raynas.spaces.space_file import SpaceFile

SPACES = [name for name in sorted(names("search_spaces")) if not skeletons.of(load_space(name)).loose]
"""Those whose every node is kept; what is left of others depends on what reads it (`test_dense.py`)."""
Table = dict[str, list[list[float]]]


def load(name: str) -> Space:
    return load_space(name)


def table(space: Space, weight: Callable[[], float], padding: float = 9.0) -> Table:
    """One weight per candidate, and a row of padding that would win if it were read."""
    return {
        group.name: [
            [weight() if place < len(row.options) else padding for place in range(group.width + 1)]
            for row in group.rows
        ]
        for group in skeletons.groups(space)
    }


def kept(space: Space, node: int, most: int) -> int:
    """How many of ``most`` edges a node keeps, as the space's file says it."""
    if space.keep == "all":
        return most
    return space.keep if isinstance(space.keep, int) else space.keep[node - skeletons.of(space).inputs]


def enumerated(space: Space, weights: Table) -> Genotype:
    """The heaviest cell of all that the space allows; of equals, the one with the lowest indices."""
    if space.skeleton == "blocks":
        return enumerated_blocks(space, weights)
    if space.skeleton in ("pairs", "amoeba", "macro"):
        return row_by_row(space, weights)
    cells: dict[str, list[Choice]] = {}
    for cell in space.cells:
        cells[cell.kind] = []
        for node in range(skeletons.of(space).inputs, skeletons.of(space).inputs + space.nodes):
            into = [i for i, edge in enumerate(cell.edges) if edge.target == node]
            ranked = []
            for edges in combinations(into, kept(space, node, len(into))):
                allowed = [
                    [j for j, op in enumerate(cell.edges[i].ops) if op not in space.exclude] for i in edges
                ]
                for ops in product(*allowed):
                    total = sum(weights[cell.kind][i][j] for i, j in zip(edges, ops, strict=True))
                    ranked.append((-total, edges, ops))
            _, edges, ops = min(ranked)
            for i, j in zip(edges, ops, strict=True):
                edge = cell.edges[i]
                cells[cell.kind].append(Choice(edge.ops[j], edge.source, edge.target))
    return Genotype.of(space.name, space.nodes, cells, space.skeleton, space.trunk)


def enumerated_blocks(space: Space, weights: Table) -> Genotype:
    """The same for choice blocks: an operation each, and parents where there is more than one choice."""
    rows = {
        row.name: weights[group.name][i][: len(row.options)]
        for group in skeletons.groups(space)
        for i, row in enumerate(group.rows)
    }
    choices = []
    for node in range(1, space.nodes + 2):
        place = "output" if node > space.nodes else f"block {node}"
        parents = rows.get(f"{place}: parents", [0.0] * node)
        ranked = [
            (-sum(parents[p] for p in some), some)
            for some in combinations(range(node), kept(space, node, node))
        ]
        op = "identity"
        if node <= space.nodes:
            ops = rows[f"{place}: operation"]
            op = space.cell("normal").into(node)[0].ops[ops.index(max(ops))]
        choices += [Choice(op, parent, node) for parent in min(ranked)[1]]
    return Genotype.of(space.name, space.nodes, {"normal": choices}, "blocks")


def row_by_row(space: Space, weights: Table) -> Genotype:
    """The same where every row of α stands alone: the first of its heaviest options."""
    first = {
        row.name: row.options[weights[group.name][i].index(max(weights[group.name][i][: len(row.options)]))]
        for group in skeletons.groups(space)
        for i, row in enumerate(group.rows)
    }
    cells: dict[str, list[Choice]] = {cell.kind: [] for cell in space.cells}
    if space.skeleton == "macro":
        for t in range(1, space.nodes + 1):
            cells["normal"] += [
                Choice("identity", s, t) for s in range(t - 1) if first[f"layer {t}: skip from {s}"] == "skip"
            ]
            cells["normal"].append(Choice(first[f"layer {t}: operation"], t - 1, t))
        return Genotype.of(space.name, space.nodes, cells, "macro")
    for group in skeletons.groups(space):
        kind, part = group.name.split("-")
        if part == "operations":
            states = [weights[f"{kind}-inputs"][i] for i in range(len(group.rows))]
            for i, row in enumerate(group.rows):
                target = 2 + i // 2
                source = states[i].index(max(states[i][:target]))
                ops = weights[group.name][i][: len(row.options)]
                cells[kind].append(Choice(row.options[ops.index(max(ops))], source, target))
    return Genotype.of(space.name, space.nodes, cells, space.skeleton)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("keep", [1, None])
def test_random_weights_give_the_enumerated_cell(name: str, keep: int | None) -> None:
    space = load(name)
    space = space.model_copy(update={"keep": keep or space.keep})
    draw = random.Random(f"{name}{keep}")
    for _ in range(3):
        weights = table(space, draw.random)
        assert derive(space, weights) == enumerated(space, weights)


@pytest.mark.parametrize("name", SPACES)
def test_ties_go_to_the_lowest_index(name: str) -> None:
    space, draw = load(name), random.Random(name)
    for most in (0, 1, 2):
        weights = table(space, lambda most=most: float(draw.randint(0, most)))
        assert derive(space, weights) == enumerated(space, weights)


def test_all_equal_weights_keep_the_first_edges_and_operations() -> None:
    cell = derive(load("s1"), table(load("s1"), lambda: 0.5))
    assert cell.cell("normal") == (
        Choice("skip_connect", 0, 2),
        Choice("skip_connect", 1, 2),
        Choice("skip_connect", 0, 3),
        Choice("skip_connect", 1, 3),
        Choice("max_pool_3x3", 0, 4),
        Choice("skip_connect", 1, 4),
        Choice("skip_connect", 0, 5),
        Choice("max_pool_3x3", 1, 5),
    )


@pytest.mark.parametrize("name", SPACES)
def test_every_random_cell_lies_in_its_space(name: str) -> None:
    space = load(name)
    generator = np.random.default_rng(0)
    for _ in range(50):
        weights = {g.name: generator.normal(size=(len(g.rows), g.width)) for g in skeletons.groups(space)}
        genotype = derive(space, weights)
        assert genotype.space == name
        for cell in space.cells:
            candidates = {(edge.source, edge.target): edge.ops for edge in cell.edges}
            chosen = genotype.cell(cell.kind)
            wanted = [kept(space, node, len(cell.into(node))) for node in space.targets]
            if space.skeleton != "macro":  # whose α decides how many states a layer reads
                assert [sum(c.target == node for c in chosen) for node in space.targets] == wanted
            for choice in chosen:
                assert choice.op in set(candidates[choice.source, choice.target]) - set(space.exclude)


def test_an_excluded_operation_never_wins_nor_lifts_its_edge() -> None:
    space = load("tiny")
    rows = [[0.0, 0.1, 0.2, 0.3] for _ in range(5)]
    rows[2] = [0.97, 0.01, 0.01, 0.01]  # 0->3, nearly all `none`
    cell = derive(space, {"normal": rows, "reduce": rows}).cell("normal")
    assert [(choice.source, choice.op) for choice in cell if choice.target == 3] == [
        (1, "sep_conv_3x3"),
        (2, "sep_conv_3x3"),
    ]


def test_an_edge_with_excluded_operations_only_is_passed_over() -> None:
    edges = {"0->2": ["none"], "1->2": ["skip_connect"], "0->3": ["noise"], "1->3": ["noise", "none"]}
    cell = {"edges": edges}
    space = SpaceFile.model_validate(
        {"name": "x", "title": "x", "nodes": 2, "keep": 1, "cells": {"normal": cell, "reduce": cell}}
    ).resolve()
    rows = [[0.9], [0.1], [0.2], [0.1, 0.8]]
    chosen = derive(space, {"normal": rows, "reduce": rows}).cell("reduce")
    assert chosen == (Choice("skip_connect", 1, 2), Choice("noise", 0, 3))


def test_arrays_and_lists_agree() -> None:
    space = load("darts")
    weights = table(space, random.Random(0).random)
    arrays = {kind: np.array(rows, dtype=np.float32) for kind, rows in weights.items()}
    rows_of_arrays: dict[str, Any] = {kind: list(array) for kind, array in arrays.items()}
    assert derive(space, weights) == derive(space, arrays) == derive(space, rows_of_arrays)


def test_padding_is_never_read() -> None:
    space = load("s3")
    draw = random.Random(0)
    weights = table(space, draw.random, padding=float("nan"))
    assert derive(space, weights) == enumerated(space, weights)


def test_infinite_weights_compare_as_numbers() -> None:
    space = load("tiny")
    rows = [[float("-inf")] * 3 + [-1.0] for _ in range(5)]
    cells = derive(space, {"normal": rows, "reduce": rows})
    assert skeletons.of(cells).count(cells, "sep_conv_3x3") == {"normal": 4, "reduce": 4}


def spoiled(spoil: Callable[[Table], object]) -> Table:
    weights = table(load("tiny"), lambda: 0.25)
    spoil(weights)
    return weights


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (spoiled(lambda w: w.pop("reduce")), ["no weights for the reduce cell", "normal"]),
        (
            spoiled(lambda w: w["normal"].pop()),
            ["normal cell have the wrong shape", "4 rows", "5, one per edge"],
        ),
        (
            spoiled(lambda w: w["reduce"].__setitem__(1, [0.5])),
            ["too few weights on edge 1->2 of the reduce"],
        ),
        (spoiled(lambda w: w["normal"][4].__setitem__(0, float("nan"))), ["edge 2->3", "normal", "NaN"]),
    ],
)
def test_bad_weights_are_refused(weights: Table, words: list[str]) -> None:
    with pytest.raises(RaynasError) as caught:
        derive(load("tiny"), weights)
    for word in words:
        assert word in str(caught.value)
