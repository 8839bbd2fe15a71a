"""Objectives: their gradients in α and in the weights against enumeration; penalties against closed forms."""

import math

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space
from helpers.problems import bilevel
from test_supernet import make, seeds
from torch.autograd import grad

from raynas.bilevel.exchange import Draw
from raynas.data.batch import Batch
from raynas.nets.ops.flat import flatten
from raynas.nets.ops.lanes import Statistics
from raynas.parts.cell_samplers import Categorical
from raynas.parts.objectives import Importance, Natural, OneDraw, Outcome, Reinforce, log_probability
from raynas.parts.penalties import Anchor, SampleDistance, ZeroOne
from raynas.parts.relaxations import DirichletMean, Scales, Sigmoid
from raynas.parts.stores import Table

COSTS = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)


def lanes_of(count, seed=0, **parts):
    """Return a policy of two edges with one α in all lanes, for averages over lanes."""
    space = small_space(nodes=1, keep=2)
    policy = make_policy(space, lanes=count, sampler=Categorical("none"), seed=seed, **parts)
    row = torch.tensor([0.8, -0.4, 0.1, 0.2, 0.0, -0.3], dtype=torch.float64)
    policy.alphas = torch.cat([row, torch.zeros(6, dtype=torch.float64)]).expand(count, -1).clone()
    return policy


def losses_of(weights, parameter=1.0):
    """A loss of the two edges' choices that does not add up over them."""
    rows = (weights["normal"] * COSTS).sum(-1)
    return parameter * rows.prod(1) + rows[:, 0]


def run(objective, policy, flat, parameter=1.0):
    def score(draw):
        return Outcome(losses_of(draw.weights, parameter), torch.zeros(policy.lanes, 1, 2))

    return objective(policy, flat, lambda: policy.draw(flat), score).losses


def enumerated(policy, value):
    """Return E[value] over all choices of both edges as a function of one lane's α, and α."""
    alphas = policy.alphas[0, :6].clone().requires_grad_()
    rows = alphas.view(2, 3).softmax(-1)
    eye = torch.eye(3, dtype=torch.float64)
    total = 0
    for i in range(3):
        for j in range(3):
            loss = losses_of({"normal": torch.stack([eye[i], eye[j]]).unsqueeze(0)})[0]
            total = total + rows[0, i] * rows[1, j] * value(loss)
    return total, alphas


def assert_unbiased(slopes, expected):
    error = slopes.std(0) / len(slopes) ** 0.5
    assert bool(((slopes.mean(0) - expected).abs() < 4 * error).all())


def test_one_draw_is_the_loss_itself():
    policy = randomly(make_policy(small_space()))
    flat = policy.alphas.clone().requires_grad_()
    expected = losses_of(policy.mean(flat).weights)
    torch.testing.assert_close(run(OneDraw(), policy, flat), expected)


def test_log_probability_of_a_draw():
    policy = lanes_of(3)
    draw = policy.draw(policy.alphas)
    chosen = [draw.weights[name].argmax(-1) for name in ("normal", "reduce")]
    logs = [policy.layout.tables(policy.alphas)[name].log_softmax(-1) for name in ("normal", "reduce")]
    expected = sum(
        log.gather(2, pick.unsqueeze(-1)).sum((1, 2)) for log, pick in zip(logs, chosen, strict=True)
    )
    torch.testing.assert_close(log_probability(policy, policy.alphas, draw), expected)


def test_reinforce_has_the_exact_gradient_on_average():
    policy = lanes_of(20_000)
    flat = policy.alphas.clone().requires_grad_()
    parameter = torch.ones(policy.lanes, dtype=torch.float64, requires_grad=True)
    losses = run(Reinforce(3), policy, flat, parameter)
    slopes, weights = grad(losses.sum(), [flat, parameter])
    expected, alphas = enumerated(policy, lambda loss: loss)
    assert_unbiased(slopes[:, :6], grad(expected, alphas)[0])
    assert float(losses.detach().mean()) == pytest.approx(expected.item(), abs=0.03)
    assert bool(weights.any())


def test_equal_rewards_teach_reinforce_nothing():
    policy = lanes_of(5)
    flat = policy.alphas.clone().requires_grad_()
    outcome = Reinforce(4)(
        policy,
        flat,
        lambda: policy.draw(flat),
        lambda draw: Outcome(torch.full((5,), 2.0), torch.zeros(5, 1, 2)),
    )
    assert bool((outcome.losses == 2.0).all())
    assert not grad(outcome.losses.sum(), flat)[0].any()


