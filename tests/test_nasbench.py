"""The tabular benchmarks' cells: text forms, counts, hashes and sizes as published, and random α."""

import random
from itertools import combinations, product

import pytest
import torch
from helpers.oracle import find
from helpers.problems import bilevel
from torch import nn

from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.spaces import skeletons
from raynas.spaces.derive import derive, selected
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text
from raynas.spaces.skeletons.blocks import to_matrix
from raynas.spaces.texts import nasbench101, nasbench201

OPS_201 = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ONE_SHOT = ("nb1shot1-1", "nb1shot1-2", "nb1shot1-3")


def text_201(ops):
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


ALL_201 = [text_201(ops) for ops in product(OPS_201, repeat=6)]


def edges_201(text):
    return nasbench201.edges_of(nasbench201.read(text), range(1, 4))


def test_every_architecture_string_comes_back_exactly():
    assert len(set(ALL_201)) == 15_625
    for text in ALL_201[::7]:
        genotype = genotype_from_text(text)
        assert genotype_to_text(genotype) == text
        assert genotype_from_json(genotype.to_json()) == genotype
    assert [nasbench201.write(edges_201(text)) for text in ALL_201] == ALL_201


def test_every_architecture_can_be_derived():
    space = load_space("nas-bench-201")
    for text in ALL_201[::101]:
        genotype = genotype_from_text(text)
        weights = [[0.0] * 5 for _ in range(6)]
        for row, column in selected(space, genotype)["normal"]:
            weights[row][column] = 1.0
        assert derive(space, {"normal": weights}) == genotype


def test_counts_of_unique_cells():
    """Dong & Yang 2020 count 6,466 unique cells by their string."""
    assert len({nasbench201.unique_string(edges_201(text)) for text in ALL_201}) == 6_466
    assert len({nasbench201.canonical_edges_text(edges_201(text)) for text in ALL_201}) == 5_425


CONV, SKIP, NONE, POOL = "nor_conv_3x3", "skip_connect", "none", "avg_pool_3x3"
INPUT_CONVOLVED = text_201((CONV, NONE, SKIP, NONE, NONE, SKIP))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (text_201((NONE, NONE, NONE, CONV, NONE, NONE)), True),
        (text_201((SKIP, NONE, CONV, NONE, NONE, SKIP)), True),
        (text_201((CONV, NONE, NONE, NONE, SKIP, NONE)), True),
        (text_201((CONV, NONE, NONE, NONE, SKIP, CONV)), True),  # a convolution of nothing
        (text_201((CONV, NONE, SKIP, NONE, SKIP, SKIP)), False),  # twice the convolution
        (text_201((NONE, NONE, NONE, POOL, NONE, NONE)), False),
    ],
)
def test_cells_are_the_same_network_whatever_they_are_called(other, same):
    assert skeletons.same_network(genotype_from_text(INPUT_CONVOLVED), genotype_from_text(other)) is same


def test_one_convolution_read_twice_is_not_two_convolutions():
    once = text_201((CONV, NONE, SKIP, NONE, SKIP, SKIP))
    twice = text_201((CONV, CONV, NONE, NONE, SKIP, SKIP))
    assert nasbench201.unique_string(edges_201(once)) == nasbench201.unique_string(edges_201(twice))
    assert not skeletons.same_network(genotype_from_text(once), genotype_from_text(twice))
    sizes = [size(genotype_from_text(text), 4, 1) for text in (once, twice)]
    assert sizes[1] > sizes[0]


def test_nodes_have_no_names():
    one = text_201((CONV, POOL, NONE, NONE, SKIP, CONV))
    other = text_201((POOL, CONV, NONE, NONE, CONV, SKIP))
    assert skeletons.same_network(genotype_from_text(one), genotype_from_text(other))


def test_same_network_means_the_same_function():
    """Networks of equal canonical cells, with equal weights, give equal outputs for any images."""
    draw = random.Random(0)
    by_form = {}
    for text in draw.sample(ALL_201, 1500):
        by_form.setdefault(nasbench201.canonical_edges_text(edges_201(text)), []).append(text)
    pairs = [texts[:2] for texts in by_form.values() if len(texts) > 1 and text_convs(texts) == 1][:8]
    assert len(pairs) == 8
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for pair in pairs:
        outputs = []
        for text in pair:
            network = Network(genotype_from_text(text), (3, 8, 8), 3, 4, 1)
            for parameter in network.parameters():
                nn.init.constant_(parameter, 0.1)
            fill(network)
            outputs.append(network(images))
        torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-5)


def text_convs(texts):
    """How many convolutions the texts have, if all have as many; every one of them then counts."""
    counts = {text.count("nor_conv") for text in texts}
    return counts.pop() if len(counts) == 1 else None


