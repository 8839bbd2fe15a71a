"""Exports: every format answers what the network answers, for every skeleton; the wrong ones are not kept."""

import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from raynas.config import DataConfig
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.nets.ops.plain import plain
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space, names
from raynas.spaces.literature import load_cell
from raynas.spaces.operations import OPERATIONS
from raynas.train.deployed import Card, Deployed
from raynas.train.export import formats
from raynas.train.export.formats import FORMATS, write_export

NB201 = "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"


def draw_norms(network):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias, module.weight):
                torch.nn.init.normal_(tensor.data)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)


def deployed(genotype, channels=4, cells=3, shape=(3, 16, 16)):
    """A network whose norms have random statistics, scales and shifts: one that is lost shows."""
    torch.manual_seed(0)
    network = Network(genotype, shape, 5, channels, cells)
    draw_norms(network)
    card = Card(
        genotype=genotype.to_json(),
        shape=shape,
        class_names=("ant", "bee", "cat", "dog", "eel"),
        channels=channels,
        cells=cells,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.25),
        data="nothing",
    )
    return Deployed(card, network)


@pytest.mark.parametrize(
    "to", [pytest.param(to, marks=pytest.mark.slow) if to in ("onnx", "torch") else to for to in FORMATS]
)
def test_every_format_answers_as_the_network_does(tmp_path, to):
    """`export` itself compares, at 1, 2 and 7 images; here it must pass for two skeletons."""
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if to == "safetensors":
        pytest.importorskip("safetensors")
    path = write_export(deployed(load_cell("darts-v2").genotype), to, tmp_path)
    assert path.name == FORMATS[to].file
    assert path.is_file()


ONE_OF_A_KIND = {
    "tiny",
    "nas-bench-201",
    "nb1shot1-1",
    "enas-macro",
    "dso-nas",
    "proxyless",
    "s4",
    "darts-rnn",
}
"""Spaces whose networks the quick tests export: one of each skeleton, and one with a random operation."""


@pytest.mark.parametrize(
    "space",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ONE_OF_A_KIND))
        for name in sorted(names("search_spaces"))
    ],
)
def test_model_py_is_the_network_of_every_space(tmp_path, space):
    loaded = load_space(space)
    if skeletons.of(loaded).texts:
        pytest.skip("a cell that reads texts")
    draw = random.Random(space)
    rows = {
        g.name: [[draw.random() for _ in range(g.width)] for _ in g.rows] for g in skeletons.groups(loaded)
    }
    genotype = derive(loaded, rows)
    usual = skeletons.of(genotype).usually(genotype, 16)
    side = 64 if usual.image >= 96 else 16
    try:
        path = write_export(
            deployed(
                genotype,
                4,
                usual.cells if skeletons.of(genotype).has_trunk else min(usual.cells, 5),
                (3, side, side),
            ),
            "model.py",
            tmp_path,
        )
    except RaynasError as error:
        assert "random operation" in str(error)  # noqa: PT017
        return
    text = path.read_text()
    assert "raynas" not in text.split('"""')[2]


