"""What methods add to edges: against the plain supernet, and neutral settings that change nothing."""

from dataclasses import fields, replace

import pytest
import torch
from helpers.oracle import Extras, plain_forward
from test_paths import single_path, sparse_weights
from test_supernet import make, random_weights, seeds
from torch.utils._python_dispatch import TorchDispatchMode

from raynas.bilevel.progress import Progress
from raynas.bilevel.settings import now
from raynas.errors import RaynasError
from raynas.nets.fan import active
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.parts.modifiers import AuxiliarySkip, DropPath, EdgeNormalisation, PartialChannels, SkipDropout
from raynas.spaces.library import load_space

SETTINGS = {
    "offsets": ({}, ("offsets",)),
    "drop path": ({}, ("drop_path",)),
    "skip dropout": ({}, ("skip_dropout",)),
    "both drops": ({}, ("drop_path", "skip_dropout")),
    "partial": ({"partial": 2}, ()),
    "partial and carry": ({"partial": 2}, ("carry", "offsets")),
    "partial and drops": ({"partial": 2}, ("carry", "drop_path", "skip_dropout")),
    "auxiliary": ({"auxiliary": True}, ("auxiliary",)),
    "all": ({"partial": 2, "auxiliary": True}, ("carry", "drop_path", "skip_dropout", "auxiliary")),
}


