"""Numbers that the authors' own code gave, run in float64 on the small inputs that stand here."""

import pytest
import torch
import torch.nn.functional as F
from helpers.policies import make_policy, small_space
from helpers.problems import bilevel

from raynas.bilevel.dice import Dice
from raynas.data.batch import Batch
from raynas.methods import resolve
from raynas.nets.supernet import Supernet
from raynas.parts.cell_samplers import Pair
from raynas.parts.cost import Cost
from raynas.parts.relaxations import Scales
from raynas.parts.rules import AdamRule, ClipEach, KeepMass, Proximal
from raynas.parts.stores import Table
from raynas.spaces.library import load_space


def number(value):
    return torch.full((1, 1), value, dtype=torch.float64)


# mit-han-lab/proxylessnas at bf58b5c, search/modules/mix_op.py, MixedEdge in mode two, with nas_manager.py's
# add#linear of strength .3 at reference 60: one block of α, the operations' outputs and costs below, the loss
# softplus(out), and one Adam step of rate .05 with β (0, .999). The operation switched on, the other one
# drawn, the loss, the two gradients (the first is that of the one switched on), the four logits afterwards.
ALPHA = [0.3, -0.2, 0.1, 0.5]
GIVES = [0.0, 0.7, -0.4, 1.1]
COSTS = [0.0, 3.0, 40.0, 5.0]
PAIRS = {
    (3, 2): (1.1825649845957518, 0.228341448201, [0.3, -0.2, 0.158660005416, 0.458660009795]),
    (2, 3): (0.30824491188027353, -0.102583772580, [0.3, -0.2, 0.158660002332, 0.458660012080]),
    (2, 0): (0.3030484529374571, 0.009770732560, [0.343783581359, -0.2, 0.043783683705, 0.5]),
    (0, 2): (0.48318038109744976, None, ALPHA),
}


@pytest.mark.parametrize("drawn", PAIRS)
def test_a_proxyless_step_moves_the_drawn_pair_alone_also_under_its_cost(drawn):
    on, other = drawn
    loss, slope, moved = PAIRS[drawn]
    space = small_space(("none", "skip_connect", "sep_conv_3x3", "max_pool_3x3"))
    policy = make_policy(space, lanes=1, sampler=Pair())
    policy.alphas.copy_(torch.tensor(ALPHA, dtype=torch.float64).repeat(4))
    # Only the first of the four rows gives and costs anything.
    gives = torch.tensor(GIVES, dtype=torch.float64)
    costs = {name: torch.zeros(2, 4, dtype=torch.float64) for name in ("normal", "reduce")}
    costs["normal"][0] = torch.tensor(COSTS, dtype=torch.float64)
    mover = AdamRule((0.0, 0.999), after=(KeepMass(),)).start(policy, number(0.05), number(0.0))
    flat = policy.alphas.clone().requires_grad_()
    while True:
        draw = policy.draw(flat)
        row = draw.weights["normal"][0, 0]
        if {on, other} == set(draw.active["normal"][0, 0].nonzero().flatten().tolist()) and row[on] == 1:
            break
    plain = F.softplus((row * gives).sum())[None]
    total = Cost(0.3, "add", reference=60.0)(plain, policy, flat, draw, costs)
    assert total.item() == pytest.approx(loss, abs=1e-12)
    [gradient] = torch.autograd.grad(total.sum(), flat)
    expected = torch.zeros(4, dtype=torch.float64)
    if slope is not None:
        expected[on], expected[other] = slope, -slope
    torch.testing.assert_close(gradient[0, :4], expected, rtol=0, atol=1e-11)
    assert torch.equal(gradient[0, 4:], torch.zeros(12, dtype=torch.float64))
    mover.step(gradient)
    torch.testing.assert_close(
        policy.alphas[0, :4], torch.tensor(moved, dtype=torch.float64), rtol=0, atol=1e-11
    )


def wave(count, step, start=0.0):
    return torch.sin(torch.arange(count, dtype=torch.float64) * step + start)


SPACE = load_space("nas-bench-201")


def filled_problem(method):
    """A method on a supernet of NAS-Bench-201 (1 cell a stage, 4 channels); α and weights are waves."""
    net = Supernet(SPACE, (3, 8, 8), 4, 4, 1, [torch.Generator()], torch.float64)
    with torch.no_grad():
        for place, (name, parameter) in enumerate(net.named_parameters()):
            drawn = wave(parameter.numel(), 0.7 + 0.013 * place, place).view_as(parameter)
            parameter.copy_(1 + 0.2 * drawn if "scale" in name else 0.5 * drawn)
    problem = bilevel(SPACE, net, [torch.Generator()], method)
    problem.policy.alphas.copy_(0.6 * wave(30, 1.3, 0.5)[None])
    return problem


