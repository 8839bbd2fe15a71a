"""Costs against counted modules, closed forms and a toy whose choice they change."""

import math

import pytest
import torch
from helpers.planted import Planted, operations, planted_search
from helpers.policies import make_policy, randomly, small_space
from test_supernet import make, seeds
from torch import nn

from raynas.bilevel.exchange import Draw
from raynas.errors import RaynasError
from raynas.methods import describe, reasons, resolve
from raynas.nets.cost import costs_by_cell, option_costs
from raynas.nets.ops.plain import plain
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import RecurrentSupernet
from raynas.parts.cost import Cost, ResourceCost
from raynas.parts.relaxations import Softmax
from raynas.parts.stores import Table
from raynas.search.loop import Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space, names
from raynas.sweep.file.keys import check_value

PRICE = {name: torch.tensor([[0.0, 3.0, 1.0], [0.0, 5.0, 2.0]]) for name in ("normal", "reduce")}
EVEN = 2 * (4 / 3 + 7 / 3)


def count(op, channels, stride, side):
    """Run an operation on one image and count its weights and what they are multiplied with."""
    module = plain(op, channels, stride, affine=False).eval()
    multiplications = 0

    def note(layer, _, out):
        nonlocal multiplications
        multiplications += layer.weight.numel() * out.shape[2] * out.shape[3]

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    module(torch.zeros(1, channels, side, side))
    return sum(p.numel() for p in module.parameters()), multiplications


