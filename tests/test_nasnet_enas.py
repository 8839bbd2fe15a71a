"""NASNet's and ENAS' spaces: texts as published, sizes in closed form, supernets that are their networks."""

import itertools
import random
from dataclasses import replace
from math import prod

import pytest
import torch
from helpers.problems import bilevel
from test_supernet import make, random_weights, seeds
from torch import nn

from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.errors import RaynasError
from raynas.methods import method_names, reasons, resolve
from raynas.nets.network import Network
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.parts.derivations import FewSkips
from raynas.parts.stages.deepen_widen import Deepen, Widen
from raynas.report.stats import common_share
from raynas.search.loop import Search
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text
from raynas.spaces.space_file import SpaceFile

NEW = ("nasnet", "enas-micro", "enas-macro")

# From ENAS' own scripts: the cells of cifar10_micro_final.sh, six of 24 layers of cifar10_macro_final.sh.
ARC = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
NETWORK = "0 3 0 0 1 0 2 0 0 1 2 0 0 0 0 3 1 1 0 1 0"


def random_cell(space, seed):
    draw = random.Random(seed)
    return derive(
        space,
        {g.name: [[draw.random() for _ in range(g.width)] for _ in g.rows] for g in skeletons.groups(space)},
    )


def test_enas_published_cells_are_read():
    cell = genotype_from_text(ARC)
    assert (cell.space, cell.skeleton, cell.nodes) == ("enas-micro", "pairs", 5)
    first, last = cell.cell("normal")[:2], cell.cell("reduce")[-2:]
    assert first == (Choice("avg_pool_3x3", 0, 2), Choice("sep_conv_3x3", 0, 2))
    assert last == (Choice("max_pool_3x3", 0, 6), Choice("sep_conv_5x5", 1, 6))
    assert skeletons.of(cell).gathered(cell, "normal") == (2, 3, 4, 5, 6)
    assert skeletons.of(cell).gathered(cell, "reduce") == (2, 4, 5, 6)
    halves = [ARC.split()[:20], ARC.split()[20:]]
    for half, line in zip(halves, genotype_to_text(cell).split("\n"), strict=True):
        # Both slots of a block are added up, so which comes first is not kept.
        blocks = [[half[i : i + 2], half[i + 2 : i + 4]] for i in range(0, 20, 4)]
        words = line.split()
        written = [[words[i : i + 2], words[i + 2 : i + 4]] for i in range(0, 20, 4)]
        assert [sorted(slots) for slots in written] == [sorted(slots) for slots in blocks]


def test_enas_published_network_is_read():
    network = genotype_from_text(NETWORK)
    assert (network.space, network.skeleton, network.nodes) == ("enas-macro", "macro", 6)
    assert genotype_to_text(network) == "0\n3 0\n0 1 0\n2 0 0 1\n2 0 0 0 0\n3 1 1 0 1 0"
    assert skeletons.of(network).operations(network, "normal")[:2] == ("nor_conv_3x3", "sep_conv_5x5")
    skips = [(c.source, c.target) for c in network.cell("normal") if c.op == "identity"]
    assert skips == [(0, 3), (2, 4), (0, 6), (1, 6), (3, 6)]


@pytest.mark.parametrize("name", NEW)
def test_texts_and_json_come_back(name):
    space = load_space(name)
    for seed in range(20):
        cell = random_cell(space, seed)
        assert genotype_from_text(genotype_to_text(cell), name) == cell
        assert genotype_from_json(cell.to_json()) == cell


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 0 0", "not ENAS' text form of two cells"),
        (ARC.replace("0 2", "2 2", 1), "number for the state of block 0 of the normal cell"),
        (ARC.replace("0 2", "0 5", 1), "operation of block 0 of the normal cell"),
        (ARC + " sep_conv", "41 words"),
        ("0 sep_conv_33 0 0 0 0 0 0", "unknown operation 'sep_conv_33'"),
        ("0 3 2", "bit 0 of layer 1"),
        ("6", "operation of layer 0"),
    ],
)
def test_text_that_is_none_says_why(text, message):
    with pytest.raises(RaynasError, match=message):
        genotype_from_text(text)


PAIR = [["skip_connect", 0, 2], ["skip_connect", 0, 2]]


