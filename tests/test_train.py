"""Training from scratch: what a step computes, what a resume repeats, what lanes share, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters
from torch.nn.functional import cross_entropy

from raynas.config import DataConfig
from raynas.data.catalogue import ImageRecipe
from raynas.data.dataset import from_arrays
from raynas.data.load import load_data
from raynas.errors import Diverged, RaynasError
from raynas.search.abilities import lacks_bfloat16
from raynas.search.streams import stream
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.reading import genotype_from_text
from raynas.train.config import TrainConfig
from raynas.train.deployed import Deployed
from raynas.train.loop import Training
from raynas.train.network import dropped
from raynas.train.records import TrainReport
from raynas.train.schedule import drop_path, learning_rate

DARTS_V2 = genotype_from_text(
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), "
    "('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig(name="digits", limit=100))


def config(**changes):
    return TrainConfig(
        **{"cell": "darts-v2", "epochs": 3, "batch": 32, "channels": 2, "cells": 3, "data": "digits"}
        | changes
    )


def colour(count=8, side=32):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return from_arrays("noise", pixels, np.arange(count) % 4, recipe=ImageRecipe(), classes=10)


def wave(shape, phase):
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 0.7 + phase).reshape(shape)


@pytest.mark.slow
def test_steps_are_those_of_the_original():
    """quark0/darts f276dd3, cnn/model.py and train.py, gave these numbers on the same weights and images:

    C = 4, 5 cells, auxiliary head, three steps at rate .1, weights and images from a sine, float64.
    """
    with_head = config(channels=4, cells=5, auxiliary=0.4, learning_rate=0.1, channels_last=False)
    lane = Training([with_head], DARTS_V2, colour(), dtype=torch.float64).lanes[0]
    main, head = list(lane.trained.network.parameters()), list(lane.trained.auxiliary.parameters())
    with torch.no_grad():
        for phase, p in enumerate(main + head):
            scale = 0.1 if p.dim() == 1 else p[0].numel() ** -0.5
            p.copy_(wave(p.shape, phase) * scale + (p.dim() == 1))
    lane.trained.train()
    losses = [lane._step(wave((4, 3, 32, 32), step), torch.arange(4) + step)[0].item() for step in range(3)]
    assert losses == pytest.approx([2.4860003687874643, 2.302352119750225, 2.0411853806122613], rel=1e-12)
    lane.trained.eval()
    logits = lane.trained.network(wave((4, 3, 32, 32), 9))
    assert logits.abs().sum().item() == pytest.approx(44.882781742321114, rel=1e-11)
    assert sum(p.abs().sum().item() for p in main) == pytest.approx(2560.8392790651224, rel=1e-12)
    assert sum(p.abs().sum().item() for p in head) == pytest.approx(13694.636516015913, rel=1e-12)


@pytest.mark.slow
def test_a_restored_training_repeats_every_bit(digits):
    data = {"name": "digits", "cutout": 2, "crop": "resized", "contrast": 0.4}
    whole = Training([config(drop_path=0.3, data=data)], DARTS_V2, digits)
    reports = [report for [report] in whole]
    assert [report.test_accuracy is None for report in reports] == [True, True, False]
    first = Training([whole.config], DARTS_V2, digits)
    first.advance()
    second = Training([whole.config], DARTS_V2, digits)
    second.load_state_dict(first.state_dict())
    assert [report for [report] in second] == reports[1:]
    momentum, again = (each.lanes[0].state()["momentum"] for each in (whole, second))
    assert momentum.keys() == again.keys()
    for name, ours in momentum.items():
        assert torch.equal(ours, again[name])


def test_lanes_are_as_if_alone(digits):
    seeds = [config(seed=seed, learning_rate=0.1 / (1 + seed), drop_path=0.2) for seed in range(3)]
    together = Training(seeds, DARTS_V2, digits)
    together.advance()
    kept = together.keep([2, 0])
    kept.advance()
    for lane, seed in enumerate((2, 0)):
        alone = Training([seeds[seed]], DARTS_V2, digits)
        assert [report for [report] in alone][:2] == kept.history[lane]


def test_the_test_images_are_looked_at_once_and_decide_nothing(digits):
    shuffled = np.roll(digits.test_labels, 1)
    other = replace(digits, test_labels=shuffled)
    one, two = (Training([config(epochs=2)], DARTS_V2, data) for data in (digits, other))
    first, second = ([report for [report] in each] for each in (one, two))
    assert [r.train_loss for r in first] == [r.train_loss for r in second]
    assert first[1].test_loss != second[1].test_loss


def test_images_held_out_train_nothing(digits):
    held = config(data={"name": "digits", "valid": 0.25})
    training = Training([held], DARTS_V2, digits)
    [report] = training.advance()
    assert training.lanes[0].feed.count == 75
    assert report.valid_loss is not None
    assert report.valid_accuracy is not None
    with pytest.raises(RaynasError, match="leaves one part empty"):
        Training([config(data={"name": "digits", "valid": 0.001})], DARTS_V2, digits)


def test_drop_path_spares_identities_and_keeps_the_mean():
    training = Training([config(drop_path=0.5)], DARTS_V2, colour(side=8))
    trained = training.lanes[0].trained
    operations = list(dropped(trained.network))
    chosen = [c.op for cell in trained.network.cells for c in cell.choices]
    strided = sum(c.op == "skip_connect" and c.source < 2 for _, cs in DARTS_V2.cells[1:] for c in cs)
    assert len(operations) == sum(op != "skip_connect" for op in chosen) + 2 * strided
    trained.train()
    trained.chance = 0.5
    x = torch.ones(4000, 2, 1, 1)
    out = trained._drop(0, operations[0], None, x)
    rows = out[:, :, 0, 0]
    assert set(rows.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(rows[:, 0], rows[:, 1])
    assert out.mean().item() == pytest.approx(1, abs=0.06)
    trained.eval()
    assert trained._drop(0, operations[0].eval(), None, x) is None


def test_the_deployed_network_has_no_auxiliary_head():
    lane = Training([config(auxiliary=0.4, cells=3)], DARTS_V2, colour()).lanes[0]
    plain = Training([config(cells=3)], DARTS_V2, colour()).lanes[0].trained.network
    state = {
        k.removeprefix("network."): v for k, v in lane.trained.state_dict().items() if "auxiliary" not in k
    }
    plain.load_state_dict(state, strict=True)
    images = torch.randn(2, 3, 32, 32)
    lane.trained.eval()
    logits, second = lane.trained(images)
    assert second is None
    assert torch.equal(plain.eval()(images), logits)


def test_images_too_small_for_the_head_are_refused(digits):
    with pytest.raises(RaynasError, match="too small for an auxiliary head"):
        Training([config(auxiliary=0.4)], DARTS_V2, digits)


def test_a_last_batch_of_one_image_is_refused_where_it_cannot_train():
    """The second head's last features are of 1×1 pixels; without it one image trains."""
    with pytest.raises(RaynasError, match=r"a batch of one image cannot train(.|\n)*another batch="):
        Training([config(auxiliary=0.4, cells=3, batch=4)], DARTS_V2, colour(5))
    [report] = Training([config(cells=3, batch=4)], DARTS_V2, colour(5)).advance()
    assert isinstance(report, TrainReport)


