"""Samplers and perturbations: values, frequencies, and gradients against enumeration and closed forms."""

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space
from torch.autograd import grad

from raynas.bilevel.exchange import Draw
from raynas.parts.cell_samplers import Categorical, Pair, Projection
from raynas.parts.modifiers import EdgeNormalisation
from raynas.parts.perturbations import Attack, UniformNoise, project
from raynas.parts.relaxations import DirichletMean, ReluShare, Scales
from raynas.parts.samplers import Dirichlet, Gaussian, Gumbel, Mean
from raynas.spaces import skeletons
from raynas.spaces.library import names

ONE_HOT = [
    Gumbel(0.7, hard=True),
    Gumbel(0.7, hard=True, execute="chosen"),
    Categorical("none"),
    Categorical("score"),
    Categorical("straight-through"),
    Pair(),
]
DISTRIBUTIONS = [Mean(), Gaussian(), Gumbel(0.5), Gumbel(0.5, hard=True, samples=3), *ONE_HOT]


def many(sampler, lanes=20_000, **parts):
    """Return a policy whose lanes all have the same α: a draw is as many samples as there are lanes."""
    policy = make_policy(small_space(), lanes=lanes, sampler=sampler, **parts)
    row = torch.tensor([0.8, -0.4, 0.1], dtype=torch.float64)
    policy.alphas = row.repeat(policy.layout.rows).expand(lanes, -1).clone()
    return policy


def table(draw):
    return draw.weights["normal"]


