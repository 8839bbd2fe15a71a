"""The recurrent cell: supernet against formulas and discrete network, lanes, derivatives, text form."""

import json

import pytest
import torch
from helpers.problems import bilevel
from torch import nn

from raynas.data.batch import Batch, Carried
from raynas.errors import RaynasError
from raynas.nets.fan import active
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import RecurrentSupernet
from raynas.parts.estimators import SecondOrder
from raynas.parts.updaters import Sgd
from raynas.report.draw import draw_cell, write_cells
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text
from raynas.spaces.space_file import SpaceFile

# As published with the code of Liu et al. 2019.
DARTS_V1 = (
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), "
    "('relu', 5), ('relu', 1)], concat=range(1, 9))"
)
DARTS_V2 = (
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), "
    "('sigmoid', 5), ('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)
ENAS = (
    "Genotype(recurrent=[('tanh', 0), ('tanh', 1), ('relu', 1), ('tanh', 3), ('tanh', 3), ('relu', 3), "
    "('relu', 4), ('relu', 7), ('relu', 8), ('relu', 8), ('relu', 8)], concat=[2, 5, 6, 9, 10, 11])"
)
WORDS, UNITS, DOUBLE = 11, 6, torch.float64
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda x: x}


def supernet(lanes=1, space="darts-rnn", seed=0, **more):
    found = load_space(space) if isinstance(space, str) else space
    generators = [torch.Generator().manual_seed(seed + lane) for lane in range(lanes)]
    return RecurrentSupernet(found, (), WORDS, UNITS, 1, generators, DOUBLE, **more)


