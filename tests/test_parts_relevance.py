"""BayesNAS' variances and prices against the paper's formulas."""

from types import SimpleNamespace

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space

from raynas.bilevel.exchange import Draw
from raynas.bilevel.progress import Progress
from raynas.methods import resolve
from raynas.parts.relaxations import Scales
from raynas.parts.stages.sparsify import Relevance, Sparsify
from raynas.parts.stores import Table
from raynas.search.loop import Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space, names
from raynas.spaces.operations import OPERATIONS


@pytest.fixture
def policy():
    found = make_policy(store=Table(mean=1.0, spread=0.0), relaxation=Scales())
    found.alphas = randomly(make_policy(), 0.5).alphas.abs() + 0.1
    Sparsify()(found, [[], []], None)
    return found


def learn(policy, bend, stages=Sparsify()):  # noqa: B008 - a frozen part
    policy.begin(Progress(1, 10))
    policy.prune(stages(policy, [[], []], SimpleNamespace(bends=lambda: bend)))


def memory(policy, what, level, name="normal"):
    return policy.memory[f"relevance {what}/{level}/{name}"]


def test_variances_start_uniform_and_nothing_is_charged(policy):
    start = memory(policy, "variance", "operation")
    assert start.shape == (2, 5, 4)
    assert bool(((start > 0) & (start < 1)).all())
    assert memory(policy, "variance", "edge").shape == (2, 5)
    losses = torch.ones(2, dtype=torch.float64)
    assert torch.equal(Relevance()(losses, policy, policy.alphas, Draw({})), losses)


def test_without_curvature_nothing_is_penalised_and_no_variance_moves(policy):
    before = {name: tensor.clone() for name, tensor in policy.memory.items()}
    learn(policy, torch.full_like(policy.alphas, -1.0))
    assert not memory(policy, "price", "operation").any()
    assert not memory(policy, "price", "edge").any()
    assert all(torch.equal(policy.memory[name], tensor) for name, tensor in before.items())


