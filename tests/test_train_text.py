"""Training a language model from scratch: what a step computes, when it averages, what a resume repeats."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli_folders import raynas

from raynas.data.corpus import Corpus
from raynas.data.load import load_data
from raynas.data.text import END, UNKNOWN
from raynas.data.text_feed import segment_lengths
from raynas.errors import FileProblems, RaynasError
from raynas.launch.local import LocalLauncher
from raynas.launch.observer import Observer
from raynas.spaces.literature import load_cell
from raynas.sweep.file.load import load_any
from raynas.sweep.folder import TrainSweep, find_sweep
from raynas.train.config import TextTraining, TrainConfig, TrainData
from raynas.train.deployed import Deployed
from raynas.train.loop import Training
from raynas.train.recipe import load_recipe
from raynas.train.records import TrainReport
from raynas.train.text_lane import TrainedLanguageModel, stagnates

DARTS_V2 = load_cell("darts-rnn-v2").genotype
QUIET = dict.fromkeys(("drop_words", "drop_embedding", "drop_input", "drop_hidden", "drop_output"), 0.0)


def corpus(count=181, words=23, held_out=42, tests=30):
    places = np.arange(count + held_out + tests, dtype=np.int64)
    tokens = (places * places + 3 * places + places // 7) % words
    test = tokens[count + held_out :] if tests else None
    return Corpus("numbers", tuple(map(str, range(words))), tokens[: count + held_out], count, test)


def config(text=(), **changes):
    usual = {"batch": 3, "channels": 8, "epochs": 4, "learning_rate": 2.0, "learning_rate_min": 2.0}
    usual |= {"schedule": "constant", "momentum": 0.0, "weight_decay": 1e-3, "clip": 0.25}
    data = {"name": "python-docs", "bptt": 8, "valid": 0.1, "test": 0.1}
    return TrainConfig(cell="darts-rnn-v2", text=dict(text), data=data, **usual | changes)


def training(text=(), data=None, dtype=torch.float64, **changes):
    return Training([config(text, **changes)], DARTS_V2, data or corpus(), dtype=dtype)


def wave(shape, phase):
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + phase).reshape(shape)


def masks_of_waves(monkeypatch):
    """Let the k-th mask be one of a sine, as in the run of the original."""
    drawn = []

    def mask(_, chance, *shape):
        drawn.append(shape)
        return (wave(shape, 0.3 * len(drawn)) < 1 - 2 * chance).double() / (1 - chance)

    monkeypatch.setattr(TrainedLanguageModel, "_mask", mask)


def test_steps_are_those_of_the_original(monkeypatch):
    """quark0/darts f276dd3, rnn/model.py, utils.py and train() of rnn/train.py, gave these numbers.

    Weights, words and masks from a sine, float64, an epoch of SGD and one of ASGD; lengths as drawn there.
    """
    masks_of_waves(monkeypatch)
    lane = training({"activation": 2.0, "slowness": 1.0}).lanes[0]
    network = lane.trained.network
    with torch.no_grad():
        network.embedding.copy_(wave((23, 8), 0) * 0.8)
        network.bias.copy_(wave((23,), 1) * 0.1)
        network.first.copy_(wave((16, 16), 2) * 0.5)
        network.nodes.copy_(wave((8, 8, 16), 3) * 0.5)
    streams = torch.from_numpy(corpus().tokens[:180]).view(3, 60)
    lane.trained.train()
    losses = []
    for lengths in ([6, 8, 15, 6, 5, 5, 7, 9], [10, 5, 8, 11, 15, 21]):
        hidden, start = torch.zeros(3, 8, dtype=torch.float64), 0
        for length in lengths:
            end = min(start + length, 59)
            read, following = streams[:, start:end], streams[:, start + 1 : end + 1]
            loss, _, hidden = lane._step(read, following, hidden, 2.0 * length / 8)
            losses.append(loss.item())
            start = end
        if not lane.averaging:
            lane._average()
    theirs = [
        3.860536450316044, 4.019420259916621, 3.847633240916963, 3.4685430399872255, 3.4525351230911805,
        4.297933282836245, 3.166289451796787, 3.5636368253546657, 3.4731759575867174, 3.347022481544428,
        3.36003762757911, 3.3002784976427737, 3.189066266220474, 3.218623558203174,
    ]  # fmt: skip
    assert losses == pytest.approx(theirs, rel=1e-12)
    weights = sum(p.abs().sum().item() for p in network.parameters())
    assert weights == pytest.approx(473.3516666429548, rel=1e-12)
    averages = sum(p.abs().sum().item() for p in lane.result().parameters())
    # PyTorch keeps the share of the newest, 1/n, in float32 here and in float64 there.
    assert averages == pytest.approx(476.48975318565465, rel=1e-9)
    valid = torch.tensor([(i * i + i + i // 5) % 23 for i in range(42)]).view(2, 21)
    answers, _ = lane.result()(valid[:, :-1])
    loss = torch.nn.functional.cross_entropy(answers.flatten(0, 1), valid[:, 1:].flatten())
    assert loss.item() == pytest.approx(3.0976547059475266, rel=1e-9)


def test_averaging_begins_where_the_original_begins_it():
    """The lists on which quark0/darts' own condition, ran after every epoch, first holds at the last."""
    assert not stagnates([], 2)
    assert not stagnates([5, 4, 6], 2)  # the best of what came more than 2 epochs before is 5
    assert stagnates([4, 5, 6, 4.5], 2)
    assert not stagnates([5, 4, 4.2, 4.4], 2)
    assert stagnates([5, 4, 4.2, 4.4, 4.1], 2)


