"""Relaxations against plain formulas; edge normalisation."""

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space

from raynas.parts.modifiers import EdgeNormalisation
from raynas.parts.relaxations import DirichletMean, MaxWeight, ReluShare, Scales, Sigmoid, Softmax

EVERY = [
    Softmax(),
    Softmax(0.3),
    MaxWeight(),
    MaxWeight(detach=True),
    Sigmoid(),
    Scales(),
    ReluShare(),
    DirichletMean(),
]


@pytest.fixture
def logits():
    return torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


FULL = torch.ones(3, 4, dtype=torch.bool)


@pytest.mark.parametrize("relax", EVERY, ids=str)
def test_masked_entries_are_zero_and_give_no_gradient(relax, logits):
    mask = FULL.clone()
    mask[0, 1] = mask[2] = False
    logits.requires_grad_()
    weights = relax(logits, mask)
    assert bool((weights[:, ~mask] == 0).all())
    gradient = torch.autograd.grad(weights.square().sum(), logits)[0]
    assert bool(gradient.isfinite().all())
    assert bool((gradient[:, ~mask] == 0).all())
    rest = torch.tensor([0, 2, 3])
    torch.testing.assert_close(weights[:, 0, rest], relax(logits[:, :1, rest], FULL[:1, rest])[:, 0])


@pytest.mark.parametrize("relax", EVERY, ids=str)
def test_shift_free_is_what_it_says(relax, logits):
    moved = relax(logits + 0.7, FULL)
    assert torch.allclose(moved, relax(logits, FULL), atol=1e-12) == relax.shift_free


@pytest.mark.parametrize("relax", [Softmax(), Softmax(3), ReluShare(), DirichletMean()], ids=str)
def test_distributions_sum_to_one(relax, logits):
    torch.testing.assert_close(relax(logits, FULL).sum(-1), torch.ones(2, 3, dtype=torch.float64))
    torch.testing.assert_close(relax(-logits.abs(), FULL).sum(-1), torch.ones(2, 3, dtype=torch.float64))


def test_formulas(logits):
    assert torch.equal(Softmax()(logits, FULL), logits.softmax(-1))
    torch.testing.assert_close(Softmax(0.5)(logits, FULL), (2 * logits).softmax(-1))
    assert torch.equal(Sigmoid()(logits, FULL), logits.sigmoid())
    assert torch.equal(Scales()(logits, FULL), logits)
    beta = torch.where(logits > 0, logits + 1, logits.exp())
    torch.testing.assert_close(DirichletMean()(logits, FULL), beta / beta.sum(-1, keepdim=True))
    some = logits - logits.median(-1, keepdim=True).values
    positive = some.clamp(min=0)
    torch.testing.assert_close(ReluShare()(some, FULL), positive / positive.sum(-1, keepdim=True))
    assert torch.equal(ReluShare()(-logits.abs(), FULL), torch.full_like(logits, 0.25))


def test_max_weight_lifts_the_leader_to_one(logits):
    weights = MaxWeight()(logits, FULL)
    torch.testing.assert_close(weights.amax(-1), torch.ones(2, 3, dtype=torch.float64))
    assert torch.equal(weights.argmax(-1), logits.argmax(-1))
    assert torch.equal(MaxWeight()(torch.zeros(1, 3, 4), FULL), torch.ones(1, 3, 4))


def test_max_weight_gives_its_leader_the_others_gradient_unless_detached(logits):
    """1 − max + p has no slope in the leader's own probability; detached, every one has its own."""
    probabilities = logits.softmax(-1)
    for detach in (False, True):
        at = logits.clone().requires_grad_()
        leader = MaxWeight(detach)(at, FULL).amax(-1).sum()
        gradient = torch.autograd.grad(leader, at)[0]
        best = probabilities.amax(-1, keepdim=True)
        one = (probabilities == best).double()
        expected = best * (one - probabilities) if detach else torch.zeros_like(logits)
        torch.testing.assert_close(gradient, expected)


def test_fair_darts_operations_do_not_compete(logits):
    at = logits[:, 0, 0].clone().requires_grad_()
    table = torch.cat([at.view(2, 1, 1), logits[:, :1, 1:]], -1)
    weights = Sigmoid()(table, FULL[:1])
    assert not torch.autograd.grad(weights[..., 1:].sum(), at, allow_unused=True)[0].any()


def test_edge_normalisation_weighs_incoming_edges_by_their_softmax():
    policy = randomly(make_policy(modifiers=(EdgeNormalisation(),)))
    draw = policy.mean(policy.alphas)
    plain = policy.relax(policy.alphas)
    betas = policy.layout.column(policy.alphas, "edge")["normal"]
    shares = torch.cat([betas[:, :2].softmax(1), betas[:, 2:].softmax(1)], 1)
    torch.testing.assert_close(draw.carry["normal"], shares)
    torch.testing.assert_close(draw.weights["normal"], plain["normal"] * shares.unsqueeze(-1))


def test_equal_edges_are_darts_divided_by_the_number_of_incoming_edges():
    policy = randomly(make_policy(modifiers=(EdgeNormalisation(),)))
    policy.alphas[:, policy.layout.entries :] = 0.3
    draw, plain = policy.mean(policy.alphas), policy.relax(policy.alphas)
    count = torch.tensor([2, 2, 3, 3, 3]).view(1, 5, 1)
    torch.testing.assert_close(draw.weights["reduce"], plain["reduce"] / count)


def test_dead_edges_take_no_part_in_edge_normalisation():
    policy = randomly(make_policy(small_space(nodes=2), modifiers=(EdgeNormalisation(),)))
    alive = {name: mask.clone() for name, mask in policy.alive.items()}
    alive["normal"][0, 3] = False
    alive["normal"][1, :2] = False
    policy.prune(alive)
    shares = policy.mean(policy.alphas).carry["normal"]
    assert shares[0, 3] == 0
    assert float(shares[0, 2:].sum()) == pytest.approx(1)
    assert shares[1, :2].tolist() == [0, 0]
    assert bool(shares.isfinite().all())