def filled_batch():
    images = wave(6 * 3 * 8 * 8, 0.9) + 0.3 * wave(6 * 3 * 8 * 8, 0.11, torch.pi / 2)
    return Batch(images.view(1, 6, 3, 8, 8), torch.arange(6)[None] % 4)


def adam_step(problem, decay):
    """Take one step on α at rate 3e-4; return the loss, α's gradient [6, 5] and the new α [6, 5]."""
    alphas = problem.alphas.clone().requires_grad_()
    losses = problem.losses(filled_batch(), alphas)
    [gradient] = torch.autograd.grad(losses.sum(), alphas)
    AdamRule().start(problem.policy, number(3e-4), number(decay)).step(gradient)
    return losses.item(), gradient.view(6, 5), problem.alphas.view(6, 5)


# xiangning-chen/DrNAS at f2caa4d, 201-space: TinyNetwork with the weights above, its draw replaced by the
# softmax below, KL of strength .01, Architect.step. With the three heaviest operations of each row left, and
# with all: the loss, the first row of α's gradient and of α after the step, the sum of the gradient's sizes.
DRAW = wave(30, 2.1).view(6, 5).softmax(-1)
DRNAS = {
    3: (
        1.3294721753085519,
        [0.010220288683264458, -0.015569785902702233, 0.03897504503294043],
        [0.2873553234560553, 0.5846085783342363, 0.024648397536946604],
    ),
    5: (
        1.6730369535759853,
        [
            0.06505155114204653,
            0.1429979213632469,
            0.15597080318727058,
            -0.3099404186173398,
            -0.06904792692801721,
        ],
        [
            0.28735532320863905,
            0.5840085785478965,
            0.024648397479208665,
            -0.5706612443433888,
            -0.3301113256020306,
        ],
    ),
}


@pytest.mark.parametrize("left", DRNAS)
def test_drnas_steps_on_nas_bench_201_as_its_authors_code_does(monkeypatch, left):
    loss, slopes, moved = DRNAS[left]
    method = resolve({"base": "drnas", "penalties": [{"use": "anchor", "strength": 0.01}]}, SPACE)
    problem = filled_problem(method)
    tables = problem.policy.layout.tables(problem.alphas)["normal"]
    kept = torch.zeros_like(tables, dtype=torch.bool).scatter(-1, tables.topk(left, -1).indices, True)
    problem.policy.prune({"normal": kept})
    monkeypatch.setattr(torch, "_sample_dirichlet", lambda rows, generator: DRAW.clone())
    found, gradient, alphas = adam_step(problem, 0.0)
    assert found == pytest.approx(loss, abs=1e-12)
    row = kept[0, 0]
    assert gradient[0][row].tolist() == pytest.approx(slopes, abs=1e-12)
    assert alphas[0][row].tolist() == pytest.approx(moved, abs=1e-12)


# D-X-Y/AutoDL-Projects at f46486e, xautodl/models/cell_searchs/search_model_gdas.py: TinyNetworkGDAS with the
# same weights at temperature 1, its Gumbel noise replaced by the wave below, then Adam of its GDAS.py.
GUMBEL = (1.5 * wave(30, 2.1) + 0.4 * wave(30, 1.0, torch.pi / 2)).view(1, 6, 5)


def test_gdas_steps_on_nas_bench_201_as_its_authors_code_does(monkeypatch):
    sampler = {"use": "gumbel", "temperature": 1, "hard": True, "execute": "chosen"}
    problem = filled_problem(resolve({"base": "gdas", "sampler": sampler}, SPACE))
    monkeypatch.setattr(Dice, "gumbel", lambda self, like: GUMBEL)
    loss, gradient, alphas = adam_step(problem, 1e-3)
    assert loss == pytest.approx(1.3140351895855524, abs=1e-12)
    slopes = [-0.03253029521755975, 0.07535608977665362, -0.0038406533553242478, -0.006377518681258302]
    assert gradient[0].tolist() == pytest.approx([*slopes, -0.03260762252251133], abs=1e-12)
    assert gradient.abs().sum().item() == pytest.approx(0.5844392524863822, abs=1e-12)
    moved = [0.28795532306947735, 0.5840085785664217, 0.025248396673752047, -0.570661244765458]
    assert alphas[0].tolist() == pytest.approx([*moved, -0.3301113256496626], abs=1e-12)


