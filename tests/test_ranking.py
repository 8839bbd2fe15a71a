"""Sampling whole architectures and keeping the one that validates best."""

import pytest
import torch
from helpers.planted import Planted, operations, planted_search
from helpers.policies import make_policy

from raynas.bilevel.exchange import BatchSpan
from raynas.bilevel.progress import Progress
from raynas.methods import reasons, resolve
from raynas.nets.ops.lanes import Statistics
from raynas.parts.proposals import RegularisedEvolution
from raynas.parts.stages.rank_proposals import RankProposals
from raynas.parts.stages.sample_and_rank import RankInRounds, SampleAndRank
from raynas.parts.uniform_paths import UniformPaths
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
@pytest.mark.parametrize(("base", "use"), [("darts", "sample-and-rank"), ("rsps", "rank-in-rounds")])
def test_it_finds_what_alpha_has_not(monkeypatch, base, use):
    # α never moves, so only the ranking can tell the best operation; one cell in 51 has it six times or more.
    stages = {"use": use, "samples": 400, "criterion": "loss"}
    method = {"base": base, "estimator": None, "stages": stages}
    last = planted_search(monkeypatch, Planted, method, epochs=1)
    assert sum(skeletons.of(last.genotype).count(last.genotype, Planted.winner).values()) >= 6
    assert last.extra["alive"] == 8


@pytest.mark.slow
def test_evolution_with_inherited_weights_finds_what_chance_does_not(monkeypatch):
    proposals = {"use": "regularised-evolution", "evaluations": 500, "population": 20, "tournament": 5}
    stages = {"use": "rank-proposals", "proposals": proposals, "criterion": "loss"}
    last = planted_search(monkeypatch, Planted, {"base": "rsps", "stages": stages}, epochs=1)
    assert operations(last) == {Planted.winner}  # one cell in 6,561
    assert last.extra["alive"] == 8


def test_proposals_are_judged_lane_by_lane_as_each_alone():
    part = RankProposals(RegularisedEvolution(40, population=8), batches=3)
    generator = torch.Generator().manual_seed(1)
    policies = [make_policy(load_space("tiny"), lanes=2), make_policy(load_space("tiny"), lanes=1, seed=1)]
    policy = policies[0]
    worth = {name: torch.rand(mask.shape[1:], generator=generator) for name, mask in policy.alive.items()}
    kept = []
    for each in policies:
        each.begin(AFTER)
        looks = Rounds(worth, 0)
        alive = part(each, [[]] * each.lanes, looks)
        assert looks.parts == [BatchSpan(0, 3)] * 40
        values = [
            -float(Rounds(worth, 0).score(_drawn(seen, each.lanes), BatchSpan(0, 3))[0][-1])
            for seen in looks.seen
        ]
        best = looks.seen[values.index(max(values))]
        assert all(torch.equal(alive[name][-1], rows[-1] > 0) for name, rows in best.items())
        kept.append({name: rows[-1] for name, rows in alive.items()})
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])


@pytest.mark.parametrize(
    ("space", "proposals", "more", "words"),
    [
        ("nb1shot1-1", "policy-gradient", {}, "draws edges"),
        ("nas-bench-201", {"use": "random-cells", "seconds": 9}, {}, "no training times"),
        ("nas-bench-201", "random-cells", {"without": ["nor_conv_3x3"]}, "which the method leaves out"),
        ("nas-bench-201", "policy-gradient", {}, ""),
    ],
)
def test_proposals_that_do_not_fit_are_refused(space, proposals, more, words):
    stages = {"use": "rank-proposals", "proposals": proposals}
    told = list(reasons(resolve({"base": "rsps", "stages": stages, **more}), load_space(space), {}))
    assert (words in " ".join(told)) if words else not told


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


@pytest.mark.parametrize(("space", "kept"), [("darts", [2, 2, 2, 2]), ("nas-bench-201", [1, 2, 3])])
def test_uniform_paths_draw_every_operation_and_input_alike(space, kept):
    policy = make_policy(load_space(space), lanes=1, sampler=UniformPaths(), seed=3)
    flat = policy.logits(policy.alphas)
    draws = 3000
    drawn = [UniformPaths()(policy, flat) for _ in range(draws)]
    for group in skeletons.groups(policy.space):
        rows = torch.stack([draw.weights[group.name][0] for draw in drawn])
        assert set(rows.unique().tolist()) == {0.0, 1.0}
        assert all(torch.equal(draw.active[group.name][0], draw.weights[group.name][0] > 0) for draw in drawn)
        nodes = policy.layout.nodes[group.name]
        for node, keep in zip(dict.fromkeys(nodes), kept, strict=True):
            into = rows[:, [row for row, target in enumerate(nodes) if target == node]].sum(2)
            assert bool((into.sum(1) == keep).all())
            edges, expected = into.sum(0), draws * keep / into.shape[1]
            assert float(((edges - expected) ** 2 / expected).sum()) < 25  # χ² of at most 4 degrees
        counts = rows.sum((0, 1))
        expected = counts.sum() / len(counts)
        assert float(((counts - expected) ** 2 / expected).sum()) < 30  # of at most 7; `none` is one of them


