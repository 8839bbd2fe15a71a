"""Steps and decisions of methods against the numbers that their authors' code gave on the same inputs.

Each number is from a run of the code named beside it, in float64, with the weights, batches and α of
`recorded` copied into its network; raynas was within 1e-13 of all of them.
"""

import pytest
import torch
from helpers.policies import make_policy
from helpers.recorded import batches, one_step, problem_of, wave
from test_parts_stages import report

from raynas.bilevel.bilevel import cross_entropy
from raynas.bilevel.progress import Progress
from raynas.methods import resolve
from raynas.nets.ops.lanes import Statistics
from raynas.parts.derivations import FewSkips, Strongest
from raynas.parts.perturbations import Attack, UniformNoise
from raynas.parts.stages.deepen_widen import Deepen
from raynas.parts.stages.greedy import Greedy
from raynas.spaces import skeletons


def assert_equal(found, expected):
    torch.testing.assert_close(found, dict(zip(found, expected, strict=True)), rtol=1e-9, atol=0)


def chosen(genotype, kind):
    """Return a cell as pairs of operation and source, in the order of DARTS' text form."""
    return [(c.op, c.source) for c in sorted(genotype.cell(kind), key=lambda c: (c.target, c.source))]


# xiangning-chen/SmoothDARTS d3dbfed, sota/cnn: ε = 0.3; its α step was kept from moving running statistics.
@pytest.mark.parametrize(
    ("method", "noise", "train", "moved"),
    [
        ("sdarts-rs", UniformNoise(0.3), 1.443191755178314, 7.834602187005632),
        ("sdarts-adv", Attack(0.3), 1.441665059508689, 8.00346798958405),
    ],
)
def test_a_step_of_smooth_darts(method, noise, train, moved):
    problem = problem_of("s3", method)
    problem.weight_sampler = noise
    expected = (1.0965625631218057, 3.7092105189808837, 26.74215596105956, train, moved)
    assert_equal(one_step(problem, method), expected)


# Meituan-AutoML/DARTS- adb81a8, linear decay over 50 epochs: β is 0.9 in epoch 5.
def test_the_auxiliary_skip_is_in_steps_validation_and_curvature():
    problem = problem_of("s3", "darts-minus")
    problem.begin(Progress(5, 50))
    train, valid = batches()
    flat = problem.policy.logits(problem.alphas).detach().requires_grad_()
    slope = torch.autograd.grad(problem.loss_at_logits(valid, flat).sum(), flat, create_graph=True)[0]
    along = torch.autograd.grad((slope * wave(*flat.shape, step=0.4)).sum(), flat)[0]
    assert float(along.abs().sum()) == pytest.approx(3.8632069623985172, rel=1e-9)
    problem.forward(train, problem.mean(), Statistics.UPDATE, training=True)
    evaluated = cross_entropy(problem.forward(valid, problem.mean(), Statistics.RUNNING), valid.labels)
    assert float(evaluated.detach()) == pytest.approx(5.345937994006752, rel=1e-9)
    problem = problem_of("s3", "darts-minus")
    problem.begin(Progress(5, 50))
    expected = (
        1.322843743900214,
        8.082849144254412,
        26.743355955058682,
        0.8943966144241221,
        6.463357319752737,
    )
    assert_equal(one_step(problem, "darts-minus"), expected)


def test_a_derived_cell_has_no_auxiliary_skip():
    problem = problem_of("s3", "darts-minus")
    _, valid = batches()
    weights = {name: rows[0].tolist() for name, rows in problem.mean().weights.items()}
    draw = problem.policy.one_hot([Strongest()(problem.space, weights)])
    begun = problem.forward(valid, draw)
    problem.begin(Progress(40, 50))
    assert torch.equal(problem.forward(valid, draw), begun)
    assert not torch.equal(problem.forward(valid, draw._replace(alone=False)), begun)


# yuhuixu1993/PC-DARTS b74702f: a step after the warm-up, and the cell it reads.
def test_a_step_and_a_cell_of_pc_darts():
    problem = problem_of("darts", "pc-darts")
    expected = (
        0.9935460315358021,
        1.7420191794249842,
        80.19011857529172,
        1.2569609743694796,
        10.63535229473898,
    )
    assert_equal(one_step(problem, "pc-darts", rate=0.1, alpha_rate=6e-4), expected)
    weights = {name: rows[0].tolist() for name, rows in problem.mean().weights.items()}
    genotype = resolve("pc-darts").derivation(problem.space, weights)
    assert chosen(genotype, "normal") == [
        *[("max_pool_3x3", 0), ("dil_conv_5x5", 1), ("dil_conv_3x3", 0), ("sep_conv_5x5", 1)],
        *[("max_pool_3x3", 2), ("dil_conv_5x5", 3), ("dil_conv_3x3", 0), ("max_pool_3x3", 4)],
    ]


