"""Passes on paths: what has weight 0 is not computed, and everything else is as if it had been."""

from dataclasses import replace

import pytest
import torch
from helpers.oracle import plain_forward
from test_supernet import make, random_weights, seeds

from raynas.nets.fan import active
from raynas.nets.ops import forms
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.spaces.library import load_space


def sparse_weights(space, lanes, seed=0, share=0.25):
    """Random weights of which most are 0, each lane's own."""
    generator = torch.Generator().manual_seed(seed)
    weights = random_weights(space, lanes, seed)
    for rows in weights.values():
        rows *= torch.rand(rows.shape, generator=generator, dtype=torch.float64) < share
    return weights


def single_path(space, lanes, seed=0):
    """One operation on every edge, each lane's own draw, with weight 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for cell in space.cells:
        rows = torch.zeros(lanes, len(cell.edges), cell.width, dtype=torch.float64)
        for lane in range(lanes):
            for index, edge in enumerate(cell.edges):
                rows[lane, index, torch.randint(len(edge.ops), (), generator=generator)] = 1
        weights[cell.kind] = rows
    return weights


def random_images(lanes, count=3):
    return torch.randn(lanes, count, 3, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def gradients(loss, net, leaves, twice=False):
    """Gradients of all parameters and weights; of what took no part, zeros."""
    wanted = [*net.parameters(), *leaves.values()]
    return torch.autograd.grad(loss, wanted, create_graph=twice, allow_unused=True, materialize_grads=True)


def compare(space, net, weights, twice=False):
    """Outputs and gradients on the path equal the plain supernet's under the same weights."""
    lanes = len(weights["normal"])
    images = random_images(lanes)
    leaves = {kind: w.clone().requires_grad_() for kind, w in weights.items()}
    mask = active(weights)
    out = net(images, leaves, Pass(Statistics.BATCH, seeds(lanes), twice, mask))
    found = gradients(out.square().sum(), net, leaves, twice)
    slow = torch.stack(
        [
            plain_forward(net, x, {kind: w[lane] for kind, w in leaves.items()}, lane)
            for lane, x in enumerate(images)
        ]
    )
    expected = list(gradients(slow.square().sum(), net, leaves))
    for index, kind in enumerate(leaves, start=-len(leaves)):
        expected[index] = expected[index] * mask[kind]  # what is not computed has no gradient
    torch.testing.assert_close(out, slow, rtol=1e-9, atol=1e-9)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["darts", "s1", "s2", "s3"])
def test_random_paths_of_each_lane_equal_the_plain_supernet(name):
    space, net = make(name, lanes=2)
    compare(space, net, sparse_weights(space, 2))


@pytest.mark.parametrize("dense", [0, 64])
@pytest.mark.parametrize("lanes", [1, 3])
def test_single_paths_in_every_form_equal_the_plain_supernet(monkeypatch, dense, lanes):
    monkeypatch.setattr(forms, "DENSE_CHANNELS", dense)
    space, net = make("darts", lanes=lanes)
    compare(space, net, single_path(space, lanes, seed=1))
    compare(space, net, single_path(space, lanes, seed=2), twice=True)


def test_a_state_that_nothing_reaches_is_zero():
    space, net = make("darts", lanes=2)
    weights = sparse_weights(space, 2)
    for cell in space.cells:
        for index, edge in enumerate(cell.edges):
            if edge.target == 3:
                weights[cell.kind][:, index] = 0
    weights["reduce"].zero_()
    compare(space, net, weights)


def test_everything_active_equals_a_pass_without_paths():
    space, net = make("s1", lanes=2)
    weights, images = random_weights(space, 2), random_images(2)
    run = Pass(Statistics.BATCH, seeds(2))
    everything = {kind: torch.ones(w.shape, dtype=torch.bool) for kind, w in weights.items()}
    torch.testing.assert_close(
        net(images, weights, replace(run, active=everything)),
        net(images, weights, run),
        rtol=1e-12,
        atol=1e-12,
    )


def test_uneven_rows_of_operations_and_their_padding(tmp_path):
    file = tmp_path / "uneven.yaml"
    file.write_text(
        "name: uneven\ntitle: uneven rows\nnodes: 2\ncells:\n"
        "  normal: {edges: {0->2: [skip_connect], 1->2: [sep_conv_3x3, skip_connect, none],"
        " 0->3: [dil_conv_5x5, max_pool_3x3], 2->3: [none, sep_conv_3x3]}}\n"
        "  reduce: {ops: [max_pool_3x3, skip_connect]}\n"
    )
    space = load_space(str(file))
    net = Supernet(space, (3, 8, 8), 2, 4, 3, seeds(3), torch.float64)
    compare(space, net, single_path(space, 3))


