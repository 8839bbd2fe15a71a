"""Searches for a recurrent cell on a text: like any other, whatever the method; and what is refused."""

import math

import numpy as np
import pytest
import torch
import yaml

from raynas.bilevel.bilevel import cross_entropy
from raynas.bilevel.records import perplexity
from raynas.config import SearchConfig
from raynas.data.batch import Batch
from raynas.data.corpus import Corpus
from raynas.data.load import load_data
from raynas.data.split import split
from raynas.errors import FileProblems, RaynasError
from raynas.launch.local import LocalLauncher
from raynas.methods import method_names, reasons, resolve, with_defaults
from raynas.nets.ops.lanes import Pass, Statistics, WordDrops
from raynas.nets.supernets.recurrent import RecurrentSupernet
from raynas.report.build import build_report
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack, Search
from raynas.search.measure import measure, measure_faster_forms
from raynas.spaces.library import load_space
from raynas.spaces.space_file import SpaceFile
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder
from raynas.track.content import metrics

SPACE = load_space("darts-rnn")
TRAINING = [name for name in method_names() if resolve(name).proposals is None]
FITTING = [name for name in TRAINING if not any(reasons(resolve(name), SPACE, {}))]
TOGETHER = [name for name in FITTING if not resolve(name).solo and name != "r-darts-es"]
"""Without one that cannot end anything in a single epoch."""
MADE_FOR_IMAGES = {"snas", "r-darts-dp", "p-darts", "pc-darts", "darts-minus"}


def quick(name):
    """Shorten what takes many passes; the method is otherwise as it is registered."""
    if name == "parsec":
        return {"base": name, "objective": {"use": "importance", "samples": 2}}
    if name in ("r-darts-es", "r-darts-ada"):
        stop = {"use": "eigenvalue-growth", "window": 1, "delta": 1, "after": 0}
        return {"base": name, "stop": {**stop, "then": "regularise" if name == "r-darts-ada" else None}}
    if name == "rsps":
        return {"base": name, "stages": {"use": "rank-in-rounds", "samples": 3, "batches": 1, "finalists": 2}}
    if "pt" not in name.split("-"):
        return name
    return {"base": name, "stages": {"use": "perturb-and-project", "interval": 1}}


@pytest.fixture(scope="module")
def small():
    """A space of three nodes: as the large one, but with fewer edges to decide."""
    file = {"name": "small-rnn", "title": "small", "skeleton": "recurrent", "nodes": 3, "keep": 1}
    ops = ["none", "tanh", "relu", "sigmoid", "identity"]
    return SpaceFile.model_validate(
        {**file, "default_cells": 1, "cells": {"recurrent": {"ops": ops}}}
    ).resolve()


def search(method, **changes):
    values = {
        "space": "darts-rnn",
        "method": method,
        "epochs": 2,
        "batch": 4,
        "channels": 6,
        "learning_rate": 5,
        "learning_rate_min": 5,
        "hessian": {"steps": 6, "every": 2},
    }
    if isinstance(method, dict) and "stop" in method:
        values |= {"epochs": 3, "hessian": {"steps": 6, "every": 1}}
    data = {"name": "python-docs", "limit": 300, "bptt": 6, **changes.pop("data", {})}
    return with_defaults(SearchConfig(**{**values, **changes, "data": data}))


@pytest.fixture(scope="module")
def splits():
    config = search("darts")
    return split(load_data(config.data), config.data)


