"""Stages that rebuild the supernet: what they plan, prune and carry over, and searches in stages."""

from itertools import pairwise

import pytest
import torch
from helpers.policies import make_policy, randomly
from test_methods_contract import same_states, setting, tiny  # noqa: F401 - `setting` is a fixture

from raynas.bilevel.exchange import SupernetBuild
from raynas.bilevel.progress import Progress
from raynas.errors import RaynasError
from raynas.methods import lay_out, reasons, resolve
from raynas.parts.stages.deepen_widen import Deepen, Widen
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.spaces.library import load_space

WIDER = {"base": "drnas-progressive", "stages": {"use": "widen", "partial": [4, 2, 1], "keep": [3, 3, 2]}}


def step(policy, stages, progress):
    policy.begin(progress)
    alive = stages(policy, [[]] * policy.lanes, None)
    if alive is not None:
        policy.prune(alive)
    return alive is not None


def counts(policy, name="normal"):
    return policy.alive[name].sum(-1).unique().tolist()


def test_p_darts_keeps_eight_five_three_operations_each_a_subset():
    policy, stages = randomly(make_policy("darts")), Deepen()
    plan = stages.plan(75, policy.space, 17)
    assert [(stage.epochs, stage.build.cells, stage.start) for stage in plan] == [
        (25, 5, "fresh"),
        (25, 11, "fresh"),
        (25, 17, "fresh"),
    ]
    found, before = [], policy.alive
    for epoch in range(75):
        stage = epoch // 25
        weights = policy.mean(policy.alphas).weights["normal"]
        said = step(policy, stages, Progress(epoch, 75, stage, 25 * stage, 25 * stage + 25))
        assert said == (epoch in (25, 50))
        found.append(counts(policy))
        assert all(bool((before[name] | ~mask).all()) for name, mask in policy.alive.items())
        if epoch == 25:
            kept = weights.topk(5, dim=-1).indices.sort(dim=-1).values
            assert torch.equal(policy.alive["normal"].nonzero()[:, 2].view(2, 14, 5), kept)
        before = policy.alive
        randomly(policy, seed=epoch)
    assert (found[0], found[25], found[50], found[74]) == ([8], [5], [3], [3])
    assert bool(policy.alive["reduce"][..., 0].any())  # `none` goes when the cell is derived


@pytest.mark.parametrize(
    ("space", "first", "second"),
    [("tiny", [3], [2, 3]), ("s3", [2, 3], [2, 3]), ("s2", [2], [2]), ("s1", [2], [2])],
)
def test_smaller_spaces_are_pruned_in_proportion_and_always_have_a_choice(space, first, second):
    policy = randomly(make_policy(space))
    step(policy, Deepen(), Progress(25, 75, 1, 25, 50))
    assert counts(policy) == first
    step(policy, Deepen(), Progress(50, 75, 2, 50, 75))
    assert counts(policy) == second


def test_progressive_drnas_keeps_the_largest_seven_and_then_four():
    policy, stages = randomly(make_policy("darts", without=("none",))), Widen()
    plan = stages.plan(50, policy.space, 8)
    assert [(s.epochs, s.build, s.start) for s in plan] == [
        (25, SupernetBuild(partial=k), "widen") for k in (6, 4)
    ]
    assert not step(policy, stages, Progress(0, 50, 0, 0, 25))
    assert step(policy, stages, Progress(25, 50, 1, 25, 50))
    assert counts(policy) == [4]
    real = policy.layout.tables(policy.alphas)["normal"][..., 1:]
    best = real.topk(4, dim=-1).indices.sort(dim=-1).values + 1
    assert torch.equal(policy.alive["normal"].nonzero()[:, 2].view(2, 14, 4), best)


def test_the_last_stage_has_the_configurations_cells_and_none_has_too_few():
    space = load_space("darts")
    depths = {cells: [s.build.cells for s in Deepen().plan(5, space, cells)] for cells in (17, 8, 3)}
    assert depths == {17: [5, 11, 17], 8: [3, 5, 8], 3: [3, 3, 3]}
    assert [stage.epochs for stage in Deepen().plan(5, space, 8)] == [2, 2, 1]
    stages = lay_out(resolve("p-darts"), load_space("nas-bench-201"), {"epochs": 3, "cells": 5})
    assert [stage.build.cells for stage in stages] == [1, 3, 5]


@pytest.mark.parametrize(
    ("method", "values", "words"),
    [
        ("p-darts", {"epochs": 2}, "3 or more"),
        ("p-darts", {"epochs": 9, "warmup": 3}, "warmup below 3"),
        ("drnas-progressive", {"epochs": 9, "channels": 16}, "12 or 24"),
        ("drnas-progressive", {"epochs": 9}, "channels: 16, k: 4, 6"),
        ("pc-darts", {"epochs": 9, "channels": 6}, "4 or 8"),
        ("te-nas", {"epochs": 2}, "3 or more with prunes: 3"),
    ],
)
def test_what_cannot_be_laid_out_is_told_before_the_search(method, values, words):
    assert any(words in reason for reason in reasons(resolve(method), load_space("darts"), values))