@pytest.mark.parametrize("lanes", [1, 3])
def test_only_statistics_on_the_path_move_and_they_move_as_usual(lanes):
    space, net = make("darts", lanes=lanes)
    _, whole = make("darts", lanes=lanes)
    weights, images = sparse_weights(space, lanes), random_images(lanes)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    mask = active(weights)
    update = Pass(Statistics.UPDATE, seeds(lanes))
    out = net(images, weights, replace(update, active=mask))
    torch.testing.assert_close(out, whole(images, weights, update), rtol=1e-9, atol=1e-9)
    moved = still = 0
    for (name, mine), other in zip(net.named_buffers(), whole.buffers(), strict=True):
        if "norm" not in name:
            continue
        there = torch.isclose(mine, other, rtol=1e-9, atol=1e-12)
        assert (there | (mine == before[name])).all(), name
        moved, still = moved + int(there.sum()), still + int((~there).sum())
    assert moved > 0
    assert still > 0
    quiet = Pass(Statistics.RUNNING, seeds(lanes))
    whole.load_state_dict(net.state_dict())
    torch.testing.assert_close(
        net(images, weights, replace(quiet, active=mask)), whole(images, weights, quiet), rtol=1e-9, atol=1e-9
    )


def test_lanes_on_different_paths_do_not_influence_each_other():
    space, net = make("darts", lanes=3)
    weights, images = sparse_weights(space, 3), random_images(3)
    run = Pass(Statistics.BATCH, seeds(3), active=active(weights))
    out = net(images, weights, run)
    disturbed = images.clone()
    disturbed[1] = float("nan")
    other = net(disturbed, weights, run)
    assert torch.equal(out[0], other[0])
    assert torch.equal(out[2], other[2])
    assert other[1].isnan().all()


def test_a_lane_draws_its_noise_whatever_the_others_choose():
    space, net = make("s4", lanes=2)
    weights, images = single_path(space, 2), random_images(2)
    _, alone = make("s4", lanes=1)
    mine = {kind: w[:1] for kind, w in weights.items()}
    torch.testing.assert_close(
        net(images, weights, Pass(Statistics.BATCH, seeds(2), active=active(weights)))[:1],
        alone(images[:1], mine, Pass(Statistics.BATCH, seeds(1), active=active(mine))),
        rtol=1e-9,
        atol=1e-9,
    )


def test_a_straight_through_weight_gets_its_gradient_through_the_chosen_operation_only():
    """As GDAS samples: weight 1 forward, the gradient that of the relaxed weight behind it."""
    space, net = make("darts")
    hard = single_path(space, 1)
    soft = {kind: w.clone().requires_grad_() for kind, w in random_weights(space).items()}
    weights = {kind: hard[kind] * (1 + soft[kind] - soft[kind].detach()) for kind in hard}
    out = net(random_images(1), weights, Pass(Statistics.BATCH, seeds(), active=active(hard)))
    found = torch.autograd.grad(out.square().sum(), list(soft.values()))
    for gradient, chosen in zip(found, hard.values(), strict=True):
        assert (gradient[chosen == 0] == 0).all()
        assert (gradient[chosen == 1] != 0).any()


def multiplications(net, images, weights, run):
    """Count the multiplications of all convolutions in one pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        net(images, weights, run)
    return counter.get_total_flops()


def test_a_single_path_costs_a_fraction_of_the_mixture():
    space, net = make("darts")
    weights, images = single_path(space, 1), random_images(1)
    run = Pass(Statistics.BATCH, seeds())
    whole = multiplications(net, images, weights, run)
    assert multiplications(net, images, weights, replace(run, active=active(weights))) < whole / 4


@pytest.mark.parametrize("operation", ["skip_connect", "sep_conv_3x3", "max_pool_3x3"])
def test_a_single_operation_in_a_whole_cell(operation):
    space, net = make("tiny")
    weights = single_path(space, 1)
    weights["reduce"].zero_()
    weights["reduce"][0, 0, space.cell("reduce").edges[0].ops.index(operation)] = 1
    compare(space, net, weights)


def test_statistics_may_move_again_before_the_first_pass_is_differentiated():
    space, net = make("tiny")
    leaves = {kind: w.requires_grad_() for kind, w in random_weights(space).items()}
    losses = [
        net(random_images(1), leaves, Pass(Statistics.UPDATE, seeds())).square().mean() for _ in range(2)
    ]
    assert all(bool(g.isfinite().all()) for g in gradients(sum(losses), net, leaves))