def fill(network):
    """Give the n-th convolution of a size the same weights in every network."""
    generators = {}
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            key = tuple(module.weight.shape)
            generator = generators.setdefault(key, torch.Generator().manual_seed(sum(key)))
            nn.init.normal_(module.weight, std=0.2, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not NAS-Bench-201's text form|not DARTS' text form|no genotype"),
        ("|nor_conv_3x3~0|+", "text form"),
        ("|nor_conv_3x3|", "not an edge"),
        ("|nor_conv_3x3~x|", "not an edge"),
        ("|nor_conv_3x3~0|+|skip_connect~0|", "group 2 does not name every state"),
        ("|nor_conv_3x3~0|+|skip_connect~0|none~0|", "group 2 does not name every state"),
        ("|nor_conv_3x3~1|", "group 1 does not name every state"),
        ("|nor_conv_3~0|", "unknown operation"),
    ],
)
def test_text_that_is_no_cell_says_why(text, message):
    with pytest.raises(RaynasError, match=message):
        genotype_from_text(text)


def size(genotype, channels, cells):
    network = Network(genotype, (3, 32, 32), 10, channels, cells)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("op", "parameters"),
    [("nor_conv_3x3", 1_531_546), ("skip_connect", 73_306), ("none", 73_306), ("avg_pool_3x3", 73_306)],
)
def test_published_sizes_of_nas_bench_201(op, parameters):
    """1.531546 MB and 0.073306 MB for cells of one operation (the benchmark's own records, CIFAR-10)."""
    assert size(genotype_from_text(text_201([op] * 6)), 16, 5) == parameters


# The Inception-like cell of NAS-Bench-101's README.
INCEPTION = (
    (0, 1, 1, 1, 0, 1, 0),
    (0, 0, 0, 0, 0, 0, 1),
    (0, 0, 0, 0, 0, 0, 1),
    (0, 0, 0, 0, 1, 0, 0),
    (0, 0, 0, 0, 0, 0, 1),
    (0, 0, 0, 0, 0, 0, 1),
    (0, 0, 0, 0, 0, 0, 0),
)
C1, C3, MAX = "conv1x1-bn-relu", "conv3x3-bn-relu", "maxpool3x3"
INCEPTION_OPS = ("input", C1, C3, C3, C3, MAX, "output")


def inception():
    choices = [
        Choice("identity" if target == 6 else INCEPTION_OPS[target], source, target)
        for source, row in enumerate(INCEPTION)
        for target, edge in enumerate(row)
        if edge
    ]
    return Genotype.of("inception", 5, {"normal": choices}, "blocks")


def test_published_size_and_hash_of_a_nas_bench_101_cell():
    """2,694,282 weights in the benchmark's record; the hash is the one its users' tests name."""
    assert size(inception(), 128, 9) == 2_694_282
    assert skeletons.canonical(inception()) == "28cfc7874f6d200472e1a9dcd8650aa0"
    assert to_matrix(inception()) == (INCEPTION, INCEPTION_OPS)


def test_the_hash_is_that_of_the_graph():
    order = (0, 2, 1, 3, 4, 5, 6)
    matrix = tuple(tuple(INCEPTION[a][b] for b in order) for a in order)
    ops = tuple(INCEPTION_OPS[v] for v in order)
    assert nasbench101.module_hash(matrix, ops) == skeletons.canonical(inception())
    other = ("input", C3, *INCEPTION_OPS[2:])
    assert nasbench101.module_hash(INCEPTION, other) != skeletons.canonical(inception())
    loose = tuple((*row[:5], 0, row[6]) if i == 0 else row for i, row in enumerate(INCEPTION))
    small, small_ops = nasbench101.prune(loose, INCEPTION_OPS)
    assert (len(small), small_ops) == (6, ("input", C1, C3, C3, C3, "output"))
    assert nasbench101.module_hash(loose, INCEPTION_OPS) == nasbench101.module_hash(small, small_ops)
    seven, seven_ops = nasbench101.padded(small, small_ops)
    assert len(seven) == len(seven_ops) == 7
    assert nasbench101.module_hash(seven, seven_ops) == nasbench101.module_hash(small, small_ops)


PARENTS = {
    "nb1shot1-1": (1, 2, 2, 2, 2),
    "nb1shot1-2": (1, 1, 2, 2, 3),
    "nb1shot1-3": (1, 1, 1, 2, 2, 2),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [("nas-bench-201", 15_625), ("nb1shot1-1", 14_580), ("nb1shot1-2", 29_160), ("nb1shot1-3", 1_312_200)],
)
def test_number_of_cells(name, count):
    """Those of NAS-Bench-1Shot1 with loose ends; space 2's is also what Zela et al. 2020 give."""
    assert skeletons.of(load_space(name)).architectures(load_space(name)) == count


