"""Derivations: rules on hand-made weights, and that none can fail."""

import pytest
import torch
from helpers.policies import small_space

from raynas.parts.derivations import EveryEdge, FewSkips, Strongest, Threshold
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.library import load_space

OPS = ["none", "max_pool_3x3", "skip_connect", "sep_conv_3x3"]


def rows_of(genotype, kind="normal"):
    return [(c.op, c.source, c.target) for c in genotype.cell(kind)]


def weights_of(normal, space):
    """Return the given normal cell and a flat reduction cell."""
    return {"normal": normal, "reduce": [[0.25] * len(OPS) for _ in space.cell("reduce").edges]}


@pytest.fixture
def space():
    return load_space("tiny")


@pytest.mark.parametrize(
    "rule", [Strongest(), EveryEdge(), FewSkips(0), FewSkips(2), Threshold(), Threshold(0, None)]
)
@pytest.mark.parametrize("name", ["tiny", "darts", "s1", "s2", "s3", "s4"])
def test_no_derivation_fails_on_random_equal_or_empty_weights(rule, name):
    space = load_space(name)
    generator = torch.Generator().manual_seed(0)
    shapes = {group.name: (len(group.rows), group.width) for group in skeletons.groups(space)}
    tables = [{k: torch.rand(v, generator=generator) for k, v in shapes.items()} for _ in range(20)]
    tables += [{k: torch.full(v, value) for k, v in shapes.items()} for value in (0.0, 0.5)]
    for weights in tables:
        genotype = rule(space, weights)
        assert not {c.op for kind in ("normal", "reduce") for c in genotype.cell(kind)} & set(space.exclude)


def test_strongest_is_darts_rule(space):
    weights = {
        kind: torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) for kind in ("normal", "reduce")
    }
    assert Strongest()(space, weights) == derive(space, weights)


def test_every_edge_stays_unless_none_is_heaviest(space):
    normal = [
        [0.7, 0.1, 0.1, 0.1],
        [0.4, 0.1, 0.1, 0.4 - 1e-9],
        [0.1, 0.2, 0.3, 0.4],
        [0.9, 0.0, 0.1, 0.0],
        [0.2, 0.5, 0.2, 0.1],
    ]
    found = rows_of(EveryEdge()(space, weights_of(normal, space)))
    assert found == [("sep_conv_3x3", 1, 2), ("sep_conv_3x3", 0, 3), ("max_pool_3x3", 2, 3)]


def test_deleted_edges_do_not_come_back(space):
    normal = [[0.0, 0.0, 0.0, 1.0], [0.0] * 4, [0.0] * 4, [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    found = rows_of(EveryEdge()(space, weights_of(normal, space)))
    assert found == [("sep_conv_3x3", 0, 2), ("skip_connect", 1, 3), ("max_pool_3x3", 2, 3)]
    assert rows_of(Threshold(0, None)(space, weights_of(normal, space))) == found


def test_a_threshold_keeps_at_most_two_edges_and_never_none(space):
    normal = [
        [0.99, 0.2, 0.86, 0.9],
        [0.0, 0.1, 0.84, 0.0],
        [0.0, 0.87, 0.0, 0.0],
        [0.0, 0.0, 0.0, 0.95],
        [0.0, 0.0, 0.9, 0.0],
    ]
    found = rows_of(Threshold(0.85)(space, weights_of(normal, space)))
    assert found == [("sep_conv_3x3", 0, 2), ("sep_conv_3x3", 1, 3), ("skip_connect", 2, 3)]
    weights = weights_of(normal, space)
    assert Threshold(0.95).notes(space, weights) == {"nodes_below": 3.0}  # one normal, both of the flat cell
    assert rows_of(Threshold(0.95)(space, weights))[1:] == [("sep_conv_3x3", 1, 3)]
    low = [[value / 10 for value in row] for row in normal]
    assert rows_of(Threshold(0.85)(space, weights_of(low, space))) == [
        ("sep_conv_3x3", 0, 2),
        ("sep_conv_3x3", 1, 3),
    ]


def test_few_skips_takes_the_lightest_away_first(space):
    normal = [
        [0.0, 0.1, 0.6, 0.3],
        [0.0, 0.1, 0.5, 0.4],
        [0.0, 0.0, 0.9, 0.1],
        [0.0, 0.2, 0.8, 0.0],
        [0.0, 0.0, 0.3, 0.1],
    ]
    weights = weights_of(normal, space)
    assert [c[0] for c in rows_of(FewSkips(4)(space, weights))] == ["skip_connect"] * 4
    three = rows_of(FewSkips(3)(space, weights))
    assert three == [
        ("skip_connect", 0, 2),
        ("sep_conv_3x3", 1, 2),
        ("skip_connect", 0, 3),
        ("skip_connect", 1, 3),
    ]
    two = rows_of(FewSkips(2)(space, weights))
    assert two == [
        ("sep_conv_3x3", 0, 2),
        ("sep_conv_3x3", 1, 2),
        ("skip_connect", 0, 3),
        ("skip_connect", 1, 3),
    ]
    assert weights["normal"] == normal
    reduce = weights | {"reduce": normal}
    assert len([c for c in rows_of(FewSkips(0)(space, reduce), "reduce") if c[0] == "skip_connect"]) == 4


def test_where_there_are_only_skips_they_remain():
    space = small_space(ops=("skip_connect",))
    weights = {kind: [[1.0], [1.0]] for kind in ("normal", "reduce")}
    assert [c[0] for c in rows_of(FewSkips(0)(space, weights))] == ["skip_connect"] * 2