def enlarge(net):
    """Make the weights large enough for activations to differ."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(20)
    return net


def tokens(lanes=1, streams=3, steps=5, seed=1):
    return torch.randint(0, WORDS, (lanes, streams, steps), generator=torch.Generator().manual_seed(seed))


def softmaxed(net, seed=2):
    edges = len(net.space.cells[0].edges)
    lanes = len(net.embedding)
    drawn = torch.randn(lanes, edges, 5, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)
    return {"recurrent": drawn.softmax(-1)}


def without_norm(net):
    """Let every batch norm hand on what it gets."""
    for index in range(len(net.norms)):
        net.norms[index] = Handed()
    return net


class Handed(nn.Module):
    def forward(self, x, run):
        return x


def by_hand(net, lane, words, weights, normalise):
    """Section A.1.2 of Liu et al. 2019, term by term; ``words`` [N, T]."""
    hidden = torch.zeros(len(words), UNITS, dtype=DOUBLE)
    logits = []
    for step in range(words.shape[1]):
        x = net.embedding[lane][words[:, step]]
        c, h = (torch.cat([x, hidden], 1) @ net.first[lane]).split(UNITS, 1)
        states = [normalise(hidden + torch.sigmoid(c) * (torch.tanh(h) - hidden))]
        for node in range(1, 9):
            total = 0
            for row, edge in enumerate(net.space.cells[0].edges):
                if edge.target == node:
                    state = states[edge.source]
                    c, h = (state @ net.nodes[lane, node - 1]).split(UNITS, 1)
                    for column, op in enumerate(edge.ops):
                        if op != "none":
                            candidate = state + torch.sigmoid(c) * (FUNCTIONS[op](h) - state)
                            total = total + weights[lane, row, column] * candidate
            states.append(normalise(total))
        hidden = torch.stack(states[1:]).mean(0)
        logits.append(hidden @ net.embedding[lane].T + net.bias[lane])
    return torch.stack(logits, 1), hidden


def batch_normed(x):
    return (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()


def test_the_supernet_computes_the_formulas():
    net, words = enlarge(supernet(lanes=2)), tokens(lanes=2)
    weights = softmaxed(net)
    carried = Carried()
    logits = net(words, weights, Pass(Statistics.BATCH, [], carried=carried))
    for lane in range(2):
        expected, hidden = by_hand(net, lane, words[lane], weights["recurrent"], batch_normed)
        torch.testing.assert_close(logits[lane], expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(carried.ahead[lane], hidden, rtol=1e-10, atol=1e-12)
    assert not carried.ahead.requires_grad


def test_each_edge_may_have_activations_of_its_own():
    file = {"name": "mine", "title": "mine", "skeleton": "recurrent", "nodes": 2, "keep": 1}
    file |= {"default_cells": 1}
    edges = {"0->1": ["tanh", "none"], "0->2": ["identity"], "1->2": ["none", "sigmoid", "relu"]}
    space = SpaceFile.model_validate({**file, "cells": {"recurrent": {"edges": edges}}}).resolve()
    net = enlarge(without_norm(supernet(space=space)))
    weights = {"recurrent": torch.tensor([[[0.5, 0.1, 9], [0.2, 9, 9], [0.3, 0.6, 0.7]]], dtype=DOUBLE)}
    s0 = torch.randn(1, 3, UNITS, generator=torch.Generator().manual_seed(4), dtype=DOUBLE)

    def sent(state, node, **shares):
        c, h = (state @ net.nodes[0, node - 1]).split(UNITS, 2)
        gated = (share * (state + c.sigmoid() * (FUNCTIONS[op](h) - state)) for op, share in shares.items())
        return sum(gated)

    first = sent(s0, 1, tanh=0.5)
    second = sent(s0, 2, identity=0.2) + sent(first, 2, sigmoid=0.6, relu=0.7)
    mix, added = net._cut(weights, Pass(Statistics.BATCH, []))
    found = net._nodes(s0, mix, added, net._matrices(), Pass(Statistics.BATCH, []), None)
    torch.testing.assert_close(found, (first + second) / 2)
    assert skeletons.of(space).architectures(space) == 1 * (1 + 2)


@pytest.mark.parametrize("text", [DARTS_V1, DARTS_V2])
def test_one_hot_weights_without_batch_norm_are_the_discrete_network(text):
    genotype = genotype_from_text(text)
    net = enlarge(without_norm(supernet()))
    problem = bilevel(net.space, net, [torch.Generator().manual_seed(0)])
    draw = problem.policy.one_hot([genotype])
    network = RecurrentNetwork(genotype, WORDS, UNITS).double()
    with torch.no_grad():
        for parameter, mine in zip(network.parameters(), net.parameters(), strict=True):
            assert parameter.shape == mine.shape[1:]
            parameter.copy_(mine[0])
    words, carried = tokens(), Carried()
    logits = net(words, draw.weights, Pass(Statistics.BATCH, [], active=draw.active, carried=carried))
    expected, hidden = network(words[0])
    torch.testing.assert_close(logits[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(carried.ahead[0], hidden, rtol=1e-12, atol=1e-12)
    sharp = {
        "recurrent": (50 * draw.weights["recurrent"]).softmax(-1) * draw.weights["recurrent"].sum(-1, True)
    }
    soft = net(words, sharp, Pass(Statistics.BATCH, []))
    torch.testing.assert_close(soft[0], expected, rtol=1e-10, atol=1e-10)
    halves = [network(words[0, :, :2]), None]
    halves[1] = network(words[0, :, 2:], halves[0][1])
    torch.testing.assert_close(torch.cat([part for part, _ in halves], 1), expected)


@pytest.mark.parametrize("statistics", [Statistics.RUNNING, Statistics.BATCH])
def test_segments_give_what_one_long_pass_gives(statistics):
    net, words = enlarge(supernet(lanes=2)), tokens(lanes=2, steps=12)
    weights = softmaxed(net)
    net(words, weights, Pass(Statistics.UPDATE, []))
    whole = net(words, weights, Pass(statistics, [], carried=None))
    carried, parts = Carried(), []
    for start in (0, 5, 10):
        parts.append(net(words[:, :, start : start + 5], weights, Pass(statistics, [], carried=carried)))
        carried.advance()
    torch.testing.assert_close(torch.cat(parts, 2), whole, rtol=1e-12, atol=1e-12)
    alone = net(words[:, :, 5:], weights, Pass(statistics, []))
    assert not torch.allclose(alone, whole[:, :, 5:])


def test_lanes_compute_what_each_computes_alone():
    words = tokens(lanes=3)
    together = supernet(lanes=3)
    weights = softmaxed(together)
    weights["recurrent"].requires_grad_()
    logits = together(words, weights, Pass(Statistics.UPDATE, []))
    slopes = torch.autograd.grad(logits.square().sum(), [weights["recurrent"], *together.parameters()])
    for lane in range(3):
        alone = supernet(seed=lane)
        own = {"recurrent": weights["recurrent"][lane : lane + 1].detach().requires_grad_()}
        single = alone(words[lane : lane + 1], own, Pass(Statistics.UPDATE, []))
        torch.testing.assert_close(single[0], logits[lane], rtol=1e-9, atol=1e-12)
        grads = torch.autograd.grad(single.square().sum(), [own["recurrent"], *alone.parameters()])
        for one, many in zip(grads, slopes, strict=True):
            torch.testing.assert_close(one[0], many[lane], rtol=1e-9, atol=1e-12)
        for name, buffer in alone.named_buffers():
            if name.startswith("norms"):
                torch.testing.assert_close(buffer[0], dict(together.named_buffers())[name][lane])


def test_what_is_not_active_and_offsets():
    net, words = enlarge(supernet()), tokens()
    weights = softmaxed(net)
    mask = {"recurrent": torch.rand(1, 36, 5, generator=torch.Generator().manual_seed(3)) > 0.5}
    cut = {"recurrent": (weights["recurrent"] * mask["recurrent"]).requires_grad_()}
    whole = {"recurrent": weights["recurrent"].clone().requires_grad_()}
    plain = net(words, cut, Pass(Statistics.BATCH, []))
    masked = net(words, whole, Pass(Statistics.BATCH, [], active=mask))
    torch.testing.assert_close(masked, plain)
    [slope] = torch.autograd.grad(masked.square().sum(), [whole["recurrent"]])
    assert bool((slope[~mask["recurrent"]] == 0).all())
    assert bool((slope[mask["recurrent"]] != 0).any())
    assert torch.equal(active(cut)["recurrent"], mask["recurrent"])
    bare = without_norm(net)
    offsets = {"recurrent": torch.zeros(1, 36, dtype=DOUBLE)}
    offsets["recurrent"][0, 30] = 0.25  # an edge into the last node
    s0 = torch.randn(1, 3, UNITS, dtype=DOUBLE, generator=torch.Generator().manual_seed(5))
    results = []
    for run in (Pass(Statistics.BATCH, []), Pass(Statistics.BATCH, [], offsets=offsets)):
        mix, added = bare._cut(weights, run)
        results.append(bare._nodes(s0, mix, added, bare._matrices(), run, None))
    torch.testing.assert_close(results[1] - results[0], torch.full_like(s0, 0.25 / 8))


def test_passes_leave_running_statistics_alone_unless_they_train():
    net, words = supernet(), tokens()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    for run in (
        Pass(Statistics.BATCH, []),
        Pass(Statistics.BATCH, [], twice=True),
        Pass(Statistics.RUNNING, []),
    ):
        net(words, softmaxed(net), run)
        assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    net(words, softmaxed(net), Pass(Statistics.UPDATE, []))
    assert not torch.equal(before["norms.0.mean"], net.norms[0].mean)


def problem_of(net, method="darts"):
    problem = bilevel(
        net.space, net, [torch.Generator().manual_seed(lane) for lane in range(len(net.embedding))], method
    )
    problem.alphas.normal_(generator=torch.Generator().manual_seed(8))
    return problem


def batch_of(lanes=1, seed=1, carried=None):
    found = tokens(lanes=lanes, steps=4, seed=seed)
    return Batch(found[:, :, :-1], found[:, :, 1:], carried)


def test_the_gradient_in_the_logits_is_that_of_differences():
    problem = problem_of(enlarge(supernet()))
    batch = batch_of(carried=Carried(torch.randn(1, 3, UNITS, dtype=DOUBLE)))
    alphas = problem.alphas.clone().requires_grad_()
    [slope] = torch.autograd.grad(problem.losses(batch, alphas).sum(), [alphas])
    step = torch.randn(alphas.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    ends = [problem.losses(batch, (problem.alphas + sign * 1e-6 * step)) for sign in (1, -1)]
    assert float((slope * step).sum()) == pytest.approx(float((ends[0] - ends[1]).detach()) / 2e-6, rel=1e-5)


def test_the_curvature_is_that_of_differences_of_gradients():
    problem = problem_of(enlarge(supernet()))
    batch = batch_of()

    def slope(flat, graph=False):
        flat = flat.clone().requires_grad_() if not graph else flat
        return torch.autograd.grad(problem.loss_at_logits(batch, flat).sum(), flat, create_graph=graph)[0]

    flat = problem.policy.logits(problem.alphas).detach().requires_grad_()
    step = torch.randn(flat.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    [product] = torch.autograd.grad(slope(flat, graph=True), flat, step)
    ends = [slope((flat + sign * 1e-5 * step).detach()) for sign in (1, -1)]
    torch.testing.assert_close(product, (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-9)


def test_second_order_is_exact_and_differences_agree():
    # Without relu, whose kinks differences see and derivatives do not.
    file = {"name": "smooth", "title": "smooth", "skeleton": "recurrent", "nodes": 3, "keep": 1}
    cells = {"recurrent": {"ops": ["none", "tanh", "sigmoid", "identity"]}}
    space = SpaceFile.model_validate({**file, "default_cells": 1, "cells": cells}).resolve()
    problem = problem_of(supernet(lanes=2, space=space), "darts-2nd")
    sgd = Sgd(problem.values, torch.zeros(2, 1, dtype=DOUBLE), torch.full((2, 1), 5e-7, dtype=DOUBLE))
    rates = torch.full((2, 1), 2.0, dtype=DOUBLE)
    hidden = torch.randn(2, 3, UNITS, dtype=DOUBLE, generator=torch.Generator().manual_seed(6))
    train, valid = batch_of(2, 1, Carried(hidden)), batch_of(2, 2, Carried(hidden.flip(1)))
    exact = SecondOrder("exact")(problem, train, valid, sgd, rates)
    near = SecondOrder("difference", radius=1e-3)(problem, train, valid, sgd, rates)
    assert float((exact - near).norm() / exact.norm()) < 1e-3
    none = SecondOrder("exact")(problem, train, valid, sgd, 0 * rates)
    assert not torch.allclose(none, exact, rtol=1e-3)
    clipped = SecondOrder("exact", clip=1e9)(problem, train, valid, sgd, rates)
    torch.testing.assert_close(clipped, exact)
    tiny = SecondOrder("exact", clip=1e-9)(problem, train, valid, sgd, rates)
    torch.testing.assert_close(tiny, none, rtol=1e-4, atol=1e-10)


def test_a_cell_may_output_some_nodes():
    """By the formulas of quark0/darts f276dd3, rnn/model.py, whose text of ENAS' cell this is."""
    genotype = genotype_from_text(ENAS)
    assert genotype.outputs == (("recurrent", (2, 5, 6, 9, 10, 11)),)
    network = enlarge(RecurrentNetwork(genotype, WORDS, UNITS).double())
    word, hidden = torch.randn(2, 3, UNITS, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    gate, new = (torch.cat([word, hidden], 1) @ network.first).chunk(2, 1)
    states = [hidden + gate.sigmoid() * (new.tanh() - hidden)]
    for weights, choice in zip(network.nodes, genotype.cell("recurrent"), strict=True):
        gate, new = (states[choice.source] @ weights).chunk(2, 1)
        before = states[choice.source]
        states.append(before + gate.sigmoid() * (FUNCTIONS[choice.op](new) - before))
    expected = sum(states[node] for node in (2, 5, 6, 9, 10, 11)) / 6
    torch.testing.assert_close(network.cell(word, hidden), expected)
    all_nodes = Genotype.of("x", genotype.nodes, dict(genotype.cells), "recurrent")
    assert not skeletons.same_network(genotype, all_nodes)
    assert "all nodes" not in draw_cell(genotype, "recurrent")
    with pytest.raises(RaynasError, match="node 3 of the recurrent cell has no incoming edge"):
        skeletons.checked(
            Genotype.of(
                "x",
                3,
                {"recurrent": [Choice("tanh", 0, 1), Choice("tanh", 0, 2)]},
                "recurrent",
                None,
                {"recurrent": [1, 2]},
            )
        )


@pytest.mark.parametrize("text", [DARTS_V1, DARTS_V2, ENAS])
def test_published_cells_are_read_and_written_as_they_are(text):
    genotype = genotype_from_text(f"DARTS = {text}")
    assert genotype_to_text(genotype) == text
    assert (genotype.space, genotype.skeleton, genotype.nodes) == (
        "darts-rnn",
        "recurrent",
        text.count("(") - (2 if "range" in text else 1),
    )
    again = genotype_from_json(json.loads(json.dumps(genotype.to_json())))
    assert again == genotype
    assert again.digest() == genotype.digest()
    assert genotype_from_text(text.replace("range(1, 9)", "[1, 2, 3, 4, 5, 6, 7, 8]")) == genotype


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENAS.replace("[2, 5, ", "[0, 5, "), "concat is not all nodes"),
        (DARTS_V1.replace("('relu', 5)", "('relu', 7)"), "node 7 cannot read state 7"),
        (DARTS_V1.replace("'tanh'", "'tan'"), "unknown operation"),
        (DARTS_V1.replace("'tanh'", "'sep_conv_3x3'"), "cannot be in a recurrent cell"),
        (DARTS_V1.replace("range(1, 9)", "range(1, 10)"), "not all nodes"),
        (DARTS_V1.replace(", concat=range(1, 9)", ""), "concat missing"),
        ("Genotype(recurrent=[], concat=range(1, 1))", "a cell with 0 pairs"),
        ("Genotype(recurrent=f(), concat=range(1, 9))", "not a list"),
    ],
)
def test_anything_else_is_refused(text, words):
    with pytest.raises(RaynasError, match=words):
        genotype_from_text(text)