def test_averages_are_what_is_evaluated_and_kept():
    lane = training(QUIET | {"patience": 1}).lanes[0]
    lane.begin([_report(0, 3.0), _report(1, 2.0)])
    assert not lane.averaging
    before = lane.evaluate(lane.valid)
    lane.begin([_report(0, 3.0), _report(1, 2.0), _report(2, 2.5), _report(3, 2.6)])
    assert lane.averaging
    seen = []
    step = lane.optimiser.step
    lane.optimiser.step = lambda: (step(), seen.append(lane.trained.network.nodes.detach().clone()))
    lane.train_epoch(2)
    # PyTorch's average leaves the first step out, and so does the source's.
    mean = torch.stack(seen[1:]).mean(0)
    assert torch.allclose(lane.result().nodes, mean, rtol=1e-6)
    assert not torch.allclose(lane.trained.network.nodes, mean, rtol=1e-3)
    assert lane.evaluate(lane.valid)[0] != before[0]


def _report(epoch, valid):
    return TrainReport(epoch, 1.0, 0.5, 2.0, 0.0, valid_loss=valid, valid_accuracy=0.1)


def test_segments_have_the_original_s_lengths():
    """A mixture of N(35, 5) and, one in 20, N(17.5, 5), at least 5, at most 55."""
    lengths = np.array(segment_lengths(400_000, 35, torch.Generator().manual_seed(0)))
    assert lengths[:-1].sum() < 400_000 - 1 <= lengths.sum()
    assert (lengths.min(), lengths.max() <= 55) == (5, True)
    # Without their fractions they are half a word shorter.
    assert lengths.mean() == pytest.approx(0.95 * 35 + 0.05 * 17.5 - 0.5, abs=0.25)
    assert np.mean(lengths < 22) == pytest.approx(0.05 * 0.78 + 0.0047, abs=0.008)
    assert segment_lengths(1, 35, torch.Generator()) == []


def test_every_word_is_read_once_and_the_state_goes_on():
    trained = training(QUIET)
    lane = trained.lanes[0]
    seen, states = [], []
    step = lane._step

    def watched(tokens, labels, hidden, rate):
        seen.append(tokens)
        found = step(tokens, labels, hidden, rate)
        states.append((hidden, found[2]))
        return found

    lane._step = watched
    lane.train_epoch(0)
    assert torch.equal(torch.cat(seen, 1).flatten(), torch.from_numpy(corpus().tokens[:180]))
    assert states[0][0].abs().sum() == 0
    for (_, left), (found, _) in pairwise(states):
        assert torch.equal(left, found)


