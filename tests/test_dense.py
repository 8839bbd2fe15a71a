"""DSO-NAS' dense block: the supernet against a plain one, sparse connections, and what is left of them."""

import math

import pytest
import torch
from helpers.oracle import plain_forward

from raynas.errors import RaynasError
from raynas.methods import method_names, reasons, resolve
from raynas.nets.network import Network
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.dense import layers_of
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.spaces import skeletons
from raynas.spaces.derive import derive, derive_above, selected
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text
from raynas.spaces.space_file import SpaceFile

SEP, POOL = "sep3x3-bn-relu", "max3x3-bn-relu"
FEW = {
    "name": "few",
    "title": "two layers of two operations, for tests",
    "skeleton": "dense",
    "nodes": 4,
    "cells": {"normal": {"ops": [SEP, POOL]}},
    "keep": [1, 1, 2, 2, 2],
    "exclude": [],
    "default_channels": 4,
    "default_cells": 1,
}


def few(**changes):
    return SpaceFile.model_validate({**FEW, **changes}).resolve()


def seeds(lanes=1):
    return [torch.Generator().manual_seed(seed) for seed in range(lanes)]


def build_net(space, lanes=1, cells=1, **more):
    return Supernet(space, (3, 9, 8), 3, 4, cells, seeds(lanes), torch.float64, **more)


def images(lanes=1):
    return torch.randn(lanes, 4, 3, 9, 8, generator=seeds()[0], dtype=torch.float64)


def weights(space, lanes=1, seed=0):
    [group] = skeletons.groups(space)
    size = (lanes, len(group.rows), group.width)
    return {group.name: torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)}


def above_zero(rows):
    return derive_above(few(), {"connections": rows}, 0)


def test_every_node_behind_the_first_layer_and_the_output_have_a_row():
    space = load_space("dso-nas")
    [group] = skeletons.groups(space)
    assert not group.operations
    assert [len(row.options) for row in group.rows] == [5] * 4 + [9] * 4 + [13] * 4 + [16]
    assert group.rows[0].options == ("0", "1", "2", "3", "4")
    assert group.rows[-1].options == tuple(str(node) for node in range(1, 17))
    assert layers_of(space) == [["sep3x3-bn-relu", "sep5x5-bn-relu", "max3x3-bn-relu", "avg3x3-bn-relu"]] * 4
    assert skeletons.of(space).architectures(space) == 2 ** (4 * (5 + 9 + 13)) * (2**16 - 1)


@pytest.mark.parametrize("space", [few(), load_space("dso-nas")], ids=lambda space: space.name)
def test_outputs_and_all_gradients_equal_the_plain_supernet(space):
    net = build_net(space, lanes=2)
    x = images(2)
    found = []
    for fused in (True, False):
        leaves = {name: rows.requires_grad_() for name, rows in weights(space, 2).items()}
        if fused:
            out = net(x, leaves, Pass(Statistics.BATCH, seeds(2)))
        else:
            tables = [{name: rows[lane] for name, rows in leaves.items()} for lane in range(2)]
            out = torch.stack([plain_forward(net, x[lane], tables[lane], lane) for lane in range(2)])
        gradients = torch.autograd.grad(out.square().sum(), [*leaves.values(), *net.parameters()])
        found.append([out, *gradients])
    for fast, slow in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-7, atol=1e-9)


def test_lanes_compute_what_they_compute_alone():
    space = few()
    rows = weights(space, 2)["connections"]
    together = build_net(space, 2)(images(2), {"connections": rows}, Pass(Statistics.BATCH, seeds(2)))
    alone = build_net(space)(images(2)[:1], {"connections": rows[:1]}, Pass(Statistics.BATCH, seeds()))
    torch.testing.assert_close(together[0], alone[0], rtol=1e-12, atol=1e-12)


