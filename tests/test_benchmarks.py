"""The benchmarks: what they count, against closed forms; adapters; slots; that every cheap topic has numbers.

No time is asserted: what a machine needs for a step is no test.
"""

import json
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.cell_texts import DARTS_V2
from helpers.launching import make_sweep

from benchmarks import __main__ as command
from benchmarks import (
    convolution_forms,
    curvature,
    data,
    floor,
    memory,
    mixed,
    options,
    order,
    pack,
    plain,
    setting,
    step,
    sweep,
    train,
)
from benchmarks.counting import calls, growth, kernels, saved, stored
from benchmarks.lines import Line, Result, at_least, at_most, markdown
from benchmarks.loop import load_adapter
from benchmarks.setting import Setting
from benchmarks.sizes import Size
from benchmarks.slots import slots
from raynas.errors import RaynasError

NANO = Size("nano", 4, 3, 2, 8)
TOPICS = [step, order, mixed, memory, pack, curvature, floor, convolution_forms, options]
MODEL_SEARCH = """
import torch
from operations import layer

class Network(torch.nn.Module):
    def __init__(self, channels, classes, cells, criterion):
        super().__init__()
        self.first, self.head, self.criterion = layer(channels), torch.nn.Linear(channels, classes), criterion
        self.alphas = torch.autograd.Variable(torch.zeros(1).cuda(), requires_grad=True)

    def arch_parameters(self):
        return [self.alphas]

    def _loss(self, images, labels):
        return self.criterion(self.head(self.first(images).mean((2, 3)) * self.alphas.exp()), labels)
"""
ARCHITECT = """
import torch

class Architect:
    def __init__(self, model, args):
        self.model = model
        self.optimizer = torch.optim.Adam(model.arch_parameters(), lr=args.arch_learning_rate)

    def step(self, images, labels, valid_images, valid_labels, eta, sgd, unrolled):
        self.optimizer.zero_grad()
        self.model._loss(valid_images, valid_labels).backward()
        self.optimizer.step()
"""
GENOTYPE = "Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')"
OPERATIONS = "import torch\ndef layer(channels):\n    return torch.nn.Conv2d(3, channels, 3).cuda()\n"
MODEL = """
import torch
from raynas.nets.network import Network
from raynas.spaces.literature import load_cell
from raynas.train.network import TrainedNetwork
from utils import drop_path

class Cell(torch.nn.Module):
    def __init__(self, cell, indices):
        super().__init__()
        self.preprocess0, self.preprocess1 = cell.inputs
        chosen = {(c.target, c.source): op for c, op in zip(cell.choices, cell.operations)}
        self._ops = torch.nn.ModuleList(chosen[2 + k // 2, i] for k, i in enumerate(indices))
        self._indices = indices

class NetworkCIFAR(torch.nn.Module):
    def __init__(self, channels, classes, cells, auxiliary, genotype):
        super().__init__()
        print(channels)
        network = Network(load_cell("darts-v2").genotype, (3, 32, 32), classes, channels, cells)
        self.whole = TrainedNetwork(network, torch.Generator(), auxiliary=auxiliary, shape=(3, 32, 32))
        self.stem, self.classifier, self.auxiliary_head = network.stem, network.head, self.whole.auxiliary
        self.cells = torch.nn.ModuleList(
            Cell(cell, [source for _, source in (genotype.normal, genotype.reduce)[i in (1, 2)]])
            for i, cell in enumerate(network.cells)
        )

    def forward(self, images):
        logits, second = self.whole(images)
        return drop_path(logits, self.drop_path_prob), second
"""
UTILS = """
import torch
def drop_path(x, chance):
    return x * torch.cuda.FloatTensor(len(x), 1).bernoulli_(1 - chance) if chance else x
"""


@pytest.fixture
def checkout(tmp_path):
    """A stand-in for a checkout of the original code: its names, its `.cuda()` calls, a tiny net."""
    folder = tmp_path / "darts" / "cnn"
    folder.mkdir(parents=True)
    for name, text in (
        ("model_search", MODEL_SEARCH),
        ("architect", ARCHITECT),
        ("operations", OPERATIONS),
        ("genotypes", f"from collections import namedtuple\n{GENOTYPE}\nDARTS_V2 = {DARTS_V2}\n"),
        ("model", MODEL),
        ("utils", UTILS),
    ):
        (folder / f"{name}.py").write_text(text)
    return folder.parent