def same_states(a, b):
    """Tell whether two states are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_states(a[key], b[key]) for key in a)
    return a == b


def test_most_methods_fit():
    assert {"darts", "darts-2nd", "gdas", "drnas", "sdarts-adv", "vim-nas", "darts-pt", "parsec"} <= set(
        FITTING
    )
    assert not set(FITTING) & MADE_FOR_IMAGES


@pytest.mark.slow
@pytest.mark.parametrize("name", FITTING)
def test_a_search_runs_resumes_bit_for_bit_and_curvature_leaves_it_alone(small, splits, tmp_path, name):
    config = search(quick(name))
    whole = Search(config, small, splits)
    reports = list(whole)
    assert reports[-1].epoch == whole.pack.epochs - 1 or reports[-1].ended
    for report in reports:
        assert report.extra["perplexity"] == math.exp(report.valid_loss)
        assert report.extra["discrete_perplexity"] == math.exp(report.discrete_loss)
        assert set(report.genotype.kinds) == set(report.weights) == {"recurrent"}
        assert 0 <= report.valid_accuracy <= 1
    if len(reports) == 1:
        return
    first = Search(config, small, splits)
    begun = [first.advance()]
    before = first.state_dict()
    first.pack.measure_curvature()
    assert same_states(before, first.state_dict())
    (tmp_path / "checkpoint.pt").write_bytes(dump(before))
    second = Search(config, small, splits)
    second.load_state_dict(load(tmp_path / "checkpoint.pt"))
    assert begun + list(second) == reports


def grown(pack):
    """Enlarge the first weights: six units vary so little that normalising them would amplify rounding."""
    pack.problem.values.mul_(10)
    pack.problem.publish()
    return pack


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_two_in_a_pack_give_what_each_gives_alone(small, splits, name):
    # Small steps, and room for the rounding that even those amplify: a pass alone agrees to 1e-9.
    more = {"learning_rate": 0.1, "learning_rate_min": 0.1, "epochs": 1}
    more["hessian"] = {"every": int("r-darts" in name), "steps": 4}
    configs = [search(quick(name), **more), search(quick(name), seed=3, **{**more, "learning_rate": 0.05})]
    [*_, outcomes] = grown(Pack(configs, small, splits, dtype=torch.float64))
    [*_, [report]] = grown(Pack(configs[1:], small, splits, dtype=torch.float64))
    assert outcomes[1].train_loss == pytest.approx(report.train_loss, rel=1e-7)
    assert outcomes[1].valid_loss == pytest.approx(report.valid_loss, rel=1e-5)
    assert outcomes[1].discrete_loss == pytest.approx(report.discrete_loss, rel=1e-7)
    assert outcomes[1].genotype == report.genotype


@pytest.mark.parametrize("name", FITTING)
def test_a_step_moves_its_own_variables_only(small, splits, name):
    found = Search(search(quick(name)), small, splits, dtype=torch.float64)
    problem = found.pack.problem
    train, valid = next(found.pack.batches())
    rates = torch.full((1, 1), 0.5, dtype=torch.float64)
    if found.pack.method.order == "joint":
        return
    values, alphas = problem.values.clone(), problem.alphas.clone()
    buffers = {key: buffer.clone() for key, buffer in problem.supernet.named_buffers()}
    found.pack.step_alphas(train, valid, rates)
    assert torch.equal(problem.values, values)
    assert all(torch.equal(buffers[key], buffer) for key, buffer in problem.supernet.named_buffers())
    assert torch.equal(problem.alphas, alphas) == (found.pack.method.estimator is None)
    moved = problem.alphas.clone()
    found.pack.step_weights(train, rates)
    assert torch.equal(problem.alphas, moved)
    assert not torch.equal(problem.values, values)


def test_training_carries_the_hidden_state_from_the_weights_own_pass(small, splits):
    found = Search(search("darts", arch_learning_rate=1e-9), small, splits)
    hidden = []
    for train, valid in found.pack.batches():
        hidden.append((train.carried.now, valid.carried.now))
        found.pack.step(train, valid, torch.full((1, 1), 1e-9), move_alphas=True)
        assert train.carried.ahead.shape == valid.carried.ahead.shape == (1, 4, 6)
        after = (train.carried.ahead, valid.carried.ahead)
        if len(hidden) == 2:
            break
        first = after
    assert hidden[0] == (None, None)
    assert hidden[1] == first
    assert not torch.equal(first[0], first[1])


@pytest.mark.slow
def test_a_search_learns_more_than_how_frequent_words_are(small):
    """A text in which each word is followed by one of two others, all of them equally frequent."""
    generator = torch.Generator().manual_seed(0)
    word, words = 0, []
    for jump in torch.randint(0, 2, (3000,), generator=generator).tolist():
        word = (3 * word + 1 + jump) % 8
        words.append("abcdefgh"[word])
    numbers = np.array([1 + "abcdefgh".index(each) for each in words])
    corpus = Corpus("chain", ("<unk>", *"abcdefgh"), numbers, 1500)
    config = search("darts", batch=8, channels=12, epochs=6, hessian={"every": 0}, arch_learning_rate=0.03)
    *_, last = Search(config, small, split(corpus, config.data))
    assert last.valid_loss < 0.5 * (math.log(8) + math.log(2))
    assert last.valid_loss > math.log(2) - 0.05
    assert last.valid_accuracy > 0.35


def test_the_validation_loss_is_that_of_one_long_pass_over_each_stream(small, splits):
    found = Search(search("darts"), small, splits, dtype=torch.float64)
    found.advance()
    problem = found.pack.problem
    feed = found.pack.valid.each[0]
    whole = Batch(feed.tokens[None], feed.labels[None])
    losses = cross_entropy(problem.forward(whole, problem.mean(), Statistics.RUNNING), whole.labels)
    [(looked, _)] = found.pack.evaluator.look(problem.mean(), Statistics.RUNNING, "validate", 0)
    assert looked == pytest.approx(float(losses.detach()), rel=1e-12)


def test_perplexity_never_overflows():
    assert perplexity(0.0) == 1.0
    assert math.isfinite(perplexity(1e4))


def test_a_step_on_random_words_is_measured():
    config = search("darts")
    measured = measure(config, SPACE, (), 50, steps=1)
    assert measured.parameters == 50 * 6 + 50 + 12 * 12 + 8 * 6 * 12
    assert measure_faster_forms(config, SPACE, (), 50, "cpu", 2) == {}


def write(tmp_path, **changes):
    file = {"name": "s", "space": "darts-rnn", "data": {"name": "python-docs"}, **changes}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(file))
    return path


def test_what_the_space_brings_stands_above_the_method_and_below_the_file(tmp_path):
    [trial] = load_sweep(write(tmp_path, method="drnas", clip=1.5), []).trials
    config = trial.config
    assert (config.learning_rate, config.batch, config.momentum, config.clip) == (20, 256, 0, 1.5)
    assert config.warmup == 10  # the method's own
    assert with_defaults(SearchConfig(space="darts-rnn", method="drnas")).learning_rate == 20
    assert with_defaults(SearchConfig(space="tiny", method="darts")).momentum == 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"name": "digits"}}, "cells of darts-rnn read texts, and digits holds images"),
        ({"data": {"name": "raynas.data:load"}}, "read texts"),
        ({"space": "tiny"}, "cells of tiny read images, and python-docs holds a text"),
        ({"method": "pc-darts"}, "not for a recurrent cell"),
        ({"method": "snas"}, "not for a recurrent cell"),
        ({"cells": 3}, "a stack has exactly 1 cell"),
        ({"recompute": True}, "set it to false"),
        ({"data": {"name": "python-docs", "cutout": 4}}, "is a text"),
        ({"data": {"name": "text", "path": "no.txt"}}, "does not exist"),
    ],
)
def test_what_does_not_fit_is_told_before_a_search_starts(tmp_path, changes, words):
    with pytest.raises(FileProblems) as error:
        load_sweep(write(tmp_path, **changes), [])
    assert words in str(error.value)


def test_images_and_texts_do_not_mix_in_python_either(small, make_search_config, build, splits):
    _, images = build(make_search_config())
    with pytest.raises(RaynasError, match="reads a text"):
        Search(search("darts"), small, images)
    with pytest.raises(RaynasError, match="read images"):
        Search(make_search_config(), load_space("tiny"), splits)


@pytest.mark.slow
def test_a_sweep_reports_perplexity(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {"name": "python-docs", "limit": 300, "bptt": 6}
    more = {"epochs": 1, "batch": 4, "channels": 6, "hessian": {"every": 0}, "grid": {"seed": [0, 1]}}
    path = write(tmp_path, **more, data=data)
    sweep = load_sweep(path, [])
    folder = SweepFolder(tmp_path / "runs" / sweep.name)
    folder.create(sweep, path.read_text())
    LocalLauncher("cpu").run(folder, [])
    html, markdown = build_report(folder)
    last = folder.trial(sweep.trials[0].id).record().newest
    assert metrics(last)["extra/perplexity"] == math.exp(last.valid_loss)
    for page in (html.read_text(), markdown.read_text()):
        assert "perplexity" in page
        assert "150 train, 150 validation tokens" in page
        assert "Genotype(recurrent=" in page


def test_dropouts_of_the_search_are_those_of_the_original(monkeypatch):
    """In words: what the matrices read is masked and what the gates go on from is not; one mask a segment.

    An independent loop over words and nodes, with quark0/darts f276dd3, rnn/model_search.py, at hand.
    """
    drops = WordDrops(0.1, 0.2, 0.75, 0.25, 0.75)
    generator = torch.Generator().manual_seed(0)
    net = RecurrentSupernet(SPACE, (), 9, 5, 1, [generator], torch.float64)
    tokens = torch.randint(9, (1, 4, 6), generator=generator)
    weights = torch.rand(1, 36, 5, generator=generator, dtype=torch.float64)
    masks = {}
    draw = Pass.word_mask

    def kept(run, name, size, like):
        masks[name] = draw(run, name, size, like)
        return masks[name]

    monkeypatch.setattr(Pass, "word_mask", kept)
    run = Pass(Statistics.BATCH, [], drops=[generator], word_drops=drops)
    logits = net(tokens, {"recurrent": weights}, run)[0]
    assert list(masks) == ["words", "embedding", "input", "hidden", "output"]
    table, hidden_mask = net.embedding[0], masks["hidden"][0]
    words = (table * masks["words"][0].unsqueeze(1))[tokens[0]] * masks["embedding"][0] * masks["input"][0]
    state, outputs = torch.zeros(4, 5, dtype=torch.float64), []
    normed = lambda x: (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()  # noqa: E731
    functions = (torch.tanh, torch.relu, torch.sigmoid, lambda x: x)
    for step in range(6):
        read = torch.cat([words[:, step], state * hidden_mask], 1) @ net.first[0]
        states = [normed(state + read[:, :5].sigmoid() * (read[:, 5:].tanh() - state))]
        row = 0
        for node in range(8):
            total = 0
            for before in states:
                gate, z = ((before * hidden_mask) @ net.nodes[0, node]).chunk(2, 1)
                for column, function in enumerate(functions, start=1):
                    sent = before + gate.sigmoid() * (function(z) - before)
                    total = total + weights[0, row, column] * sent
                row += 1
            states.append(normed(total))
        state = torch.stack(states[1:]).mean(0)
        outputs.append(state)
    wanted = (torch.stack(outputs, 1) * masks["output"][0]) @ table.T + net.bias[0]
    torch.testing.assert_close(logits, wanted, rtol=1e-9, atol=1e-9)


def test_dropouts_act_on_steps_alone_and_not_on_images(small, splits):
    modified = {"base": "darts", "modifiers": ["text-dropout"]}
    one, two = (Search(search(m), small, splits) for m in ("darts", modified))
    batch = next(iter(one.pack.train.epoch(1)))
    looks = [s.pack.problem.forward(batch, s.pack.problem.mean()) for s in (one, two)]
    assert torch.equal(*looks)
    steps = [s.pack.problem.weight_loss(batch).losses for s in (one, two)]
    assert not torch.equal(*steps)
    told = " ".join(reasons(resolve(modified), load_space("darts"), {}))
    assert "this space reads images" in told


def regularised(*modifiers, **more):
    """Return a search in float64 whose dropouts, if any, are of the output alone."""
    return {"base": "darts", "modifiers": list(modifiers), **more}


def test_slowness_and_activation_are_terms_of_the_weights_step_alone(small, splits):
    """Against PyTorch's own gradient of the terms written out; reported losses are without."""
    terms = {"use": "text-slowness", "slowness": 0.3, "activation": 0.2}
    plain, slow = (
        Search(search(m), small, splits, dtype=torch.float64) for m in ("darts", regularised(terms))
    )
    problem = slow.pack.problem
    batch = next(iter(slow.pack.train.epoch(1)))
    losses, logits = problem.weight_loss(batch)
    assert torch.equal(losses, plain.pack.problem.weight_loss(batch).losses)
    total = problem.total(losses, batch)
    # The embedding is the last layer: logits are linear in the outputs.
    table, bias = problem.supernet.embedding[0], problem.supernet.bias[0]
    flat = torch.linalg.lstsq(table, (logits[0] - bias).flatten(0, 1).T).solution.T
    outputs = flat.view(*logits.shape[1:3], -1)
    moved = (outputs[:, 1:] - outputs[:, :-1]).pow(2).mean()
    wanted = losses.sum() + 0.3 * moved + 0.2 * outputs.pow(2).mean()
    torch.testing.assert_close(total, wanted, rtol=1e-9, atol=1e-12)
    batch.carried.advance()
    problem.losses(batch, problem.alphas.clone().requires_grad_())
    assert torch.equal(problem.total(losses, batch), losses.sum())
    told = " ".join(reasons(resolve(regularised("text-slowness", base="parsec")), small, {}))
    assert "scores several" in told