@pytest.mark.slow
def test_model_py_runs_where_raynas_is_not(tmp_path):
    network = deployed(load_cell("darts-v2").genotype)
    write_export(network, "model.py", tmp_path)
    images = np.random.default_rng(1).random((3, 3, 16, 16), dtype=np.float32)
    np.save(tmp_path / "images.npy", images)
    script = (
        "import sys, numpy, torch, model; "
        "print(model.load('weights.pt')(torch.from_numpy(numpy.load('images.npy'))).tolist()); "
        "assert 'raynas' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    want = formats.Normalised(network).eval()(torch.from_numpy(images)).tolist()
    assert np.allclose(json.loads(done.stdout), want, atol=1e-5)


NO_MODULE = sorted(name for name, each in OPERATIONS.items() if each.family in {"noise", "activation"})


class Operations(torch.nn.Module):
    """Operations of a network side by side, an output each."""

    def __init__(self, stride):
        super().__init__()
        torch.manual_seed(0)
        # Cells of NAS-Bench-1Shot1 halve nothing within.
        names = [n for n in OPERATIONS if stride == 1 or not OPERATIONS[n].family.startswith("normed_")]
        self.names = [name for name in names if name not in NO_MODULE]
        self.each = torch.nn.ModuleList(plain(name, 4, stride, affine=True) for name in self.names)
        draw_norms(self)

    def forward(self, x):
        return tuple(operation(x) for operation in self.each)


@pytest.mark.drill
@pytest.mark.parametrize(("stride", "side"), [(1, 8), (2, 8), (2, 7)])
def test_every_operation_is_the_same_in_onnx(stride, side):
    """Each has an output of its own, so that one that is wrong is named and hides behind no other."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    operations = Operations(stride).eval()
    made = formats.onnx_program(operations, torch.randn(2, 4, side, side), operations.names)
    session = onnxruntime.InferenceSession(
        made.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for count in (1, 7):
        images = torch.randn(count, 4, side, side)
        found = session.run(operations.names, {"images": images.numpy()})
        with torch.no_grad():
            wanted = operations(images)
        off = {
            name: float(np.abs(got - want.numpy()).max() / max(float(want.abs().max()), 1e-12))
            for name, got, want in zip(operations.names, found, wanted, strict=True)
        }
        assert {name: value for name, value in off.items() if not value < 1e-4} == {}
        assert [got.shape for got in found] == [tuple(want.shape) for want in wanted]


@pytest.mark.parametrize("name", NO_MODULE)
def test_an_operation_that_no_export_can_hold_is_refused(name):
    """Random ones, and those of recurrent cells; every other one is exported above."""
    if OPERATIONS[name].family == "activation":
        with pytest.raises(RaynasError, match=f"{name} belongs in recurrent cells only"):
            plain(name, 4, 1, affine=True)
        return
    chosen = [Choice(name, 0, 2), Choice("skip_connect", 1, 2)]
    with pytest.raises(RaynasError, match=f"random operation(.|\n)*{name} in the normal cell, 0 → 2"):
        formats.check_deterministic(Genotype.of("s4", 1, {"normal": chosen, "reduce": chosen}))


def test_a_random_network_is_refused(tmp_path):
    noisy = [
        Choice(op, source, target) for target in (2, 3) for op, source in (("noise", 0), ("sep_conv_3x3", 1))
    ]
    genotype = Genotype.of("s4", 2, {"normal": noisy, "reduce": noisy})
    with pytest.raises(RaynasError, match="noise in the normal cell"):
        write_export(deployed(genotype), "torch", tmp_path)


def test_an_export_that_answers_otherwise_is_not_kept(tmp_path, monkeypatch):
    """As PyTorch's exporters have done: a network in training mode, say, bakes a batch's statistics in."""
    network = deployed(load_cell("darts-v2").genotype)

    def wrong(given, path):
        path.write_text("wrong")
        return lambda images: np.zeros((len(images), 5), np.float32)

    monkeypatch.setitem(FORMATS, "torch", formats.Format("torch", "network.pt2", "", wrong))
    with pytest.raises(RaynasError, match="does not compute what the network computes"):
        write_export(network, "torch", tmp_path)
    assert not (tmp_path / "network.pt2").exists()


def test_what_an_export_needs_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RaynasError, match=r"needs onnxruntime(.|\n)*raynas\[export\]"):
        write_export(deployed(load_cell("darts-v2").genotype), "onnx", tmp_path)


def language_model(genotype, data="song"):
    """Words that a file of Python must not take for its own."""
    torch.manual_seed(0)
    network = RecurrentNetwork(genotype, 9, 4)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    words = ("<unk>", '"""', "\\", "{x}", "the", "cell", "reads", "a", "text")
    sizes = {"shape": (), "class_names": words, "channels": 4, "cells": 1, "mean": (), "std": ()}
    return Deployed(Card(genotype=genotype.to_json(), data=data, **sizes), network)


@pytest.mark.parametrize("name", ["darts-rnn-v2", "enas-rnn"])
@pytest.mark.parametrize(
    "to", [pytest.param(to, marks=pytest.mark.slow) if to in ("onnx", "torch") else to for to in FORMATS]
)
def test_every_format_reads_words_as_the_language_model_does(tmp_path, to, name):
    """`export` itself compares: log-probabilities and states of 1, 2 and 7 texts, after some state."""
    if to == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    if to == "safetensors":
        pytest.importorskip("safetensors")
    assert write_export(language_model(load_cell(name).genotype), to, tmp_path).is_file()


@pytest.mark.slow
def test_a_language_model_s_file_goes_on_from_its_state(tmp_path):
    """Cells of several edges into a node, too, and a node that reads nothing."""
    edges = [("tanh", 0, 1), ("relu", 0, 2), ("identity", 1, 2), ("none", 2, 3), ("sigmoid", 2, 4)]
    genotype = Genotype.of("x", 4, {"recurrent": [Choice(*edge) for edge in edges]}, "recurrent")
    model = language_model(genotype)
    script = (
        "import sys, torch, model; network = model.load('weights.pt'); "
        "first, state = network(model.numbers('the cell').unsqueeze(0)); "
        "then, state = network(model.numbers('reads nothing').unsqueeze(0), state); "
        "assert 'raynas' not in sys.modules; print(torch.cat([first, then], 1).tolist())"
    )
    write_export(model, "model.py", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    want = model.network(torch.tensor([[4, 5, 6, 0]]))[0].log_softmax(2)
    assert np.allclose(json.loads(done.stdout), want.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("texts", [False, True])
def test_no_word_of_a_card_is_run(tmp_path, monkeypatch, texts):
    evil = 'x"""; open("evil", "w") #\n'
    monkeypatch.chdir(tmp_path)
    if texts:
        network = language_model(load_cell("darts-rnn-v2").genotype, evil)
    else:
        plain_one = deployed(load_cell("darts-v2").genotype)
        network = Deployed(plain_one.card.model_copy(update={"data": evil}), plain_one.network)
    write_export(network, "model.py", tmp_path)
    assert not (tmp_path / "evil").exists()


def test_digits_travel_with_their_names():
    data = load_data(DataConfig(name="digits", limit=20))
    assert data.class_names[3] == "3"