class Rounds(Looks):
    """Looks at parts of the validation half, on each of which other cells are liked."""

    def __init__(self, worth, steps):
        super().__init__(worth)
        self.steps, self.parts = steps, []

    def score(self, draw, part=None):
        self.parts.append(part)
        losses, right = super().score(draw)
        if part is None:
            return losses, right
        noise = torch.tensor(
            [
                hash((part, tuple(rows[lane].flatten().tolist()))) % 997 / 200
                for lane, rows in enumerate(draw.weights["normal"])
            ],
            dtype=torch.float64,
        )
        return losses + noise, right - noise


@pytest.mark.parametrize(("steps", "rounds"), [(0, 1), (9_999, 1), (10_000, 1), (25_000, 2)])
def test_rounds_rank_on_batches_of_their_own_and_finalists_on_all(steps, rounds):
    policy = make_policy(load_space("tiny"), lanes=2)
    policy.begin(AFTER)
    generator = torch.Generator().manual_seed(1)
    worth = {name: torch.rand(mask.shape[1:], generator=generator) for name, mask in policy.alive.items()}
    looks = Rounds(worth, steps)
    part = RankInRounds(samples=30, batches=4, finalists=5)
    alive = part(policy, [[], []], looks)
    assert looks.parts == [each for n in range(rounds) for each in [BatchSpan(4 * n, 4)] * 30 + [None] * 5]
    for lane in range(2):
        finals = [seen for seen, place in zip(looks.seen, looks.parts, strict=True) if place is None]
        totals = [
            sum(float((rows[lane] * worth[name]).sum()) for name, rows in each.items()) for each in finals
        ]
        best = finals[totals.index(max(totals))]
        assert all(torch.equal(alive[name][lane], rows[lane] > 0) for name, rows in best.items())
    # What a round takes to its end are the best of that round on its own batches.
    for lane in range(2):
        for number in range(rounds):
            start = 35 * number
            scored = []
            for seen in looks.seen[start : start + 30]:
                _, right = Rounds(worth, 0).score(_drawn(seen), BatchSpan(4 * number, 4))
                scored.append((-float(right[lane]), seen))
            wanted = [seen for _, seen in sorted(scored, key=lambda pair: pair[0])[:5]]
            found = looks.seen[start + 30 : start + 35]
            for one, other in zip(wanted, found, strict=True):
                assert all(torch.equal(one[name][lane], other[name][lane]) for name in one)


def _drawn(seen, lanes=2):
    policy = make_policy(load_space("tiny"), lanes=lanes)
    return policy.mean(policy.logits(policy.alphas))._replace(weights=seen)


@pytest.mark.parametrize("first", [0, 1, 50])
def test_a_part_of_the_validation_half_is_just_its_batches(make_search_config, build, first):
    config = make_search_config(method="rsps", batch=16, data={"name": "digits", "limit": 100})
    pack = Search(config, *build(config)).pack
    draw = pack.problem.mean()
    batches = list(pack.valid.plain(16))  # 50 images: 16, 16, 16 and 2
    found = pack.evaluator.look(draw, Statistics.BATCH, "score", 0, BatchSpan(first, 2))
    expected = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for batch in batches[min(first, 2) :][:2]:
            logits = pack.problem.forward(batch, draw, Statistics.BATCH)[0]
            loss = torch.nn.functional.cross_entropy(logits, batch.labels[0], reduction="sum")
            expected += torch.stack([loss, (logits.argmax(-1) == batch.labels[0]).sum()])
    count = sum(len(batch.labels[0]) for batch in batches[min(first, 2) :][:2])
    assert found[0] == pytest.approx((expected / count).tolist(), rel=1e-5)


def test_uniform_paths_teach_alpha_nothing_and_need_none():
    method = resolve({"base": "darts", "sampler": "uniform-paths"})
    assert any("`estimator: null`" in reason for reason in reasons(method, load_space("darts"), {}))
    method = resolve({"base": "rsps", "derivation": "every-edge"})
    assert any("uniform-paths has already" in reason for reason in reasons(method, load_space("darts"), {}))