def test_the_adapter_of_darts_moves_weights_and_alphas_and_leaves_no_trace(checkout):
    path, modules, cuda = list(sys.path), set(sys.modules), torch.Tensor.cuda
    loop = load_adapter("darts").build(checkout, NANO, "cpu", False)
    assert sys.path == path
    assert not {"model_search", "architect", "operations", "genotypes"} & (set(sys.modules) - modules)
    before = [parameter.detach().clone() for parameter in loop.parameters()]
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    loop.step(images, labels, images, labels)
    assert all(not torch.equal(a, b) for a, b in zip(before, loop.parameters(), strict=True))
    assert torch.Tensor.cuda is cuda


@pytest.mark.slow
def test_training_is_compared_before_it_is_timed(checkout, capsys):
    """Here with a checkout whose network is ours, so only the order of weights and the loop can differ."""
    small = Size("small", 2, 3, 4, 32)
    lines = list(train.run(checkout, small, runs=2))
    assert [line.value for line in lines if line.unit == "error"] == [pytest.approx(0, abs=1e-12)] * 2
    assert all(np.isfinite(line.value) and line.value > 0 for line in lines if line.unit != "error")
    assert capsys.readouterr().out == ""
    assert torch.cuda.FloatTensor is not torch.FloatTensor


def test_an_adapter_can_be_any_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def build(path, size, device, second_order):\n    return path, size.channels\n")
    assert load_adapter(str(file)).build(tmp_path, NANO, "cpu", False) == (tmp_path, 4)


def test_wrong_adapters_and_checkouts_are_named(tmp_path):
    with pytest.raises(RaynasError, match="unknown adapter 'dart'") as caught:
        load_adapter("dart")
    assert caught.value.near == "darts"
    with pytest.raises(RaynasError, match="no such adapter"):
        load_adapter(str(tmp_path / "none.py"))
    (tmp_path / "empty.py").touch()
    with pytest.raises(RaynasError, match="`build`"):
        load_adapter(str(tmp_path / "empty.py"))
    with pytest.raises(RaynasError, match="no checkout of DARTS"):
        load_adapter("darts").build(tmp_path, NANO, "cpu", False)
    assert train.main(["--external", str(tmp_path)]) == 2