@pytest.mark.parametrize("sampler", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_every_row_sums_to_one_over_what_is_alive(sampler, masked):
    policy = randomly(make_policy(sampler=sampler))
    if masked:
        alive = {name: mask.clone() for name, mask in policy.alive.items()}
        alive["normal"][:, 0, 1:3] = False
        alive["normal"][1, 2] = torch.tensor([False, True, False, False])
        alive["normal"][1, 3] = False
        policy.prune(alive)
    flat = policy.alphas.clone().requires_grad_()
    draw = policy.draw(flat)
    rows = table(draw)
    torch.testing.assert_close(rows.sum(-1), policy.masks["normal"].any(-1).double())
    assert bool((rows[~policy.masks["normal"]] == 0).all())
    if rows.requires_grad:
        assert bool(grad(rows.square().sum(), flat)[0].isfinite().all())


@pytest.mark.parametrize("sampler", ONE_HOT, ids=str)
def test_hard_samples_are_exactly_one_hot(sampler):
    rows = table(randomly(make_policy(sampler=sampler)).draw(randomly(make_policy()).alphas))
    assert bool(((rows == 0) | (rows == 1)).all())


@pytest.mark.parametrize("sampler", [*ONE_HOT[:-1], Gumbel(0.7)], ids=str)
def test_the_chosen_operation_has_the_relaxed_weight_as_probability(sampler):
    policy = many(sampler)
    chosen = table(policy.draw(policy.alphas)).argmax(-1).flatten()
    found = torch.bincount(chosen, minlength=3).double() / len(chosen)
    expected = table(policy.mean(policy.alphas))[0, 0]
    deviation = (expected * (1 - expected) / len(chosen)).sqrt()
    assert bool(((found - expected).abs() < 4 * deviation).all())


def test_temperature_sharpens_and_flattens():
    def largest(temperature):
        policy = many(Gumbel(temperature), lanes=500)
        return float(table(policy.draw(policy.alphas)).amax(-1).mean())

    assert largest(1e-3) > 0.995
    assert largest(1e3) == pytest.approx(1 / 3, abs=2e-3)


def test_a_linear_function_of_a_soft_sample_has_row_gradients_that_sum_to_zero():
    policy = randomly(make_policy(sampler=Gumbel(0.5)))
    flat = policy.alphas.clone().requires_grad_()
    rows = table(policy.draw(flat))
    slopes = grad((rows * torch.arange(rows.numel()).view_as(rows)).sum(), flat)[0]
    torch.testing.assert_close(
        policy.layout.tables(slopes)["normal"].sum(-1), torch.zeros(2, 5, dtype=torch.float64)
    )


def test_gdas_computes_one_operation_and_gives_every_logit_a_gradient():
    policy = randomly(make_policy(sampler=Gumbel(1.0, hard=True, execute="chosen")))
    flat = policy.alphas.clone().requires_grad_()
    draw = policy.draw(flat)
    assert torch.equal(draw.active["normal"], table(draw) > 0)
    assert bool((draw.active["normal"].sum(-1) == 1).all())
    assert bool((draw.offsets["normal"] == 0).all())
    outputs = torch.arange(20.0, dtype=torch.float64).view(1, 5, 4)
    loss = (table(draw) * outputs).sum() + 2.5 * draw.offsets["normal"].sum()
    slopes = policy.layout.tables(grad(loss, flat)[0])["normal"]
    assert bool((slopes.abs() > 0).all())
    torch.testing.assert_close(slopes.sum(-1), torch.zeros(2, 5, dtype=torch.float64))


def test_the_straight_through_gradient_is_that_of_the_soft_sample():
    outputs = torch.arange(20.0, dtype=torch.float64).view(1, 5, 4)
    slopes = []
    for hard in (False, True):
        policy = randomly(make_policy(sampler=Gumbel(0.6, hard=hard)))
        flat = policy.alphas.clone().requires_grad_()
        slopes.append(grad((table(policy.draw(flat)) * outputs).sum(), flat)[0])
    torch.testing.assert_close(slopes[0], slopes[1])


def test_one_sample_of_an_ensemble_is_a_straight_through_gumbel():
    """Value and gradient, written out: one-hot of the perturbed shares, the gradient of their softmax."""
    policy = many(Gumbel(0.7, hard=True, samples=1), lanes=3, relaxation=ReluShare())
    policy.alphas = policy.alphas.abs() + 0.2
    flat = policy.alphas.clone().requires_grad_()
    noise = [generator.clone_state() for generator in policy.dice.generators]
    drawn = policy.draw(flat).weights["normal"]
    [slopes] = torch.autograd.grad((drawn * torch.arange(drawn.shape[-1])).sum(), flat)
    policy.dice.generators[:] = noise
    again = policy.alphas.clone().requires_grad_()
    shares = policy.relax(again)["normal"]
    soft = ((shares.log() + policy.dice.gumbel(shares)) / 0.7).softmax(-1)
    assert torch.equal(drawn, torch.nn.functional.one_hot(soft.argmax(-1), soft.shape[-1]).to(drawn))
    [expected] = torch.autograd.grad((soft * torch.arange(soft.shape[-1])).sum(), again)
    torch.testing.assert_close(slopes, expected)


@pytest.mark.parametrize(
    ("noise", "weights", "expected"),
    [
        ([[0.3, 1.5, -0.2], [0.9, -0.4, 0.6]], [0.5, 0.5, 0.0], [0.20752484, -0.48774244, -0.00644824]),
        ([[0.3, 1.5, -0.2], [0.2, 1.1, 0.4]], [0.0, 1.0, 0.0], [0.41332349, -1.35421738, 0.22640062]),
    ],
)
def test_joined_samples_have_the_gradient_of_datas_code(noise, weights, expected):
    """XinbangZhang/DATA-NAS 29691ea, gumbel_sample, in the mean over both orders of the two samples."""
    sampler = Gumbel(1.0, hard=True, samples=2)
    policy = make_policy(small_space(), lanes=1, sampler=sampler, relaxation=ReluShare())
    flat = torch.tensor([1.2, 0.5, 0.8], dtype=torch.float64).repeat(4).view(1, -1).requires_grad_()
    drawn = iter(torch.tensor(noise, dtype=torch.float64).repeat(2, 1))
    policy.dice.gumbel = lambda like: next(drawn).expand_as(like)
    rows = table(policy.draw(flat))
    assert rows[0, 0].tolist() == pytest.approx(weights)
    slopes = grad((rows[0, 0] * torch.tensor([1.0, -2.0, 0.5])).sum(), flat)[0]
    assert slopes[0, :3].tolist() == pytest.approx(expected, abs=1e-7)


def test_several_samples_switch_on_at_most_as_many_operations():
    policy = many(Gumbel(1.0, hard=True, samples=2), lanes=2000, relaxation=ReluShare())
    rows = table(policy.draw(policy.alphas))
    count = (rows > 0).sum(-1)
    assert set(count.flatten().tolist()) == {1, 2}
    torch.testing.assert_close(rows, (rows > 0).double() / count.unsqueeze(-1))
    assert bool((rows[..., 1] == 0).all())


def test_dirichlet_draws_have_the_right_mean_and_variance():
    policy = many(Dirichlet(), relaxation=DirichletMean())
    rows = table(policy.draw(policy.alphas)).flatten(0, 1)
    logits = policy.alphas[0, :3]
    beta = torch.where(logits > 0, logits + 1, logits.exp())
    mean = beta / beta.sum()
    torch.testing.assert_close(rows.mean(0), mean, rtol=0, atol=5e-3)
    torch.testing.assert_close(rows.var(0), mean * (1 - mean) / (beta.sum() + 1), rtol=0, atol=3e-3)
    torch.testing.assert_close(table(policy.mean(policy.alphas))[0, 0], mean)


def test_the_pathwise_gradient_of_a_dirichlet_mean():
    """At α = 0, where β = 1: d E[c·A]/dβ = (c − mean c)/β_total, and dβ/dα = 1."""
    policy = many(Dirichlet(), relaxation=DirichletMean())
    policy.alphas.zero_()
    flat = policy.alphas.clone().requires_grad_()
    c = torch.tensor([1.0, -2.0, 4.0], dtype=torch.float64)
    slopes = policy.layout.tables(grad((table(policy.draw(flat)) * c).sum(), flat)[0])["normal"].flatten(0, 1)
    error = slopes.std(0) / len(slopes) ** 0.5
    assert bool(((slopes.mean(0) - (c - c.mean()) / 3).abs() < 4 * error).all())


def test_pruned_options_of_a_dirichlet_leave_a_dirichlet_of_the_rest():
    policy = many(Dirichlet(), relaxation=DirichletMean())
    alive = {name: mask.clone() for name, mask in policy.alive.items()}
    alive["normal"][..., 1] = False
    policy.prune(alive)
    rows = table(policy.draw(policy.alphas)).flatten(0, 1)
    assert bool((rows[:, 1] == 0).all())
    beta = torch.tensor([1.8, 1.1])
    assert float(rows[:, 0].mean()) == pytest.approx(float(beta[0] / beta.sum()), abs=5e-3)
    variance = beta.prod() / (beta.sum() ** 2 * (beta.sum() + 1))
    assert float(rows[:, 0].var()) == pytest.approx(float(variance), abs=3e-3)


def test_dirichlet_gradients_stay_finite_at_tiny_concentrations():
    policy = make_policy(sampler=Dirichlet(), relaxation=DirichletMean())
    policy.alphas.fill_(-12.0)
    flat = policy.alphas.float().requires_grad_()
    rows = table(policy.draw(flat))
    assert bool(rows.isfinite().all())
    assert bool(grad((rows * torch.arange(4.0)).sum(), flat)[0].isfinite().all())


def quadratic(weights):
    """A loss that is not linear in the weights, so that only the right estimators are unbiased."""
    return 2.0 * weights[..., 0] + weights[..., 1].square() - weights[..., 2] * 0.5


def exact_slope(policy):
    logits = policy.alphas[0, :3].clone().requires_grad_()
    expected = (logits.softmax(0) * quadratic(torch.eye(3, dtype=torch.float64))).sum()
    return grad(expected, logits)[0]


def test_the_score_gradient_of_a_draw_is_unbiased_for_losses_that_add_up():
    policy = many(Categorical("score"))
    flat = policy.alphas.clone().requires_grad_()
    costs = quadratic(torch.eye(3, dtype=torch.float64))
    loss = (table(policy.draw(flat)) * costs).sum()
    slopes = policy.layout.tables(grad(loss, flat)[0])["normal"].flatten(0, 1)
    error = slopes.std(0) / len(slopes) ** 0.5
    assert bool(((slopes.mean(0) - exact_slope(policy)).abs() < 4 * error).all())


def test_the_score_gradient_needs_only_the_drawn_operation():
    draw = randomly(make_policy(sampler=Categorical("score"))).draw(make_policy().alphas)
    assert torch.equal(draw.active["reduce"], draw.weights["reduce"] > 0)


def test_the_gate_gradient_is_proxyless_formula():
    """∂L/∂α_i = Σ_j g_j·p_j·(δ_ij − p_i) with g_j = ∂L/∂gate_j, whatever was drawn."""
    policy = randomly(make_policy(sampler=Categorical("straight-through")))
    flat = policy.alphas.clone().requires_grad_()
    gates = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    slopes = policy.layout.tables(grad((table(policy.draw(flat)) * gates).sum(), flat)[0])["normal"]
    p = policy.layout.tables(policy.alphas)["normal"].softmax(-1)
    expected = p * gates - p * (p * gates).sum(-1, keepdim=True)
    torch.testing.assert_close(slopes, expected)


def test_a_pair_learns_as_if_it_were_all_there_is():
    policy = randomly(make_policy(sampler=Pair()))
    flat = policy.alphas.clone().requires_grad_()
    draw = policy.draw(flat)
    pair = draw.active["normal"]
    assert bool((pair.sum(-1) == 2).all())
    assert bool((pair | (table(draw) == 0)).all())
    gates = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    slopes = policy.layout.tables(grad((table(draw) * gates).sum(), flat)[0])["normal"]
    logits = policy.layout.tables(policy.alphas)["normal"].masked_fill(~pair, -float("inf"))
    p = logits.softmax(-1)
    rests = table(draw)[..., :1] > 0  # `none`, the first option, is switched on
    expected = (p * gates - p * (p * gates).sum(-1, keepdim=True)).masked_fill(rests, 0.0)
    assert 0 < int(rests.sum()) < rests.numel()
    torch.testing.assert_close(slopes, expected)


def test_pairs_are_drawn_without_replacement_in_proportion():
    policy = many(Pair())
    pairs = policy.draw(policy.alphas).active["normal"].flatten(0, 1).double()
    p = policy.alphas[0, :3].softmax(0)
    missing = []
    for i in range(3):
        j, k = (other for other in range(3) if other != i)
        missing.append(p[j] * p[k] / (1 - p[j]) + p[k] * p[j] / (1 - p[k]))
    expected = 1 - torch.stack(missing)
    assert bool(
        ((pairs.mean(0) - expected).abs() < 4 * (expected * (1 - expected) / len(pairs)).sqrt()).all()
    )


def test_vim_noise_is_on_the_logits():
    policy = randomly(make_policy(sampler=Gaussian(2.0)))
    noise = torch.stack(
        [
            torch.randn(40, generator=torch.Generator().manual_seed(100 + lane), dtype=torch.float64)
            for lane in (0, 1)
        ]
    )
    expected = policy.layout.tables(policy.alphas + 2.0 * noise)["normal"].softmax(-1)
    torch.testing.assert_close(table(policy.draw(policy.alphas)), expected)
    assert not torch.equal(table(policy.draw(policy.alphas)), table(policy.draw(policy.alphas)))


def test_without_deviation_vim_noise_is_the_mean_bit_for_bit():
    policy = randomly(make_policy())
    assert torch.equal(table(policy.draw(policy.alphas, Gaussian(0.0))), table(policy.mean(policy.alphas)))


def test_learned_noise_is_multiplicative_and_learns_its_variance():
    policy = randomly(make_policy(sampler=Gaussian(learned=True)))
    policy.alphas[:, policy.layout.entries :] = -50.0
    torch.testing.assert_close(table(policy.draw(policy.alphas)), table(policy.mean(policy.alphas)))
    policy.alphas[:, policy.layout.entries :] = 0.0
    flat = policy.alphas.clone().requires_grad_()
    slopes = grad(table(policy.draw(flat))[..., 0].sum(), flat)[0]
    assert bool((policy.layout.column(slopes, "log variance")["normal"] != 0).all())


def test_nasp_keeps_the_best_edges_with_one_operation_each():
    policy = randomly(make_policy("darts", relaxation=Scales(), sampler=Projection()))
    flat = policy.alphas.clone().requires_grad_()
    rows = table(policy.draw(flat))
    on = rows > 0
    assert bool((on.sum(-1) <= 1).all())
    nodes = torch.tensor(policy.layout.nodes["normal"])
    for node in range(2, 6):
        assert (on[:, nodes == node].sum((1, 2)) == 2).all()
        logits = policy.layout.tables(policy.alphas)["normal"][:, nodes == node].amax(-1)
        best = logits.topk(2, dim=1).indices.sort(dim=1).values
        assert torch.equal(on[:, nodes == node].any(-1).nonzero()[:, 1].view(2, 2), best)
    slopes = grad((rows * 3.0).sum(), flat)[0]
    assert bool((policy.layout.tables(slopes)["normal"] == 3.0).all())
    again = make_policy("darts", relaxation=Scales(), sampler=Projection())
    projected = policy.draw(policy.alphas).weights
    again.alphas = torch.cat([rows.flatten(1) for rows in projected.values()], 1)
    assert torch.equal(table(again.draw(again.alphas)), projected["normal"])
    assert torch.equal(table(policy.mean(policy.alphas)), projected["normal"])


def test_nasp_breaks_ties_by_index_and_skips_the_rest_in_weight_steps():
    policy = make_policy(relaxation=Scales(), sampler=Projection(execute="chosen"))
    policy.alphas.fill_(0.5)
    draw = policy.draw(policy.alphas)
    assert table(draw)[0].nonzero().tolist() == [[0, 0], [1, 0], [2, 0], [3, 0]]
    assert torch.equal(draw.active["normal"], table(draw) > 0)


# Perturbations


def test_projection_back_on_the_simplex():
    noisy = torch.tensor([[0.5, 0.7, -0.2], [-0.1, -0.2, -0.3], [2.0, 0.5, 9.0]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True], [True, True, True], [True, True, False]])
    expected = [[0.5 / 1.2, 0.7 / 1.2, 0.0], [1.0, 0.0, 0.0], [1 / 1.5, 0.5 / 1.5, 0.0]]
    torch.testing.assert_close(project(noisy, mask), torch.tensor(expected, dtype=torch.float64))