@pytest.mark.parametrize(
    ("skeleton", "rows", "message"),
    [
        ("pairs", PAIR[:1], "block 2 of the normal cell has 1 slots"),
        ("pairs", [*PAIR, ["noise", 1, 2]], "has 3 slots"),
        ("macro", [["noise", 0, 2], ["noise", 0, 1]], "layer 2 applies no operation"),
        ("macro", [["noise", 0, 1], ["noise", 1, 2], ["noise", 0, 2]], "skips must be identity"),
        ("macro", [["noise", 0, 1], ["noise", 0, 1]], "two operations on one edge"),
    ],
)
def test_impossible_cells_are_refused(skeleton, rows, message):
    kinds = ["normal", "reduce"] if skeleton == "pairs" else ["normal"]
    choices = [Choice(*row) for row in rows]
    nodes = max(choice.target for choice in choices) - len(kinds) + 1
    with pytest.raises(RaynasError, match=message):
        skeletons.checked(Genotype.of("x", nodes, dict.fromkeys(kinds, choices), skeleton))


def test_blocks_have_no_numbers_and_slots_no_order():
    first = [("noise", 0, 2), ("skip_connect", 1, 2), ("noise", 1, 3), ("noise", 1, 3)]
    swapped = [("noise", 1, 2), ("noise", 1, 2), ("noise", 0, 3), ("skip_connect", 1, 3)]
    one, two, three = (
        Genotype.of("x", 3, {kind: [Choice(*c) for c in cell] for kind in ("normal", "reduce")}, "pairs")
        for cell in (
            [*first, ("noise", 2, 4), ("max_pool_3x3", 3, 4)],
            [*swapped, ("noise", 3, 4), ("max_pool_3x3", 2, 4)],
            [*swapped, ("noise", 2, 4), ("max_pool_3x3", 3, 4)],
        )
    )
    assert one != two
    assert skeletons.same_network(one, two)
    assert not skeletons.same_network(one, three)


def small_space(skeleton, nodes=2, ops=("skip_connect", "nor_conv_1x1"), **more):
    kinds = ["normal", "reduce"] if skeleton == "pairs" else ["normal"]
    keep = 2 if skeleton == "pairs" else "all"
    cells = {kind: {"ops": list(ops)} for kind in kinds}
    default = {"default_cells": 1} if skeleton == "macro" else {}
    data = {
        "name": "small",
        "title": "small",
        "skeleton": skeleton,
        "nodes": nodes,
        "keep": keep,
        "cells": cells,
    }
    return SpaceFile.model_validate({**data, **default, **more}).resolve()


def test_counts_of_architectures():
    assert skeletons.of(load_space("enas-macro")).architectures(load_space("enas-macro")) == 6**12 * 2**66
    slots = [5 * states for states in range(2, 7)]
    count = prod(n * (n + 1) // 2 for n in slots) ** 2
    assert skeletons.of(load_space("enas-micro")).architectures(load_space("enas-micro")) == count


@pytest.mark.parametrize(("skeleton", "nodes"), [("pairs", 1), ("macro", 3)])
def test_every_architecture_can_be_derived_and_is_counted(skeleton, nodes):
    space = small_space(skeleton, nodes)
    rows = [(g.name, i, len(row.options)) for g in skeletons.groups(space) for i, row in enumerate(g.rows)]
    found = set()
    for options in itertools.product(*(range(count) for _, _, count in rows)):
        weights = {g.name: [[0.0] * g.width for _ in g.rows] for g in skeletons.groups(space)}
        for (group, row, _), option in zip(rows, options, strict=True):
            weights[group][row][option] = 1.0
        found.add(derive(space, weights))
    assert len(found) == skeletons.of(space).architectures(space)


@pytest.mark.parametrize("name", NEW)
def test_chance_share_equals_that_of_many_random_cells(name):
    space = load_space(name)
    cells = [random_cell(space, seed) for seed in range(600)]
    shares = [common_share(a, b) for a, b in zip(cells[::2], cells[1::2], strict=True)]
    assert skeletons.of(space).chance(space) == pytest.approx(sum(shares) / len(shares), abs=0.02)


def weights_of(module):
    return [p for p in module.parameters() if p.ndim > 1]


def copy(source, module, place=0, columns=slice(None)):
    """Give the convolutions of a plain module those of a fused one."""
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    found = [p[0, place] if place is not None else p[0][:, columns] for p in source.parameters()]
    for weight, convolution in zip(found, convolutions, strict=True):
        convolution.weight.copy_(weight.reshape(convolution.weight.shape))


@torch.no_grad()
def copy_stem_and_head(net, network, columns=slice(None)):
    network.stem[0][0].weight.copy_(net.stem.convolutions[0][0])
    network.head.weight.copy_(net.head[0][:, columns])
    network.head.bias.copy_(net.bias[0])


@torch.no_grad()
def copy_pairs(net, network, space, genotype):
    """The slots' chosen operations, and of what reads a cell the columns of the states that it puts out."""
    columns = [slice(None), slice(None)]
    for mine, theirs in zip(net.cells, network.cells, strict=True):
        for source, target, read in zip(mine.inputs, theirs.inputs, columns, strict=True):
            copy(source, target, None, read)
        for slot, choice, module in zip(mine.slots, theirs.choices, theirs.operations, strict=True):
            ops = space.cell(mine.kind).into(choice.target)[0].ops
            copy(slot.fan.operations[ops.index(choice.op)], module)
        width = mine.slots[0].channels
        loose = skeletons.of(genotype).gathered(genotype, mine.kind)
        columns = [columns[1], [width * state + c for state in loose for c in range(width)]]
    copy_stem_and_head(net, network, columns[1])


@torch.no_grad()
def copy_macro(net, network, space, genotype):
    [mine], [theirs] = net.cells, network.cells
    ops = space.cell("normal").into(1)[0].ops
    for block, op, module in zip(
        mine.operations, skeletons.of(genotype).operations(genotype, "normal"), theirs.operations, strict=True
    ):
        copy(block.fan.operations[ops.index(op)], module)
    for layer, pools in theirs.poolings.items():
        for state, pool in pools.items():
            copy(mine.poolings[layer][state], pool, None)
    copy_stem_and_head(net, network)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NEW)