def test_recomputing_changes_no_bit():
    found = []
    for recompute in (False, True):
        net = build_net(few(), recompute=recompute)
        leaf = weights(few())["connections"].requires_grad_()
        out = net(images(), {"connections": leaf}, Pass(Statistics.UPDATE, seeds()))
        found.append(
            [out, *torch.autograd.grad(out.square().sum(), [leaf, *net.parameters()]), *net.buffers()]
        )
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def same_weights(net, genotype, supernet):
    """Copy the first lane of a supernet into the network of a genotype."""
    space = supernet.space
    ops = skeletons.of(genotype).node_operations(genotype, "normal")
    reads = [choice.source for choice in genotype.cell("normal") if choice.target == space.targets[-1]]
    places = [
        (layer, place) for layer, layer_ops in enumerate(layers_of(space)) for place in range(len(layer_ops))
    ]
    with torch.no_grad():
        convolution, bn = net.stem[0][0], net.stem[0][1]
        convolution.weight.copy_(supernet.stem.convolutions[0][0])
        bn.weight.copy_(supernet.stem.scales[0][0])
        bn.bias.copy_(supernet.stem.shifts[0][0])
        for module, cell in zip(net.cells, supernet.cells, strict=True):
            if hasattr(cell, "small"):
                module.small[0].weight.copy_(cell.small.weight[0])
                module.large[0].weight.copy_(cell.large.weight[0])
                continue
            for node in ops:
                layer, place = places[node - 1]
                pair = cell.layers[layer].windows[place].pair
                if pair is not None:
                    module.operations[str(node)][0].weight.copy_(pair.depthwise[0, 0].transpose(0, 1))
                    module.operations[str(node)][1].weight.copy_(pair.pointwise[0, 0])
            width = cell.channels
            kernels = cell.project[0].split(width, 1)
            module.project[0].weight.copy_(torch.cat([kernels[source - 1] for source in reads], 1))
            if cell.shortcut is not None:
                module.shortcut[0].weight.copy_(cell.shortcut.weight[0])
        net.head.weight.copy_(supernet.head[0])
        net.head.bias.copy_(supernet.bias[0])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_hot_weights_give_the_discrete_network(seed):
    space = load_space("dso-nas")
    supernet = build_net(space, cells=2)
    genotype = derive_above(space, {"connections": weights(space, seed=seed)["connections"][0]}, 0.7)
    rows = torch.zeros(1, 13, 16, dtype=torch.float64)
    for row, column in selected(space, genotype)["connections"]:
        rows[0, row, column] = 1
    net = Network(genotype, (3, 9, 8), 3, 4, 2, affine=False).double()
    same_weights(net, genotype, supernet)
    out = supernet(images(), {"connections": rows}, Pass(Statistics.BATCH, seeds()))
    torch.testing.assert_close(net(images()[0]), out[0], rtol=1e-9, atol=1e-9)


def test_weights_of_the_discrete_network_follow_a_closed_form():
    space = load_space("dso-nas")
    genotype = derive(space, {"connections": weights(space)["connections"][0]})
    ops = skeletons.of(genotype).node_operations(genotype, "normal").values()
    expected, width = 27 * 8 + 16, 8
    for stage in range(3):
        kernels = {"sep3x3-bn-relu": 9, "sep5x5-bn-relu": 25}
        nodes = sum((kernels[op] + width if op in kernels else 0) + 2 for op in ops) * width
        expected += 2 * (nodes + 4 * width * width + 2 * width) + width * width + 2 * width
        if stage < 2:
            expected += 10 * width * 2 * width + 8 * width
            width *= 2
    expected += 2 * 32 + 10 * 32 + 10
    net = Network(genotype, (3, 32, 32), 10, 8, 2)
    assert sum(each.numel() for each in net.parameters()) == expected


def test_what_reads_nothing_and_what_nobody_reads_is_gone():
    # Node 3 reads nothing, so the output loses it; node 2 is read by node 3 alone.
    genotype = above_zero([[0, 0, 0], [0, 0.5, 0], [0, 0, 1, 1]])
    assert genotype.cell("normal") == (
        Choice(SEP, 0, 1),
        Choice(POOL, 1, 4),
        Choice("identity", 4, 5),
    )
    assert skeletons.of(genotype).operations(genotype, "normal") == (SEP, POOL)


def test_any_number_of_connections_stays():
    genotype = above_zero([[0.1, 0.1, 0.1], [0.1, 0, 0.1], [0.1, 0, 0.1, 0.1]])
    assert [(c.source, c.target) for c in genotype.cell("normal")] == [
        (0, 1), (0, 2), (0, 3), (1, 3), (2, 3), (0, 4), (2, 4), (1, 5), (3, 5), (4, 5),
    ]  # fmt: skip


def test_the_output_keeps_its_strongest_connection_to_what_is_there():
    nothing = above_zero([[0, 0, 0], [0, 0, 0], [0, 0, 0, 0]])
    assert nothing.cell("normal") == (Choice(SEP, 0, 1), Choice("identity", 1, 5))
    some = derive_above(few(), {"connections": [[0, 0, 0], [0, 0, 1], [0.1, 0.2, 0.4, 0.3]]}, 0.5)
    assert [c.source for c in some.cell("normal") if c.target == 5] == [4]


def test_the_strongest_are_kept_as_the_space_says():
    rows = [[0.3, 0.1, 0.2], [0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]]
    genotype = derive(few(), {"connections": rows})
    assert [(c.source, c.target) for c in genotype.cell("normal")] == [
        (0, 1), (0, 2), (0, 3), (2, 3), (0, 4), (1, 4), (3, 5), (4, 5),
    ]  # fmt: skip


def test_layers_may_differ_when_edges_are_spelled_out():
    edges = {"0->1": [SEP], "0->2": [POOL], "1->2": [POOL], "0->3": [SEP], "1->3": [SEP]}
    edges |= {f"{node}->4": ["identity"] for node in (1, 2, 3)}
    space = few(nodes=3, keep=[1, 1, 1, 1], cells={"normal": {"edges": edges}})
    assert layers_of(space) == [[SEP], [POOL, SEP]]
    rows = weights(space)
    net = build_net(space)
    out = net(images(), rows, Pass(Statistics.BATCH, seeds()))
    table = {name: each[0] for name, each in rows.items()}
    torch.testing.assert_close(out[0], plain_forward(net, images()[0], table), rtol=1e-9, atol=1e-9)