# XinbangZhang/DSO-NAS at f47fee9, Cifar/core/optimizer_split.py, APGNAG (with numpy for MXNet): rate .1,
# γ .001, momentum .9, gradients cut at 2; from these five scales, three steps along these gradients.
SCALES = [1.0, 0.05, 0.002, 0.0, 1.5]
SCALE_STEPS = [
    ([0.1, 0.5, 0.02, 0.0005, -7.0], [0.98081, 0.0, 0.0, 0.0, 1.87981]),
    ([0.2, 0.1, 0.01, -0.3, 0.4], [0.934439, 0.0, 0.0, 0.05681, 1.965539]),
    ([-0.1, 0.2, 0.0, 0.1, 2.5], [0.9296051, 0.0, 0.0, 0.061839, 1.6985951]),
]


def test_scales_move_as_dso_nas_moves_them():
    policy = make_policy(store=Table(1.0, 0.0), relaxation=Scales(), lanes=1)
    policy.alphas[0, :5] = torch.tensor(SCALES, dtype=torch.float64)
    mover = Proximal(0.001, 0.9, (ClipEach(2.0),)).start(policy, number(0.1), number(0.0))
    for slopes, moved in SCALE_STEPS:
        gradient = torch.zeros_like(policy.alphas)
        gradient[0, :5] = torch.tensor(slopes, dtype=torch.float64)
        mover.step(gradient)
        assert policy.alphas[0, :5].tolist() == pytest.approx(moved, abs=1e-12)


# xiaomi-automl/FairDARTS at 270cfc9, fairdarts: ConvSeparateLoss of weight 10 with a cross entropy of ln 4,
# Adam of train_search.py, and parse with threshold_sparse at .85, for α that are waves.
FAIR_ALPHAS = {"normal": 1.75 * wave(98, 1.7), "reduce": 1.736 * wave(98, 0.23, 1.0)}
FAIR_CELLS = {
    "normal": [
        ("avg_pool_3x3", 0, 2),
        ("dil_conv_3x3", 1, 2),
        ("max_pool_3x3", 2, 4),
        ("sep_conv_5x5", 3, 4),
        ("skip_connect", 3, 5),
        ("dil_conv_5x5", 4, 5),
    ],
    "reduce": [("avg_pool_3x3", 3, 4)],
}


def test_fair_darts_steps_and_derives_as_its_authors_code_does():
    method, space = resolve("fair-darts"), load_space("darts")
    parts = {"store": method.store, "relaxation": method.relaxation, "without": method.without}
    policy = make_policy(space, lanes=1, **parts)
    for name, table in policy.layout.tables(policy.alphas).items():
        table[0, :, 1:] = FAIR_ALPHAS[name].view(14, 7)
    flat = policy.alphas.clone().requires_grad_()
    entropy = torch.full((1,), 4.0, dtype=torch.float64).log()
    loss = method.penalties[0](entropy, policy, flat, policy.draw(flat))
    assert loss.item() == pytest.approx(0.696962681084744, abs=1e-12)
    [gradient] = torch.autograd.grad(loss.sum(), flat)
    slopes = [0, -0.004552328774398161, 0.0026697080049186564, 0.004711249927789242, -0.004333201073850423]
    assert gradient[0, 1:6].tolist() == pytest.approx(slopes, abs=1e-12)
    weights = {name: rows[0].tolist() for name, rows in policy.mean(flat).weights.items()}
    genotype = method.derivation(space, weights)
    # The code's cells have 3 nodes and 1; here the others keep their best edge, and are counted.
    for kind, edges in FAIR_CELLS.items():
        there = {target for _, _, target in edges}
        found = [(each.op, each.source, each.target) for each in genotype.cell(kind)]
        assert [edge for edge in found if edge[2] in there] == edges
        assert len(found) - len(edges) == 4 - len(there)
    assert method.derivation.notes(space, weights) == {"nodes_below": 4.0}
    method.updater.start(policy, number(3e-3), number(1e-3)).step(gradient)
    moved = [0, 1.7384134076419104, -0.45019691504876996, -1.6231756843681993, 0.867698355843324]
    assert policy.alphas[0, 1:6].tolist() == pytest.approx(moved, abs=1e-12)