@pytest.mark.parametrize("groups", [1, 4])
def test_flops_are_two_a_multiplication_and_gradients_cost_as_much(groups):
    x = torch.randn(2, 8, 6, 6, requires_grad=True)
    weight = torch.randn(8, 8 // groups, 3, 3, requires_grad=True)
    once = 2 * (2 * 8 * 4 * 4) * (8 // groups * 9)

    def work(inputs):
        return lambda: torch.autograd.grad(F.conv2d(x, weight, groups=groups).sum(), inputs)

    assert sum(call.flops for call in calls(work([x, weight]))) == 3 * once
    assert sum(call.flops for call in calls(work([x]))) == 2 * once


def test_views_are_no_kernels_and_move_nothing():
    x = torch.zeros(100)
    counted = calls(lambda: x.view(10, 10).t().add(1))
    assert [call.moved for call in counted] == [0, 0, 800]
    assert kernels(counted) == 1


def test_memory_is_what_is_kept_once_and_what_is_alive_at_most():
    x, weight = torch.ones(1000, requires_grad=True), torch.ones(1000, requires_grad=True)

    def work():
        # Kept are the product's inputs, of which the exponential is the one that is no parameter.
        torch.autograd.grad((torch.exp(x) * weight).sum(), [x, weight])

    assert saved(work, [x, weight]) == 4000
    assert stored([x, x.view(10, 100), weight]) == 8000

    def two_at_once():
        one = torch.ones(250_000)
        two = one + 1
        del one
        return two * 2

    assert 2_000_000 <= growth(two_at_once, "cpu") < 2_010_000


def test_a_line_says_whether_its_target_is_met():
    lines = (Line("fast", 3.2, target=at_least(3)), Line("small", 0.6, "share", at_most(0.55), "of a part"))
    result = Result("step", "tiny", lines)
    assert [line.verdict for line in lines] == ["≥ 3 met", "≤ 0.55 missed"]
    assert "3.20 ×" in result.text()
    assert "| small (of a part) | 0.600 | ≤ 0.55 missed |" in markdown([result])


def event(kind, time, **fields):
    return {"kind": kind, "time": time, **fields}


def epoch(number, time, seconds):
    return event("epoch", time, report={"epoch": number, "seconds": seconds})


def start(time, pid, **more):
    return event("start", time, host="here", pid=pid, **more)


def test_slots_count_a_packs_epochs_once_and_find_the_gaps():
    pack_of_two = [
        [start(t, 1), epoch(0, 10 + t, 8.0), epoch(1, 20 + t, 9.0), event("end", 21 + t)] for t in (0, 0.5)
    ]
    after = [start(25.0, 1), epoch(0, 35.0, 9.0), event("end", 36.0)]
    beside = [
        start(5.0, 2), epoch(0, 10.0, 5.0), event("error", 11.0),
        start(13.0, 2), epoch(0, 18.0, 4.0), event("end", 18.0),
    ]  # fmt: skip
    first, second = slots([*pack_of_two, after, beside])
    assert (first.first, first.last, first.trained) == (0.0, 36.0, 26.0)
    assert first.between() == [3.5]
    assert first.beside() == [1.0]
    assert [attempt.loading for attempt in first.attempts] == [2.0, 1.0]
    assert (second.first, second.last, second.trained) == (5.0, 18.0, 9.0)
    assert second.between() == [2.0]


def test_a_sweep_that_was_run_is_read(tmp_path):
    folder = make_sweep(tmp_path / "done", ["darts"], seeds=2, epochs=1)
    with pytest.raises(RaynasError, match="no trial of this sweep has started"):
        list(sweep.run(Setting(NANO, folder=folder.path)))
    for trial in folder.trials():
        trial.spool.append("start", host="here", pid=1)
        trial.spool.append("epoch", report={"epoch": 0, "seconds": 0.0})
        trial.spool.append("end", status="finished", reason="")
    found = {line.what: line.value for line in sweep.run(Setting(NANO, folder=folder.path))}
    assert found["slots"] == 1
    assert found["share of the slots' time in epochs"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.__name__)
def test_a_topic_measures(topic, checkout, monkeypatch):
    for module in (setting, plain, mixed):
        monkeypatch.setattr(module, "SPACE", "tiny")
    monkeypatch.setattr(curvature, "PATIENCE", 0.0)
    monkeypatch.setattr(curvature, "STEPS", 1)
    monkeypatch.setattr(mixed, "STEPS", (0,))
    monkeypatch.setattr(mixed, "MOVES", 1)
    monkeypatch.setattr(pack, "LANES", (2,))
    monkeypatch.setattr(floor, "MATRIX", 64)
    monkeypatch.setattr(floor, "COPIED", 2**16)
    lines = list(topic.run(Setting(NANO, runs=1, external=(checkout, load_adapter("darts")))))
    assert lines
    assert all(np.isfinite(line.value) and line.value > 0 for line in lines)
    assert len({line.what for line in lines}) == len(lines)


def few_images(where):
    return data.run(where, count=128)


def test_the_data_path_is_measured():
    ours, theirs, ratio = few_images(Setting(NANO, runs=1))
    assert ratio.value == pytest.approx(ours.value / theirs.value)


def test_the_command_prints_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(command.TOPICS, "data", command.TOPICS["data"]._replace(run=few_images))
    file, tables = tmp_path / "found.json", tmp_path / "found.md"
    assert (
        command.main(["--only", "data", "--runs", "1", "--markdown", str(tables), "--json", str(file)]) == 0
    )
    found = json.loads(file.read_text())
    assert found["results"][0]["lines"][2]["target"] == "≥ 10"
    assert "| feed / per-sample loader |" in tables.read_text()
    assert "feed / per-sample loader" in capsys.readouterr().out
    asked = ["--only", "data", "--runs", "1", "--markdown", str(tables), "--json", str(file)]
    assert command.main(asked) == 0
    found = json.loads(file.read_text())
    assert found["results"][0]["lines"][2]["target"] == "≥ 10"
    assert "| feed / per-sample loader |" in tables.read_text()
    assert "feed / per-sample loader" in capsys.readouterr().out
    assert command.main(["--only", "step", "--external", "here", "--adapter", "dart"]) == 2
    assert "nearest:  darts" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["--only", "steps"])