def test_one_hot_supernet_equals_the_discrete_network(name, seed):
    space, net = make(name, cells=4)
    genotype = random_cell(space, seed)
    if seed == 2 and name == "enas-micro":
        genotype = genotype_from_text(ARC)  # both slots of a block are sep 3×3 of state 1
    # Under another space's name: ENAS' final network is not its search's.
    plain = replace(genotype, space="mine") if name == "enas-micro" else genotype
    network = Network(plain, (3, 8, 8), 3, 4, len(net.cells), affine=False).double()
    (copy_macro if name == "enas-macro" else copy_pairs)(net, network, space, genotype)
    one_hot = bilevel(space, net, seeds()).policy.one_hot([genotype])
    images = torch.randn(1, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    expected = network(images[0])
    for active in (None, one_hot.active):
        mixed = net(images, one_hot.weights, Pass(Statistics.BATCH, seeds(), active=active))[0]
        torch.testing.assert_close(mixed, expected, rtol=1e-9, atol=1e-9)


def operation_size(op, c):
    side = int(op[-1])
    match op.split("_"):
        case ["skip", _] | [_, "pool", _]:
            return 0
        case ["sep", *_]:
            return 2 * (c * side**2 + c**2)
        case ["dil", *_]:
            return c * side**2 + c**2
        case ["conv", *_]:
            return 2 * c**2 * int(op[-3])
    return c**2 * side**2


def sizes(ops, c):
    return sum(0 if op == "skip_connect" else operation_size(op, c) for op in ops)


@pytest.mark.parametrize("name", ["nasnet", "enas-micro"])
def test_parameters_of_a_supernet_of_pairs(name):
    space, net = make(name, cells=5, channels=6)
    ops, total = space.cell("normal").edges[0].ops, 3 * 18 * 9 + 2 * 18
    before = previous = 18
    for width in (6, 12, 12, 24, 24):  # reduction cells are the second and the fourth
        total += (before + previous) * width + 10 * sizes(ops, width)
        before, previous = previous, 7 * width
    assert sum(p.numel() for p in net.parameters()) == total + 3 * previous + 3


def test_parameters_of_a_macro_supernet_and_network():
    space, net = make("enas-macro", channels=6)
    ops = space.cell("normal").edges[0].ops
    stem, head = 3 * 6 * 9 + 2 * 6, 3 * 24 + 3
    layers = sum(4 * sizes(ops, c) for c in (6, 12, 24))
    pools = 5 * 6 * 12 + 9 * 12 * 24
    assert sum(p.numel() for p in net.parameters()) == stem + layers + pools + head
    chain = genotype_from_text("\n".join(" ".join(["0"] * (1 + layer)) for layer in range(12)))
    network = Network(chain, (3, 8, 8), 3, 6, 1)
    norms = 2 * (2 * (4 * 6 + 4 * 12 + 4 * 24) + 12 + 24)
    convolutions = 4 * 9 * (6**2 + 12**2 + 24**2) + 6 * 12 + 12 * 24
    assert sum(p.numel() for p in network.parameters()) == stem + norms + convolutions + head


@pytest.mark.parametrize("name", NEW)
def test_two_lanes_give_what_each_gives_alone(name):
    space = load_space(name)
    cells = 1 if name == "enas-macro" else 3
    generators = lambda: [torch.Generator().manual_seed(seed) for seed in (3, 4)]  # noqa: E731
    build = lambda lanes: Supernet(space, (3, 8, 8), 3, 4, cells, lanes, torch.float64)  # noqa: E731
    weights = random_weights(space, 2)
    images = torch.randn(2, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    together = build(generators())(images, weights, Pass(Statistics.UPDATE, generators()))
    for lane in range(2):
        own = {group: rows[lane : lane + 1] for group, rows in weights.items()}
        one = generators()[lane : lane + 1]
        alone = build(one)(images[lane : lane + 1], own, Pass(Statistics.UPDATE, one))
        torch.testing.assert_close(together[lane], alone[0], rtol=1e-10, atol=1e-10)


NEED_EDGES = {"snas", "r-darts-dp", "darts-minus", "pc-darts", "asap", "sgas"}
NEED_EDGES |= {"p-darts", "drnas-progressive", "te-nas"}


@pytest.mark.slow
@pytest.mark.parametrize("skeleton", ["pairs", "macro"])
def test_methods_search_or_are_refused_before(skeleton):
    space = small_space(skeleton, nodes=3, ops=("skip_connect", "nor_conv_1x1"))
    cells = skeletons.of(space).fewest_cells
    settings = {"epochs": 1, "batch": 8, "channels": 2, "cells": cells, "hessian": {"steps": 4}}
    for name in method_names():
        if resolve(name).proposals is not None:
            continue  # nothing to run: a table would have to judge
        told = list(reasons(resolve(name), space, {}))
        assert bool(told) == (name in NEED_EDGES), (name, told)
        if told:
            continue
        # No stop rule means anything in a single epoch; some are refused then.
        method = {"base": name, "stop": None} if resolve(name).stop else name
        config = SearchConfig(space="small", method=method, data={"name": "digits", "limit": 16}, **settings)
        report = next(iter(Search(config, space, split(load_data(config.data), config.data))))
        assert report.genotype.skeleton == skeleton


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stages": Deepen()}, "deepen stacks numbers"),
        ({"stages": Widen()}, "widen"),
        ({"derivation": FewSkips()}, "few-skips"),
    ],
)
def test_parts_that_need_edges_or_more_cells_are_refused(change, message):
    told = " ".join(reasons(replace(resolve("darts"), **change), load_space("enas-macro"), {}))
    assert message in told


