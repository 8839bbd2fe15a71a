"""The fused supernet against the plain one, and the contract every space must meet."""

import pytest
import torch
from helpers.oracle import plain_forward
from helpers.problems import bilevel, relaxed

from raynas.data.batch import Batch
from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.ops import forms
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.library import load_space, names
from raynas.spaces.reading import genotype_from_text

ALL_SPACES = [name for name in sorted(names("search_spaces")) if not skeletons.of(load_space(name)).texts]
SPACES = [
    name
    for name in ALL_SPACES
    if not any("noise" in edge.ops for cell in load_space(name).cells for edge in cell.edges)
]
"""Those whose outputs a plain computation can repeat: noise is fresh at every call."""


def seeds(lanes=1):
    return [torch.Generator().manual_seed(seed) for seed in range(lanes)]


def make(name, shape=(3, 8, 8), channels=4, cells=4, lanes=1, classes=3, **more):
    space = load_space(name)
    cells = cells if "normal" in space.kinds else 1  # each of the others halves the resolution
    cells = space.nodes if space.trunk else cells
    cells = skeletons.of(space).most_cells or cells
    return space, Supernet(space, shape, classes, channels, cells, seeds(lanes), torch.float64, **more)


def random_weights(space, lanes=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        group.name: torch.rand(lanes, len(group.rows), group.width, generator=generator, dtype=torch.float64)
        for group in skeletons.groups(space)
    }