def test_number_of_cells_by_listing_them():
    space = load_space("nb1shot1-1")
    parents = [combinations(range(node), kept) for node, kept in enumerate(PARENTS["nb1shot1-1"], start=1)]
    cells = {
        tuple(Choice((*ops, "identity")[t - 1], s, t) for t, read in enumerate(graph, 1) for s in read)
        for graph in product(*map(list, parents))
        for ops in product((MAX, C3, C1), repeat=4)
    }
    assert len({Genotype.of("x", 4, {"normal": cell}, "blocks") for cell in cells}) == skeletons.of(
        space
    ).architectures(space)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_random_alphas_always_give_a_cell_of_nas_bench_101(name):
    """2,000 draws: never an error, upper triangular, at most 9 edges, parents as published, valid."""
    space, draw = load_space(name), random.Random(name)
    for _ in range(2_000):
        weights = {
            g.name: [[draw.gauss(0, 1) for _ in range(g.width)] for _ in g.rows]
            for g in skeletons.groups(space)
        }
        genotype = derive(space, weights)
        assert (
            tuple(sum(c.target == t for c in genotype.cell("normal")) for t in space.targets) == PARENTS[name]
        )
        matrix, ops = to_matrix(genotype)
        assert all(not edge for i, row in enumerate(matrix) for edge in row[: i + 1])
        assert sum(map(sum, matrix)) <= 9
        assert len(matrix) <= 7
        assert nasbench101.is_valid(matrix, ops)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [("nb1shot1-1", [3, 4]), ("nb1shot1-2", [2, 3, 4]), ("nb1shot1-3", [2, 3, 4, 5])],
)
def test_groups_of_alpha_are_those_of_one_shot_search(name, inputs):
    """An operation for each block, parents where there is a choice, and the output's."""
    operations, parents, output = skeletons.groups(load_space(name))
    assert (operations.name, parents.name, output.name) == ("operations", "inputs", "output")
    assert [row.options for row in operations.rows] == [(MAX, C3, C1)] * (len(PARENTS[name]) - 1)
    assert [len(row.options) for row in parents.rows] == inputs
    assert [len(row.options) for row in output.rows] == [len(PARENTS[name])]


def test_the_cell_reads_its_heaviest_parents():
    space = load_space("nb1shot1-2")
    weights = {
        "operations": [[0.1, 0.8, 0.1], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8], [0.1, 0.8, 0.1]],
        "inputs": [[0.2, 0.8], [0.5, 0.1, 0.4], [0.1, 0.2, 0.3, 0.4]],
        "output": [[0.3, 0.1, 0.2, 0.15, 0.25]],
    }
    expected = [
        Choice(C3, 0, 1), Choice(MAX, 1, 2), Choice(C1, 0, 3), Choice(C1, 2, 3), Choice(C3, 2, 4),
        Choice(C3, 3, 4), Choice("identity", 0, 5), Choice("identity", 2, 5), Choice("identity", 4, 5),
    ]  # fmt: skip
    genotype = derive(space, weights)
    assert list(genotype.cell("normal")) == expected
    assert skeletons.of(genotype).count(genotype, C3) == {"normal": 2}
    assert skeletons.of(genotype).count(genotype, "identity") == {"normal": 0}


def random_genotype(name, seed):
    space, draw = load_space(name), random.Random(seed)
    weights = {
        g.name: [[draw.random() for _ in range(g.width)] for _ in g.rows] for g in skeletons.groups(space)
    }
    return space, derive(space, weights)


