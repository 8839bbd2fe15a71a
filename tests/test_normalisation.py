"""The twice differentiable batch normalisation against PyTorch's own, to the second derivative."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import grad, gradcheck, gradgradcheck

from raynas.nets.ops.lanes import Lanes, Norm, Pass, Statistics
from raynas.nets.ops.normalisation import normalise_twice

FORMATS = [torch.contiguous_format, torch.channels_last]


def tensors(memory_format=torch.contiguous_format):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 5, generator=g, dtype=torch.float64) * 2 + 0.7
    scale = torch.randn(4, generator=g, dtype=torch.float64)
    scale[1] = 0
    shift = torch.randn(4, generator=g, dtype=torch.float64)
    x = x.contiguous(memory_format=memory_format)
    return x.requires_grad_(), scale.requires_grad_(), shift.requires_grad_()


def derivatives(normalise, inputs):
    out = normalise(*inputs)
    first = grad(out.pow(3).sum(), inputs, create_graph=True)
    second = grad(sum(torch.sin(each).sum() for each in first), inputs)
    return [out, *first, *second]


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("how_many", [1, 2, 3])
def test_values_and_both_derivatives_are_pytorchs(memory_format, how_many):
    def mine(x, scale=None, shift=None):
        return normalise_twice(x, scale=scale, shift=shift)

    def theirs(x, scale=None, shift=None):
        return F.batch_norm(x, None, None, scale, shift, training=True)

    inputs = tensors(memory_format)[:how_many]
    for a, b in zip(derivatives(mine, inputs), derivatives(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_derivatives_agree_with_differences(memory_format):
    def normalise(x, scale, shift):
        return normalise_twice(x, scale=scale, shift=shift)

    assert gradcheck(normalise, tensors(memory_format))
    assert gradgradcheck(normalise, tensors(memory_format))
    x, scale, _ = tensors(memory_format)
    assert gradgradcheck(lambda x: normalise_twice(x), x)
    assert gradgradcheck(lambda scale: normalise_twice(x.detach(), scale=scale).pow(2), scale)
    assert gradgradcheck(lambda x: normalise_twice(x, scale=scale.detach()), x)


@pytest.mark.parametrize("statistics", Statistics)
@pytest.mark.parametrize("scaled", [False, True])
def test_a_norm_gives_the_same_in_both_forms_and_moves_the_same_statistics(statistics, scaled):
    results = []
    for twice in (False, True):
        norm = Norm(Lanes([torch.Generator()] * 2, torch.float64), 2)
        norm.mean.fill_(0.3)
        norm.variance.fill_(2.0)
        run = Pass(statistics, [], twice)
        inputs = tensors(torch.channels_last)[: 3 if scaled else 1]
        found = derivatives(lambda x, *more, norm=norm, run=run: norm(x, run, *more), inputs)
        results.append([*found, norm.mean, norm.variance])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_a_gradient_in_another_memory_format_gives_the_same_numbers():
    x, scale, _ = tensors(torch.channels_last)
    along = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for memory_format in FORMATS:
        out = normalise_twice(x, scale=scale)
        first = grad(
            out, x, along.contiguous(memory_format=memory_format).requires_grad_(), create_graph=True
        )
        found.append(grad(first[0].sin().sum(), [x, scale]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_a_channel_with_nan_leaves_the_others_alone():
    x, scale, _ = tensors()
    clean = derivatives(lambda x, scale: normalise_twice(x, scale=scale), [x, scale])
    with torch.no_grad():
        x[:, 2] = float("nan")
    broken = derivatives(lambda x, scale: normalise_twice(x, scale=scale), [x, scale])
    others = torch.tensor([0, 1, 3])
    for a, b in zip(clean, broken, strict=True):
        axis = 1 if a.dim() == 4 else 0
        assert torch.equal(a.index_select(axis, others), b.index_select(axis, others))
    assert bool(broken[2].isnan()[2])


def test_what_is_not_asked_for_is_not_computed():
    x, scale, _ = tensors()
    assert grad(normalise_twice(x, scale=scale.detach()).sin().sum(), x)[0].shape == x.shape
    assert grad(normalise_twice(x.detach(), scale=scale).sin().sum(), scale)[0].shape == scale.shape


def test_it_runs_under_automatic_mixed_precision():
    x, scale, shift = (each.detach().float().requires_grad_() for each in tensors(torch.channels_last))
    with torch.autocast("cpu", torch.bfloat16):
        out = normalise_twice(x.bfloat16(), scale=scale, shift=shift)
        alone = normalise_twice(x.bfloat16())
        first = grad((out.square() + alone.pow(3)).sum(), [x, scale], create_graph=True)
        second = grad(first[0].square().sum() + first[1].square().sum(), [x, scale])
    assert all(bool(each.isfinite().all()) for each in (*first, *second))