@pytest.mark.parametrize(
    ("skeleton", "more", "message"),
    [
        ("pairs", {"keep": 1}, "every block of the pairs skeleton has two slots"),
        ("pairs", {"default_cells": 2}, "at least 3 cells"),
        ("macro", {"default_cells": 2}, "exactly 1 cell"),
        (
            "macro",
            {"cells": {"normal": {"edges": {"0->1": ["noise"], "0->2": ["noise"]}}}},
            "no edge 1->2",
        ),
        (
            "macro",
            {"cells": {"normal": {"edges": {"0->1": ["noise"], "1->2": ["noise"], "0->2": ["noise"]}}}},
            "edges that skip layers into layer 2 must be",
        ),
    ],
)
def test_impossible_spaces_say_why(skeleton, more, message):
    with pytest.raises(ValueError, match=message):
        small_space(skeleton, **more)


LOOSE = """1 4 1 2 2 0 2 3 3 1 3 4 4 0 4 2 5 1 5 3
1 4 1 2 2 0 2 3 1 1 3 4 4 0 1 2 5 1 5 3"""


@pytest.mark.parametrize(
    ("text", "channels", "cells", "parameters"), [(ARC, 36, 17, 3_894_372), (LOOSE, 8, 8, 74_552)]
)
def test_enas_final_network_has_the_size_of_its_own_code(text, channels, cells, parameters):
    """melodyguan/enas 4bcfd73, micro_child.py, `_model`, run with a TensorFlow that keeps shapes alone.

    Its linear layer has no bias; the auxiliary head is not counted, as its script's own count leaves it out.
    """
    with torch.device("meta"):
        network = Network(genotype_from_text(text), (3, 32, 32), 10, channels, cells)
        assert network(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert sum(p.numel() for p in network.parameters()) == parameters + 10
