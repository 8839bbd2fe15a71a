"""Activations computed again in the backward pass: nothing changes but the memory."""

import pytest
import torch
from test_supernet import make, random_weights, seeds
from torch.func import functional_call

from raynas.nets.fan import active
from raynas.nets.ops.lanes import Pass, Statistics


def images(lanes):
    return torch.randn(lanes, 3, 3, 8, 8, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def both(name, lanes=2):
    """The same supernet twice: keeping activations, and computing them again."""
    space, kept = make(name, lanes=lanes)
    _, again = make(name, lanes=lanes, recompute=True)
    return space, (kept, again)


def step(space, net, run):
    """Outputs, all gradients, and the running statistics afterwards."""
    lanes = len(run.noise)
    weights = {kind: w.requires_grad_() for kind, w in random_weights(space, lanes).items()}
    out = net(images(lanes), weights, run)
    found = torch.autograd.grad(out.square().sum(), [*net.parameters(), *weights.values()])
    return [out.detach(), *found, *net.buffers()]


@pytest.mark.parametrize("name", ["darts", "s1", "s4", "enas-micro", "enas-macro"])
def test_outputs_gradients_statistics_and_noise_are_the_same(name):
    space, nets = both(name)
    noise = [seeds(2), seeds(2)]
    for _ in range(2):  # the second time, statistics and noise streams have moved on
        kept, again = (
            step(space, net, Pass(Statistics.UPDATE, mine)) for net, mine in zip(nets, noise, strict=True)
        )
        assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_second_derivatives_are_the_same():
    space, nets = both("darts", lanes=1)
    found = []
    for net in nets:
        weights = {kind: w.requires_grad_() for kind, w in random_weights(space).items()}
        out = net(images(1), weights, Pass(Statistics.BATCH, seeds(), twice=True))
        slopes = torch.autograd.grad(out.square().sum(), list(weights.values()), create_graph=True)
        for power in (2, 3):  # the same graph is differentiated more than once, as curvature does
            loss = sum(slope.pow(power).sum() for slope in slopes)
            found.append(torch.autograd.grad(loss, list(weights.values()), retain_graph=True))
    for one, other in zip(found[:2], found[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        assert any(a.abs().sum() > 0 for a in one)


def test_parameters_that_are_handed_in_are_used_again():
    """A look-ahead step differentiates at other parameters than the supernet's own."""
    space, nets = both("darts", lanes=1)
    found = []
    for net in nets:
        ahead = {name: (p.detach() * 0.9).requires_grad_() for name, p in net.named_parameters()}
        arguments = (images(1), random_weights(space), Pass(Statistics.BATCH, seeds()))
        out = functional_call(net, ahead, arguments)
        found.append(torch.autograd.grad(out.square().sum(), list(ahead.values())))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_paths_are_computed_again_as_paths():
    space, nets = both("darts", lanes=1)
    weights = {kind: w * (w > 0.8) for kind, w in random_weights(space).items()}
    found = []
    for net in nets:
        out = net(images(1), weights, Pass(Statistics.UPDATE, seeds(), active=active(weights)))
        wanted = list(net.parameters())
        found.append(torch.autograd.grad(out.sum(), wanted, allow_unused=True, materialize_grads=True))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def kept_bytes(net, space):
    """Bytes that autograd keeps for the backward pass, parameters and buffers not counted."""
    own = {t.untyped_storage().data_ptr() for t in (*net.parameters(), *net.buffers())}
    sizes = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = net(images(1), random_weights(space), Pass(Statistics.BATCH, seeds()))
    assert out.requires_grad
    return sum(sizes.values())


def test_little_is_kept():
    space, (kept, again) = both("darts", lanes=1)
    assert kept_bytes(again, space) < 0.1 * kept_bytes(kept, space)