# chenxin061/pdarts b880e87: five operations an edge, no dropout; what has no weights there has no decay here.
def test_a_step_of_p_darts_second_stage():
    problem, stages = problem_of("darts", "p-darts"), Deepen()
    problem.policy.begin(Progress(25, 75, 1, 25, 50, 10))
    problem.policy.prune(stages(problem.policy, [[]], None))
    problem.policy.modifiers = ()
    expected = (
        0.5828683411186598,
        7.038011480305008,
        71.26503025947179,
        2.5024530284331634,
        10.023184483636163,
    )
    assert_equal(one_step(problem, "p-darts", alpha_rate=6e-4, decay=0.0), expected)


def test_p_darts_stages_end_in_the_authors_cell():
    """`none` stays to the end; so three skips at first, of which the lightest goes."""
    policy, stages = make_policy("darts", lanes=1), Deepen()
    for stage in range(3):
        policy.begin(Progress(25 * stage, 75, stage, 25 * stage, 25 * stage + 25))
        policy.prune(stages(policy, [[]], None) or policy.alive)
        policy.alphas = wave(*policy.alphas.shape, step=0.9 + 0.2 * stage, size=2.0)
        for table in policy.layout.tables(policy.alphas).values():
            table[..., 3] += 2.5
            table[..., 0] += 0.5
    assert bool(policy.alive["normal"][..., 0].any())
    weights = {name: rows[0].tolist() for name, rows in policy.mean(policy.alphas).weights.items()}
    genotype = FewSkips(2)(policy.space, weights)
    strongest = Strongest()(policy.space, weights)
    assert skeletons.of(strongest).count(strongest, "skip_connect")["normal"] > 2
    assert chosen(genotype, "normal") == [
        *[("max_pool_3x3", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_5x5", 1)],
        *[("avg_pool_3x3", 1), ("dil_conv_5x5", 2), ("dil_conv_3x3", 1), ("skip_connect", 4)],
    ]
    assert chosen(genotype, "reduce") == [
        *[("skip_connect", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 2)],
        *[("skip_connect", 0), ("skip_connect", 3), ("skip_connect", 1), ("skip_connect", 2)],
    ]


# lightaime/sgas 9cfff65, cnn: five edges decided, one gone; weights without decay, as above.
def test_a_step_of_sgas_amid_its_decisions():
    problem = problem_of("darts", "sgas")
    alive = {name: mask.clone() for name, mask in problem.policy.alive.items()}
    decided = [("normal", 0, 3), ("normal", 1, 4), ("normal", 2, 5), ("reduce", 4, 1), ("reduce", 3, 6)]
    for name, row, option in decided:
        alive[name][0, row] = torch.arange(8) == option
    alive["reduce"][0, 2] = False
    problem.policy.prune(alive)
    expected = (
        0.9483757642126136,
        9.04065062024485,
        71.26683031095588,
        1.165280742845059,
        8.357645017166522,
    )
    assert_equal(one_step(problem, "sgas", decay=0.0), expected)


@pytest.mark.parametrize(
    ("criterion", "normal", "reduce"),
    [
        (1, [1, 6, 0, 2, 1, 1, 0, 0, 6, 5, 0, 1, 0, 0], [6, 6, 5, 4, 0, 0, 6, 0, 5, 4, 0, 3, 0, 0]),
        (2, [7, 5, 0, 2, 1, 1, 0, 7, 0, 0, 0, 0, 7, 7], [6, 2, 5, 0, 4, 7, 0, 0, 5, 0, 0, 3, 0, 2]),
    ],
)
def test_sgas_decides_a_whole_search_as_the_authors_do(criterion, normal, reduce):
    """The operation of each edge, 0 for an edge that is gone."""
    policy, greedy, history = make_policy("darts", lanes=1), Greedy(criterion), []
    policy.alphas = wave(*policy.alphas.shape, step=1.7)
    for epoch in range(46):
        policy.begin(Progress(epoch, 50))
        policy.prune(greedy(policy, [history], None))
        moved = wave(*policy.alphas.shape, step=0.9 + 0.01 * epoch, size=0.3)
        policy.alphas = policy.alphas + (moved if policy.live is None else moved * policy.live)
        history.append(report(policy, 0, epoch))
    for name, expected in (("normal", normal), ("reduce", reduce)):
        assert (policy.alive[name][0].int() @ torch.arange(8, dtype=torch.int32)).tolist() == expected