def random_images(lanes, size=(8, 8)):
    return torch.randn(lanes, 3, 3, *size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def fields_of(space, names, lanes):
    """Values for fields of a pass; tables are leaves that want a gradient."""
    generator = torch.Generator().manual_seed(5)
    values = {"drop_path": 0.3, "skip_dropout": 0.4, "auxiliary": 0.7}
    for name in ("offsets", "carry"):
        values[name] = {
            cell.kind: torch.randn(lanes, len(cell.edges), generator=generator, dtype=torch.float64)
            for cell in space.cells
        }
    chosen = {name: values[name] for name in names}
    for name in {"offsets", "carry"} & chosen.keys():
        chosen[name] = {kind: table.clone().requires_grad_() for kind, table in chosen[name].items()}
    return chosen


def drops(lanes):
    return [torch.Generator().manual_seed(100 + lane) for lane in range(lanes)]


def grad(out, wanted, **more):
    return torch.autograd.grad(out, wanted, allow_unused=True, materialize_grads=True, **more)


def compare(space, net, weights, names, mask=None, twice=False, size=(8, 8)):
    """Outputs and all gradients equal those of the plain supernet that draws the same masks."""
    lanes = len(weights["normal"])
    given, images = fields_of(space, names, lanes), random_images(lanes, size)
    leaves = {kind: w.clone().requires_grad_() for kind, w in weights.items()}
    tables = [t for value in given.values() if isinstance(value, dict) for t in value.values()]
    wanted = [*net.parameters(), *tables, *leaves.values()]
    run = Pass(Statistics.BATCH, seeds(lanes), twice, mask, drops=drops(lanes), **given)
    fast = net(images, leaves, run)
    found = grad(fast.square().sum(), wanted, create_graph=twice)
    plain = []
    for lane, generator in enumerate(drops(lanes)):
        mine = {
            name: {kind: t[lane] for kind, t in value.items()} if isinstance(value, dict) else value
            for name, value in given.items()
        }
        rows = {kind: w[lane] for kind, w in leaves.items()}
        plain.append(plain_forward(net, images[lane], rows, lane, Extras(drops=generator, **mine)))
    slow = torch.stack(plain)
    expected = list(grad(slow.square().sum(), wanted, create_graph=twice))
    if twice:  # the gradient in the weights, differentiated in the weights and the tables
        of = [*tables, *leaves.values()]
        ends = [sum(slope.square().sum() for slope in each[-len(leaves) :]) for each in (found, expected)]
        found, expected = [*found, *grad(ends[0], of)], [*expected, *grad(ends[1], of)]
    if mask is not None:
        for index, kind in enumerate(leaves, start=-len(leaves)):
            expected[index] = expected[index] * mask[kind]
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("setting", SETTINGS)
def test_outputs_and_all_gradients_equal_the_plain_supernet(setting):
    built, names = SETTINGS[setting]
    space, net = make("s3", lanes=2, **built)
    compare(space, net, random_weights(space, 2), names)


def test_everything_at_once_in_the_whole_space_of_darts_on_odd_sides():
    space, net = make("darts", shape=(3, 7, 6), lanes=2, **SETTINGS["all"][0])
    compare(space, net, random_weights(space, 2), SETTINGS["all"][1], size=(7, 6))


@pytest.mark.parametrize("setting", SETTINGS)
def test_on_paths_they_draw_and_compute_the_same(setting):
    built, names = SETTINGS[setting]
    space, net = make("s3", lanes=2, **built)
    for weights in (single_path(space, 2), sparse_weights(space, 2)):
        compare(space, net, weights, names, mask=active(weights))


@pytest.mark.parametrize("setting", ["offsets", "all"])
def test_passes_that_are_differentiated_twice_agree(setting):
    built, names = SETTINGS[setting]
    space, net = make("s3", **built)
    compare(space, net, random_weights(space), names, twice=True)


def test_cells_that_lack_edges(tmp_path):
    file = tmp_path / "holes.yaml"
    file.write_text(
        "name: holes\ntitle: missing edges\nnodes: 2\nkeep: 1\ncells:\n"
        "  normal: {edges: {0->2: [skip_connect, none], 1->3: [sep_conv_3x3, skip_connect],"
        " 2->3: [none, skip_connect]}}\n"
        "  reduce: {edges: {0->2: [max_pool_3x3], 0->3: [skip_connect, none], 1->3: [sep_conv_3x3]}}\n"
    )
    space = load_space(str(file))
    for built, names in (SETTINGS["all"], SETTINGS["partial and carry"]):
        net = Supernet(space, (3, 8, 8), 3, 4, 4, seeds(2), torch.float64, **built)
        compare(space, net, random_weights(space, 2), names)


class Kernels(TorchDispatchMode):
    """Notes every operation that is run."""

    def __init__(self):
        super().__init__()
        self.run = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.run.append(str(func))
        return func(*args, **(kwargs or {}))


def step(space, net, lanes=2, **more):
    """Outputs, gradients, running statistics and the kernels of one training pass."""
    weights = {kind: w.requires_grad_() for kind, w in random_weights(space, lanes).items()}
    run = Pass(Statistics.UPDATE, seeds(lanes), drops=drops(lanes), **more)
    with Kernels() as kernels:
        out = net(random_images(lanes), weights, run)
        plain = {name: p for name, p in net.named_parameters() if "auxiliary" not in name}
        found = torch.autograd.grad(out.square().sum(), [*plain.values(), *weights.values()])
    buffers = [buffer for name, buffer in net.named_buffers() if "auxiliary" not in name]
    return [out.detach(), *found, *buffers], kernels.run


@pytest.mark.parametrize("built", [{}, {"partial": 1}, {"auxiliary": True}], ids=str)
def test_neutral_settings_change_no_bit_and_run_no_kernel(built):
    space, net = make("s3", lanes=2)
    expected, kernels = step(space, net)
    _, other = make("s3", lanes=2, **built)
    carry = {kind: torch.rand(w.shape[:2]) for kind, w in random_weights(space, 2).items()}
    neutral = {"drop_path": 0.0, "skip_dropout": 0.0, "auxiliary": 0.0, "carry": carry}
    found, run = step(space, other, **neutral)
    assert all(torch.equal(one, two) for one, two in zip(expected, found, strict=True))
    assert run == kernels


@pytest.mark.parametrize("setting", SETTINGS)
def test_lanes_do_not_influence_each_other(setting):
    built, names = SETTINGS[setting]
    space, net = make("s3", lanes=2, **built)
    weights, images = random_weights(space, 2), random_images(2)
    given = fields_of(space, names, 2)
    out = net(images, weights, Pass(Statistics.BATCH, seeds(2), drops=drops(2), **given))
    disturbed = images.clone()
    disturbed[1] = float("nan")
    other = net(disturbed, weights, Pass(Statistics.BATCH, seeds(2), drops=drops(2), **given))
    assert torch.equal(out[0], other[0])
    assert other[1].isnan().all()
    _, alone = make("s3", lanes=1, **built)
    alone.load_state_dict({name: tensor[:1] for name, tensor in net.state_dict().items()})
    mine = {
        name: {kind: t[:1] for kind, t in value.items()} if isinstance(value, dict) else value
        for name, value in given.items()
    }
    first = {kind: w[:1] for kind, w in weights.items()}
    found = alone(images[:1], first, Pass(Statistics.BATCH, seeds(1), drops=drops(1), **mine))
    torch.testing.assert_close(found[0], out[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("setting", ["both drops", "all", "partial and carry"])
def test_cells_that_are_computed_again_drop_the_same(setting):
    built, names = SETTINGS[setting]
    found = []
    for recompute in (False, True):
        space, net = make("s3", lanes=2, recompute=recompute, **built)
        given = fields_of(space, names, 2)
        generators = drops(2)
        tables = [t for value in given.values() if isinstance(value, dict) for t in value.values()]
        weights = {kind: w.requires_grad_() for kind, w in random_weights(space, 2).items()}
        for _ in range(2):  # the second time, the streams have moved on
            run = Pass(Statistics.UPDATE, seeds(2), drops=generators, **given)
            out = net(random_images(2), weights, run)
            wanted = [*net.parameters(), *tables, *weights.values()]
            found.append([out.detach(), *grad(out.square().sum(), wanted), *net.buffers()])
        found[-2:] = [found[-2] + found[-1]]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_drop_path_drops_whole_edges_of_an_image_and_keeps_the_mean():
    run = Pass(Statistics.BATCH, [], drops=drops(2))
    kept = run.survivors(0.25, (20000, 1, 1, 3, 1), torch.zeros(1, dtype=torch.float64))
    assert kept.shape == (20000, 1, 1, 2, 3, 1)
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    torch.testing.assert_close(kept.mean(0), torch.ones_like(kept[0]), atol=0.02, rtol=0)
    assert not torch.equal(kept[:, :, :, 0], kept[:, :, :, 1])


def test_dropping_takes_nothing_from_the_stream_of_noise():
    space, net = make("s4", lanes=1)
    noise = [seeds(), seeds()]
    for generators, more in zip(noise, ({}, {"drop_path": 0.5, "skip_dropout": 0.5}), strict=True):
        net(
            random_images(1),
            random_weights(space),
            Pass(Statistics.BATCH, generators, drops=drops(1), **more),
        )
    assert torch.equal(noise[0][0].get_state(), noise[1][0].get_state())


def test_skip_dropout_touches_skips_at_stride_one_only():
    space, net = make("s3", cells=3)
    weights = random_weights(space)
    skip = space.cell("normal").edges[0].ops.index("skip_connect")
    weights["normal"][..., skip] = 0
    for row, edge in enumerate(space.cell("reduce").edges):
        if edge.source >= 2:
            weights["reduce"][:, row, skip] = 0
    run = Pass(Statistics.BATCH, seeds(), drops=drops(1))
    expected = net(random_images(1), weights, run)
    found = net(random_images(1), weights, replace(run, skip_dropout=0.5))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_by_passed_channels_are_those_of_the_input_in_a_known_order():
    """With all weights 0 a node is the shuffled sum of what by-passes its edges (Xu et al. 2020)."""
    space, net = make("darts", lanes=2, partial=4)
    cell = net.cells[0]
    assert all(p.shape[-3] == 1 or p.shape[3] == 1 for p in cell.fans.parameters())  # 4 channels / 4
    zeros = {kind: torch.zeros_like(w) for kind, w in random_weights(space, 2).items()}
    run = Pass(Statistics.BATCH, seeds(2))
    states = torch.randn(2, 3, 24, 8, 8, generator=seeds()[0], dtype=torch.float64)
    out = cell(*states, cell.mix(zeros, run, {}), run)
    first = [module(x, run)[:, :4] for module, x in zip(cell.inputs, states, strict=True)]
    total = torch.cat([torch.zeros_like(first[0][:, :1]), (first[0] + first[1])[:, 1:]], 1)
    torch.testing.assert_close(out[:, :4], total, rtol=1e-12, atol=1e-12)  # one channel a group: no shuffle


def test_auxiliary_skips_leave_all_other_parameters_as_they_are():
    _, plain = make("darts", lanes=2)
    _, more = make("darts", lanes=2, auxiliary=True)
    mine = dict(more.named_parameters())
    assert all(torch.equal(mine.pop(name), p) for name, p in plain.named_parameters())
    assert mine
    assert all("auxiliary" in name for name in mine)


@pytest.mark.parametrize("built", [{"partial": 2}, {"auxiliary": True}], ids=str)
def test_operations_in_nodes_have_none_of_them(built):
    with pytest.raises(RaynasError, match="has no"):
        make("nb1shot1-1", **built)


@pytest.mark.parametrize("setting", ["partial", "partial and carry", "auxiliary"])
@pytest.mark.parametrize("on_paths", [False, True])
def test_cells_whose_last_node_is_their_output_have_them_too(setting, on_paths):
    built, names = SETTINGS[setting]
    space, net = make("nas-bench-201", cells=1, lanes=2, **built)
    weights = sparse_weights(space, 2) if on_paths else random_weights(space, 2)
    compare(space, net, weights, names, mask=active(weights) if on_paths else None)


@pytest.mark.parametrize("built", [{"partial": 0}, {"partial": 3}], ids=str)
def test_impossible_shares_of_the_channels_are_refused(built):
    with pytest.raises(RaynasError, match="channels"):
        make("tiny", **built)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("tiny", {"auxiliary": 0.5}, "no auxiliary skips"),
        ("tiny", {"drop_path": 0.5, "offsets": {}}, "exclude each other"),
        ("tiny", {"drop_path": 0.5, "drops": ()}, "a generator for every lane"),
        ("nb1shot1-1", {"drop_path": 0.5}, "operations on edges"),
        ("nb1shot1-1", {"skip_dropout": 0.5}, "operations on edges"),
    ],
)
def test_passes_that_cannot_be_are_refused(name, more, message):
    space, net = make(name)
    if "offsets" in more:
        more = {**more, **fields_of(space, ("offsets",), 1)}
    run = Pass(Statistics.BATCH, seeds(), **{"drops": drops(1), **more})
    with pytest.raises(RaynasError, match=message):
        net(random_images(1), random_weights(space), run)


@pytest.mark.parametrize("setting", ["offsets", "all"])
@pytest.mark.parametrize("sparse", [False, True])
def test_in_bfloat16_they_compute_about_the_same(setting, sparse):
    built, names = SETTINGS[setting]
    space = load_space("s3")
    net = Supernet(space, (3, 8, 8), 3, 4, 4, seeds(2), torch.float32, **built)
    weights = {
        kind: w.float() for kind, w in (sparse_weights if sparse else random_weights)(space, 2).items()
    }
    given = fields_of(space, names, 2)
    mask = active(weights) if sparse else None
    found = []
    for lower in (False, True):
        run = Pass(Statistics.BATCH, seeds(2), active=mask, drops=drops(2), **given)
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            found.append(net(random_images(2).float(), weights, run))
    assert (found[0] - found[1]).abs().max() < 0.2 * found[0].abs().max()


def test_offsets_and_drops_work_where_the_last_node_is_the_output():
    space, net = make("nas-bench-201", cells=1)
    weights, run = random_weights(space), Pass(Statistics.BATCH, seeds(), drops=drops(1))
    offsets = {"normal": torch.zeros(1, 6, dtype=torch.float64)}
    plain = net(random_images(1), weights, run)
    assert torch.equal(net(random_images(1), weights, replace(run, offsets=offsets)), plain)
    assert not torch.equal(net(random_images(1), weights, replace(run, drop_path=0.5)), plain)


@pytest.mark.parametrize(
    ("modifier", "built", "run"),
    [
        (EdgeNormalisation(), {}, {}),
        (PartialChannels(6), {"partial": 6}, {}),
        (DropPath(0.2), {}, {"drop_path": 0.2}),
        (SkipDropout(0.4), {}, {"skip_dropout": 0.4}),
        (AuxiliarySkip(), {"auxiliary": True}, {"auxiliary": 0.75}),
    ],
)
def test_a_modifier_names_arguments_of_the_supernet_and_fields_of_the_pass(modifier, built, run):
    modifier = now(modifier, Progress(25, 100))
    assert modifier.build().given() == built
    assert modifier.run().given() == run
    assert run.keys() <= {field.name for field in fields(Pass)}
    if not isinstance(modifier, EdgeNormalisation):
        assert modifier.weigh("draw", None, None) == "draw"
