"""ProxylessNAS' chain: its blocks, the supernet against a plain one, and the published networks' numbers."""

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from helpers.oracle import plain_forward
from torch.utils.flop_counter import FlopCounterMode

from raynas.errors import RaynasError
from raynas.methods import reasons, resolve
from raynas.nets.network import Network
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.report.chain_layout import lay_out_chain
from raynas.report.draw import write_cells
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text
from raynas.spaces.space import Space
from raynas.spaces.space_file import SpaceFile, sound_space
from raynas.spaces.trunk import Trunk, TrunkStage

OPS = [f"mbconv{ratio}_{k}x{k}" for k in (3, 5, 7) for ratio in (3, 6)]
FEW = {
    "name": "few",
    "title": "five blocks, for tests",
    "skeleton": "chain",
    "nodes": 5,
    "cells": {"normal": {"ops": ["mbconv3_3x3", "mbconv6_5x5", "mbconv3_7x7", "zero"]}},
    "keep": "all",
    "exclude": [],
    "trunk": {
        "stem": [8, 4],
        "stages": [{"width": 6, "blocks": 2, "stride": 2}, {"width": 8, "blocks": 3, "stride": 2}],
        "last": 16,
    },
    "default_channels": 8,
    "default_cells": 5,
}


def few(**changes):
    return SpaceFile.model_validate({**FEW, **changes}).resolve()


def seeds(lanes=1):
    return [torch.Generator().manual_seed(seed) for seed in range(lanes)]


def build(space, lanes=1, shape=(3, 9, 8), **more):
    return Supernet(space, shape, 3, space.default_channels, space.nodes, seeds(lanes), torch.float64, **more)


def images(lanes=1, shape=(3, 9, 8)):
    return torch.randn(lanes, 4, *shape, generator=seeds()[0], dtype=torch.float64)


def weights(space, lanes=1, seed=0):
    [group] = skeletons.groups(space)
    size = (lanes, len(group.rows), group.width)
    return {group.name: torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}


def one_hot(space, ops):
    [group] = skeletons.groups(space)
    rows = torch.zeros(1, len(group.rows), group.width, dtype=torch.float64)
    for index, (row, op) in enumerate(zip(group.rows, ops, strict=True)):
        rows[0, index, row.options.index(op)] = 1
    return {group.name: rows}


def chain_of(space, ops):
    choices = [Choice(op, block, block + 1) for block, op in enumerate(ops)]
    return Genotype.of(space.name, space.nodes, {"normal": choices}, "chain", space.trunk)


def batch(lanes=1, **more):
    return Pass(Statistics.BATCH, seeds(lanes), **more)


def test_zero_is_an_option_exactly_where_a_block_has_a_shortcut():
    space = load_space("proxyless")
    [group] = skeletons.groups(space)
    assert len(group.rows) == 21
    firsts = {0, 4, 8, 12, 16, 20}
    for index, row in enumerate(group.rows):
        assert row.options == tuple(OPS if index in firsts else [*OPS, "zero"])
    assert skeletons.of(space).architectures(space) == 6**6 * 7**15


