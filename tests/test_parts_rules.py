"""Update rules for α: against PyTorch's optimisers and plain code; what may not move does not."""

import math
from itertools import pairwise

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space

from raynas.parts.cell_samplers import Categorical, Pair
from raynas.parts.relaxations import Scales
from raynas.parts.rules import AdamRule, Adaptive, Clamp, ClipNorm, KeepMass, Proximal, SgdRule
from raynas.parts.stores import Table

RULES = [AdamRule(), AdamRule((0.0, 0.999), (ClipNorm(),), (Clamp(),)), SgdRule(), Proximal()]


def column(*values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


def gradients(policy, count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(policy.alphas.shape, generator=generator, dtype=torch.float64) for _ in range(count)]


@pytest.mark.parametrize("rule", [AdamRule((0.5, 0.999)), SgdRule(0.9)], ids=str)
def test_rules_do_what_pytorchs_optimisers_do(rule):
    policy = randomly(make_policy())
    parameter = torch.nn.Parameter(policy.alphas[1].clone())
    theirs = (
        torch.optim.Adam([parameter], 0.03, betas=(0.5, 0.999), weight_decay=0.1)
        if isinstance(rule, AdamRule)
        else torch.optim.SGD([parameter], 0.03, momentum=0.9, weight_decay=0.1)
    )
    mover = rule.start(policy, column(0.1, 0.03), column(0.0, 0.1))
    for gradient in gradients(policy, 5):
        mover.step(gradient)
        parameter.grad = gradient[1].clone()
        theirs.step()
    torch.testing.assert_close(policy.alphas[1], parameter.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rule", [*RULES, Adaptive()], ids=str)
def test_a_restored_rule_goes_on_bit_for_bit(rule):
    def build():
        return make_policy(store=Table(start_from="uniform"), relaxation=Scales())

    policy = build()
    mover = rule.start(policy, column(0.1, 0.2), column(0.0, 1e-3))
    steps = gradients(policy, 4)
    for gradient in steps[:2]:
        mover.step(gradient)
    states = [(mover.state(lane), policy.state(lane)) for lane in range(2)]
    for gradient in steps[2:]:
        mover.step(gradient)
    other = build()
    again = rule.start(other, column(0.1, 0.2), column(0.0, 1e-3))
    for lane, (mine, its) in enumerate(states):
        again.restore(lane, mine)
        other.restore(lane, its)
    for gradient in steps[2:]:
        again.step(gradient)
    assert torch.equal(other.alphas, policy.alphas)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_is_decided_or_dead_is_bit_frozen(rule):
    policy = randomly(make_policy())
    mover = rule.start(policy, column(0.1, 0.1), column(0.5, 0.5))
    first, *rest = gradients(policy, 4)
    mover.step(first)
    alive = {name: mask.clone() for name, mask in policy.alive.items()}
    alive["normal"][:, 1] = torch.tensor([False, False, False, True])
    alive["normal"][0, 2, 0] = False
    policy.prune(alive)
    before = policy.layout.tables(policy.alphas.clone())["normal"]
    for gradient in rest:
        mover.step(gradient)
    after = policy.layout.tables(policy.alphas)["normal"]
    assert torch.equal(after[:, 1], before[:, 1])
    assert torch.equal(after[0, 2, 0], before[0, 2, 0])
    assert not torch.equal(after[1, 2], before[1, 2])


def test_clipping_and_the_box():
    policy = randomly(make_policy())
    rule = AdamRule(before=(ClipNorm(0.5),), after=(Clamp(0.0, 1.0),))
    mover = rule.start(policy, column(10.0, 10.0), column(0.0, 0.0))
    huge = gradients(policy, 1)[0]
    assert ClipNorm(0.5)(huge).norm(dim=1).tolist() == pytest.approx([0.5, 0.5])
    mover.step(huge)
    assert float(policy.alphas.min()) == 0
    assert float(policy.alphas.max()) == 1


def test_a_step_on_a_pair_leaves_all_other_probabilities_alone():
    policy = randomly(make_policy(sampler=Pair()))
    rule = AdamRule((0.0, 0.999), after=(KeepMass(),))
    mover = rule.start(policy, column(0.5, 0.5), column(0.0, 0.0))
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        before = policy.mean(policy.alphas).weights["normal"]
        old = policy.layout.tables(policy.alphas.clone())["normal"]
        flat = policy.alphas.clone().requires_grad_()
        draw = policy.draw(flat)
        gates = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
        pair = draw.active["normal"]
        mover.step(torch.autograd.grad((draw.weights["normal"] * gates).sum(), flat)[0])
        after = policy.mean(policy.alphas).weights["normal"]
        moved = policy.layout.tables(policy.alphas)["normal"] != old
        assert torch.equal(moved, pair & (draw.weights["normal"][..., :1] == 0))  # `none` teaches nothing
        torch.testing.assert_close(after[~pair], before[~pair])
        assert float((after - before).abs().max()) > 1e-3


def shrink(momentum, steps):
    policy = make_policy(store=Table(1.0, 0.0), relaxation=Scales(), lanes=1)
    mover = Proximal(0.001, momentum).start(policy, column(0.1), column(0.0))
    path = [1.0]
    for _ in range(steps):
        mover.step(torch.zeros_like(policy.alphas))
        path.append(float(policy.alphas[0, 0]))
    return path


def test_the_proximal_rule_shrinks_to_exact_zeros():
    plain, nesterov = shrink(0.0, 100), shrink(0.9, 1500)
    assert plain[100] == pytest.approx(0.99)
    assert nesterov[100] == pytest.approx(0.908, abs=5e-4)
    assert nesterov[1500] == 0
    for path in (plain, nesterov):
        assert all(a >= b >= 0 for a, b in pairwise(path))


def test_a_zero_scale_stays_zero_under_small_gradients_and_leaves_under_large_ones():
    policy = make_policy(store=Table(0.0, 0.0), relaxation=Scales(), lanes=1)
    mover = Proximal(0.001).start(policy, column(0.1), column(0.0))
    for sign in (1, -1):
        mover.step(torch.full_like(policy.alphas, sign * 0.0009))
        assert not policy.alphas.any()
    mover.step(torch.full_like(policy.alphas, -0.01))
    assert bool((policy.alphas > 0).all())


def asng(theta, draws, losses, state, alpha=1.5):
    """Update one lane's rows of probabilities as the published algorithm says, in plain loops."""
    s, gamma, delta_big = state
    free = sum(len(row) - 1 for row in theta)
    delta = 1 / delta_big
    beta = min(delta / math.sqrt(free), 1)
    utility = [0.0, 0.0] if losses[0] == losses[1] else [1.0, -1.0] if losses[0] < losses[1] else [-1.0, 1.0]
    natural = [
        [
            sum(u * (draw[i][k] - theta[i][k]) for u, draw in zip(utility, draws, strict=True)) / 2
            for k in range(len(row))
        ]
        for i, row in enumerate(theta)
    ]
    white = []
    for (*gs, _), (*ts, last) in zip(natural, theta, strict=True):
        more = sum(gs) / (last + math.sqrt(last))
        white.append([g / math.sqrt(t) + math.sqrt(t) * more for g, t in zip(gs, ts, strict=True)])
    norm = math.sqrt(sum(w * w for row in white for w in row))
    if norm == 0:
        return theta, state
    theta = [
        [t + delta * g / norm for t, g in zip(ts, gs, strict=True)]
        for ts, gs in zip(theta, natural, strict=True)
    ]
    s = [
        [(1 - beta) * a + math.sqrt(beta * (2 - beta)) * w / norm for a, w in zip(old, new, strict=True)]
        for old, new in zip(s, white, strict=True)
    ]
    gamma = (1 - beta) ** 2 * gamma + beta * (2 - beta)
    delta_big *= math.exp(beta * (gamma - sum(a * a for row in s for a in row) / alpha))
    rows = []
    for row in theta:
        floor = 1 / (len(theta) * (len(row) - 1))
        lifted = [max(t, floor) for t in row]
        excess, above = sum(lifted) - 1, sum(t - floor for t in lifted)
        rows.append([t - excess * (t - floor) / above for t in lifted])
    return rows, (s, gamma, delta_big)


def test_the_adaptive_rule_is_asng():
    policy = make_policy(
        small_space(), lanes=1, store=Table(start_from="uniform"), relaxation=Scales(), sampler=Categorical()
    )
    mover = Adaptive().start(policy, column(0.0), column(0.0))
    theta = [[1 / 3] * 3 for _ in range(4)]
    state = ([[0.0] * 2 for _ in range(4)], 0.0, 1.0)
    prices = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    for _ in range(80):
        draws = [torch.cat(list(policy.draw(policy.alphas).weights.values()), 1)[0] for _ in range(2)]
        losses = [float((draw @ prices).sum()) for draw in draws]
        flat = policy.alphas.view(4, 3)
        sign = (losses[1] > losses[0]) - (losses[1] < losses[0])
        gradient = -sum(u * (draw - flat) for u, draw in zip((sign, -sign), draws, strict=True)) / 2
        mover.step(gradient.view(1, 12))
        theta, state = asng(theta, [draw.tolist() for draw in draws], losses, state)
        torch.testing.assert_close(policy.alphas.view(4, 3), torch.tensor(theta, dtype=torch.float64))
    rows = policy.alphas.view(4, 3)
    torch.testing.assert_close(rows.sum(1), torch.ones(4, dtype=torch.float64))
    assert float(rows.min()) >= 1 / (4 * 2) - 1e-12
    assert bool((rows.argmax(1) == 0).all())


def test_the_adaptive_rule_gives_the_numbers_of_asngs_code():
    """Those of shirakawas/ASNG-NAS a13c482 after 30 updates on the same draws and losses."""
    policy = make_policy(small_space(), lanes=1, store=Table(start_from="uniform"), relaxation=Scales())
    mover = Adaptive().start(policy, column(0.0), column(0.0))
    for step in range(30):
        picks = [[(7 * step + 3 * i * i + 5 * draw + step * i) % 3 for i in range(4)] for draw in (0, 1)]
        losses = [sum((i + 1) * pick for i, pick in enumerate(each)) for each in picks]
        good, bad = sorted((0, 1), key=lambda draw: losses[draw])
        drawn = torch.eye(3, dtype=torch.float64)[torch.tensor(picks)]
        away = (drawn[good] - drawn[bad]) * (losses[0] != losses[1])
        mover.step(-away.view(1, 12) / 2)
    expected = [[0.603083344059, 0.271916655941, 0.125], [0.75, 0.125, 0.125]]
    expected += [[0.125, 0.140103691213, 0.734896308787], [0.603083344059, 0.271916655941, 0.125]]
    torch.testing.assert_close(policy.alphas.view(4, 3), torch.tensor(expected).double(), rtol=0, atol=1e-7)
    assert float(mover.state(0)["delta"]) == pytest.approx(0.7980660796282054, rel=1e-12)


def test_equal_losses_leave_the_distribution_alone():
    policy = make_policy(store=Table(start_from="uniform"), relaxation=Scales())
    before = policy.alphas.clone()
    mover = Adaptive().start(policy, column(0.0, 0.0), column(0.0, 0.0))
    mover.step(torch.zeros_like(before))
    assert torch.equal(policy.alphas, before)
    assert not mover.state(0)["path"].any()