def test_half_segments_read_the_same_words_at_a_rate_in_proportion(small, splits):
    """With every segment halved as far as chance allows: lengths, rates, and lanes of a pack that agree."""
    halving = Search(search(regularised({"use": "text-segments", "chance": 0.5})), small, splits)
    full = halving.pack.train.steps_per_epoch
    shares, words = [], 0
    for train, _ in halving.pack.batches():
        shares.append(train.share)
        words += train.labels.shape[-1]
    bptt = halving.pack.config.data.bptt
    assert words == full * bptt
    assert len(shares) > full
    half = bptt // 2 / bptt
    assert set(shares[:-1]) == {half, 1.0}
    seen = []
    halving.pack.step = lambda train, valid, rates, move_alphas: (
        seen.append((train.share, rates.item())) or torch.zeros(2, 1, dtype=torch.float64)
    )
    halving.pack.train_epoch(torch.full((1, 1), 8.0))
    assert [rate for _, rate in seen] == [8.0 * share for share, _ in seen]
    configs = [search(regularised("text-segments"), seed=seed) for seed in (0, 1)]
    alone = [Search(config, small, splits, dtype=torch.float64).advance() for config in configs]
    together = Pack(configs, small, splits, dtype=torch.float64).advance()
    for one, other in zip(alone, together, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-6)
    told = " ".join(reasons(resolve(regularised("text-segments")), load_space("darts"), {}))
    assert "this space reads images" in told