def test_a_restored_training_repeats_every_bit():
    """Also where SGD has given way to averages meanwhile, and in the lengths of segments."""
    whole = training({"patience": 1}, dtype=torch.float32, epochs=5)
    reports = [report for [report] in whole]
    assert whole.lanes[0].averaging
    assert [report.test_loss is None for report in reports] == [True] * 4 + [False]
    for cut in (2, 4):
        first, second = (training({"patience": 1}, dtype=torch.float32, epochs=5) for _ in range(2))
        for _ in range(cut):
            first.advance()
        second.load_state_dict(first.state_dict())
        assert [report for [report] in second] == reports[cut:]
        ours, theirs = (each.lanes[0].result().state_dict() for each in (second, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_lanes_are_as_if_alone():
    configs = [config({"patience": 1}, seed=seed, learning_rate=2.0 / (1 + seed)) for seed in range(3)]
    together = Training(configs, DARTS_V2, corpus())
    together.advance()
    kept = together.keep([2, 0])
    kept.advance()
    for place, seed in enumerate((2, 0)):
        alone = Training([configs[seed]], DARTS_V2, corpus())
        assert [report for [report] in alone][:2] == kept.history[place]


def test_what_is_tested_is_one_pass_over_the_words():
    trained = training(QUIET | {"patience": None}, epochs=1, data=corpus(held_out=0))
    [report] = trained.advance()
    tokens = torch.from_numpy(trained.dataset.test)
    logits, _ = trained.lanes[0].result()(tokens[None, :-1])
    losses = torch.nn.functional.cross_entropy(logits[0], tokens[1:])
    assert report.test_loss == pytest.approx(losses.item(), rel=1e-12)
    assert report.test_accuracy == (logits[0].argmax(1) == tokens[1:]).double().mean()
    assert report.valid_loss is None


def test_masks_hold_for_a_segment_and_keep_the_mean():
    trained = training({"drop_hidden": 0.5}).lanes[0].trained
    mask = trained._mask(0.75, 4000, 1)
    assert set(mask.flatten().tolist()) == {0.0, 4.0}
    assert mask.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(trained._mask(0.0, 3), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: training(data=corpus(held_out=0)), "none are"),
        (lambda: training(cells=2), "exactly 1 cell"),
        (lambda: training(data=corpus(count=20)), "too short"),
        (lambda: Training([TrainConfig(cell="x")], DARTS_V2, corpus()), "needs a recipe for texts"),
        (lambda: Training([config()], load_cell("darts-v2").genotype, corpus()), "do not go together"),
    ],
)
def test_what_cannot_be_trained_is_told(build, words):
    with pytest.raises(RaynasError, match=words):
        build()


@pytest.mark.parametrize("key", ["auxiliary", "drop_path", "label_smoothing"])
def test_what_images_have_is_refused_of_a_text(key):
    with pytest.raises(ValueError, match=f"{key} is for images"):
        config(**{key: 0.1})


WORDS = "the cat sat on the mat and the dog sat on the log . a cat and a dog saw the mat on the log . "


def text_file(times=25):
    path = Path("song.txt")
    path.write_text(WORDS * times, encoding="utf-8")
    return path


def small(name="song", **changes):
    lines = {
        "name": name,
        "train": "quick-text",
        "data": "{name: text, path: song.txt, limit: null, valid: 0.2, test: 0.2, bptt: 8, min_count: 1}",
        "epochs": 3,
        "batch": 4,
        "channels": 6,
        "text": "{patience: 1}",
        "grid": "{cell: [darts-rnn-v2, darts-rnn-v1], seed: [0, 1]}",
    }
    return "".join(f"{key}: {value}\n" for key, value in (lines | changes).items())


def planned(text, *overrides):
    path = Path("file.yaml")
    path.write_text(text, encoding="utf-8")
    sweep = load_any(path, overrides)
    folder = TrainSweep((Path("runs") / sweep.name).absolute())
    folder.create(sweep, text)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text_file()


def test_from_a_file_to_a_report_of_perplexities(here, capsys):
    Path("song.yaml").write_text(small())
    checked = raynas(capsys, "check", "song.yaml")
    assert checked.code == 0, checked.err
    assert "text.patience 1 instead of 2" in checked.out
    folder = planned(small(), "seed=0", "grid.cell=[darts-rnn-v2]")
    LocalLauncher("cpu").run(folder)
    [record] = folder.records()
    assert record.status == "finished", record.reason
    assert record.start["data"]["test"] == 130
    told = math.exp(record.tested.test_loss)
    assert record.tested.test_perplexity == pytest.approx(told)
    report = raynas(capsys, "report", "song")
    assert report.code == 0, report.err
    [row] = json.loads((folder.path / "trained.json").read_text())
    assert row["perplexity_mean"] == pytest.approx(told)
    for page in ("report.html", "report.md"):
        text = (folder.path / page).read_text(encoding="utf-8")
        assert "The words of the test were read once" in text
        assert "Perplexity of the words held out" in text
        assert "accuracy" not in text.lower().split("resolved yaml")[0]
    assert "perplexity" in raynas(capsys, "status", "song").out
    evaluated = raynas(capsys, "evaluate", "song", "--json")
    assert evaluated.code == 0, evaluated.err
    facts = json.loads(evaluated.out)
    assert (facts["words"], facts["unknown"]) == (129, 0.0)
    assert facts["perplexity"] == pytest.approx(told, rel=1e-6)
    other = raynas(capsys, "evaluate", "song", "data.test=0.5", "data.limit=600", "--data", "python-docs")
    assert "not in its vocabulary" in other.out, other.err
    exported = raynas(capsys, "export", "song", "--to", "model.py")
    assert "raynas evaluate song" in exported.out, exported.err
    refused = raynas(capsys, "export", "song", "--to", "mlflow", "--out", "elsewhere").err
    assert "no export of a language model to mlflow" in refused
    assert not Path("elsewhere").exists()
    assert "reads texts, not images" in raynas(capsys, "predict", "song", "song.txt").err