def bowl(scale):
    """A loss in the weights with a slope everywhere."""

    def loss(tables):
        return sum(
            ((rows - 0.4) * scale).square().flatten(1).sum(1) + rows[..., 0].sum(1)
            for rows in tables.values()
        )

    return loss


@pytest.mark.parametrize("perturb", [UniformNoise(0.0), Attack(0.0)], ids=str)
def test_without_epsilon_a_perturbation_is_the_mean_bit_for_bit(perturb):
    policy = randomly(make_policy())
    state = [g.get_state() for g in policy.dice.generators]
    draw = policy.draw(policy.alphas, perturb, bowl(1.0))
    assert torch.equal(table(draw), table(policy.mean(policy.alphas)))
    assert all(torch.equal(g.get_state(), s) for g, s in zip(policy.dice.generators, state, strict=True))


@pytest.mark.parametrize("perturb", [UniformNoise(0.1), Attack(0.1)], ids=str)
def test_perturbed_weights_are_near_the_mean_and_on_the_simplex(perturb):
    policy = randomly(make_policy())
    before = policy.alphas.clone()
    rows, clean = table(policy.draw(policy.alphas, perturb, bowl(1.0))), table(policy.mean(policy.alphas))
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert float(rows.min()) >= 0
    assert not torch.equal(rows, clean)
    assert bool((rows <= (clean + 0.1) / (1 - 4 * 0.1) + 1e-12).all())
    assert bool((rows >= (clean - 0.1) / (1 + 4 * 0.1) - 1e-12).all())
    assert torch.equal(policy.alphas, before)