PUBLISHED = {
    # stem, widths, last; which blocks are left, windows, ratios; weights, multiply-adds in millions
    "cpu": (
        ((40, 24), (32, 48, 88, 104, 216, 360), 1432),
        ("1111", "1111", "1001", "1111", "1111", "1"),
        ("3333", "3335", "3333", "5333", "5553", "5"),
        ("6333", "6333", "6333", "6333", "6333", "6"),
        (4_361_648, 439.2),
    ),
    "gpu": (
        ((40, 24), (32, 56, 112, 128, 256, 432), 1728),
        ("1000", "1001", "1001", "1011", "1111", "1"),
        ("5333", "7333", "7555", "5335", "7775", "7"),
        ("3333", "3333", "6333", "6333", "6666", "6"),
        (7_119_848, 465.3),
    ),
    "mobile": (
        ((32, 16), (32, 40, 80, 96, 192, 320), 1280),
        ("1100", "1111", "1111", "1111", "1111", "1"),
        ("5333", "7355", "7555", "5555", "7777", "7"),
        ("3333", "3333", "6333", "6333", "6633", "6"),
        (4_080_512, 320.4),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_networks_have_the_published_weights_and_multiply_adds(name):
    (stem, widths, last), left, windows, ratios, (count, adds) = PUBLISHED[name]
    stages = tuple(
        TrunkStage(width=width, blocks=len(blocks), stride=stride)
        for width, blocks, stride in zip(widths, left, (2, 2, 2, 1, 2, 1), strict=True)
    )
    trunk = Trunk(stem=stem, stages=stages, last=last)
    triples = zip(*("".join(each) for each in (left, windows, ratios)), strict=True)
    ops = [f"mbconv{r}_{k}x{k}" if there == "1" else "zero" for there, k, r in triples]
    choices = [Choice(op, block, block + 1) for block, op in enumerate(ops)]
    genotype = Genotype.of("proxyless", 21, {"normal": choices}, "chain", trunk)
    with torch.device("meta"):
        net = Network(genotype, (3, 224, 224), 1000, stem[0], 21)
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    assert sum(each.numel() for each in net.parameters()) == count
    assert counter.get_total_flops() / 2e6 == pytest.approx(adds, abs=0.05)


def test_weights_of_any_chain_follow_a_closed_form():
    space = load_space("proxyless")
    genotype = derive(space, {"normal": weights(space)["normal"][0]})
    net = Network(genotype, (3, 32, 32), 10, 32, 21)
    expected = 27 * 32 + 64 + (9 * 32 + 64 + 32 * 16 + 32)
    widths = [16] + [
        w for w, n in zip((24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), strict=True) for _ in range(n)
    ]
    for choice, inputs, outputs in zip(genotype.cell("normal"), widths, widths[1:], strict=False):
        operation = OPERATIONS[choice.op]
        if choice.op != "zero":
            wide = operation.ratio * inputs
            expected += wide * (inputs + 2 + operation.kernel**2 + 2 + outputs) + 2 * outputs
    expected += 320 * 1280 + 2 * 1280 + 1280 * 10 + 10
    assert sum(each.numel() for each in net.parameters()) == expected


@pytest.mark.parametrize(
    ("side", "strides"),
    [
        (8, [1, 2, 1, 1, 1]),
        (28, [1, 2, 2, 2, 1]),
        (32, [1, 2, 2, 2, 1]),
        (64, [1, 2, 2, 2, 2]),
        (96, [2, 2, 2, 2, 2]),
        (224, [2, 2, 2, 2, 2]),
    ],
)
def test_small_images_leave_halvings_out(side, strides):
    trunk = load_space("proxyless").trunk
    found = trunk.strides(side)
    assert [found[0], *(found[1 + block] for block in (0, 4, 8, 16))] == strides
    assert math.prod(found) == math.prod(strides)


def test_widths_follow_the_first_convolution():
    trunk = load_space("proxyless").trunk
    assert trunk.scaled(32) == trunk
    half = trunk.scaled(16)
    assert half.stem == (16, 8)
    assert [stage.width for stage in half.stages] == [12, 20, 40, 48, 96, 160]
    assert half.last == 640
    assert [stage.width for stage in trunk.scaled(1).stages] == [1, 1, 3, 3, 6, 10]
    assert [block.shortcut for block in trunk.blocks] == [
        row.options[-1] == "zero" for row in skeletons.groups(load_space("proxyless"))[0].rows
    ]


@pytest.mark.parametrize("shape", [(3, 9, 8), (1, 4, 4), (3, 98, 97)])
def test_outputs_and_all_gradients_equal_the_plain_supernet(shape):
    space = few()
    net = build(space, lanes=2, shape=shape)
    x = images(2, shape)
    found = []
    for fused in (True, False):
        leaves = {name: rows.requires_grad_() for name, rows in weights(space, 2).items()}
        if fused:
            out = net(x, leaves, batch(2))
        else:
            tables = [{name: rows[lane] for name, rows in leaves.items()} for lane in range(2)]
            out = torch.stack([plain_forward(net, x[lane], tables[lane], lane) for lane in range(2)])
        gradients = torch.autograd.grad(out.square().sum(), [*leaves.values(), *net.parameters()])
        found.append([out, *gradients])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-7, atol=1e-9)


def test_a_pass_on_paths_computes_what_has_weight_and_leaves_the_rest_alone():
    space = few()
    net = build(space, lanes=3)
    mask = torch.rand(3, 5, 4, generator=seeds()[0]) > 0.5
    mask[:, :, 0] |= ~mask[:, :, :3].any(-1)  # else nothing of a lane would reach the end
    table = weights(space, 3)["normal"] * mask
    x = images(3)
    whole = net(x, {"normal": table}, batch(3))
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    some = net(x, {"normal": table}, Pass(Statistics.UPDATE, seeds(3), active={"normal": mask}))
    torch.testing.assert_close(some, whole, rtol=1e-12, atol=1e-12)
    slopes = torch.autograd.grad(some.square().sum(), list(net.parameters()), materialize_grads=True)
    gradients = dict(zip(dict(net.named_parameters()), slopes, strict=True))
    for block, layer in enumerate(net.cells[2:-1]):
        for column, _ in enumerate(layer.operations):
            name = f"cells.{block + 2}.operations.{column}"
            moved = net.get_buffer(f"{name}.norm_project.mean") != before[f"{name}.norm_project.mean"]
            assert moved.any(1).tolist() == mask[:, block, column].tolist()
            used = (gradients[f"{name}.project"] != 0).flatten(1).any(1)
            assert used.tolist() == mask[:, block, column].tolist()


def test_lanes_compute_what_they_compute_alone():
    space = few()
    mask = torch.tensor([[[1, 0, 0, 0]] * 5, [[0, 1, 1, 0]] * 5]).bool()
    table = weights(space, 2)["normal"] * mask
    together = build(space, lanes=2)(images(2), {"normal": table}, batch(2, active={"normal": mask}))
    alone = build(space)(images(2)[:1], {"normal": table[:1]}, batch(active={"normal": mask[:1]}))
    torch.testing.assert_close(together[0], alone[0], rtol=1e-12, atol=1e-12)


def test_offsets_are_added_to_what_a_block_gives():
    space = few()
    net = build(space)
    offsets = torch.zeros(1, 5, dtype=torch.float64)
    offsets[0, 2] = 0.5
    hooked = []
    net.cells[4].register_forward_hook(lambda module, given, out: hooked.append(out))
    for run in (batch(), batch(offsets={"normal": offsets})):
        net(images(), weights(space), run)
    torch.testing.assert_close(hooked[1], hooked[0] + 0.5)


@pytest.mark.parametrize("some", [False, True])
def test_recomputing_changes_no_bit(some):
    space = few()
    mask = {"normal": torch.tensor([[[1, 0, 1, 0]] * 5, [[0, 1, 1, 0]] * 5]).bool()} if some else None
    found = []
    for recompute in (False, True):
        net = build(space, 2, recompute=recompute)
        leaves = {"normal": weights(space, 2)["normal"].requires_grad_()}
        out = net(images(2), leaves, Pass(Statistics.UPDATE, seeds(2), active=mask))
        inputs = [leaves["normal"], *net.parameters()]
        slopes = torch.autograd.grad(out.square().sum(), inputs, materialize_grads=True)
        found.append([out, *slopes, *net.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def same_weights(net, genotype, supernet):
    """Copy the first lane of a supernet into the network of a genotype."""
    layers = list(supernet.cells)
    with torch.no_grad():
        for index, layer in ((0, layers[0]), (-1, layers[-1])):
            convolution, bn, _ = net.cells[index].way
            convolution.weight.copy_(layer.weight[0])
            bn.weight.copy_(layer.norm.scale[0])
            bn.bias.copy_(layer.norm.shift[0])
        chosen = [layers[1].operation]
        for layer, choice in zip(layers[2:-1], genotype.cell("normal"), strict=True):
            ops = [op for op in FEW["cells"]["normal"]["ops"] if op != "zero"]
            chosen.append(None if choice.op == "zero" else layer.operations[ops.index(choice.op)])
        for module, operation in zip(net.cells[1:-1], chosen, strict=True):
            if operation is not None:
                weights = [operation.expand, operation.depthwise, operation.project]
                kernels = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
                for kernel, weight in zip(kernels, [w for w in weights if w is not None], strict=True):
                    kernel.weight.copy_(weight[0, 0])
        net.head.weight.copy_(supernet.head[0])
        net.head.bias.copy_(supernet.bias[0])


@pytest.mark.parametrize(
    "ops",
    [
        ["mbconv3_3x3", "mbconv6_5x5", "mbconv3_7x7", "zero", "mbconv6_5x5"],
        ["mbconv6_5x5", "zero", "mbconv3_3x3", "zero", "zero"],
    ],
)
def test_one_hot_weights_give_the_discrete_network(ops):
    space = few()
    supernet = build(space)
    genotype = chain_of(space, ops)
    net = Network(genotype, (3, 9, 8), 3, 8, 5, affine=False).double()
    same_weights(net, genotype, supernet)
    out = supernet(images(), one_hot(space, ops), batch())
    torch.testing.assert_close(net(images()[0]), out[0], rtol=1e-9, atol=1e-9)


def test_zeros_everywhere_leave_the_first_blocks_of_stages():
    space = load_space("proxyless")
    ops = ["mbconv3_3x3" if len(row.options) == 6 else "zero" for row in skeletons.groups(space)[0].rows]
    net = Network(chain_of(space, ops), (3, 32, 32), 10, 8, 21)
    blocks = [layer for layer in net.cells[2:-1] if layer.way is not None]
    assert len(blocks) == 6
    strides = [
        m.stride[0] for b in blocks for m in b.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1
    ]
    assert strides == [2, 2, 2, 1, 1, 1]
    x = torch.randn(2, 8, 5, 5)
    assert net.cells[3](x, x) is x


def test_texts_and_json_say_everything():
    space = load_space("proxyless")
    genotype = derive(space, {"normal": weights(space)["normal"][0]})
    text = genotype_to_text(genotype)
    assert text.startswith("chain 32,16 | 24/2: mbconv")
    assert text.endswith(" | 1280")
    assert genotype_from_text(text) == genotype
    assert genotype_from_json(genotype.to_json()) == genotype
    wider = replace(genotype, trunk=genotype.trunk.scaled(64))
    assert wider.digest() != genotype.digest()
    assert not skeletons.same_network(wider, genotype)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("chain 32,16", "chain 32"),
        ("24/2:", "24/3:"),
        ("24/2:", "0/2:"),
        ("24/2:", "24:"),
        ("| 1280", "| 1280 | 4"),
        ("| 1280", ""),
        ("mbconv3_3x3", "mbconv9_3x3"),
        ("320/1: mbconv3_3x3", "320/1: zero"),
        ("320/1: mbconv3_3x3", "320/1: sep_conv_3x3"),
        ("320/1: mbconv3_3x3", "320/1:"),
    ],
)
def test_a_mistake_in_a_text_is_told(old, new):
    space = load_space("proxyless")
    text = genotype_to_text(chain_of(space, ["mbconv3_3x3"] * 21))
    assert old in text
    with pytest.raises(RaynasError):
        genotype_from_text(text.replace(old, new, 1))


def test_a_mistake_in_the_json_is_told():
    data = chain_of(load_space("proxyless"), ["mbconv3_3x3"] * 21).to_json()
    without = {key: value for key, value in data.items() if key != "trunk"}
    for wrong in (without, {**data, "trunk": {**data["trunk"], "last": 0}}, {**data, "trunk": [1]}):
        with pytest.raises(RaynasError, match="trunk"):
            genotype_from_json(wrong)
    with pytest.raises(RaynasError, match="trunk"):
        genotype_from_json({**data, "skeleton": "residual"})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nodes": 4, "default_cells": 4}, "5 blocks; got nodes: 4"),
        ({"trunk": None}, "trunk: a chain needs its widths"),
        ({"default_cells": 3}, "a chain has its 5 blocks; got 3"),
        ({"skeleton": "residual"}, "trunk: the residual skeleton has none"),
        ({"cells": {"normal": {"ops": ["mbconv3_3x3", "sep_conv_3x3"]}}}, "got sep_conv_3x3"),
        (
            {"cells": {"normal": {"edges": {f"{b}->{b + 1}": ["zero", "mbconv3_3x3"] for b in range(5)}}}},
            "block 1 has no shortcut",
        ),
        ({"cells": {"normal": {"ops": ["zero"]}}}, "ops"),
    ],
)
def test_a_mistake_in_a_space_is_told(changes, says):
    with pytest.raises(ValueError, match=says):
        few(**changes)