def test_an_interrupted_sweep_goes_on_to_the_same_numbers(here):
    changes = {"resources": "{pack: 2}", "grid": "{cell: [darts-rnn-v2], seed: [0, 1]}", "epochs": 4}
    whole, broken = planned(small(**changes)), planned(small("broken", **changes))
    LocalLauncher("cpu").run(whole)
    with pytest.raises(KeyboardInterrupt):
        LocalLauncher("cpu").run(broken, [_stop_after(2)])
    LocalLauncher("cpu").run(TrainSweep(broken.path))
    for ours, theirs in zip(broken.records(), whole.records(), strict=True):
        assert ours.reports == theirs.reports
        networks = (Deployed.load(f.trial(ours.id).network).network for f in (broken, whole))
        one, other = (network.state_dict() for network in networks)
        assert all(torch.equal(one[name], other[name]) for name in other)


def _stop_after(count):
    class Stop(Observer):
        def on_trial(self, record):
            if len(record.reports) == count:
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"train": "quick", "text": "null"}, "train", "expected one for texts, as quick-text"),
        ({"data": "digits"}, "grid.cell[0]", "reads a text; got the data digits"),
        ({"text": "{slownes: 1}"}, "text.slownes", "nearest: slowness"),
        ({"data": "{name: text, path: song.txt, valid: 0}"}, "data.valid", "none are"),
        ({"data": "{name: ptb, path: .}"}, "data.path", "ptb.train.txt does not exist"),
        ({"data": "{name: ptb, path: ., test: 0.1}"}, "data.test", "a test part of its own"),
        ({"auxiliary": "0.4"}, "train", "auxiliary is for images"),
        ({"grid": "{cell: [darts-v2]}"}, "train", "reads images; got the recipe quick-text"),
    ],
)
def test_mistakes_are_told_before_anything_starts(here, changes, path, words):
    Path("file.yaml").write_text(small(**changes))
    with pytest.raises(FileProblems) as caught:
        load_any(Path("file.yaml"))
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert words in found[path], found


def test_a_text_cell_is_trained_by_the_recipe_for_texts(here, capsys):
    words = ["retrain", "darts-rnn-v2", "--local", "--seeds", "0", "data.limit=600", "epochs=1", "channels=4"]
    done = raynas(capsys, *words, "data.bptt=5")
    assert done.code == 0, done.err
    folder = find_sweep(Path("runs"), "darts-rnn-v2-quick-text")
    [record] = folder.records()
    assert record.status == "finished"
    assert "test perplexity" in done.out
    again = json.loads(raynas(capsys, "evaluate", "darts-rnn-v2-quick-text", "--json").out)
    assert again["words"] == 59
    assert again["loss"] == pytest.approx(record.tested.test_loss, rel=1e-6)


def test_the_recipes_are_the_source_s():
    """quark0/darts f276dd3, rnn/train.py, and the README's line for WikiText-2."""
    ptb = load_recipe("darts-ptb").config("darts-rnn-v2")
    assert ptb.text == TextTraining()
    assert (ptb.channels, ptb.batch, ptb.epochs, ptb.weight_decay) == (850, 64, 8000, 8e-7)
    wt2 = load_recipe("darts-wt2").config("darts-rnn-v2")
    assert (wt2.channels, wt2.weight_decay, wt2.text.drop_hidden) == (700, 5e-7, 0.15)
    same = {"channels", "weight_decay", "text", "data", "recipe"}
    assert ptb.model_dump(exclude=same) == wt2.model_dump(exclude=same)
    changed = load_recipe("darts-ptb").config("darts-rnn-v2", text={"slowness": 0.5})
    assert load_recipe("darts-ptb").departures(changed) == {"text.slowness": (1e-3, 0.5)}


def test_a_text_in_parts_is_read_by_either_name(tmp_path):
    parts = {"train": "a b\n\nc\n", "valid": "a c\n", "test": "b d\n"}
    for part, text in parts.items():
        (tmp_path / f"{part}.txt").write_text(text)
    ptb = load_data(TrainData(name="ptb", path=str(tmp_path), min_count=1))
    wiki = load_data(TrainData(name="wikitext-2", path=str(tmp_path), min_count=1))
    assert [ptb.words[token] for token in ptb.tokens[: ptb.train]] == ["a", "b", END, "c", END]
    # WikiText's published size counts the ends of its empty lines.
    assert [wiki.words[token] for token in wiki.tokens[: wiki.train]] == ["a", "b", END, END, "c", END]
    assert [ptb.words[token] for token in ptb.test] == ["b", UNKNOWN, END]
