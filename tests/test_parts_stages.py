"""Stage controllers: what they take away and when, lane by lane."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from helpers.policies import make_policy, randomly, small_space

from raynas.bilevel.exchange import Stage
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import EpochReport
from raynas.parts.derivations import Strongest
from raynas.parts.modifiers import EdgeNormalisation
from raynas.parts.relaxations import Scales, Softmax
from raynas.parts.rules import Proximal
from raynas.parts.schedules import Exponential
from raynas.parts.stages.base import DropWeak, DropZeros, FixEarly
from raynas.parts.stages.greedy import Greedy
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stores import Table
from raynas.spaces.library import load_space


def step(policy, stages, progress, histories=None, score=None):
    """Start an epoch: prune as the stages say; tell whether anything was said."""
    policy.begin(progress)
    alive = stages(policy, histories or [[]] * policy.lanes, SimpleNamespace(score=score))
    if alive is not None:
        policy.prune(alive)
    return alive is not None


def alive_counts(policy, name="normal"):
    return policy.alive[name].sum(-1)


def test_asap_prunes_what_falls_below_the_threshold_and_never_everything():
    policy = make_policy("darts", relaxation=Softmax(Exponential(1.6, 0.95)))
    sizes = []
    for epoch in range(50):
        before = policy.alive
        step(policy, DropWeak(0.4), Progress(epoch, 50))
        weights = policy.mean(policy.alphas).weights
        for name, mask in policy.alive.items():
            assert bool((before[name] | ~mask).all())
            assert bool(mask.any(-1).all())
            torch.testing.assert_close(weights[name].sum(-1), torch.ones_like(weights[name].sum(-1)))
        sizes.append(int(alive_counts(policy).sum()))
        policy.alphas = policy.alphas * 1.3
    assert sizes[0] == sizes[9] == 2 * 14 * 8
    assert sizes[-1] == 2 * 14


def test_asaps_threshold_is_exact():
    policy = make_policy(small_space(), lanes=1)
    rows = torch.tensor([0.14, 0.13, 0.73], dtype=torch.float64).log()
    policy.alphas = rows.repeat(4).unsqueeze(0)
    step(policy, DropWeak(0.4), Progress(0, 50))
    assert policy.alive["normal"][0, 0].tolist() == [True, False, True]


def test_a_scale_that_is_zero_when_dso_nas_looks_never_returns():
    policy = make_policy("dso-nas", store=Table(1.0, 0.0), relaxation=Scales(), lanes=1)
    rate, decay = (torch.full((1, 1), value, dtype=torch.float64) for value in (0.1, 0.0))
    mover = Proximal(0.001, 0.9).start(policy, rate, decay)
    generator = torch.Generator().manual_seed(0)
    dead = torch.zeros_like(policy.alphas, dtype=torch.bool)
    returned = 0
    for epoch in range(60):
        zero = policy.alphas == 0
        looked = step(policy, DropZeros(5), Progress(epoch, 60, warmup=10))
        assert looked == (epoch > 10 and epoch % 5 == 0)
        dead |= zero & looked
        for _ in range(3):
            zero = policy.alphas == 0
            slopes = torch.randn(policy.alphas.shape, generator=generator, dtype=torch.float64)
            mover.step(0.5 * slopes + 0.1)
            returned += int((zero & (policy.alphas > 0)).sum())
        assert not policy.alphas[dead].any()
    assert returned > 10  # between two looks
    assert 30 < int(dead.sum()) < dead.numel()


def test_dsnas_fixes_what_leads_by_the_margin():
    policy = make_policy(small_space(), lanes=1)
    clear, close = torch.tensor([0.6, 0.2, 0.2]).log(), torch.tensor([0.5, 0.25, 0.25]).log()
    policy.alphas = torch.cat([clear, close, clear, close]).double().unsqueeze(0)
    step(policy, FixEarly(0.3), Progress(3, 10))
    assert policy.alive["normal"][0].tolist() == [[True, False, False], [True, True, True]]
    policy.alphas = -policy.alphas
    step(policy, FixEarly(0.3), Progress(4, 10))
    assert policy.alive["normal"][0, 0].tolist() == [True, False, False]


# SGAS


def report(policy, lane, epoch):
    weights = {name: rows[lane].tolist() for name, rows in policy.mean(policy.alphas).weights.items()}
    genotype = Strongest()(policy.space, weights)
    return EpochReport(epoch, 0, 0, 0, 0, 0, 0, 0.1, genotype, weights, {}, {})


@pytest.mark.parametrize("criterion", [1, 2])
@pytest.mark.parametrize("name", ["darts", "tiny", "s1", "s2"])
def test_sgas_decides_one_edge_at_a_time_until_two_are_left_at_each_node(criterion, name):
    policy, greedy = randomly(make_policy(name)), Greedy(criterion)
    histories, decisions = [[], []], []
    for epoch in range(50):
        step(policy, greedy, Progress(epoch, 50), histories)
        decisions.append(int((alive_counts(policy)[0] == 1).sum()))
        noise = randomly(make_policy(name), 0.1, seed=epoch).alphas
        policy.alphas = policy.alphas + (noise if policy.live is None else noise * policy.live)
        for lane, history in enumerate(histories):
            history.append(report(policy, lane, epoch))
    total = 2 * policy.space.nodes
    assert decisions[9] == 0
    assert decisions[-1] == total
    assert all(0 <= b - a <= 1 for a, b in pairwise(decisions))
    if total == 8:
        assert [epoch - 1 for epoch in range(1, 50) if decisions[epoch] > decisions[epoch - 1]] == list(
            range(9, 45, 5)
        )
    nodes = torch.tensor(policy.layout.nodes["reduce"])
    for mask in policy.alive["reduce"]:
        assert all(int(mask[nodes == node].any(-1).sum()) == 2 for node in nodes.unique())
        assert not bool(
            mask[:, [op in policy.space.exclude for op in policy.layout.options["reduce"][0]]].any()
        )


def test_sgas_takes_the_important_and_certain_edge():
    """Edge 1 has the least `none` and the sharpest choice; its operation is the best that may be chosen."""
    policy = make_policy("tiny", lanes=1)
    table = torch.zeros(5, 4, dtype=torch.float64)
    table[1] = torch.tensor([-3.0, 0.0, 2.0, 0.0])
    table[4] = torch.tensor([3.0, 0.0, 2.0, 0.0])
    policy.alphas = torch.cat([table.flatten(), table.flatten()]).unsqueeze(0)
    step(policy, Greedy(), Progress(10, 50))
    assert policy.alive["normal"][0, 1].tolist() == [False, False, True, False]
    assert alive_counts(policy)[0].tolist() == [4, 1, 4, 4, 4]


def test_sgas_prefers_stable_edges_with_the_second_criterion():
    policy = randomly(make_policy("s2", lanes=1))
    table = torch.zeros(14, 2, dtype=torch.float64)
    table[3], table[5] = torch.tensor([0.0, 2.0]), torch.tensor([0.0, 2.1])
    policy.alphas = torch.cat([table.flatten(), table.flatten()]).unsqueeze(0)
    history = [report(policy, 0, epoch) for epoch in range(10)]
    for past in history[:-1]:  # the newest is of α as it is now
        past.weights["normal"][5] = [0.9, 0.1]
    first, second = (randomly(make_policy("s2", lanes=1)) for _ in range(2))
    for each, criterion in ((first, 1), (second, 2)):
        each.alphas = policy.alphas
        step(each, Greedy(criterion), Progress(10, 50), [history])
    assert alive_counts(first)[0].argmin() == 5
    assert alive_counts(second)[0].argmin() == 3


@pytest.mark.parametrize("epochs", [1, 2, 3, 6])
def test_short_searches_decide_everything_in_time(epochs):
    policy = randomly(make_policy("tiny"))
    for epoch in range(epochs):
        step(
            policy, Greedy(), Progress(epoch, epochs), [[report(policy, lane, 0)] * epoch for lane in (0, 1)]
        )
    decided = int((alive_counts(policy)[0] == 1).sum())
    assert decided == (0 if epochs == 1 else 4)


# Perturbation


def planted(policy, strong, names=("normal",)):
    """Return a score by which accuracy is the weight of the planted operations, and a count of its calls."""
    calls = []

    def score(draw):
        calls.append(draw)
        signal = sum((draw.weights[name] * strong[name]).flatten(1).sum(1) for name in names)
        return 5.0 - signal, signal

    return score, calls


def project_all(policy, stages, score):
    *_, tuning = stages.plan(3, policy.space, 3)
    for epoch in range(3 + tuning.epochs):
        fine = Progress(epoch, 3, int(epoch >= 3), 3 if epoch >= 3 else 0, 3 + tuning.epochs)
        said = step(policy, stages, fine, score=score)
        assert said == (epoch >= 3 and ((epoch - 3) % stages.interval == 0 or epoch == 2 + tuning.epochs))
    return tuning.epochs


@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("criterion", ["accuracy", "loss"])
def test_projection_finds_what_the_supernet_needs_and_not_what_alpha_says(scale, criterion):
    policy = make_policy("tiny")
    favour = torch.tensor([0.0, 1.0, 0.5, 0.0], dtype=torch.float64)
    policy.alphas = (scale * favour).repeat(10).expand(2, -1).clone()
    strong = {name: torch.zeros(2, 5, 4, dtype=torch.float64) for name in ("normal", "reduce")}
    strong["normal"][..., 3] = torch.tensor([3.0, 2.0, 1.0, 5.0, 4.0], dtype=torch.float64)
    strong["reduce"][..., 2] = torch.tensor([3.0, 2.0, 4.0, 5.0, 1.0], dtype=torch.float64)
    score, _ = planted(policy, strong, ("normal", "reduce"))
    epochs = project_all(policy, PerturbAndProject(2, criterion), score)
    assert epochs == 2 * 5 + 1
    weights = policy.mean(policy.alphas).weights
    genotype = Strongest()(policy.space, {name: rows[0].tolist() for name, rows in weights.items()})
    assert [(c.op, c.source, c.target) for c in genotype.cell("normal")] == [
        ("sep_conv_3x3", 0, 2),
        ("sep_conv_3x3", 1, 2),
        ("sep_conv_3x3", 1, 3),
        ("sep_conv_3x3", 2, 3),
    ]
    assert [(c.op, c.source, c.target) for c in genotype.cell("reduce")] == [
        ("skip_connect", 0, 2),
        ("skip_connect", 1, 2),
        ("skip_connect", 0, 3),
        ("skip_connect", 1, 3),
    ]
    assert set(weights["normal"].flatten().tolist()) == {0.0, 1.0}


def test_projection_takes_as_many_passes_as_there_are_operations_and_edges():
    policy = make_policy("darts", lanes=1)
    strong = {name: torch.rand(1, 14, 8, dtype=torch.float64) for name in ("normal", "reduce")}
    score, calls = planted(policy, strong, ("normal", "reduce"))
    assert project_all(policy, PerturbAndProject(), score) == 5 * 16 + 1
    assert len(calls) == 2 * (14 * 7 + 3 + 7 + 12)


def test_projection_switches_off_one_thing_at_a_time_without_renormalising():
    policy = randomly(make_policy("tiny", lanes=1, modifiers=(EdgeNormalisation(),)))
    before = policy.mean(policy.alphas)
    score, calls = planted(policy, {name: torch.ones(1, 5, 4) for name in ("normal", "reduce")})
    step(policy, PerturbAndProject(), Progress(3, 3, 1, 3, 30), score=score)
    after = policy.mean(policy.alphas)
    between = {"normal": after.weights["normal"], "reduce": before.weights["reduce"]}
    for place, draw in enumerate(calls):
        mean = before.weights if place < 3 else between
        changed = [(draw.weights[name] != mean[name]).nonzero() for name in mean]
        assert sum(len(each) for each in changed) == 1
    for _ in range(4):
        step(policy, PerturbAndProject(), Progress(3, 3, 1, 3, 30), score=score)
    calls.clear()
    step(policy, PerturbAndProject(), Progress(3, 3, 1, 3, 30), score=score)
    assert [int((draw.carry["normal"] == 0).sum()) for draw in calls[:3]] == [1, 1, 1]
    assert [int((draw.weights["normal"].sum(-1) == 0).sum()) for draw in calls[:3]] == [1, 1, 1]


def test_lanes_of_a_pack_project_as_they_would_alone():
    strong = {
        name: torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1)).double()
        for name in ("normal", "reduce")
    }
    pack = randomly(make_policy("tiny", lanes=3))
    project_all(pack, PerturbAndProject(1), planted(pack, strong, ("normal", "reduce"))[0])
    alone = make_policy("tiny", lanes=1, seed=2)
    alone.alphas = randomly(make_policy("tiny", lanes=3)).alphas[2:]
    own = {name: rows[2:] for name, rows in strong.items()}
    project_all(alone, PerturbAndProject(1), planted(alone, own, ("normal", "reduce"))[0])
    assert all(torch.equal(pack.alive[name][2], alone.alive[name][0]) for name in pack.alive)


def test_spaces_that_keep_every_edge_have_no_nodes_to_thin_out():
    space = small_space(nodes=2, keep="all")
    assert PerturbAndProject(5).plan(50, space, 3)[1].epochs == 5 * 4
    assert PerturbAndProject(5).plan(50, load_space("darts"), 8)[1] == Stage(81, rate=0.1)


@pytest.mark.parametrize(("interval", "epochs"), [(5, 25), (2, 10), (1, 6)])
def test_on_nas_bench_201_the_last_decision_is_in_the_last_epoch(interval, epochs):
    """Its authors' 25 epochs; at an interval of 1 their formula would leave the last edge open."""
    policy = randomly(make_policy("nas-bench-201", lanes=1))
    score, _ = planted(policy, {"normal": torch.rand(1, 6, 5, dtype=torch.float64)})
    assert project_all(policy, PerturbAndProject(interval), score) == epochs
    assert alive_counts(policy)[0].tolist() == [1] * 6


def test_a_reduction_cell_is_scored_with_what_the_normal_cell_has_just_decided():
    policy = randomly(make_policy("tiny", lanes=1))
    score, calls = planted(policy, {name: torch.rand(1, 5, 4).double() for name in ("normal", "reduce")})
    step(policy, PerturbAndProject(), Progress(3, 3, 1, 3, 30), score=score)
    normal, reduce = calls[:3], calls[3:]
    assert len(reduce) == 3
    assert not any(bool((draw.weights["normal"] == 1).any()) for draw in normal)
    for draw in reduce:
        torch.testing.assert_close(draw.weights["normal"], policy.mean(policy.alphas).weights["normal"])
        assert int((draw.weights["normal"] == 1).sum()) == 1


def test_of_operations_that_matter_alike_the_first_is_kept_and_of_edges_the_last_dies():
    """As in projection.py of ruocwang/darts-pt 4ec3149d."""
    policy = make_policy("tiny", lanes=1)
    policy.alphas = torch.zeros_like(policy.alphas)
    project_all(policy, PerturbAndProject(1), lambda draw: (torch.zeros(1), torch.zeros(1)))
    assert [row.nonzero().flatten().tolist() for row in policy.alive["normal"][0]] == [[1]] * 4 + [[]]
