"""Sampling whole architectures and keeping the one that validates best."""

import pytest
import torch
from helpers.planted import Planted, planted_search
from helpers.policies import make_policy

from raynas.bilevel.progress import Progress
from raynas.methods import resolve
from raynas.parts.stages.sample_and_rank import SampleAndRank
from raynas.search.loop import Pack, Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space

AFTER = Progress(4, 4, 1, 4, 5, 0)


class Looks:
    """Remembers what was scored, and likes some options better than others."""

    def __init__(self, worth):
        self.worth, self.seen = worth, []

    def score(self, draw):
        self.seen.append({name: rows.clone() for name, rows in draw.weights.items()})
        total = sum((rows * self.worth[name]).sum((1, 2)) for name, rows in draw.weights.items())
        return -total.double(), total.double()


def ranked(part, lanes=2):
    policy = make_policy(load_space("tiny"), lanes=lanes)
    policy.begin(AFTER)
    generator = torch.Generator().manual_seed(1)
    worth = {name: torch.rand(mask.shape[1:], generator=generator) for name, mask in policy.alive.items()}
    looks = Looks(worth)
    return policy, looks, part(policy, [[]] * lanes, looks)


@pytest.mark.parametrize("criterion", ["loss", "accuracy"])
def test_the_best_scored_candidate_is_left_alone(criterion):
    policy, looks, alive = ranked(SampleAndRank(samples=12, criterion=criterion))
    assert len(looks.seen) == 12
    for lane in range(2):
        totals = [
            sum(float((rows[lane] * looks.worth[name]).sum()) for name, rows in seen.items())
            for seen in looks.seen
        ]
        best = looks.seen[totals.index(max(totals))]
        assert all(torch.equal(alive[name][lane], rows[lane] > 0) for name, rows in best.items())
    # Two edges into each of two nodes, one operation on each.
    assert all(mask.sum((1, 2)).tolist() == [4, 4] for mask in alive.values())
    policy.prune(alive)


def test_the_first_candidate_is_the_cell_without_noise():
    policy, _, alive = ranked(SampleAndRank(samples=1))
    search = resolve("darts").derivation
    mean = policy.mean(policy.logits(policy.alphas))
    for lane in range(2):
        genotype = search(policy.space, {name: rows[lane].tolist() for name, rows in mean.weights.items()})
        for kind in ("normal", "reduce"):
            edges = policy.space.cell(kind).edges
            chosen = {(c.source, c.target, c.op) for c in genotype.cell(kind)}
            left = {
                (edges[row].source, edges[row].target, edges[row].ops[option])
                for row, option in alive[kind][lane].nonzero().tolist()
            }
            assert left == chosen


def test_operations_are_drawn_by_their_weights():
    policy = make_policy(load_space("nas-bench-201"), lanes=1)
    policy.begin(AFTER)
    with torch.no_grad():
        policy.alphas.copy_(torch.randn(policy.alphas.shape, generator=torch.Generator().manual_seed(2)))
    looks = Looks({name: torch.zeros(mask.shape[1:]) for name, mask in policy.alive.items()})
    samples = 4000
    SampleAndRank(samples=samples)(policy, [[]], looks)
    [weights] = policy.mean(policy.logits(policy.alphas)).weights.values()
    [drawn] = torch.stack([rows for seen in looks.seen for rows in seen.values()]).mean(0).unsqueeze(0)
    deviation = (weights * (1 - weights) / samples).sqrt()
    assert bool(((drawn - weights[0]).abs() < 4.5 * deviation + 1 / samples).all())


def test_nothing_happens_before_the_search_is_over():
    policy = make_policy(load_space("tiny"), lanes=1)
    policy.begin(Progress(3, 4, 0, 0, 4, 0))
    assert SampleAndRank()(policy, [[]], Looks({})) is None


@pytest.mark.slow
def test_it_finds_what_alpha_has_not(monkeypatch):
    # α never moves, so only the ranking can tell the best operation; one cell in 51 has it six times or more.
    stages = {"use": "sample-and-rank", "samples": 400, "criterion": "loss"}
    method = {"base": "darts", "estimator": None, "stages": stages}
    last = planted_search(monkeypatch, Planted, method, epochs=1)
    assert sum(skeletons.of(last.genotype).count(last.genotype, Planted.winner).values()) >= 6
    assert last.extra["alive"] == 8


@pytest.mark.slow
def test_it_resumes_and_packs_like_any_method(make_search_config, build):
    method = {"base": "gdas", "stages": {"use": "sample-and-rank", "samples": 5}}
    configs = [make_search_config(method=method, epochs=2, seed=seed) for seed in (0, 3)]
    space, splits = build(configs[0])
    whole = list(Search(configs[1], space, splits))
    assert len(whole) == 3
    first, second = (Search(configs[1], space, splits) for _ in range(2))
    begun = [first.advance(), first.advance()]
    second.load_state_dict(first.state_dict())
    assert begun + list(second) == whole
    together = [outcomes[1] for outcomes in Pack(configs, space, splits, dtype=torch.float64)]
    alone = list(Search(configs[1], space, splits, dtype=torch.float64))
    assert [each.genotype for each in together] == [each.genotype for each in alone]
    assert together[-1].valid_loss == pytest.approx(alone[-1].valid_loss, rel=1e-9)
