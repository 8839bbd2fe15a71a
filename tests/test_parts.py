"""Updaters against PyTorch's optimisers; gradient estimators against full differentiation."""

import pytest
import torch
from helpers.problems import bilevel, relaxed
from torch.func import functional_call

from raynas.bilevel.bilevel import cross_entropy
from raynas.data.batch import Batch
from raynas.methods import resolve
from raynas.nets.ops.flat import column, flatten, unflatten
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.parts.estimators import FirstOrder, SecondOrder
from raynas.parts.updaters import Adam, Sgd, clip_norm
from raynas.spaces.library import load_space


def col(*values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def test_sgd_and_adam_do_what_pytorchs_do_lane_by_lane():
    torch.manual_seed(0)
    start = torch.randn(2, 5, dtype=torch.float64)
    rates, decays = (0.1, 0.02), (1e-2, 0.3)
    sgd_values, adam_values = start.clone(), start.clone()
    sgd = Sgd(sgd_values, col(0.9, 0.5), col(*decays))
    adam = Adam(adam_values, col(*rates), col(*decays), (0.5, 0.999))
    mine = {"sgd": [], "adam": []}
    for lane in range(2):
        mine["sgd"].append(torch.nn.Parameter(start[lane].clone()))
        mine["adam"].append(torch.nn.Parameter(start[lane].clone()))
    theirs = {
        "sgd": [
            torch.optim.SGD([p], rates[lane], momentum=(0.9, 0.5)[lane], weight_decay=decays[lane])
            for lane, p in enumerate(mine["sgd"])
        ],
        "adam": [
            torch.optim.Adam([p], rates[lane], betas=(0.5, 0.999), weight_decay=decays[lane])
            for lane, p in enumerate(mine["adam"])
        ],
    }
    for _ in range(5):
        gradient = torch.randn(2, 5, dtype=torch.float64)
        sgd.step(sgd_values, gradient, col(*rates))
        adam.step(adam_values, gradient)
        for kind, optimisers in theirs.items():
            for lane, optimiser in enumerate(optimisers):
                mine[kind][lane].grad = gradient[lane].clone()
                optimiser.step()
    torch.testing.assert_close(sgd_values, torch.stack(mine["sgd"]).detach(), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(adam_values, torch.stack(mine["adam"]).detach(), rtol=1e-13, atol=1e-14)


def test_nesterovs_momentum_is_pytorchs():
    values = torch.randn(1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parameter = torch.nn.Parameter(values[0].clone())
    theirs = torch.optim.SGD([parameter], 0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    mine = Sgd(values, col(0.9), col(0.01), nesterov=True)
    for place in range(4):
        gradient = torch.sin(torch.arange(5.0, dtype=torch.float64) + place)[None]
        ahead = values - 0.1 * mine.direction(values, gradient)
        mine.step(values, gradient, col(0.1))
        torch.testing.assert_close(values, ahead, rtol=0, atol=1e-15)
        parameter.grad = gradient[0].clone()
        theirs.step()
    torch.testing.assert_close(values[0], parameter.detach(), rtol=0, atol=1e-14)


def test_clipping_is_pytorchs_and_per_lane():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    parameter.grad = gradient[0].clone()
    torch.nn.utils.clip_grad_norm_([parameter], 2.0)
    clipped = clip_norm(gradient, col(2.0, 2.0))
    torch.testing.assert_close(clipped[0], parameter.grad)
    assert torch.equal(clipped[1], gradient[1])


def test_flat_round_trip():
    tensors = [torch.randn(2, 3, 4), torch.randn(2, 5)]
    flat = flatten(tensors)
    assert flat.shape == (2, 17)
    assert all(torch.equal(a, b) for a, b in zip(unflatten(flat, tensors), tensors, strict=True))
    assert column([1, 2], flat).tolist() == [[1.0], [2.0]]


@pytest.fixture(params=["tiny", "s4"])
def setting(request):
    space = load_space(request.param)
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    net = Supernet(space, (1, 8, 8), 3, 4, 3, generators, torch.float64)
    problem = bilevel(space, net, generators)
    problem.noise = [torch.Generator().manual_seed(7 + lane) for lane in range(2)]
    g = torch.Generator().manual_seed(1)

    def batch():
        labels = torch.randint(0, 3, (2, 6), generator=g)
        return Batch(torch.randn(2, 6, 1, 8, 8, generator=g, dtype=torch.float64), labels)

    sgd = Sgd(problem.values, col(0.9, 0.8), col(3e-4, 0.1))
    sgd.velocity = torch.randn(problem.values.shape, generator=g, dtype=torch.float64) * 1e-2
    return problem, batch(), batch(), sgd


def seeded(problem):
    problem.noise = [torch.Generator().manual_seed(7 + lane) for lane in range(2)]
    return problem


def full_differentiation(problem, train, valid, sgd, rates):
    """L_valid(w'(α), α) with w' a function of α, differentiated once, as a whole."""
    alphas = problem.alphas.clone().requires_grad_()
    leaves = [p.detach().clone().requires_grad_() for p in problem.parameters]
    logits = functional_call(
        problem.supernet,
        dict(zip(problem.names, leaves, strict=True)),
        (train.images, relaxed(problem, alphas), Pass(Statistics.BATCH, problem.noise)),
    )
    inner = cross_entropy(logits, train.labels).sum()
    slope = flatten(torch.autograd.grad(inner, leaves, create_graph=True))
    values = flatten(leaves)
    ahead = values - rates * (sgd.momentum * sgd.velocity + slope + sgd.weight_decay * values)
    outer = problem.losses(valid, alphas, values=ahead).sum()
    return torch.autograd.grad(outer, alphas)[0]


def test_second_order_equals_full_differentiation(setting):
    problem, train, valid, sgd = setting
    rates = col(0.025, 0.1)
    expected = full_differentiation(seeded(problem), train, valid, sgd, rates)
    exact = SecondOrder("exact")(seeded(problem), train, valid, sgd, rates)
    torch.testing.assert_close(exact, expected, rtol=1e-8, atol=1e-12)
    first = FirstOrder()(seeded(problem), train, valid, sgd, rates)
    assert (exact - first).norm() > 1e-3 * first.norm()


def test_finite_difference_approaches_the_exact_gradient(setting):
    """The published radius of 0.01 crosses kinks of ReLU, which the exact term lacks; 1e-6 does not."""
    problem, train, valid, sgd = setting
    rates = col(0.025, 0.025)
    exact = SecondOrder("exact")(seeded(problem), train, valid, sgd, rates)
    found = SecondOrder("difference", radius=1e-6)(seeded(problem), train, valid, sgd, rates)
    assert float((found - exact).norm() / exact.norm()) < 1e-5


class Quadratic:
    """L_train = ½‖w − Bα‖² + quartic·(w·Bα)⁴/4 and L_valid = ½‖w − c‖², in the shape of a `Bilevel`."""

    precision = None

    def generators(self):
        return []

    def __init__(self, quartic):
        g = torch.Generator().manual_seed(0)
        self.matrix = torch.randn(4, 3, generator=g, dtype=torch.float64)
        self.target = torch.randn(4, generator=g, dtype=torch.float64)
        self.alphas = torch.randn(1, 3, generator=g, dtype=torch.float64)
        self.values = torch.randn(1, 4, generator=g, dtype=torch.float64)
        self.parameters = [self.values.clone().requires_grad_()]
        self.quartic = quartic

    def losses(self, batch, alphas, values=None, twice=False):
        w = self.parameters[0] if values is None else values
        if batch == "valid":
            return 0.5 * (w - self.target).square().sum(1) + 0 * alphas.sum(1)
        pull = alphas @ self.matrix.T
        return 0.5 * (w - pull).square().sum(1) + self.quartic * (w * pull).sum(1).pow(4) / 4


def test_second_order_on_a_quadratic_is_the_closed_form():
    toy, rate = Quadratic(quartic=0), 0.1
    ahead = toy.values - rate * (toy.values - toy.alphas @ toy.matrix.T)
    expected = rate * (ahead - toy.target) @ toy.matrix
    sgd = Sgd(toy.values, col(0.9), col(0.0))
    for mixed in ("exact", "difference"):
        found = SecondOrder(mixed)(toy, "train", "valid", sgd, col(rate))
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_the_difference_form_is_second_order_in_its_radius():
    toy = Quadratic(quartic=1)
    sgd = Sgd(toy.values, col(0.9), col(3e-4))
    exact = SecondOrder("exact")(toy, "train", "valid", sgd, col(0.1))

    def error(radius):
        found = SecondOrder("difference", radius)(toy, "train", "valid", sgd, col(0.1))
        return float((found - exact).norm() / exact.norm())

    assert error(0.01) < 1e-3
    assert error(0.1) / error(0.01) == pytest.approx(100, rel=0.1)


def test_the_published_term_is_the_default_of_the_methods_that_publish_it():
    for name in ("darts-2nd", "r-darts-l2", "r-darts-dp", "r-darts-es", "r-darts-ada"):
        assert resolve(name).estimator == SecondOrder("difference", radius=0.01)
        assert resolve(name).version == 2


def test_a_difference_is_taken_in_full_precision(setting):
    problem, train, *_ = setting
    before = [generator.get_state() for generator in seeded(problem).generators()]
    fine = SecondOrder()._difference(problem, train, problem.values, before)
    problem.precision = torch.bfloat16
    coarse = SecondOrder()._difference(problem, train, problem.values, before)
    assert float((coarse - fine).norm() / fine.norm()) < 1e-9


def test_without_a_look_ahead_second_order_is_first_order():
    toy = Quadratic(quartic=1)
    sgd = Sgd(toy.values, col(0.9), col(3e-4))
    first = FirstOrder()(toy, "train", "train", sgd, col(0.0))
    for mixed in ("exact", "difference"):
        assert torch.equal(SecondOrder(mixed)(toy, "train", "train", sgd, col(0.0)), first)


@pytest.mark.parametrize("estimator", [FirstOrder(), SecondOrder(), SecondOrder("exact")])
def test_estimators_leave_weights_alphas_and_statistics_alone(setting, estimator):
    problem, train, valid, sgd = setting
    before = [t.clone() for t in (*problem.parameters, problem.alphas, problem.values, sgd.velocity)]
    buffers = [b.clone() for b in problem.supernet.buffers()]
    estimator(problem, train, valid, sgd, col(0.025, 0.025))
    after = [*problem.parameters, problem.alphas, problem.values, sgd.velocity]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, problem.supernet.buffers(), strict=True))
    assert all(p.grad is None for p in problem.parameters)