def chain(*choices):
    nodes = max(target for _, _, target in choices)
    return Genotype.of("darts-rnn", nodes, {"recurrent": [Choice(*c) for c in choices]}, "recurrent")


def test_the_same_tree_in_another_order_is_the_same_network():
    one = chain(("tanh", 0, 1), ("relu", 0, 2), ("sigmoid", 1, 3))
    other = chain(("relu", 0, 1), ("tanh", 0, 2), ("sigmoid", 2, 3))
    different = chain(("relu", 0, 1), ("tanh", 0, 2), ("sigmoid", 1, 3))
    assert skeletons.same_network(one, other)
    assert one.digest() != other.digest()
    assert not skeletons.same_network(one, different)
    several = chain(("tanh", 0, 1), ("relu", 0, 2), ("sigmoid", 1, 2))
    with pytest.raises(RaynasError, match="one edge per node"):
        genotype_to_text(several)


def test_a_derived_cell_reads_one_state_a_node_and_never_none():
    space = load_space("darts-rnn")
    edges = space.cells[0].edges
    weights = [[0.9, 0.02, 0.02, 0.03, 0.03] for _ in edges]
    place = next(i for i, edge in enumerate(edges) if (edge.source, edge.target) == (2, 5))
    weights[place] = [0.0, 0.1, 0.2, 0.3, 0.4]
    choices = derive(space, {"recurrent": weights}).cell("recurrent")
    assert [(c.source, c.target) for c in choices if c.target != 5] == [(0, n) for n in (1, 2, 3, 4, 6, 7, 8)]
    assert {c.op for c in choices if c.target != 5} == {"sigmoid"}  # the first of equals
    assert [c for c in choices if c.target == 5] == [Choice("identity", 2, 5)]
    assert skeletons.of(space).architectures(space) == 4**8 * 40320


