"""Measures of untrained networks, and the pruning that lives on them."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from helpers.policies import make_policy, randomly
from helpers.recorded import wave

from raynas.bilevel.exchange import Draw, Sample
from raynas.bilevel.progress import Progress
from raynas.bilevel.sketches import Sketches, fans
from raynas.errors import RaynasError
from raynas.methods import resolve
from raynas.nets.ops.flat import unflatten
from raynas.nets.trainability import condition_numbers, count_regions
from raynas.parts.stages.training_free import TrainingFree, ranked, significant
from raynas.search.loop import Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space

FEW = {"use": "training-free", "images": 4, "crops": 60, "repeats": 1}


def kernel_of(images, weights):
    return condition_numbers(torch.einsum("lnd,lkd->lnk", images, weights), [weights])


def test_orthonormal_inputs_of_a_linear_net_are_perfectly_conditioned():
    images = torch.linalg.qr(torch.randn(2, 6, 6, dtype=torch.float64))[0][:, :4]
    weights = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(kernel_of(images, weights), torch.ones(2, dtype=torch.float64))


def test_the_condition_number_is_that_of_the_inputs_gram_matrix_lane_by_lane():
    images = torch.randn(2, 4, 6, dtype=torch.float64)
    weights = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    values = torch.linalg.svdvals(images).square()
    torch.testing.assert_close(kernel_of(images, weights), values[:, 0] / values[:, -1])
    images[1, 2] = images[1, 0]
    found = kernel_of(images, weights)
    torch.testing.assert_close(found[0], (values[:, 0] / values[:, -1])[0])
    assert math.isinf(found[1])


def test_unused_parameters_do_not_matter():
    images = torch.randn(1, 3, 5, dtype=torch.float64)
    weights = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    unused = torch.randn(1, 7, dtype=torch.float64, requires_grad=True)
    logits = torch.einsum("lnd,lkd->lnk", images, weights)
    torch.testing.assert_close(condition_numbers(logits, [weights, unused]), kernel_of(images, weights))


def test_regions_are_distinct_patterns_of_all_relus():
    images = torch.linspace(-2, 2, 41).unsqueeze(1)
    kinks = torch.tensor([-1.03, 0.02, 0.51])
    assert count_regions(lambda: F.relu(images - kinks)) == 4
    assert count_regions(lambda: torch.relu(F.relu(images - kinks[:1]) - 0.4)) == 3
    assert count_regions(lambda: F.relu(images[:1] - kinks)) == 1


def looks_of(score):
    return SimpleNamespace(trainability=lambda draw, sample: score(draw))


def run(policy, stages, score):
    """Prune until the plan ends; return how many options were alive after each round."""
    [stage] = stages.plan(50, policy.space, 8)
    counts = []
    for epoch in range(stage.epochs):
        policy.begin(Progress(epoch, stage.epochs))
        policy.prune(stages(policy, [[]] * policy.lanes, looks_of(score)))
        counts.append(sorted({int(n) for n in policy.alive["normal"][0].sum(-1)}))
    return counts


def worth(policy, conditions, regions):
    """Return a score in which every live option adds to both measures."""

    def score(draw):
        condition = torch.full((policy.lanes,), 100.0, dtype=torch.float64)
        region = torch.full((policy.lanes,), 100.0, dtype=torch.float64)
        for name, active in draw.active.items():
            condition += (active * conditions[name]).flatten(1).sum(1)
            region += (active * regions[name]).flatten(1).sum(1)
            sums = draw.weights[name].sum(-1)
            torch.testing.assert_close(sums, active.any(-1).double())
        return condition, region

    return score


@pytest.mark.parametrize(
    ("prunes", "rounds"), [(1, [[6], [5], [4], [3], [2], [1], [0, 1]]), (3, [[4], [1], [0, 1]])]
)
def test_rounds_prune_every_edge_and_then_every_node(prunes, rounds):
    policy = randomly(make_policy("darts", lanes=1))
    random = {
        name: torch.rand(14, 8, generator=torch.Generator().manual_seed(0)) for name in ("normal", "reduce")
    }
    assert run(policy, TrainingFree(prunes=prunes, repeats=1), worth(policy, random, random)) == rounds
    nodes = torch.tensor(policy.layout.nodes["normal"])
    for mask in policy.alive.values():
        assert not bool(mask[..., 0].any())
        assert all(int(mask[0, nodes == node].any(-1).sum()) == 2 for node in range(2, 6))


def test_what_worsens_the_condition_and_adds_no_regions_goes_first():
    policy = make_policy("tiny", lanes=2)
    condition = {name: torch.zeros(2, 5, 4) for name in ("normal", "reduce")}
    regions = {name: torch.zeros(2, 5, 4) for name in ("normal", "reduce")}
    for name in condition:
        condition[name][0] = torch.tensor([0.0, 5.0, 9.0, 1.0])
        regions[name][0] = torch.tensor([0.0, 2.0, 1.0, 8.0])
        condition[name][1] = torch.tensor([0.0, 1.0, 2.0, 3.0])
        regions[name][1] = torch.tensor([0.0, 3.0, 2.0, 1.0])
    run(policy, TrainingFree(), worth(policy, condition, regions))
    kept = [policy.alive["normal"][lane].nonzero()[:, 1].unique().tolist() for lane in (0, 1)]
    assert kept == [[3], [1]]


def test_spaces_without_nodes_to_thin_out_need_one_round_less():
    assert TrainingFree().plan(9, load_space("nas-bench-201"), 5)[0].epochs == 3
    assert TrainingFree(3).plan(9, load_space("darts"), 8)[0].epochs == 3
    assert TrainingFree().plan(9, load_space("s2"), 8)[0].epochs == 2


def test_infinite_condition_numbers_can_be_ranked():
    policy = randomly(make_policy("tiny", lanes=1))

    def score(draw):
        bad = bool(draw.active["normal"][0, 0, 1])
        return torch.tensor([math.inf if bad else 5.0]), torch.tensor([7.0])

    policy.begin(Progress(0, 3))
    policy.prune(TrainingFree()(policy, [[]], looks_of(score)))
    assert not bool(policy.alive["normal"][0, 0, 1])


@pytest.mark.slow
def test_weights_are_never_updated_and_every_edge_and_node_is_decided(make_search_config, build):
    method = {"base": "te-nas", "stages": {"prunes": 2, **FEW}}
    config = make_search_config(method=method, epochs=9)
    search = Search(config, *build(config))
    values, alphas = search.pack.problem.values.clone(), search.pack.problem.alphas.clone()
    reports = list(search)
    assert [report.epoch for report in reports] == [0, 1]
    assert torch.equal(search.pack.problem.values, values)
    views = unflatten(values, search.pack.problem.parameters)
    assert all(torch.equal(p, q) for p, q in zip(search.pack.problem.parameters, views, strict=True))
    assert torch.equal(search.pack.problem.alphas, alphas)
    assert not search.pack.trainer.sgd.velocity.any()
    counts = torch.cat([mask[0].sum(-1) for mask in search.pack.problem.policy.alive.values()])
    assert counts.tolist().count(1) == 8
    assert counts.max() == 1
    assert reports[-1].extra["alive"] == 8
    with pytest.raises(RaynasError, match="2 or more with prunes: 2"):
        Search(make_search_config(method=method, epochs=1), *build(config))


# VITA-Group/TENAS 9df78ff: its networks (batch norms in cells without scales, DARTS' poolings with norms, as
# this package has them) with the same weights, images and squares; its counts were these but for rounding.
@pytest.mark.parametrize(
    ("space", "gone", "condition", "regions"),
    [
        ("nas-bench-201", None, 15.946976890811632, 71),
        ("nas-bench-201", ("normal", 0, 1), 18.04894614791912, 74),
        ("nas-bench-201", ("normal", 3, 3), 17.537622085588104, 77),
        ("darts", None, 630.6054255351015, 300),
        ("darts", ("normal", 0, 4), 814.4821109206789, 296),
        ("darts", ("normal", 3, slice(None)), 993.0722002638146, 298),
    ],
)
def test_kernel_and_regions_are_those_of_the_authors_networks(space, gone, condition, regions):
    space = load_space(space)
    nets = Sketches(space, (3, 8, 8), 3)
    with torch.no_grad():
        for net in (nets.learner, nets.divider):
            for place, (name, parameter, reads, _) in enumerate(fans(net)):
                values = wave(*parameter.shape, step=1.3 + 0.01 * place)
                parameter.copy_(values if reads else torch.full_like(values, "scale" in name))
    alive = {
        group.name: torch.tensor([[[op != "none" for op in row.options] for row in group.rows]])
        for group in skeletons.groups(space)
    }
    if gone is not None:
        kind, row, options = gone
        alive[kind][0, row, options] = False
    weights = {name: mask.double() / mask.sum(-1, keepdim=True).clamp_min(1) for name, mask in alive.items()}
    draw = Draw(weights, alive)
    assert float(nets.condition(draw, wave(1, 6, 3, 8, 8, step=0.37))) == pytest.approx(condition, rel=1e-8)
    assert nets.regions(draw, wave(1, 300, 1, 3, 3, step=0.61)) == regions


def test_weights_are_drawn_with_the_spread_of_what_a_layer_reads_or_gives():
    nets = Sketches(load_space("darts"), (3, 8, 8), 50)
    nets.draw(torch.Generator().manual_seed(0))
    for net, forward in ((nets.learner, False), (nets.divider, True)):
        drawn = [
            (p.detach().flatten() * math.sqrt((reads if forward else gives) / 2))
            for _, p, reads, gives in fans(net)
            if reads
        ]
        assert float(torch.cat(drawn).std()) == pytest.approx(1, rel=0.08)
    shapes = {name: (reads, gives) for name, _, reads, gives in fans(nets.learner)}
    assert shapes["stem.convolutions.0"] == (27, 9)
    assert shapes["head"] == (8, 50)
    depthwise = [name for name in shapes if name.startswith("cells.1") and name.endswith("first.depthwise")]
    assert {shapes[name] for name in depthwise} == {(9, 18), (25, 50)}
    assert not nets.learner.bias.any()


@pytest.mark.slow
def test_a_search_measures_every_candidate_of_a_round_on_the_same_draws(make_search_config, build):
    config = make_search_config(space="nas-bench-201", method="te-nas", cells=1, epochs=9)
    search = Search(config, *build(config))
    measure, mean = search.pack.evaluator.trainability, search.pack.problem.mean()
    alive = {name: mask.clone() for name, mask in search.pack.problem.policy.alive.items()}
    alive["normal"][0, 0, 3] = False
    less = Draw({name: mask / mask.sum(-1, keepdim=True) for name, mask in alive.items()}, alive)
    first = measure(mean, Sample(0, 5, 400), 0)
    other = measure(less, Sample(0, 5, 400), 0)
    assert first == measure(mean, Sample(0, 5, 400), 0)
    assert first[0] != other[0]
    assert 5 < int(first[1]) < 400
    assert first[1] != other[1]
    assert first[0] != measure(mean, Sample(1, 5, 400), 0)[0]
    assert first[0] != measure(mean, Sample(0, 5, 400), 1)[0]


def test_candidates_go_by_the_sum_of_dense_ranks():
    """By hand: ranks of the fall of the condition number 1, 0, 1, 2; of the regions 2, 1, 0, 1."""
    falls = [(0.1, 0.3), (0.4, 0.0), (0.1, -0.2), (-0.7, 0.0)]
    assert ranked(falls) == [1, 2, 0, 3]
    assert ranked([(0.0, -math.inf), (-math.inf, 0.0), (1.0, 0.0)]) == [2, 0, 1]
    assert ranked([]) == []
    assert [significant(value) for value in (0.12345, -12.345, 0.0, math.inf)] == [
        0.123,
        -12.3,
        0.0,
        math.inf,
    ]


def test_the_authors_settings_in_their_two_spaces():
    own = {name: resolve("te-nas", load_space(name)) for name in ("nas-bench-201", "darts")}
    assert own["nas-bench-201"].stages == TrainingFree(1, images=72)
    assert own["darts"].stages == TrainingFree(3, images=14)


def test_none_is_no_candidate_in_any_space():
    policy = make_policy("nas-bench-201", lanes=1)
    kept = {"normal": torch.arange(5.0).expand(6, 5)}
    assert run(policy, TrainingFree(repeats=1), worth(policy, kept, kept)) == [[3], [2], [1]]
    assert not bool(policy.alive["normal"][..., 0].any())
