"""The policy: where α's numbers are, what is alive, what may move, and its state."""

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space

from raynas.bilevel.layout import Layout
from raynas.bilevel.progress import Progress
from raynas.parts.modifiers import EdgeNormalisation
from raynas.parts.relaxations import Scales, Softmax
from raynas.parts.samplers import Gaussian, Gumbel
from raynas.parts.schedules import Exponential, Linear
from raynas.parts.stores import Generator, Table
from raynas.spaces.library import load_space


def test_flat_logits_are_tables_group_by_group_then_one_number_a_row():
    layout = Layout(load_space("tiny"), ["edge", "other"])
    flat = torch.arange(2.0 * layout.numbers).view(2, -1)
    tables, edges, others = layout.tables(flat), layout.column(flat, "edge"), layout.column(flat, "other")
    assert layout.numbers == 2 * 5 * 4 + 2 * 2 * 5
    assert tables["normal"].shape == (2, 5, 4)
    pieces = [*(t.flatten(1) for t in tables.values()), *edges.values(), *others.values()]
    assert torch.equal(torch.cat(pieces, 1), flat)


def test_uneven_rows_are_padded_and_never_alive():
    uneven = small_space(edges={"0->2": ["skip_connect"], "1->2": ["skip_connect", "sep_conv_3x3"]})
    policy = randomly(make_policy(uneven))
    [weights, _] = policy.mean(policy.alphas).weights.values()
    assert policy.layout.masks["normal"].tolist() == [[True, False], [True, True]]
    assert weights[0, 0].tolist() == [1.0, 0.0]
    policy.prune({name: torch.ones_like(mask) for name, mask in policy.alive.items()})
    assert not bool(policy.masks["normal"][:, 0, 1].any())


def test_darts_starts_from_a_thousandth_of_a_normal_draw_and_weighs_by_softmax():
    policy = make_policy("tiny")
    draws = [torch.Generator().manual_seed(seed) for seed in range(2)]
    numbers = policy.layout.entries
    expected = torch.stack([1e-3 * torch.randn(numbers, generator=g, dtype=torch.float64) for g in draws])
    assert torch.equal(policy.alphas, expected)
    mean = policy.mean(policy.alphas)
    for name, table in policy.layout.tables(expected).items():
        assert torch.equal(mean.weights[name], table.softmax(-1))
    assert mean.active is None


@pytest.mark.parametrize(
    "extra", [{"modifiers": (EdgeNormalisation(),)}, {"sampler": Gaussian(learned=True)}]
)
def test_what_else_is_learned_does_not_move_the_operations_logits(extra):
    plain, more = make_policy(), make_policy(**extra)
    assert more.alphas.shape[1] == plain.alphas.shape[1] + 10
    assert torch.equal(more.alphas[:, : plain.alphas.shape[1]], plain.alphas)


def test_masked_rows_sum_to_one_and_dead_rows_are_zero():
    policy = randomly(make_policy())
    alive = {name: mask.clone() for name, mask in policy.alive.items()}
    alive["normal"][0, 0] = torch.tensor([False, True, True, False])
    alive["normal"][1, 1] = False
    policy.prune(alive)
    flat = policy.alphas.clone().requires_grad_()
    draw = policy.mean(flat)
    rows = draw.weights["normal"]
    total = torch.ones(2, 5, dtype=torch.float64)
    total[1, 1] = 0
    torch.testing.assert_close(rows.sum(-1), total)
    assert bool((rows[~policy.masks["normal"]] == 0).all())
    logits = policy.layout.tables(policy.alphas)["normal"][0, 0, 1:3]
    torch.testing.assert_close(rows[0, 0, 1:3], logits.softmax(0))
    gradient = torch.autograd.grad(rows.square().sum(), flat)[0]
    assert bool(gradient.isfinite().all())
    assert draw.active is not None
    assert torch.equal(draw.active["normal"], policy.alive["normal"])


def test_without_takes_operations_out_from_the_start():
    policy = make_policy(without=("none",))
    weights = policy.mean(policy.alphas).weights["normal"]
    assert bool((weights[..., 0] == 0).all())
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))


def test_what_may_move():
    shift_free, free = make_policy(), make_policy(relaxation=Scales())
    assert shift_free.live is None
    for policy in (shift_free, free):
        alive = {name: mask.clone() for name, mask in policy.alive.items()}
        alive["reduce"][0, 2] = torch.tensor([False, False, True, False])
        alive["reduce"][1, 3] = False
        policy.prune(alive)
    decided = {
        name: mask.view(2, 5, 4) for name, mask in zip(("n", "r"), shift_free.live.chunk(2, 1), strict=True)
    }
    assert bool(decided["n"].all())
    assert not bool(decided["r"][0, 2].any())
    assert free.live.chunk(2, 1)[1].view(2, 5, 4)[0, 2].tolist() == [False, False, True, False]
    for policy in (shift_free, free):
        assert int((~policy.live[1]).sum()) == 4
    generated = make_policy(store=Generator())
    generated.prune(alive)
    assert generated.live is None


def test_schedules_become_numbers_at_the_start_of_an_epoch():
    policy = make_policy(relaxation=Softmax(Exponential(1.6, 0.95)), sampler=Gumbel(Linear(1, 0.1)))
    policy.begin(Progress(10, 50))
    assert policy.relaxation.temperature == pytest.approx(1.6 * 0.95**10)
    assert policy.sampler.temperature == pytest.approx(1 - 0.9 * 10 / 49)
    flat = policy.logits(policy.alphas)
    expected = (policy.layout.tables(flat)["normal"] / policy.relaxation.temperature).softmax(-1)
    torch.testing.assert_close(policy.mean(flat).weights["normal"], expected)


@pytest.mark.parametrize("store", [Table(), Generator()])
def test_a_restored_policy_draws_what_it_would_have_drawn(store):
    def build():
        return make_policy(store=store, sampler=Gaussian(), seed=3)

    policy = build()
    policy.draw(policy.alphas)
    alive = {name: mask.clone() for name, mask in policy.alive.items()}
    alive["normal"][1, 0, 0] = False
    policy.prune(alive)
    policy.alphas += 0.1
    states = [policy.state(lane) for lane in range(2)]
    expected = policy.draw(policy.alphas)
    other = build()
    for lane, state in enumerate(states):
        other.restore(lane, state)
    found = other.draw(other.alphas)
    for name, weights in expected.weights.items():
        assert torch.equal(found.weights[name], weights)
        assert torch.equal(found.active[name], expected.active[name])


def test_a_lane_draws_what_it_draws_alone():
    pack = make_policy(sampler=Gumbel(), lanes=3)
    alone = make_policy(sampler=Gumbel(), lanes=1, seed=2)
    for _ in range(3):
        together, single = pack.draw(pack.alphas), alone.draw(alone.alphas)
    assert torch.equal(together.weights["reduce"][2], single.weights["reduce"][0])


def test_random_numbers_are_what_their_names_say():
    dice = make_policy(lanes=1).dice
    like = torch.zeros(1, 40_000, dtype=torch.float64)
    uniform, normal, gumbel = dice.uniform(like), dice.normal(like), dice.gumbel(like)
    assert float(uniform.min()) > 0
    assert float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.006)
    assert float(normal.std()) == pytest.approx(1, abs=0.015)
    assert float(gumbel.mean()) == pytest.approx(0.5772, abs=0.026)
    assert float(gumbel.var()) == pytest.approx(torch.pi**2 / 6, abs=0.08)