def test_an_attack_ascends_more_than_chance_does():
    loss = bowl(2.0)
    gains = {Attack: 0.0, UniformNoise: 0.0}
    for seed in range(50):
        policy = randomly(make_policy(seed=seed), seed=seed)
        clean = loss(policy.relax(policy.alphas))
        for kind in gains:
            noisy = loss(policy.draw(policy.alphas, kind(0.1), loss).weights)
            gains[kind] += float((noisy - clean).mean())
            if kind is Attack:
                assert bool((noisy >= clean).all())
    assert gains[Attack] > 5 * abs(gains[UniformNoise])


def test_a_lane_whose_loss_fell_keeps_its_mean_weights():
    """The second lane's loss is largest at the mean weights, where no step of a fixed size ends."""
    policy = randomly(make_policy())
    middle = policy.relax(policy.alphas)

    def loss(tables):
        away = sum((rows - middle[name]).square().flatten(1).sum(1) for name, rows in tables.items())
        return torch.stack([bowl(2.0)(tables)[0], -away[1]])

    draw, clean = policy.draw(policy.alphas, Attack(0.2), loss), policy.mean(policy.alphas)
    assert not torch.equal(table(draw)[0], table(clean)[0])
    assert torch.equal(table(draw)[1], table(clean)[1])