def test_a_cell_is_drawn(tmp_path):
    genotype = genotype_from_text(DARTS_V2)
    svg = draw_cell(genotype, "recurrent")
    for words in ("sigmoid", "tanh", "relu", "identity", "all nodes, their mean", "node 5 = tanh(node 2)"):
        assert words in svg
    assert {path.name for path in write_cells(genotype, tmp_path)} == {
        "cell-recurrent.svg",
        "cell-recurrent.png",
    }


def test_what_a_recurrent_cell_does_not_have_is_refused():
    space = load_space("darts-rnn")
    seed = [torch.Generator()]
    with pytest.raises(RaynasError, match="reads a text"):
        RecurrentSupernet(space, (1, 8, 8), 10, 4, 1, seed)
    with pytest.raises(RaynasError, match="read images"):
        Supernet(load_space("tiny"), (), 10, 4, 3, seed)
    for wrong in ({"recompute": True}, {"partial": 2}, {"auxiliary": True}):
        with pytest.raises(RaynasError, match=str(next(iter(wrong)))):
            supernet(**wrong)
    with pytest.raises(RaynasError, match="reads images"):
        RecurrentNetwork(
            Genotype.of("tiny", 1, {k: [Choice("skip_connect", 0, 2)] for k in ("normal", "reduce")}), 9, 4
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cells": {"recurrent": {"ops": ["tanh", "sep_conv_3x3"]}}}, "no sep_conv_3x3"),
        ({"cells": {"normal": {"ops": ["tanh"]}}}, "stacks recurrent cells"),
        ({"skeleton": "residual", "cells": {"normal": {"ops": ["tanh", "skip_connect"]}}}, "no tanh"),
        ({"defaults": {"leraning_rate": 1}}, "nearest: learning_rate"),
        ({"defaults": {"clip": -1}}, "clip"),
    ],
)
def test_wrong_spaces_say_what_is_wrong(change, words):
    file = {
        "name": "mine",
        "title": "mine",
        "skeleton": "recurrent",
        "nodes": 2,
        "keep": 1,
        "default_cells": 1,
    }
    with pytest.raises(ValueError, match=words):
        SpaceFile.model_validate({**file, "cells": {"recurrent": {"ops": ["tanh"]}}, **change}).resolve()