@pytest.mark.parametrize("side", [16, 15])
def test_costs_are_those_of_the_modules(side):
    space, net = make("darts", shape=(3, side, side), cells=5, lanes=2)
    found = [option_costs(space, net, measure) for measure in ("parameters", "flops")]
    # Five cells reduce at indices 1 and 3: normal cells have 4, 8, 16 channels.
    half = -(-side // 2)
    normal = [(4, side), (8, half), (16, -(-half // 2))]
    reduce = [(8, side), (16, half)]
    for column, op in enumerate(space.cell("normal").edges[0].ops):
        for place in (0, 1):
            expected = sum(count(op, channels, 1, pixels)[place] for channels, pixels in normal)
            assert found[place]["normal"][5, column] == expected
            expected = sum(count(op, channels, 2, pixels)[place] for channels, pixels in reduce)
            assert found[place]["reduce"][0, column] == expected


def test_inner_edges_of_a_reduction_cell_have_stride_one():
    space, net = make("darts", cells=3)
    table = option_costs(space, net, "parameters")["reduce"]
    skip = space.cell("reduce").edges[0].ops.index("skip_connect")
    inputs = torch.tensor([edge.source < 2 for edge in space.cell("reduce").edges])
    assert torch.equal(table[:, skip] > 0, inputs)


@pytest.mark.parametrize("share", [1, 2])
def test_only_channels_that_pass_through_operations_cost(share):
    space, net = make("darts", cells=4, partial=share)
    column = space.cell("normal").edges[0].ops.index("dil_conv_3x3")
    widths = [4 // share, 16 // share]  # four cells: normal, reduce, reduce, normal
    expected = sum(9 * width + width**2 for width in widths)
    assert option_costs(space, net, "parameters")["normal"][:, column].tolist() == [expected] * 14


@pytest.mark.parametrize(
    "name", [name for name in names("search_spaces") if not skeletons.of(load_space(name)).texts]
)
def test_every_packaged_space_has_costs_for_every_operation_it_weighs(name):
    space = load_space(name)
    cells = space.nodes if space.trunk else skeletons.of(space).fewest_cells
    net = Supernet(space, (3, 8, 8), 3, 4, cells, seeds())
    tables = option_costs(space, net, "flops")
    for group in skeletons.groups(space):
        assert tables[group.name].shape == (len(group.rows), group.width)
        for row, options in zip(tables[group.name], group.rows, strict=True):
            heavy = [op for op in options.options if group.operations and "conv" in op]
            assert all(row[options.options.index(op)] > 0 for op in heavy)


@pytest.mark.slow
def test_an_inverted_bottleneck_widens_at_the_resolution_it_reads():
    space, net = make("proxyless", shape=(3, 32, 32), channels=32)
    flops = option_costs(space, net, "flops")["normal"]
    parameters = option_costs(space, net, "parameters")["normal"]
    column = space.cells[0].edges[0].ops.index("mbconv6_5x5")
    # The first block reads 16 channels of 32×32 and gives 24 of 16×16; inside it is 96 wide.
    assert parameters[0, column] == 96 * 16 + 96 * 25 + 24 * 96
    assert flops[0, column] == 96 * 16 * 32**2 + (96 * 25 + 24 * 96) * 16**2
    zero = space.cells[0].edges[1].ops.index("zero")
    assert flops[1, zero] == 0


def test_what_follows_a_gate_costs_nothing():
    space = load_space("darts-rnn")
    net = RecurrentSupernet(space, (), 7, 4, 1, seeds())
    assert all(bool((table == 0).all()) for table in option_costs(space, net, "flops").values())


@pytest.mark.parametrize("space", ["darts-rnn", "dso-nas"])
def test_kernels_that_alpha_does_not_choose_among_cannot_be_charged(space):
    told = " ".join(reasons(resolve("proxyless"), load_space(space), {}))
    assert "cost counts the kernels" in told
    free = resolve({"base": "proxyless", "penalties": []})
    assert "cost" not in " ".join(reasons(free, load_space(space), {}))


def charge(part, policy, costs=None):
    flat = policy.alphas.clone().requires_grad_()
    losses = part(torch.full((2,), 2.0, dtype=torch.float64), policy, flat, Draw({}), costs)
    [slopes] = torch.autograd.grad(losses.sum(), flat, allow_unused=True, materialize_grads=True)
    return losses.detach(), policy.layout.tables(slopes)["normal"]


@pytest.mark.parametrize("form", ["add", "log", "multiply"])
@pytest.mark.parametrize("reference", [None, 4.5])
def test_values_and_gradients_are_the_closed_forms(form, reference):
    policy = randomly(make_policy(small_space()))
    losses, slopes = charge(Cost(0.3, form, reference=reference), policy, PRICE)
    weights = policy.relax(policy.alphas)
    expected = sum((rows * PRICE[name]).sum((1, 2)) for name, rows in weights.items())
    base = reference or EVEN
    ratio = expected.log() / math.log(base)
    values = {
        "add": 2 + 0.3 * (expected / base - 1),
        "log": 2 + 0.3 * (expected / base).log(),
        "multiply": 2 * ratio**0.3,
    }
    by_cost = {
        "add": torch.full_like(expected, 0.3 / base),
        "log": 0.3 / expected,
        "multiply": 2 * 0.3 * ratio ** (0.3 - 1) / expected / math.log(base),
    }
    torch.testing.assert_close(losses, values[form])
    rows = weights["normal"]
    away = PRICE["normal"] - (rows * PRICE["normal"]).sum(-1, keepdim=True)
    torch.testing.assert_close(slopes, by_cost[form].view(-1, 1, 1) * rows * away)


def test_above_charges_only_beyond_the_reference():
    policy = randomly(make_policy(small_space()))
    free, slopes = charge(Cost(0.3, reference=100.0, above=True), policy, PRICE)
    assert free.tolist() == [2.0, 2.0]
    assert not slopes.any()
    dear = Cost(0.3, reference=1.0, above=True), Cost(0.3, reference=1.0)
    assert torch.equal(*(charge(part, policy, PRICE)[0] for part in dear))


@pytest.mark.parametrize("reference", [6.0, 60.0])
def test_what_was_drawn_is_charged_at_its_probability(reference):
    """As the code of DSNAS does, SNAS-Series/SNAS-Series 9a43adb, DSNAS/network.py:127-147."""
    policy = randomly(make_policy(small_space()))
    flat = policy.alphas.clone().requires_grad_()
    picks = {"normal": [1, 2], "reduce": [2, 1]}
    hot = {name: torch.eye(3, dtype=torch.float64)[pick].expand(2, 2, 3) for name, pick in picks.items()}
    part = Cost(0.3, reference=reference, above=True, drawn=True)
    losses = part(torch.full((2,), 2.0, dtype=torch.float64), policy, flat, Draw(hot), PRICE)
    weights = policy.relax(flat)
    charged = sum((weights[name] * hot[name] * PRICE[name]).sum((1, 2)) for name in picks)
    dear = reference < 3 + 2 + 1 + 5
    torch.testing.assert_close(losses, 2 + dear * 0.3 * (charged / reference - 1))
    slopes = torch.autograd.grad(losses.sum(), flat, allow_unused=True, materialize_grads=True)[0]
    expected = torch.autograd.grad((dear * 0.3 * charged / reference).sum(), flat)[0]
    torch.testing.assert_close(slopes, expected)


def test_an_even_mixture_costs_nothing_and_the_reference_stays_when_options_die():
    policy = make_policy(small_space(), store=Table(spread=0.0))
    torch.testing.assert_close(charge(Cost(0.3), policy, PRICE)[0], torch.full((2,), 2.0).double())
    policy.prune({name: mask & torch.tensor([True, False, True]) for name, mask in policy.alive.items()})
    expected = 2 * (0.5 + 1.0)
    found = charge(Cost(0.3), policy, PRICE)[0]
    torch.testing.assert_close(found, torch.full((2,), 2 + 0.3 * (expected / EVEN - 1)).double())


def test_what_has_no_price_or_no_logarithm_is_refused():
    policy = make_policy(small_space())
    with pytest.raises(TypeError, match="cost of every"):
        charge(Cost(), policy)
    free = {name: torch.zeros(2, 3) for name in PRICE}
    with pytest.raises(RaynasError, match="above 0 to some operation"):
        charge(Cost(), policy, free)
    with pytest.raises(RaynasError, match="smaller unit"):
        charge(Cost(form="multiply"), policy, {name: each / 20 for name, each in PRICE.items()})


FLAT = "{none: 1, max_pool_3x3: 1, skip_connect: 1, sep_conv_3x3: 10}"


def test_tables_are_read_for_all_cells_or_group_by_group_from_yaml_or_json(tmp_path):
    space = load_space("tiny")
    (tmp_path / "flat.yaml").write_text(FLAT)
    (tmp_path / "groups.json").write_text(
        '{"normal": {"none": 1, "max_pool_3x3": 1, "skip_connect": 1, "sep_conv_3x3": 10},'
        ' "reduce": {"none": 0, "max_pool_3x3": 2.5, "skip_connect": 1, "sep_conv_3x3": 4}}'
    )
    flat = Cost(table=str(tmp_path / "flat.yaml")).costs(space, None)
    groups = Cost(table=str(tmp_path / "groups.json")).costs(space, None)
    assert flat["reduce"].tolist() == [[1, 1, 1, 10]] * 5
    assert torch.equal(groups["normal"], flat["normal"])
    assert groups["reduce"][4].tolist() == [0, 2.5, 1, 4]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such table"),
        ("", "empty"),
        ("[1, 2]", "mapping"),
        ("{none: 1, max_pool_3x3: 1, skip_connect: 1}", "no cost for sep_conv_3x3"),
        ("{none: 1, max_pool_3x3: 1, skip_connect: fast, sep_conv_3x3: 2}", "'fast'"),
        ("{none: 1, max_pool_3x3: 1, skip_connect: -1, sep_conv_3x3: 2}", "-1"),
        ("{none: 1, max_pool_3x3: 1, skip_conect: 1, sep_conv_3x3: 2}", "nearest:  skip_connect"),
        ("{normal: {none: 1}, redce: {none: 1}}", "nearest:  reduce"),
        ("{normal: {none: 1, max_pool_3x3: 1, skip_connect: 1, sep_conv_3x3: 2}}", "in the reduce cell"),
    ],
)
def test_mistakes_in_tables_are_told(tmp_path, text, words):
    path = tmp_path / "costs.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(RaynasError) as caught:
        Cost(table=str(path)).costs(load_space("tiny"), None)
    assert words in str(caught.value)


def test_a_missing_table_is_told_when_a_sweep_is_checked_and_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    method = {"base": "snas", "penalties": [{"use": "cost", "table": "costs.yaml"}]}
    entry, problems = check_value("method", method, "method")
    assert not problems
    [penalty] = entry.leaves["method"]["penalties"]
    assert penalty["table"] == str(tmp_path / "costs.yaml")
    method = resolve(entry.leaves["method"])
    assert any("no such table" in reason for reason in reasons(method, load_space("tiny"), {}))
    (tmp_path / "costs.yaml").write_text(FLAT)
    assert not list(reasons(method, load_space("tiny"), {}))


class NearlyAsGood(Planted):
    """A supernet in which a skip is worth half of the best operation."""

    def __init__(self, space, *arguments, **more):
        super().__init__(space, *arguments, **more)
        for group in skeletons.groups(space):
            self.values[group.name][:, group.rows[0].options.index("skip_connect")] = 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snas", "proxyless", "drnas", "dsnas"])
def test_costs_move_the_choice(monkeypatch, tmp_path, name):
    (tmp_path / "costs.yaml").write_text(FLAT)
    form = {"strength": 10, "form": "multiply"} if name == "proxyless" else {"strength": 0.5}
    penalty = {"use": "cost", "table": str(tmp_path / "costs.yaml"), **form}
    chosen = []
    for penalties in ([], [penalty]):
        method = {"base": name, "penalties": penalties, "every": 1, "modifiers": [], "stages": None}
        chosen.append(operations(planted_search(monkeypatch, NearlyAsGood, method)))
    assert chosen == [{"sep_conv_3x3"}, {"skip_connect"}]


def test_the_methods_that_publish_a_cost_term_have_theirs(make_search_config, build):
    assert resolve("proxyless").penalties == (Cost(0.3, "multiply"),)
    assert resolve("snas").penalties == (ResourceCost(1.5e-3),)
    assert resolve("dsnas").penalties == (Cost(2.9e-4, reference=290e6, above=True, drawn=True),)
    assert describe("proxyless")["parts"]["penalties"][0]["use"] == "cost"
    config = make_search_config(method={"base": "darts", "add": {"penalties": ["cost"]}}, epochs=1)
    search = Search(config, *build(config))
    [costs] = search.pack.problem._costs
    assert torch.equal(
        costs["normal"], option_costs(search.pack.space, search.pack.problem.supernet, "flops")["normal"]
    )
    assert not list(reasons(search.pack.method, search.pack.space, config.model_dump()))


@pytest.mark.slow
def test_a_rebuilt_supernet_is_counted_anew(make_search_config, build):
    method = {"base": "p-darts", "add": {"penalties": ["cost"]}}
    config = make_search_config(method=method, epochs=3, cells=5)
    search, totals = Search(config, *build(config)), []
    while search.pack.epoch < search.pack.epochs:
        search.advance()
        totals.append(float(search.pack.problem._costs[0]["normal"].sum()))
    assert totals[0] == totals[1] < totals[2]


# Numbers of SNAS' own code: SNAS-Series/SNAS-Series 9a43adb, 8 cells of 4 channels, 16×16 images.


def test_what_snas_counts_is_what_its_code_counts():
    space, net = make("darts", (3, 16, 16), 4, cells=8)
    tables = costs_by_cell(space, net)
    kinds = {"normal": (tables["normal"][:, 0, 0], 0), "reduce": (tables["reduce"][:, 2, 0], 1)}
    kinds["inside"] = (tables["reduce"][:, 2, 4], 2)
    convolutions = {"normal": [104, 232, 52, 116], "reduce": [272, 528, 136, 264]}
    memory = {
        "normal": [0, 2048, 2048, 2048, 8296, 8424, 4148, 4212],
        "reduce": [0, 2560, 2560, 4672, 5904, 6160, 3720, 3848],
        "inside": [0, 1024, 1024, 1024, 4368, 4624, 2184, 2312],
    }
    skip = {"normal": 0, "reduce": 64, "inside": 0}
    for kind, ((parameters, flops, pooled, accesses), _) in kinds.items():
        weights = [0, 0, 0, skip[kind], *convolutions.get(kind, convolutions["reduce"])]
        places, window = (256, 9216) if kind == "normal" else (64, 4608)
        assert parameters.tolist() == weights
        assert flops.tolist() == [places * each for each in weights]
        assert pooled.tolist() == [0, window, window, 0, 0, 0, 0, 0]
        assert accesses.tolist() == memory[kind]
    used = (tables["reduce"][3] > 0).any(2).any(1)
    assert used.nonzero()[:, 0].tolist() == [2, 5]


def test_snas_charges_what_its_code_charges():
    space, net = make("darts", (3, 16, 16), 4, cells=8)
    policy = make_policy("darts", lanes=1, relaxation=Softmax(0.7))
    edge, op = torch.arange(14.0, dtype=torch.float64).view(-1, 1), torch.arange(8)
    tables = [((3 * edge + 5 * op) % 7) / 3, ((2 * edge + 3 * op) % 5) / 3]
    flat = torch.cat([each.flatten() for each in tables]).view(1, -1).requires_grad_()
    part = ResourceCost(1.0)
    draw = Draw(policy.relax(flat))
    [loss] = part(torch.zeros(1, dtype=torch.float64), policy, flat, draw, part.costs(space, net))
    slopes = policy.layout.tables(torch.autograd.grad(loss, flat)[0])
    assert loss.item() == pytest.approx(206.88417732075732, rel=1e-12)
    normal = "-0.0500749076 -0.3896536042 -0.1503366628 -0.0680106928 0.0249920059 0.6243992921 -0.0127514169"
    reduce = "-0.0624511869 -0.1674880089 -0.0646204425 -0.0844936115 0.1603871344 0.1373803227 0.0148008347"
    for kind, row, numbers in (("normal", 5, normal), ("reduce", 0, reduce)):
        found = slopes[kind][0, row].tolist()
        assert found[:-1] == pytest.approx([float(number) for number in numbers.split()], abs=1e-9)
        assert sum(found) == pytest.approx(0, abs=1e-12)
    # At an even draw, the term on the total is many times weaker.
    total = charge_of(Cost(1.0, "log"), space, net, policy, flat)
    assert 10 < slopes["normal"].norm() / total["normal"].norm() < 30
    assert 40 < slopes["reduce"].norm() / total["reduce"].norm() < 100


def charge_of(part, space, net, policy, flat):
    """Return the slopes of a cost of a supernet alone."""
    zero, costs = torch.zeros(1, dtype=torch.float64), part.costs(space, net)
    loss = part(zero, policy, flat, Draw(policy.relax(flat)), costs)
    return policy.layout.tables(torch.autograd.grad(loss.sum(), flat)[0])


def test_resources_need_a_draw_that_alpha_learns_through():
    for method in ("parsec", "gdas"):
        told = " ".join(reasons(resolve({"base": method, "add": {"penalties": ["resources"]}}), None, {}))
        assert "resources charges what was drawn" in told
    told = " ".join(reasons(resolve("snas"), load_space("dso-nas"), {}))
    assert "cost counts the kernels" in told