def test_variances_and_prices_are_the_papers(policy):
    bend = torch.rand(policy.alphas.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    own, edge = memory(policy, "variance", "operation").clone(), memory(policy, "variance", "edge").clone()
    learn(policy, bend, Sparsify(0.02, 0.03))
    h, scales = policy.layout.tables(bend)["normal"], policy.layout.tables(policy.alphas)["normal"]
    posterior = 1 / (1 / own + h / 0.02)
    omega = (1 / own - posterior / own.square()).abs().sqrt()
    torch.testing.assert_close(memory(policy, "price", "operation"), 0.02 * omega)
    joint = 1 / (omega / scales + 1 / memory(policy, "variance", "edge").unsqueeze(-1))
    torch.testing.assert_close(memory(policy, "variance", "operation"), joint)
    posterior = 1 / (1 / edge + h.sum(-1) / 0.03)
    omega_edge = (1 / edge - posterior / edge.square()).abs().sqrt()
    torch.testing.assert_close(memory(policy, "variance", "edge"), scales.norm(dim=-1) / omega_edge)
    charged = Relevance()(torch.zeros(2, dtype=torch.float64), policy, policy.alphas, Draw({}))
    normal = (0.02 * omega * scales).sum((1, 2)) + (0.03 * omega_edge * scales.norm(dim=-1)).sum(1)
    rest = sum(
        (memory(policy, "price", level, "reduce") * sizes).flatten(1).sum(1)
        for level, sizes in (
            ("operation", policy.layout.tables(policy.alphas)["reduce"]),
            ("edge", policy.layout.tables(policy.alphas)["reduce"].norm(dim=-1)),
        )
    )
    torch.testing.assert_close(charged, normal + rest)


def test_variances_and_prices_are_those_of_the_code():
    """BayesNAS/BayesNAS f55a71c, Algorithm.update at λ 0.01 and 0.005; an edge of one scale is as there."""
    policy = make_policy(small_space(["sep_conv_3x3"]), lanes=1, store=Table(1.0, 0.0), relaxation=Scales())
    Sparsify()(policy, [[]], None)
    scales = [0.9, 0.4, 0.05, 0.7]
    variances, bends = [0.9, 0.8, 0.1, 0.3], [0.5, 0.02, 0.3, 0.001]
    policy.alphas = torch.tensor([scales]).double()
    for name, place in (("normal", 0), ("reduce", 2)):
        start = torch.tensor(variances[place : place + 2]).double()
        policy.memory[f"relevance variance/operation/{name}"] = start.view(1, 2, 1)
    learn(policy, torch.tensor([bends]).double())
    expected = [1.0425720702853738, 0.8770580193070294, 2.738612787525831, 0.3115884764248786]
    joint = [0.3900353534988935, 0.2779243221682993, 0.017800653599183758, 0.5403702121268789]
    edge = 0.7115124735378854
    for name, place in (("normal", 0), ("reduce", 2)):
        prices = (memory(policy, "price", "operation", name) / 0.01).flatten().tolist()
        assert prices == pytest.approx(expected[place : place + 2], rel=1e-6)
        # There the edge's variance, learned from a scale of its own, is one for all operations.
        mine = 1 / memory(policy, "variance", "edge", name).flatten() - 1 / edge
        found = (1 / (1 / memory(policy, "variance", "operation", name).flatten() - mine)).tolist()
        assert found == pytest.approx(joint[place : place + 2], rel=1e-6)


@pytest.mark.parametrize(
    "name", [name for name in names("search_spaces") if skeletons.of(load_space(name)).edgewise]
)
def test_nothing_is_considered_that_no_curvature_can_price(name):
    without = resolve("bayes-nas").without
    options = {op for cell in load_space(name).cells for edge in cell.edges for op in edge.ops}
    assert {op for op in options if OPERATIONS[op].family == "none"} <= set(without)


def test_what_is_dead_is_not_charged(policy):
    learn(policy, torch.ones_like(policy.alphas), Sparsify(least=1e-9))
    charged = Relevance()(torch.zeros(2, dtype=torch.float64), policy, policy.alphas, Draw({}))
    policy.prune({name: mask & (torch.arange(4) != 2) for name, mask in policy.alive.items()})
    less = Relevance()(torch.zeros(2, dtype=torch.float64), policy, policy.alphas, Draw({}))
    assert bool((less < charged).all())
    policy.layout.tables(policy.alphas)["normal"][..., 2] = 100.0
    again = Relevance()(torch.zeros(2, dtype=torch.float64), policy, policy.alphas, Draw({}))
    assert torch.equal(again, less)


def test_more_curvature_means_a_smaller_variance(policy):
    found = []
    for height in (0.1, 1.0, 10.0):
        other = make_policy(relaxation=Scales())
        other.alphas = policy.alphas
        Sparsify()(other, [[], []], None)
        learn(other, torch.full_like(policy.alphas, height))
        found.append(memory(other, "variance", "operation"))
    assert bool((found[0] > found[1]).all())
    assert bool((found[1] > found[2]).all())


def test_the_irrelevant_dies_but_every_node_keeps_its_best_edges(policy):
    policy.alphas.fill_(1e-9)
    policy.layout.tables(policy.alphas)["normal"][:, 3, 2] = 1.0
    learn(policy, torch.ones_like(policy.alphas))
    alive = policy.alive["normal"]
    assert bool(alive[:, 3, 2].all())
    assert alive[:, :2].any(-1).sum(1).tolist() == [2, 2]
    assert alive[:, 2:].any(-1).sum(1).tolist() == [2, 2]
    assert int(alive.sum(-1).max()) == 1
    untouched = make_policy(small_space(), relaxation=Scales(), store=Table(1.0, 0.0))
    Sparsify()(untouched, [[], []], None)
    learn(untouched, torch.full_like(untouched.alphas, 1e-4))
    assert bool(untouched.alive["normal"].all())


def test_what_was_learned_belongs_to_the_state(policy):
    learn(policy, torch.ones_like(policy.alphas))
    other = make_policy(store=Table(mean=1.0, spread=0.0), relaxation=Scales())
    for lane in range(2):
        other.restore(lane, policy.state(lane))
    assert other.memory.keys() == policy.memory.keys()
    assert all(torch.equal(other.memory[name], tensor) for name, tensor in policy.memory.items())


@pytest.mark.slow
def test_a_search_learns_from_the_curvature_of_its_own_loss(make_search_config, build):
    """The diagonal against differences of the gradient; looking at it changes nothing."""
    config = make_search_config(method="bayes-nas", epochs=2, warmup=1, batch=16)
    search = Search(config, *build(config), dtype=torch.float64)
    search.advance()
    problem, evaluator = search.pack.problem, search.pack.evaluator
    before = search.state_dict()
    bends = evaluator.hessian_diagonal(1)
    assert torch.equal(evaluator.hessian_diagonal(1), bends)
    flat = problem.alphas.clone()
    for entry in (1, 7, 26):

        def slope(at, entry=entry):
            at = at.requires_grad_()
            return torch.autograd.grad(problem.loss_at_logits(evaluator.probe, at).sum(), at)[0][0, entry]

        step = torch.zeros_like(flat)
        step[0, entry] = 1e-5
        difference = (slope(flat + step) - slope(flat - step)) / 2e-5
        torch.testing.assert_close(bends[0, entry], difference, rtol=1e-4, atol=1e-8)
    assert all(torch.equal(before["policy"]["memory"][k], v[0]) for k, v in problem.policy.memory.items())
    search.advance()
    prices = [memory(problem.policy, "price", level) for level in ("operation", "edge")]
    assert all(bool((price >= 0).all()) and bool(price.any()) for price in prices)
    assert bool((problem.alphas >= 0).all())
