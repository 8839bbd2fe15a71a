"""Every form of a separable convolution against one edge at a time, and the choice between forms."""

import pytest
import torch
import torch.nn.functional as F
from test_supernet import make, random_weights, seeds

from raynas.errors import RaynasError
from raynas.nets.ops.forms import FORMS, Maps, Shape, fan_out, form_for, separately, usual_form
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.tuning import measure_forms, shapes

RUN = Pass(Statistics.BATCH, [])


def kernels(groups, edges, channels, kernel):
    generator = torch.Generator().manual_seed(1)
    depth = torch.randn(groups, edges, 1, channels, kernel, kernel, generator=generator, dtype=torch.float64)
    point = torch.randn(groups, edges, channels, channels, 1, 1, generator=generator, dtype=torch.float64)
    return depth.requires_grad_(), point.requires_grad_()


def one_at_a_time(x, depth, point, stride, dilation):
    """Every group's map, edge by edge: depthwise, then pointwise."""
    groups, edges, _, channels, kernel, _ = depth.shape
    outputs = []
    for group, lane in enumerate(x.chunk(groups, 1)):
        for edge in range(edges):
            window = depth[group, edge].transpose(0, 1)
            z = F.conv2d(lane, window, None, stride, dilation * (kernel // 2), dilation, channels)
            outputs.append(F.conv2d(z, point[group, edge]))
    return torch.cat(outputs, 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (3, 2), (5, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 6), (4, 2), (3, 3), (2, 2), (1, 1)])
def test_every_form_equals_one_edge_at_a_time(form, kernel, dilation, stride, size):
    groups, edges, channels = 2, 3, 4
    x = torch.randn(2, groups * channels, *size, generator=seeds()[0], dtype=torch.float64)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    depth, point = kernels(groups, edges, channels, kernel)
    found = fan_out(RUN, Maps(x, groups), depth, point, stride, dilation, form)
    expected = one_at_a_time(x, depth, point, stride, dilation)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    along = torch.randn(expected.shape, generator=seeds()[0], dtype=torch.float64)
    for mine, plain in zip(
        torch.autograd.grad(found, [x, depth, point], along),
        torch.autograd.grad(expected, [x, depth, point], along),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


def test_each_edges_own_map_is_convolved_with_its_own_kernels():
    depth, point = kernels(2, 3, 4, 5)
    x = torch.randn(2, 2 * 3 * 4, 2, 2, generator=seeds()[0], dtype=torch.float64)
    flat = [each.flatten(0, 1).unsqueeze(1) for each in (depth, point)]
    torch.testing.assert_close(separately(RUN, x, depth, point), one_at_a_time(x, *flat, 1, 1))


def test_what_maps_become_is_made_once():
    maps = Maps(torch.randn(2, 4, 8, 8), 1)
    assert maps.repeated(3) is maps.repeated(3)
    assert maps.phases(2).repeated(3) is maps.phases(2).repeated(3)


def test_few_channels_are_dense_and_many_are_not_unless_only_the_centre_is_left():
    assert usual_form(Shape(3, 1, 1, 8, 16, 16)) == "dense"
    assert usual_form(Shape(3, 1, 1, 64, 8, 8)) == "separable"
    assert usual_form(Shape(5, 2, 1, 64, 2, 2)) == "dense"


def test_forms_are_named_by_shapes_that_can_be_read_again():
    shape = Shape(5, 2, 1, 64, 8, 6)
    assert str(shape) == "k5d2s1 c64 8x6"
    assert Shape.parse(str(shape)) == shape
    assert form_for(shape) == "separable"
    assert form_for(shape, {"k5d2s1 c64 8x6": "dense"}) == "dense"
    with pytest.raises(RaynasError, match="not a convolution's shape"):
        Shape.parse("k5 c64")


def test_measured_forms_name_every_shape_and_change_no_result():
    space, net = make("darts", lanes=2)
    images = torch.randn(2, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    run = Pass(Statistics.BATCH, seeds(2))
    expected = net(images, random_weights(space, 2), run)
    state = torch.random.get_rng_state()
    forms = measure_forms(net, images, runs=1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert forms.keys() == shapes(net, images).keys()
    assert {"k3d1s1 c4 8x8", "k5d2s2 c8 8x8", "k3d2s1 c16 2x2"} <= forms.keys()
    assert set(forms.values()) <= set(FORMS)
    assert torch.equal(net(images, random_weights(space, 2), run), expected)
    every_form = {name: dict.fromkeys(forms, name) for name in FORMS}
    for given in (forms, *every_form.values()):
        _, other = make("darts", lanes=2, forms=given)
        torch.testing.assert_close(
            other(images, random_weights(space, 2), run), expected, rtol=1e-9, atol=1e-9
        )


def test_equal_forms_give_equal_bits():
    space, net = make("darts", forms={"k3d1s1 c4 8x8": "separable"})
    _, again = make("darts", forms={"k3d1s1 c4 8x8": "separable"})
    images = torch.randn(1, 3, 3, 8, 8, generator=seeds()[0], dtype=torch.float64)
    run = Pass(Statistics.BATCH, seeds())
    assert torch.equal(net(images, random_weights(space), run), again(images, random_weights(space), run))


@pytest.mark.parametrize(("kernel", "dilation", "stride"), [(3, 1, 1), (5, 2, 1), (5, 1, 2), (3, 2, 2)])
def test_large_repeated_maps_are_made_again_and_change_no_gradient(monkeypatch, kernel, dilation, stride):
    x = torch.randn(2, 8, 8, 8, generator=seeds()[0], dtype=torch.float64).requires_grad_()
    depth, point = kernels(2, 3, 4, kernel)
    found = []
    for large in (0, 10**9):
        monkeypatch.setattr("raynas.nets.ops.forms.LARGE", large)
        z = fan_out(RUN, Maps(x, 2), depth, point, stride, dilation, "separable")
        slopes = torch.autograd.grad(z.square().sum(), [x, depth, point], create_graph=True)
        curves = torch.autograd.grad(sum(slope.square().sum() for slope in slopes), [x, depth, point])
        found.append([*slopes, *curves])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-8)