def test_importance_weights_are_the_softmax_of_the_likelihoods():
    policy = lanes_of(4)
    flat = policy.alphas.clone().requires_grad_()
    parameter = torch.ones(4, dtype=torch.float64, requires_grad=True)
    draws, losses = [], []

    def draw():
        draws.append(policy.draw(flat))
        return draws[-1]

    def score(each):
        losses.append(losses_of(each.weights, parameter))
        return Outcome(losses[-1], torch.zeros(4, 1, 2))

    found = Importance(5, sharpness=2.0)(policy, flat, draw, score)
    slopes, weights = grad(found.losses.sum(), [flat, parameter], retain_graph=True)
    omega = (-2.0 * torch.stack(losses).detach()).softmax(0)
    logs = torch.stack([log_probability(policy, flat, each) for each in draws])
    torch.testing.assert_close(omega.sum(0), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(slopes, grad(-(omega * logs).sum() / 2.0, flat, retain_graph=True)[0])
    torch.testing.assert_close(weights, grad((omega * torch.stack(losses)).sum(), parameter)[0])
    value = -(-2.0 * torch.stack(losses)).exp().mean(0).log() / 2.0
    torch.testing.assert_close(found.losses, value)


def test_importance_approaches_the_gradient_of_the_log_evidence():
    policy = lanes_of(300)
    flat = policy.alphas.clone().requires_grad_()
    slopes = grad(run(Importance(200), policy, flat).sum(), flat)[0][:, :6]
    evidence, alphas = enumerated(policy, lambda loss: (-loss).exp())
    torch.testing.assert_close(slopes.mean(0), grad(-evidence.log(), alphas)[0], rtol=0, atol=0.01)


def test_the_natural_gradient_is_utility_times_draw_minus_theta():
    policy = make_policy(
        small_space(),
        lanes=3,
        store=Table(start_from="uniform"),
        relaxation=Scales(),
        sampler=Categorical("none"),
    )
    flat = policy.alphas.clone().requires_grad_()
    draws = []

    def draw():
        draws.append(policy.draw(flat))
        return draws[-1]

    def score(each):
        return Outcome(losses_of(each.weights), torch.zeros(3, 1, 2))

    found = Natural(2)(policy, flat, draw, score)
    slopes = policy.layout.tables(grad(found.losses.sum(), flat)[0])["normal"]
    first, second = (losses_of(each.weights) for each in draws)
    utility = (second - first).sign().view(-1, 1, 1)
    a, b = (each.weights["normal"] for each in draws)
    torch.testing.assert_close(slopes, -utility * ((a - 1 / 3) - (b - 1 / 3)) / 2)
    torch.testing.assert_close(found.losses, (first + second) / 2)


def test_equal_losses_have_no_natural_gradient():
    policy = lanes_of(3, relaxation=Scales(), store=Table(start_from="uniform"))
    policy.alphas.fill_(1 / 3)
    flat = policy.alphas.clone().requires_grad_()
    outcome = Natural(6)(
        policy, flat, lambda: policy.draw(flat), lambda draw: Outcome(torch.ones(3), torch.zeros(3, 1, 2))
    )
    assert not grad(outcome.losses.sum(), flat)[0].any()


@pytest.mark.parametrize("samples", [2, 4, 8])
def test_as_many_draws_are_praised_as_blamed(samples):
    losses = torch.rand(samples, 3, generator=torch.Generator().manual_seed(0))
    utilities = Natural(samples)._utilities(losses)
    assert bool((utilities.sum(0) == 0).all())
    assert bool((utilities.gather(0, losses.argmin(0, keepdim=True)) == 1).all())
    assert int((utilities[:, 0] == 1).sum()) == math.ceil(samples / 4)


# Penalties


def slope_of(penalty, policy, draw=None, costs=None):
    flat = policy.alphas.clone().requires_grad_()
    draw = draw or Draw(policy.relax(flat))
    losses = penalty(torch.ones(policy.lanes, dtype=torch.float64), policy, flat, draw, costs)
    return losses, policy.layout.tables(grad(losses.sum(), flat)[0])["normal"]


@pytest.mark.parametrize("power", [1, 2])
def test_zero_one_pushes_outwards_and_rests_at_a_half(power):
    policy = randomly(make_policy(relaxation=Sigmoid()))
    losses, slopes = slope_of(ZeroOne(10.0, power), policy)
    weights = torch.cat([rows.flatten(1) for rows in policy.relax(policy.alphas).values()], 1)
    torch.testing.assert_close(losses, 1 - 10 * (weights - 0.5).abs().pow(power).mean(1))
    logits = policy.layout.tables(policy.alphas)["normal"]
    assert torch.equal(slopes.sign(), -logits.sign())
    policy.alphas.zero_()
    assert not slope_of(ZeroOne(10.0, power), policy)[1].any()


def test_the_anchor_is_the_divergence_from_a_uniform_dirichlet():
    policy = make_policy(relaxation=DirichletMean())
    policy.alphas.zero_()
    losses, slopes = slope_of(Anchor(), policy)
    torch.testing.assert_close(losses, torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(slopes, torch.zeros_like(slopes))
    randomly(policy)
    beta = torch.nn.functional.elu(policy.alphas).view(2, 10, 4) + 1
    total = beta.sum(-1)
    closed = (
        total.lgamma()
        - beta.lgamma().sum(-1)
        - math.lgamma(4)
        + ((beta - 1) * (beta.digamma() - total.digamma().unsqueeze(-1))).sum(-1)
    )
    torch.testing.assert_close(slope_of(Anchor(0.1), policy)[0], 1 + 0.1 * closed.sum(1))


def test_sample_distance_pulls_probabilities_to_the_draw():
    policy = lanes_of(4)
    draw = policy.draw(policy.alphas)
    losses, slopes = slope_of(SampleDistance(), policy, draw)
    weights = policy.relax(policy.alphas)
    distance = sum((weights[name] - draw.weights[name]).abs().mean((1, 2)) for name in weights)
    torch.testing.assert_close(losses, 1 + 0.1 * distance)
    chosen = draw.weights["normal"] == 1
    assert bool((slopes[chosen] < 0).all())


# Several draws in the memory of one


SEVERAL = [
    {"base": "parsec", "objective": {"use": "importance", "samples": 3}},
    {"base": "parsec", "objective": {"use": "reinforce", "samples": 3}},
    "asng-nas",
]


def batch_of(lanes):
    images = torch.randn(lanes, 4, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Batch(images, torch.arange(4).expand(lanes, -1) % 3)


def steps(method, apart, monkeypatch):
    """Return an α-step's, a weight step's and a joint step's gradients, and the statistics after them."""
    space, net = make("s4", (3, 4, 4), 2, cells=3, lanes=2)
    problem, batch = bilevel(space, net, seeds(2), method), batch_of(2)
    monkeypatch.setattr(type(problem.objective), "apart", apart)
    alphas = randomly(problem.policy, 0.3).alphas.softmax(1).requires_grad_()
    problem.policy.alphas = alphas.detach()
    found = [*grad(problem.losses(batch, alphas).sum(), alphas)]
    found.append(
        flatten(grad(problem.weight_loss(batch).losses.sum(), problem.parameters, materialize_grads=True))
    )
    both = problem.outcome(batch, alphas, Statistics.UPDATE).losses
    found += grad(
        (both * torch.tensor([1.0, 2.0])).sum(), [alphas, *net.parameters()], materialize_grads=True
    )
    return [*found, *net.buffers(), problem.weight_loss(batch).losses]


@pytest.mark.parametrize("method", SEVERAL)
def test_a_graph_at_a_time_gives_what_all_graphs_together_give(monkeypatch, method):
    apart, together = (steps(method, how, monkeypatch) for how in (True, False))
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert all(bool(each.any()) for each in apart[:3])


def graph_of(losses):
    """Return the names of all steps of a graph."""
    names, waiting = set(), [losses.grad_fn]
    while waiting:
        step = waiting.pop()
        if step is not None and step.name() not in names:
            names.add(step.name())
            waiting += [following for following, _ in step.next_functions]
    return names


@pytest.mark.parametrize("method", SEVERAL)
def test_no_convolution_of_a_draw_waits_to_be_differentiated(method):
    space, net = make("tiny", lanes=1, cells=3)
    problem, batch = bilevel(space, net, seeds(1), method), batch_of(1)
    alphas = problem.alphas.clone().requires_grad_()
    for losses in (problem.losses(batch, alphas), problem.weight_loss(batch).losses):
        assert not any("Conv" in name or "BatchNorm" in name for name in graph_of(losses))
    with torch.no_grad():
        assert problem.weight_loss(batch).losses.grad_fn is None


def test_weights_of_edges_are_learned_through_the_draws():
    space, net = make("darts", lanes=1, cells=3)
    method = {"base": "parsec", "objective": {"use": "reinforce", "samples": 2}}
    problem = bilevel(space, net, seeds(1), {**method, "add": {"modifiers": ["edge-normalisation"]}})
    alphas = problem.alphas.clone().requires_grad_()
    slopes = grad(problem.losses(batch_of(1), alphas).sum(), alphas)[0]
    assert bool(slopes[:, problem.policy.layout.entries :].any())


def test_the_likelihood_of_a_batch_is_the_product_over_its_images():
    policy = lanes_of(4)
    flat = policy.alphas.clone()

    def value(objective):
        generator = [torch.Generator().manual_seed(3 + lane) for lane in range(4)]
        policy.dice.generators = generator
        score = lambda draw: Outcome(losses_of(draw.weights), torch.zeros(4, 6, 5, 2))  # noqa: E731
        return objective(policy, flat, lambda: policy.draw(flat), score).losses

    assert torch.equal(value(Importance(3)), value(Importance(3, sharpness=30.0)))