def test_impossible_stages_are_refused():
    for wrong in (
        lambda: Deepen(cells=(3, 4)),
        lambda: Deepen(cells=(5, 4, 6)),
        lambda: Deepen(keep=(3, 4, 5)),
        lambda: Widen(keep=(3,)),
        lambda: Widen(partial=(4, 6)),
    ):
        with pytest.raises(RaynasError, match="stage"):
            wrong()
    with pytest.raises(RaynasError, match="epoch for each"):
        Deepen().plan(2, load_space("darts"), 8)


@pytest.mark.slow
def test_p_darts_starts_anew_in_every_stage_and_what_died_stays_dead(setting):  # noqa: F811
    search = Search(tiny("p-darts", epochs=6, cells=5), *setting)
    cells, alive, options = [], [], []
    for report in search:
        cells.append(len(search.pack.problem.supernet.cells))
        alive.append({name: mask.clone() for name, mask in search.pack.problem.policy.alive.items()})
        options.append(report.extra["alive"])
        if report.epoch in (2, 4):  # the first epoch of a stage: one epoch of steps from the start
            assert float(search.pack.problem.alphas.abs().max()) < 0.05
            assert float(search.pack.trainer.updater.state(0)["steps"]) == search.pack.train.steps_per_epoch
    assert cells == [3, 3, 3, 3, 5, 5]
    assert options[:4] == [40, 40, 30, 30]
    assert 20 <= options[4] == options[5] < 30  # two an edge, and `none` where it outweighs one of them
    for before, after in pairwise(alive):
        assert all(bool((before[name] | ~after[name]).all()) for name in before)
    rates = [report.learning_rate for report in search.pack.history[0]]
    assert rates[0] == rates[2] == rates[4] == 0.025
    assert search.pack.method.derivation.most == 2


def test_widening_takes_over_weights_momentum_and_alpha(setting):  # noqa: F811
    search = Search(tiny(WIDER, epochs=3), *setting, dtype=torch.float64)
    search.advance()
    trainer, problem = search.pack.trainer, search.pack.problem
    before, alphas = problem.supernet, problem.alphas.clone()
    velocity, moments = trainer.sgd.velocity.clone(), trainer.updater.state(0)
    search.pack.state.epoch = 1
    search.pack.begin()
    assert (before.partial, problem.supernet.partial) == (4, 2)
    assert torch.equal(problem.alphas, alphas)
    assert same_states(trainer.updater.state(0), moments)
    old, new = dict(before.named_parameters()), dict(problem.supernet.named_parameters())
    kept = [name for name in old if old[name].shape == new[name].shape]
    assert 0 < len(kept) < len(old)
    assert all(torch.equal(old[name], new[name]) for name in kept)
    assert float(trainer.sgd.velocity.abs().sum()) > 0
    flat = torch.cat([p.detach().flatten(1) for p in problem.supernet.parameters()], 1)
    assert torch.equal(problem.values, flat)
    stem = problem.supernet.stem.convolutions[0].numel()
    assert torch.equal(trainer.sgd.velocity[:, :stem], velocity[:, :stem])
    old_statistics, new_statistics = dict(before.named_buffers()), dict(problem.supernet.named_buffers())
    assert torch.equal(old_statistics["stem.norms.0.mean"], new_statistics["stem.norms.0.mean"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["p-darts", WIDER], ids=["p-darts", "drnas-progressive"])
def test_resuming_at_any_epoch_of_any_stage_is_bit_identical(setting, tmp_path, method):  # noqa: F811
    config = tiny(method, epochs=5, warmup=0, hessian={"every": 0})
    reports = list(Search(config, *setting))
    assert len(reports) == 5
    first = Search(config, *setting)
    for done in range(1, 5):
        assert first.advance() == reports[done - 1]
        (tmp_path / "checkpoint.pt").write_bytes(dump(first.state_dict()))
        second = Search(config, *setting)
        second.load_state_dict(load(tmp_path / "checkpoint.pt"))
        assert same_states(second.state_dict(), first.state_dict())
        assert list(second) == reports[done:]


@pytest.mark.slow
def test_a_pack_that_loses_a_member_goes_on_in_its_stage(setting):  # noqa: F811
    configs = [tiny("p-darts", epochs=4, seed=seed, hessian={"every": 0}) for seed in (0, 1)]
    pack = Pack(configs, *setting, dtype=torch.float64)
    for _ in range(3):
        pack.advance()
    rest = pack.keep([1]).advance()[0]
    alone = list(Search(configs[1], *setting, dtype=torch.float64))[3]
    assert rest.train_loss == pytest.approx(alone.train_loss, rel=1e-9)
    assert rest.genotype == alone.genotype