def test_asking_whether_one_image_trains_changes_nothing():
    one, whole = (Training([config(cells=3, batch=b)], DARTS_V2, colour(5)).lanes[0].state() for b in (4, 5))
    for name, tensor in whole["network"].items():
        assert torch.equal(one["network"][name], tensor), name


def test_label_smoothing_and_the_rest_of_an_epoch(digits):
    """An epoch has every image once, the last batch the rest; the loss is the smoothed mean over images."""
    smooth = config(
        label_smoothing=0.1, learning_rate=1e-12, batch=64, data={"name": "digits", "augment": False}
    )
    lane = Training([smooth], DARTS_V2, digits).lanes[0]
    assert lane.feed.whole_steps == 2
    batches = list(lane.feed.whole_epoch())
    assert [len(labels) for _, labels in batches] == [64, 36]
    lane.order.set_state(stream(0, "train").get_state())
    loss, _ = lane.train_epoch(0)
    lane.trained.train()
    want = sum(cross_entropy(lane.trained(x)[0], y, label_smoothing=0.1).item() * len(y) for x, y in batches)
    assert loss == pytest.approx(want / 100, rel=1e-4)


def test_a_loss_that_is_not_finite_ends_its_lane_alone(digits):
    wild = [config(learning_rate=rate, clip=None) for rate in (0.01, 1e30)]
    outcomes = Training(wild, DARTS_V2, digits).advance()
    assert isinstance(outcomes[0], TrainReport)
    assert isinstance(outcomes[1], Diverged)
    assert "lower learning_rate" in str(outcomes[1])


def test_rates_follow_their_sources():
    cosine = config(epochs=600, learning_rate=0.025)
    assert learning_rate(cosine, 0) == 0.025
    assert learning_rate(cosine, 300) == pytest.approx(0.0125)
    assert learning_rate(cosine, 599) == pytest.approx(0.0125 * (1 + math.cos(math.pi * 599 / 600)))
    warm = config(epochs=300, warmup=5, learning_rate=0.025)
    assert learning_rate(warm, 2, 0.5) == pytest.approx(0.0125)  # (2 + .5)/5, AutoDL-Projects' ramp
    assert learning_rate(warm, 5) == 0.025
    assert learning_rate(warm, 299) == pytest.approx(0.0125 * (1 + math.cos(math.pi * 294 / 295)))
    # PC-DARTS' adjust_lr, 250 epochs from .5: its own values at 0, 3 (warm-up), 10, 244, 245 and 249.
    linear = config(epochs=250, warmup=5, schedule="linear", learning_rate=0.5)
    values = [learning_rate(linear, epoch) for epoch in (0, 3, 10, 244, 245, 249)]
    assert values == pytest.approx([0.1, 0.4, 0.5 * 235 / 245, 0.5 / 245, 0.5 * 5 / 1225, 0.5 / 1225])
    assert learning_rate(config(schedule="exponential", learning_rate=0.1), 2) == pytest.approx(0.1 * 0.97**2)
    assert [drop_path(config(epochs=4, drop_path=0.2), epoch) for epoch in range(4)] == pytest.approx(
        [0, 0.05, 0.1, 0.15]
    )


