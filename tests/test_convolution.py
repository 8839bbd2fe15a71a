"""The twice differentiable convolution against PyTorch's own, to the second derivative."""

import pytest
import torch
from torch.autograd import grad, gradcheck, gradgradcheck

from raynas.nets.ops.convolution import convolve_twice

FORMS = [
    {},
    {"stride": 2, "padding": 1, "groups": 2},
    {"padding": 2, "dilation": 2, "groups": 4},
    {"stride": 2, "padding": 2, "dilation": 2},
    {"stride": (1, 2), "padding": (0, 1)},
]


def tensors(groups=1, **_):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 7, 7, generator=g, dtype=torch.float64)
    weight = torch.randn(8, 4 // groups, 3, 3, generator=g, dtype=torch.float64)
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("form", FORMS)
def test_values_and_both_derivatives_are_pytorchs(form):
    x, weight = tensors(**form)
    results = []
    for convolve in (convolve_twice, torch.conv2d):
        out = convolve(x, weight, **form)
        first = grad(out.square().sum(), [x, weight], create_graph=True)
        along = [torch.sin(each) for each in first]
        second = grad(sum((f * a).sum() for f, a in zip(first, along, strict=True)), [x, weight])
        results.append([out, *first, *second])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("form", FORMS[1:3])
def test_derivatives_agree_with_differences(form):
    def convolve(x, weight):
        return convolve_twice(x, weight, **form)

    assert gradcheck(convolve, tensors(**form), fast_mode=True)
    assert gradgradcheck(convolve, tensors(**form), fast_mode=True)


def test_what_is_not_asked_for_is_not_computed():
    x, weight = tensors()
    out = convolve_twice(x, weight.detach())
    assert grad(out.sum(), x)[0].shape == x.shape
    out = convolve_twice(x.detach(), weight)
    assert grad(out.sum(), weight)[0].shape == weight.shape


def test_a_second_differentiation_can_leave_the_weight_out():
    x, weight = tensors()
    found = []
    for weight_twice in (True, False):
        out = convolve_twice(x, weight, weight_twice=weight_twice)
        first = grad(out.square().sum(), [x, weight], create_graph=True)
        loss = sum(each.sin().sum() for each in first)
        found.append(grad(loss, x, retain_graph=True)[0])
    assert torch.equal(*found)
    with pytest.raises(RuntimeError, match="not have been used"):
        grad(loss, weight)