ONE, TWO = {"nodes": 1, "keep": 1}, {"nodes": 2, "keep": 1}


@pytest.mark.parametrize(
    ("changes", "edges", "says"),
    [
        (ONE, {"0->1": ["sep_conv_3x3"], "1->2": ["identity"]}, "has one operation"),
        (ONE, {"0->1": [SEP, POOL], "1->2": ["identity"]}, "has one operation"),
        (ONE, {"0->1": [SEP], "1->2": [SEP]}, "must be \\[identity\\]"),
        (TWO, {"0->1": [SEP], "0->2": [SEP], "1->3": ["identity"]}, "reads every node"),
        (TWO, {"0->1": [SEP], "1->2": [SEP], "1->3": ["identity"], "2->3": ["identity"]}, "of one layer"),
    ],
)
def test_a_mistake_in_a_space_is_told(changes, edges, says):
    with pytest.raises(ValueError, match=says):
        few(**changes, cells={"normal": {"edges": edges}})


def test_texts_and_json_say_everything():
    genotype = above_zero([[0.1, 0.1, 0.1], [0.1, 0, 0.1], [0.1, 0, 0.1, 0]])
    text = genotype_to_text(genotype)
    assert text == ("dense 4: 1=sep3x3-bn-relu(0) 2=max3x3-bn-relu(0) 3=sep3x3-bn-relu(0+1+2) out=(1+3)")
    assert genotype_from_text(text, "few") == genotype
    assert genotype_from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize(
    "text",
    [
        "dense 4: 1=sep3x3-bn-relu(0)",
        "dense 4: 1=sep3x3-bn-relu() out=(1)",
        "dense 4: 1=sep3x3-bn-relu(0) out=(2)",
        "dense 4: 1=sep3x3-bn-relu(0) out=(0+1)",
        "dense 4: 3=sep3x3-bn-relu(1) out=(3)",
        "dense 4: 1=mbconv3_3x3(0) out=(1)",
        "dense 4: 1=identity(0) out=(1)",
        "dense 4: 7=sep3x3-bn-relu(0) out=(7)",
        "dense 4: 1=sep3x3-bn-relu(0) 1=max3x3-bn-relu(0) out=(1)",
        "dense 4: 1=sep3x3-bn-relu(0+0) out=(1)",
    ],
)
def test_a_mistake_in_a_text_is_told(text):
    with pytest.raises(RaynasError):
        genotype_from_text(text)


def test_methods_about_edges_are_refused_and_the_rest_is_not():
    space = load_space("dso-nas")
    refused = {name for name in method_names() if list(reasons(resolve(name), space, {"hessian.every": 1}))}
    assert {"snas", "asap", "r-darts-dp", "darts-minus", "pc-darts", "gdas"} <= refused
    assert not refused & {
        "dso-nas",
        "darts",
        "darts-2nd",
        "gdas-st",
        "drnas",
        "nasp",
        "asng-nas",
        "fair-darts",
    }


def small(make_search_config, **changes):
    data = {"limit": 64}
    return make_search_config(**{"space": "dso-nas", "cells": 1, "warmup": 0, "data": data, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dso-nas", "darts-2nd", "gdas-st", "fair-darts"])
def test_methods_search_alone_and_in_a_pack(make_search_config, build, method):
    changes = {"method": method, "epochs": 1, "hessian": {"every": 0}}
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
    config = small(make_search_config, method="dso-nas", epochs=2, hessian={"steps": 4})
    _, splits = build(config)
    whole = list(Search(config, few(), splits))
    first = Search(config, few(), splits)
    begun = [next(iter(first))]
    (tmp_path / "checkpoint.pt").write_bytes(dump(first.state_dict()))
    second = Search(config, few(), splits)
    second.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert begun + list(second) == whole


def test_dso_nas_starts_at_one_and_shrinks_to_exact_zeros(make_search_config, build):
    method = {"base": "dso-nas", "updater": {"use": "proximal", "strength": 0.5, "momentum": 0.0}}
    changes = {"arch_learning_rate": 0.2, "hessian": {"every": 0}, "data": {"limit": 128}}
    config = small(make_search_config, method=method, epochs=5, **changes)
    space, splits = build(config)
    search = Search(config, space, splits)
    [group] = skeletons.groups(space)
    masks = search.pack.problem.policy.masks[group.name]
    tables = search.pack.problem.policy.layout.tables(search.pack.problem.alphas)
    assert bool((tables[group.name][masks] == 1).all())
    reports = list(search)
    kept = [len(report.genotype.cell("normal")) for report in reports]
    last = [weight for row in reports[-1].weights[group.name] for weight in row]
    assert min(last) == 0
    assert kept[-1] < kept[0]
    assert last.count(0) > len(last) / 4
