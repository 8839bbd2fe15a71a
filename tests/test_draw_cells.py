"""Cells drawn at random: uniform where they can be listed, sound everywhere."""

import random
from collections import Counter
from itertools import product
from math import comb

import pytest
from helpers.policies import small_space
from scipy.stats import chisquare

from raynas.spaces import skeletons
from raynas.spaces.draw import draw_cells
from raynas.spaces.library import load_space, names
from raynas.spaces.skeletons.subsets import count_subsets, draw_subset
from raynas.spaces.space_file import SpaceFile

OPS = ["tanh", "relu"]
UNEQUAL = {
    "0->2": ["skip_connect"],
    "1->2": ["skip_connect", "sep_conv_3x3", "max_pool_3x3"],
    "0->3": ["none", "sep_conv_3x3"],
    "1->3": ["skip_connect", "sep_conv_3x3"],
    "2->3": ["skip_connect", "sep_conv_3x3", "max_pool_3x3"],
}


def spaces():
    """Small enough to list: edges with unequal lists, one per skeleton that draws in a way of its own."""
    one_kind = {"skeleton": "darts-reducing", "cells": {"reduce": {"edges": UNEQUAL}}}
    yield "edges", small_space(nodes=2, keep=1, exclude=["none"], **one_kind)
    yield "residual", of("residual", 2, ["none", "skip_connect", "avg_pool_3x3"], keep="all")
    yield "blocks", of("blocks", 3, ["conv1x1-bn-relu", "maxpool3x3"], keep=[1, 1, 2, 2])
    yield "pairs", of("pairs", 1, ["skip_connect", "avg_pool_3x3"], ("normal", "reduce"), keep=2)
    yield "macro", of("macro", 3, ["sep_conv_3x3", "max_pool_3x3"], keep="all", default_cells=1)
    yield "recurrent", of("recurrent", 3, OPS, ("recurrent",), keep=1, default_cells=1)


def of(skeleton, nodes, ops, kinds=("normal",), **more):
    cells = {kind: {"ops": ops} for kind in kinds}
    data = {"name": "small", "title": "small", "skeleton": skeleton, "nodes": nodes, "cells": cells, **more}
    return SpaceFile.model_validate(data).resolve()


@pytest.mark.parametrize(("name", "space"), [pytest.param(*each, id=each[0]) for each in spaces()])
def test_every_cell_of_a_small_space_is_equally_likely(name, space):
    count = skeletons.of(space).architectures(space)
    assert 4 < count < 400
    drawn = Counter(draw_cells(space, 30 * count, seed=name))
    assert len(drawn) == count
    assert chisquare(list(drawn.values())).pvalue > 1e-3


def test_a_dense_block_is_as_likely_as_it_has_patterns_of_connections():
    ops = ["sep3x3-bn-relu", "max3x3-bn-relu"]
    space = of("dense", 4, ops, keep=[1, 1, 1, 1, 1])
    skeleton = skeletons.of(space)
    [group] = skeleton.groups(space)
    widths = [len(row.options) for row in group.rows]
    expected = Counter()
    for bits in product((0.0, 1.0), repeat=sum(widths)):
        rest = list(bits)
        rows = [[rest.pop(0) for _ in range(width)] for width in widths]
        kept = skeleton.above(space, {group.name: rows}, 1.0, None)["normal"]
        read = [choice.source for choice in kept if choice.target == space.targets[-1]]
        if all(rows[-1][source - 1] for source in read):
            expected[tuple(kept)] += 1
    drawn = Counter(g.cell("normal") for g in draw_cells(space, 40 * len(expected), seed=0))
    assert set(drawn) == set(expected)
    total = sum(expected.values())
    seen, wanted = zip(*((drawn[cell], expected[cell] / total) for cell in expected), strict=True)
    assert chisquare(seen, [sum(seen) * share for share in wanted]).pvalue > 1e-3


@pytest.mark.parametrize("name", names("search_spaces"))
def test_what_is_drawn_is_what_a_search_of_the_space_may_derive(name):
    space = load_space(name)
    cells = draw_cells(space, 5, seed=1)
    assert cells == draw_cells(space, 5, seed=1) != draw_cells(space, 5, seed=2)
    assert not [wrong for cell in cells for wrong in skeletons.of(space).unsearchable(space, cell)]


def test_subsets_are_counted_by_the_products_of_their_weights():
    assert count_subsets([1] * 30, 7) == comb(30, 7)
    assert count_subsets([2, 3, 5], 2) == 2 * 3 + 2 * 5 + 3 * 5
    # 2^100 subsets could not be listed.
    assert count_subsets([3] * 100, 50) == comb(100, 50) * 3**50
    source = random.Random(0)
    drawn = Counter(tuple(draw_subset([2, 3, 5], 2, source)) for _ in range(6200))
    assert chisquare([drawn[0, 1], drawn[0, 2], drawn[1, 2]], [1200, 2000, 3000]).pvalue > 1e-3
    with pytest.raises(ValueError, match="no subset of 3"):
        draw_subset([1, 0, 1], 3, source)