def test_another_training_s_checkpoint_is_refused(digits):
    state = Training([config()], DARTS_V2, digits).state_dict()
    for other in (config(seed=1), config(weight_decay=0.1), config(epochs=4)):
        with pytest.raises(RaynasError, match="of another training"):
            Training([other], DARTS_V2, digits).load_state_dict(state)


def test_a_report_survives_json():
    report = TrainReport(2, 0.1, 0.2, 0.3, 0.4, test_loss=float("inf"), test_accuracy=0.5, seconds=1.0)
    assert TrainReport.from_json(report.to_json() | {"later": 1}) == report
    with pytest.raises(TypeError, match="train_loss"):
        TrainReport.from_json(report.to_json() | {"train_loss": "0.1"})


def test_the_layout_in_memory_changes_roundings_alone(digits):
    losses = []
    for channels_last in (True, False):
        [report] = Training(
            [config(channels_last=channels_last)], DARTS_V2, digits, dtype=torch.float64
        ).advance()
        losses.append(report.train_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)


@pytest.mark.skipif(lacks_bfloat16("cpu") is not None, reason="this CPU has no bfloat16")
def test_in_bfloat16_the_losses_are_about_the_same_and_the_weights_stay_float32(digits):
    trainings = [Training([config(precision=p)], DARTS_V2, digits) for p in ("float32", "bfloat16")]
    [exact], [low] = (training.advance() for training in trainings)
    assert low.train_loss != exact.train_loss
    assert low.train_loss == pytest.approx(exact.train_loss, rel=0.02)
    assert {p.dtype for p in trainings[1].lanes[0].trained.parameters()} == {torch.float32}


def test_what_a_machine_cannot_do_is_said_before_the_training(digits, monkeypatch):
    monkeypatch.setattr("raynas.search.abilities.lacks_bfloat16", lambda kind: f"this {kind} cannot")
    monkeypatch.setattr("raynas.search.abilities.lacks_compiler", lambda kind: f"{kind}: no compiler")
    with pytest.raises(RaynasError, match="this cpu cannot"):
        Training([config(precision="bfloat16")], DARTS_V2, digits)
    with pytest.raises(RaynasError, match="no compiler"):
        Training([config(compile=True)], DARTS_V2, digits)


@pytest.mark.drill
def test_a_compiled_network_is_one_graph_and_computes_the_same(digits, monkeypatch):
    """Dynamo's graph, run operation by operation: what a compiler makes of it is not raynas' to test."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda module: compiled(module, backend="eager", dynamic=True))
    monkeypatch.setattr("raynas.search.abilities.lacks_compiler", lambda kind: None)
    edges = [Choice(op, source, 2) for op, source in (("sep_conv_3x3", 0), ("skip_connect", 1))]
    cell = Genotype.of("s4", 1, {"normal": edges, "reduce": edges})
    [plain] = Training([config()], cell, digits).advance()
    counters.clear()
    dropping = Training([config(compile=True, drop_path=0.5)], cell, digits)
    losses = [report.train_loss for [report] in dropping]
    assert losses[0] == plain.train_loss  # the first epoch drops nothing
    assert np.isfinite(losses).all()
    assert not counters["graph_break"]


def test_a_random_operation_repeats_with_its_seed_and_after_a_resume(digits):
    ops = (("noise", 0), ("sep_conv_3x3", 1))
    edges = [Choice(op, source, target) for target in (2, 3) for op, source in ops]
    noisy = Genotype.of("s4", 2, {"normal": edges, "reduce": edges})
    whole, other = (Training([config()], noisy, digits) for _ in range(2))
    reports = [report for [report] in whole]
    other.advance()
    torch.randn(5)  # PyTorch's own numbers do not matter
    second = Training([config()], noisy, digits)
    second.load_state_dict(other.state_dict())
    assert [report for [report] in second] == reports[1:]
    deployed = Deployed.of(whole.lanes[0].trained.network, noisy, digits)
    images = digits.test_images[:5]
    assert np.array_equal(deployed.probabilities(images), deployed.probabilities(images))


def test_every_weight_is_of_the_seed(digits):
    """The auxiliary head's too: what else the process has drawn does not matter."""
    first, second = (Training([config(auxiliary=0.4)], DARTS_V2, colour()).lanes[0].trained for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = Training([config(auxiliary=0.4, seed=1)], DARTS_V2, colour()).lanes[0].trained
    assert not torch.equal(first.auxiliary[-1].weight, other.auxiliary[-1].weight)
