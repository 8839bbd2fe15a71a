"""What is learned: tables and VIM-NAS' generator."""

import pytest
import torch
import torch.nn.functional as F
from helpers.policies import make_policy
from torch.autograd import grad

from raynas.parts.modifiers import EdgeNormalisation
from raynas.parts.relaxations import Scales
from raynas.parts.samplers import Gaussian, Mean
from raynas.parts.stores import Generator, Table


def logits(policy, alphas=None):
    flat = policy.logits(policy.alphas if alphas is None else alphas)
    return policy.layout.tables(flat)["normal"]


def test_a_table_starts_at_its_mean_with_its_spread():
    many = make_policy("darts", lanes=20, store=Table(mean=1.0, spread=0.01)).alphas
    assert float(many.mean()) == pytest.approx(1.0, abs=1e-3)
    assert float(many.std()) == pytest.approx(0.01, rel=0.05)
    assert bool((make_policy(store=Table(0.5, 0.0)).alphas == 0.5).all())


def test_a_uniform_table_is_a_distribution_over_what_is_alive():
    policy = make_policy(store=Table(start_from="uniform"), relaxation=Scales(), without=("none",))
    assert logits(policy)[0, 0].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])


def test_the_generator_has_the_published_number_of_parameters_and_shape():
    policy = make_policy("darts", store=Generator())
    assert policy.alphas.shape == (2, 2 * 549)
    assert logits(policy).shape == (2, 14, 8)
    assert [len(Generator(hidden)._widths()) for hidden in ((), (14,), (14,) * 4)] == [1, 2, 5]


@pytest.mark.parametrize("last", ["plain", "norm", "block"])
def test_the_generator_is_two_convolutions_with_relus_and_batch_norms(last):
    policy = make_policy("darts", store=Generator(last=last))
    noise = policy.memory["generator input/normal"][1]
    numbers = policy.alphas[1, :549]
    x = noise.unsqueeze(0)
    for inputs, outputs in ((3, 14), (14, 1)):
        size = outputs * inputs * 9
        kernel, bias, numbers = numbers[:size], numbers[size : size + outputs], numbers[size + 3 * outputs :]
        x = F.conv2d(x, kernel.view(outputs, inputs, 3, 3), bias, padding=1)
        x = F.relu(x) if outputs > 1 or last == "block" else x
        if outputs > 1 or last != "plain":
            mean, variance = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)
            x = (x - mean) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(logits(policy)[1], x[0, 0])


@pytest.mark.parametrize("last", ["norm", "block"])
def test_normalised_logits_start_with_mean_zero_and_deviation_one(last):
    many = logits(make_policy("darts", lanes=50, store=Generator(last=last)))
    torch.testing.assert_close(many.mean((1, 2)), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(many.std((1, 2)), torch.ones(50, dtype=torch.float64), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("last", "ties"), [("plain", {}), ("block", {"s2": 0.251, "tiny": 0.071, "nas-bench-201": 0.035})]
)
def test_rows_whose_options_are_all_equal_at_the_start_come_from_a_last_relu(last, ties):
    for space in ("s2", "tiny", "nas-bench-201"):
        policy = make_policy(space, lanes=100, store=Generator(last=last))
        found = [
            torch.where(policy.masks[name], rows, rows[..., :1]) == rows[..., :1]
            for name, rows in policy.layout.tables(policy.logits(policy.alphas)).items()
        ]
        tied = torch.cat([equal.all(-1).flatten() for equal in found]).double().mean()
        assert float(tied) == pytest.approx(ties.get(space, 0.0), abs=1e-3)


@pytest.mark.parametrize("store", [Generator(), Table()], ids=["generator", "table"])
def test_a_step_driven_by_one_edge_moves_other_edges_only_through_a_generator(store):
    policy = make_policy("darts", store=store)
    alphas = policy.alphas.clone().requires_grad_()
    before = logits(policy, alphas)
    slope = grad(before[:, 0].softmax(-1)[:, 3].sum(), alphas)[0]
    after = logits(policy, policy.alphas + 0.1 * slope)
    moved = (after - before.detach())[:, 1:].abs().max()
    assert (float(moved) > 1e-6) == (not store.entrywise)


def test_the_noise_input_stays_what_it_was_and_belongs_to_the_state():
    policy = make_policy(store=Generator(), sampler=Gaussian())
    noise = {name: tensor.clone() for name, tensor in policy.memory.items()}
    for _ in range(3):
        policy.draw(policy.alphas)
    assert noise.keys() == {"generator input/normal", "generator input/reduce"}
    assert all(torch.equal(policy.memory[name], tensor) for name, tensor in noise.items())
    assert torch.equal(
        policy.state(1)["memory"]["generator input/normal"], noise["generator input/normal"][1]
    )


def test_a_point_estimate_repeats_itself_and_the_default_does_not():
    def twice(sampler):
        policy = make_policy(store=Generator(), sampler=sampler)
        first, second = (policy.draw(policy.alphas).weights["normal"] for _ in range(2))
        return torch.equal(first, second)

    assert [twice(Mean()), twice(Gaussian())] == [True, False]


def test_a_generator_makes_the_logits_of_edges_too():
    policy = make_policy(store=Generator(last="norm"), modifiers=(EdgeNormalisation(),))
    flat = policy.logits(policy.alphas)
    assert flat.shape[1] == policy.layout.numbers
    assert policy.layout.column(flat, "edge")["reduce"].unique().numel() > 1
    widest = torch.cat(
        [policy.layout.tables(flat)["normal"][0], policy.layout.column(flat, "edge")["normal"][0, :, None]], 1
    )
    assert float(widest.mean()) == pytest.approx(0, abs=1e-6)


def test_generated_logits_can_be_differentiated_twice():
    policy = make_policy(store=Generator(), lanes=1)
    alphas = policy.alphas.clone().requires_grad_()
    first = grad(logits(policy, alphas).pow(3).sum(), alphas, create_graph=True)[0]
    second = grad(first.square().sum(), alphas)[0]
    assert bool(second.isfinite().all())
    assert bool(second.any())