def test_inverted_bottlenecks_belong_to_chains():
    data = load_space("nas-bench-201").model_dump()
    data["cells"][0]["edges"][0]["ops"] = ("mbconv3_3x3", "zero")
    with pytest.raises(ValueError, match="mbconv3_3x3"):
        sound_space(data)
    with pytest.raises(RaynasError, match="mbconv3_3x3"):
        Supernet(Space.model_validate(data), (3, 8, 8), 3, 4, 1, seeds())


def test_other_numbers_of_cells_are_refused():
    with pytest.raises(RaynasError, match="as many cells"):
        Supernet(few(), (3, 8, 8), 3, 8, 3, seeds())


def test_what_would_cut_the_chain_is_refused():
    space = load_space("proxyless")
    for name in ("snas", "r-darts-dp", "darts-plus", "darts-minus", "pc-darts"):
        assert list(reasons(resolve(name), space, {"hessian.every": 1})), name
    for name in (
        "proxyless",
        "darts",
        "darts-2nd",
        "gdas",
        "drnas",
        "sdarts-adv",
        "dso-nas",
        "sgas",
        "darts-pt",
    ):
        assert not list(reasons(resolve(name), space, {"hessian.every": 1})), name


METHODS = {
    "proxyless": {"base": "proxyless", "every": 1},
    "darts-2nd": "darts-2nd",
    "gdas": "gdas",
    "darts-pt": {"base": "darts-pt", "stages": {"use": "perturb-and-project", "interval": 1}},
    "dso-nas": "dso-nas",
}