def compare(net, images, weights, tolerance=1e-9):
    """Outputs and all gradients of the fused supernet equal the plain one's, lane by lane."""
    leaves = {kind: w.clone().requires_grad_() for kind, w in weights.items()}
    out = net(images, leaves, Pass(Statistics.BATCH, seeds(len(images))))
    out.square().sum().backward()
    fast = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    plain_leaves = {kind: w.clone().requires_grad_() for kind, w in weights.items()}
    slow = torch.stack(
        [
            plain_forward(net, x, {kind: w[lane] for kind, w in plain_leaves.items()}, lane)
            for lane, x in enumerate(images)
        ]
    )
    slow.square().sum().backward()
    torch.testing.assert_close(out, slow, rtol=tolerance, atol=tolerance)
    for (name, p), gradient in zip(net.named_parameters(), fast, strict=True):
        torch.testing.assert_close(
            gradient, p.grad, rtol=1e-7, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    for kind in weights:
        torch.testing.assert_close(leaves[kind].grad, plain_leaves[kind].grad, rtol=1e-7, atol=tolerance)


@pytest.mark.parametrize("name", SPACES)
def test_outputs_and_all_gradients_equal_the_plain_supernet(name):
    space, net = make(name)
    images = torch.randn(1, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    compare(net, images, random_weights(space))


@pytest.mark.parametrize("dense", [0, 64])
def test_both_forms_of_the_convolutions_agree_with_the_plain_supernet(monkeypatch, dense):
    monkeypatch.setattr(forms, "DENSE_CHANNELS", dense)
    space, net = make("darts", lanes=2)
    images = torch.randn(2, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    compare(net, images, random_weights(space, lanes=2))


def test_large_images_get_the_large_stem_and_odd_sides_work():
    space, net = make("s2", shape=(3, 100, 98), channels=4, cells=3)
    assert net.stem.stride == 2
    images = torch.randn(1, 2, 3, 100, 98, generator=seeds()[0], dtype=torch.float64)
    compare(net, images, random_weights(space))


def test_lanes_do_not_influence_each_other():
    space, net = make("darts", lanes=2)
    images = torch.randn(2, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    weights = random_weights(space, lanes=2)
    both = net(images, weights, Pass(Statistics.BATCH, seeds(2)))
    disturbed = images.clone()
    disturbed[1] = float("nan")
    other = net(disturbed, weights, Pass(Statistics.BATCH, seeds(2)))
    assert torch.equal(both[0], other[0])
    assert other[1].isnan().all()
    _, alone = make("darts", lanes=1)
    torch.testing.assert_close(
        alone(images[:1], {k: w[:1] for k, w in weights.items()}, Pass(Statistics.BATCH, seeds()))[0],
        both[0],
        rtol=1e-12,
        atol=1e-12,
    )


def test_running_statistics_follow_the_batches_as_pytorchs_do():
    space, net = make("tiny")
    images = torch.randn(1, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    weights = random_weights(space)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    net(images, weights, Pass(Statistics.BATCH, seeds()))
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    net(images, weights, Pass(Statistics.UPDATE, seeds()))
    reference = torch.nn.BatchNorm2d(12).double()
    reference(torch.nn.functional.conv2d(images[0], net.stem.convolutions[0][0], padding=1))
    torch.testing.assert_close(net.stem.norms[0].mean[0], reference.running_mean)
    torch.testing.assert_close(net.stem.norms[0].variance[0], reference.running_var)
    quiet = net(images, weights, Pass(Statistics.RUNNING, seeds()))
    assert torch.equal(quiet[:, :2], net(images[:, :2], weights, Pass(Statistics.RUNNING, seeds())))


def test_equal_weights_on_an_edge_give_the_mean_of_its_operations():
    space, net = make("darts")
    problem = bilevel(space, net, seeds())
    weights = relaxed(problem, torch.zeros_like(problem.alphas))
    assert all(torch.allclose(w, torch.full_like(w, 1 / 8)) for w in weights.values())


def test_shifting_a_row_of_alpha_changes_nothing():
    space, net = make("s3")
    problem = bilevel(space, net, seeds())
    images = torch.randn(1, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    batch = Batch(images, torch.tensor([[0, 1, 2]]))
    alphas = problem.alphas.clone().requires_grad_()
    problem.losses(batch, alphas).sum().backward()
    rows = problem.policy.layout.tables(alphas.grad)["normal"]
    torch.testing.assert_close(rows.sum(-1), torch.zeros_like(rows.sum(-1)), atol=1e-12, rtol=0)
    shifted = problem.losses(batch, problem.alphas + 0.7)
    torch.testing.assert_close(shifted, problem.losses(batch, problem.alphas), rtol=1e-10, atol=1e-12)


def test_padded_entries_get_no_weight(tmp_path):
    file = tmp_path / "uneven.yaml"
    file.write_text(
        "name: uneven\ntitle: uneven rows\nnodes: 1\ncells:\n"
        "  normal: {edges: {0->2: [skip_connect], 1->2: [sep_conv_3x3, skip_connect, none]}}\n"
        "  reduce: {ops: [max_pool_3x3, skip_connect]}\n"
    )
    space = load_space(str(file))
    net = Supernet(space, (1, 8, 8), 2, 4, 3, seeds(), torch.float64)
    problem = bilevel(space, net, seeds())
    normal = relaxed(problem, problem.alphas)["normal"][0]
    assert normal[0].tolist() == [1, 0, 0]
    torch.testing.assert_close(normal.sum(-1), torch.ones(2, dtype=torch.float64))
    images = torch.randn(1, 3, 1, 8, 8, generator=seeds()[0], dtype=torch.float64)
    compare(net, images, relaxed(problem, problem.alphas))


def test_noise_ignores_its_input_and_is_fresh_at_every_call():
    space, net = make("s4")
    weights = {k: torch.zeros_like(w) for k, w in random_weights(space).items()}
    for w in weights.values():
        w[..., 0] = 1
    images = torch.randn(1, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    generator = seeds()
    first = net(images, weights, Pass(Statistics.BATCH, generator))
    assert not torch.equal(first, net(images, weights, Pass(Statistics.BATCH, generator)))
    assert torch.equal(first, net(images, weights, Pass(Statistics.BATCH, seeds())))
    assert torch.equal(first, net(images + 1, weights, Pass(Statistics.BATCH, seeds())))


@pytest.mark.parametrize(
    "name", ["darts", "suite-deep-all-skip", "suite-single-cell-regular", "suite-single-cell-all-skip"]
)
def test_one_hot_supernet_equals_the_discrete_network(name):
    space, net = make(name, cells=3)
    weights = random_weights(space)
    names = list(space.cells[0].edges[0].ops)
    for w in weights.values():
        w[
            ..., [names.index("max_pool_3x3"), names.index("avg_pool_3x3")]
        ] = -1  # pools end in a norm here only
    genotype = derive(space, {k: w[0] for k, w in weights.items()})
    network = Network(genotype, (3, 8, 8), 3, 4, len(net.cells), affine=False).double()
    copy_weights(net, network, space)
    problem = bilevel(space, net, seeds())
    images = torch.randn(1, 4, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    mixed = net(images, problem.policy.one_hot([genotype]).weights, Pass(Statistics.BATCH, seeds()))[0]
    torch.testing.assert_close(mixed, network(images[0]), rtol=1e-9, atol=1e-9)


def copy_weights(net, network, space):
    """Give the discrete network the supernet's weights of the operations it has."""
    from helpers.oracle import find

    with torch.no_grad():
        network.stem[0][0].weight.copy_(net.stem.convolutions[0][0])
        network.head.weight.copy_(net.head[0])
        network.head.bias.copy_(net.bias[0])
        for mine, theirs in zip(net.cells, network.cells, strict=True):
            for source, target in zip(mine.inputs, theirs.inputs, strict=True):
                convolutions = [m for m in target.modules() if isinstance(m, torch.nn.Conv2d)]
                for weight, convolution in zip(source.weights, convolutions, strict=True):
                    convolution.weight.copy_(weight[0])
            for choice, module in zip(theirs.choices, theirs.operations, strict=True):
                fused_module, place = find(
                    mine, space.cell(mine.kind), choice.source, choice.target, choice.op
                )
                convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
                parameters = [p[0, place] for p in fused_module.parameters()]
                if skeletons.of(space).skips:
                    targets = [e.target for e in space.cell(mine.kind).edges if e.source == choice.source]
                    skip = mine.fans[choice.source].auxiliary.operation
                    parameters += [p[0, targets.index(choice.target)] for p in skip.parameters()]
                for weight, convolution in zip(parameters, convolutions, strict=True):
                    convolution.weight.copy_(weight.reshape(convolution.weight.shape))


def test_published_size_of_a_discrete_network():
    """DARTS' second cell with 36 channels and 20 cells has 3.3 million weights (Liu et al. 2019, table 1)."""

    text = (
        "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
        "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), "
        "('skip_connect', 0), ('dil_conv_3x3', 2)], "
        "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
        "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
        "('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
    )
    network = Network(genotype_from_text(text), (3, 32, 32), 10, 36, 20)
    assert sum(p.numel() for p in network.parameters()) == 3_349_342


@pytest.mark.parametrize(
    ("shape", "cells", "message"),
    [((3, 8, 8), 2, "at least 3 cells"), ((3, 2, 2), 3, "too small")],
)
def test_impossible_stacks_are_refused(shape, cells, message):
    with pytest.raises(RaynasError, match=message):
        make("tiny", shape=shape, cells=cells)


def test_the_supernet_on_imagenet_is_as_large_as_its_source():
    """956,512 weights, of which a stem of 24, 48 and 48 channels: yuhuixu1993/PC-DARTS b74702f, run.

    Its model_search_imagenet.Network(16, 1000, 8, None), whose operations see half of the channels.
    """
    net = Supernet(load_space("darts-imagenet"), (3, 224, 224), 1000, 16, 8, seeds(), partial=2)
    assert sum(parameter.numel() for parameter in net.parameters()) == 956_512
    assert [len(weight[0]) for weight in net.stem.convolutions] == [24, 48, 48]