def test_an_attack_leaves_no_gradient_behind_and_needs_a_loss():
    policy = randomly(make_policy())
    parameter = torch.ones(1, dtype=torch.float64, requires_grad=True)
    draw = policy.draw(policy.alphas, Attack(0.2), lambda tables: bowl(1.0)(tables) * parameter)
    assert parameter.grad is None
    assert not table(draw).requires_grad
    with pytest.raises(TypeError, match="loss"):
        policy.draw(policy.alphas, Attack(0.2))


def test_modifiers_come_after_a_perturbation():
    policy = randomly(make_policy(modifiers=(EdgeNormalisation(),)))
    draw = policy.draw(policy.alphas, UniformNoise(0.2))
    assert isinstance(draw, Draw)
    torch.testing.assert_close(table(draw).sum(-1), draw.carry["normal"])


@pytest.mark.parametrize("sampler", [*DISTRIBUTIONS, Dirichlet(), UniformNoise(0.2)], ids=str)
@pytest.mark.parametrize("name", sorted(names("search_spaces")))
def test_every_space_can_be_sampled(sampler, name):
    policy = randomly(make_policy(name, sampler=sampler))
    draw = policy.draw(policy.alphas)
    for group in skeletons.groups(policy.space):
        rows = draw.weights[group.name]
        torch.testing.assert_close(rows.sum(-1), torch.ones(2, len(group.rows), dtype=torch.float64))
        assert bool((rows.masked_select(~policy.masks[group.name]) == 0).all())