@pytest.mark.parametrize("name", ONE_SHOT)
def test_the_discrete_cell_divides_its_channels(name):
    for seed in range(5):
        _, genotype = random_genotype(name, seed)
        network = Network(genotype, (3, 8, 8), 3, 7, 3)
        assert network(torch.randn(2, 3, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("seed", range(4))
def test_one_hot_supernet_equals_the_discrete_network(seed):
    space, genotype = random_genotype("nas-bench-201", seed)
    generators = [torch.Generator().manual_seed(0)]
    net = Supernet(space, (3, 8, 8), 3, 4, 2, generators, torch.float64)
    network = Network(genotype, (3, 8, 8), 3, 4, 2, affine=False).double()
    copy_weights(net, network, space)
    draw = bilevel(space, net, generators).policy.one_hot([genotype])
    images = torch.randn(1, 4, 3, 8, 8, generator=generators[0], dtype=torch.float64)
    mixed = net(images, draw.weights, Pass(Statistics.BATCH, generators))[0]
    torch.testing.assert_close(mixed, network(images[0]), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def copy_weights(net, network, space):
    network.stem[0][0].weight.copy_(net.stem.convolutions[0][0])
    network.head.weight.copy_(net.head[0])
    network.head.bias.copy_(net.bias[0])
    for mine, theirs in zip(net.cells, network.cells, strict=True):
        if hasattr(mine, "block"):
            weights = [mine.block.first, mine.block.second, mine.block.shortcut]
            convolutions = [m for m in theirs.modules() if isinstance(m, nn.Conv2d)]
            for weight, convolution in zip(weights, convolutions, strict=True):
                convolution.weight.copy_(weight[0])
            continue
        for choice, module in zip(theirs.choices, theirs.operations, strict=True):
            if choice.op.startswith("nor_conv"):
                fused, place = find(mine, space.cell("normal"), choice.source, choice.target, choice.op)
                module[1].weight.copy_(fused.weight[0, place])


@pytest.mark.parametrize("name", ONE_SHOT)
def test_a_one_hot_cell_of_blocks_ignores_all_it_has_not_chosen(name):
    """Its loose blocks' kernels get no gradient, and those of chosen operations do."""
    space, genotype = random_genotype(name, 1)
    generators = [torch.Generator().manual_seed(0)]
    net = Supernet(space, (3, 8, 8), 3, 4, 3, generators, torch.float64)
    weights = bilevel(space, net, generators).policy.one_hot([genotype]).weights
    images = torch.randn(1, 4, 3, 8, 8, generator=generators[0], dtype=torch.float64)
    net(images, weights, Pass(Statistics.BATCH, generators)).square().sum().backward()
    matrix, _ = to_matrix(genotype)
    moved = {
        (index, op)
        for index, block in enumerate(net.cells[0].blocks)
        for op, operation in zip((MAX, C3, C1), block.fan.operations, strict=True)
        if op != MAX and operation.weight.grad is not None and operation.weight.grad.abs().sum() > 0
    }
    reached = {space.targets[-1]}
    for choice in reversed(genotype.cell("normal")):
        reached |= {choice.source} if choice.target in reached else set()
    blocks = {c.target: c.op for c in genotype.cell("normal") if c.target in reached}
    expected = {(t - 1, op) for t, op in blocks.items() if op in (C1, C3)}
    assert moved == expected
    assert len(matrix) == len(reached | {0})


@pytest.mark.parametrize("name", ["nas-bench-201", "nb1shot1-2"])
def test_a_pass_on_paths_equals_the_full_one(name):
    """What is not active is not computed; outputs and gradients are those of weights of 0 there."""
    space, lanes = load_space(name), 3
    generators = [torch.Generator().manual_seed(lane) for lane in range(lanes)]
    net = Supernet(space, (3, 8, 8), 3, 4, 3, generators, torch.float64)
    draw = torch.Generator().manual_seed(0)
    weights, active = {}, {}
    for group in skeletons.groups(space):
        shape = (lanes, len(group.rows), group.width)
        active[group.name] = torch.rand(shape, generator=draw) < 0.4
        drawn = torch.rand(shape, generator=draw, dtype=torch.float64)
        weights[group.name] = drawn.masked_fill(~active[group.name], 0)
    images = torch.randn(lanes, 4, 3, 8, 8, generator=draw, dtype=torch.float64)
    outcomes = []
    for mask in (None, active):
        leaves = {name: table.clone().requires_grad_() for name, table in weights.items()}
        out = net(images, leaves, Pass(Statistics.BATCH, generators, active=mask))
        out.square().sum().backward()
        moved = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
        tables = [table.grad.masked_fill(~active[group], 0) for group, table in leaves.items()]
        outcomes.append([out, *moved, *tables])
        net.zero_grad(set_to_none=True)
    for full, path in zip(*outcomes, strict=True):
        torch.testing.assert_close(path, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["nas-bench-201", "nb1shot1-3"])
def test_recomputed_cells_give_the_same_numbers(name):
    space = load_space(name)
    draw = torch.Generator().manual_seed(0)
    weights = {
        g.name: torch.rand(1, len(g.rows), g.width, generator=draw, dtype=torch.float64)
        for g in skeletons.groups(space)
    }
    images = torch.randn(1, 4, 3, 8, 8, generator=draw, dtype=torch.float64)
    outcomes = []
    for recompute in (False, True):
        generators = [torch.Generator().manual_seed(0)]
        net = Supernet(space, (3, 8, 8), 3, 4, 3, generators, torch.float64, recompute=recompute)
        out = net(images, weights, Pass(Statistics.UPDATE, generators))
        out.square().sum().backward()
        outcomes.append([out, *(p.grad for p in net.parameters()), *net.buffers()])
    for kept, again in zip(*outcomes, strict=True):
        assert torch.equal(kept, again)