def small(make_search_config, **changes):
    defaults = {"space": "proxyless", "channels": 8, "cells": 5, "warmup": 0, "data": {"limit": 64}}
    return make_search_config(**{**defaults, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_methods_search_a_chain_alone_and_in_a_pack(make_search_config, build, method):
    changes = {"method": METHODS[method], "epochs": 1, "hessian": {"every": 0}}
    configs = [small(make_search_config, seed=seed, **changes) for seed in (0, 3)]
    _, splits = build(configs[0])
    together = list(Pack(configs, few(), splits, dtype=torch.float64))
    alone = list(Search(configs[1], few(), splits, dtype=torch.float64))
    for outcomes, report in zip(together, alone, strict=True):
        assert outcomes[1].valid_loss == pytest.approx(report.valid_loss, rel=1e-9)
        assert outcomes[1].genotype == report.genotype
        assert math.isfinite(report.valid_loss)


@pytest.mark.slow
def test_a_resumed_search_is_bit_identical(make_search_config, build, tmp_path):
    config = small(make_search_config, method=METHODS["proxyless"], epochs=2, hessian={"steps": 4})
    _, splits = build(config)
    whole = list(Search(config, few(), splits))
    first = Search(config, few(), splits)
    begun = [next(iter(first))]
    (tmp_path / "checkpoint.pt").write_bytes(dump(first.state_dict()))
    second = Search(config, few(), splits)
    second.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert begun + list(second) == whole


@pytest.mark.slow
def test_proxyless_searches_its_own_space(make_search_config, build):
    changes = {"channels": 4, "cells": None, "epochs": 1, "hessian": {"every": 0}}
    config = small(make_search_config, method=METHODS["proxyless"], **changes)
    space, splits = build(config)
    search = Search(config, space, splits)
    before = search.pack.problem.alphas.clone()
    [report] = list(search)
    assert report.genotype.space == "proxyless"
    assert len(report.genotype.cell("normal")) == 21
    assert not torch.equal(search.pack.problem.alphas, before)


def test_a_drawing_has_a_line_for_each_stage_and_a_box_for_each_block(tmp_path):
    space = load_space("proxyless")
    genotype = derive(space, {"normal": weights(space)["normal"][0]})
    plan = lay_out_chain(genotype, "normal")
    stages = [box for box in plan.blocks if box.op is None]
    assert [box.text for box in stages[:2]] == ["24 channels ↓2", "40 channels ↓2"]
    assert stages[3].text == "96 channels"
    assert [box.op for box in plan.blocks if box.op] == [choice.op for choice in genotype.cell("normal")]
    for one, other in combinations(plan.blocks, 2):
        apart = abs(one.x - other.x) - (one.width + other.width) / 2
        assert max(apart, abs(one.y - other.y) - (one.height + other.height) / 2) >= 10
    for box in plan.blocks:
        assert box.width / 2 < box.x < plan.width - box.width / 2
        assert 40 + box.height / 2 < box.y < plan.height - box.height / 2
    ends = {(box.x + box.width / 2, box.y) for box in plan.blocks}
    assert len(plan.wires) == 21
    assert all(wire.points[0] in ends for wire in plan.wires)
    assert [path.name for path in write_cells(genotype, tmp_path)] == ["cell-normal.svg", "cell-normal.png"]
    with pytest.raises(RaynasError, match="reduce"):
        lay_out_chain(genotype, "reduce")
