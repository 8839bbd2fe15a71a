"""A trained network from its folder: the same answers, each image alone, clear words where it is damaged."""

import json

import numpy as np
import pytest
import torch

from raynas.config import DataConfig
from raynas.data.load import load_data
from raynas.errors import RaynasError
from raynas.spaces.literature import load_cell
from raynas.train.config import TrainConfig
from raynas.train.deployed import CARD, WEIGHTS, Deployed
from raynas.train.loop import Training


@pytest.fixture(scope="module")
def data():
    return load_data(DataConfig(name="digits", limit=64))


@pytest.fixture(scope="module")
def deployed(data):
    genotype = load_cell("darts-v2").genotype
    config = TrainConfig(cell="darts-v2", epochs=1, batch=32, channels=2, cells=3, data="digits")
    training = Training([config], genotype, data)
    training.advance()
    return Deployed.of(training.lanes[0].trained.network, genotype, data, epochs=1)


def test_a_saved_network_gives_the_same_answers(tmp_path, deployed, data):
    deployed.save(tmp_path)
    again = Deployed.load(tmp_path)
    assert again.card == deployed.card
    assert again.card.class_names == tuple("0123456789")
    images = data.test_images[:7]
    assert np.array_equal(again.probabilities(images), deployed.probabilities(images))
    # Each image by itself: nothing depends on the batch, as it would with batch statistics.
    assert again.probabilities(images)[:2] == pytest.approx(again.probabilities(images[:2]), abs=1e-6)
    predicted = again.predict(images)
    assert [p.name for p in predicted] == [str(p.label) for p in predicted]
    assert all(sum(p.probabilities) == pytest.approx(1, abs=1e-5) for p in predicted)


def test_answers_are_those_of_the_training(deployed, data):
    """Normalised as in training: the accuracy that the training's own feed gives."""
    mean, std = (torch.tensor(v) * 255 for v in (data.mean, data.std))
    pixels = torch.tensor(data.test_images).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        logits = deployed.network((pixels - mean) / std)
    assert np.array_equal(deployed.probabilities(data.test_images).argmax(1), logits.argmax(1).numpy())


def test_what_does_not_fit_is_told(tmp_path, deployed):
    with pytest.raises(RaynasError, match="no trained network"):
        Deployed.load(tmp_path)
    with pytest.raises(RaynasError, match="do not fit the network"):
        deployed.predict(np.zeros((1, 9, 8, 1), np.uint8))
    deployed.save(tmp_path)
    whole = (tmp_path / CARD).read_text()
    (tmp_path / CARD).write_text(json.dumps(json.loads(whole) | {"channels": 4}))
    with pytest.raises(RaynasError, match="the weights do not fit"):
        Deployed.load(tmp_path)
    for damaged, match in (
        (whole[:40], "cannot read"),
        ("[]", "not a network's card"),
        (whole.replace('"version": 1', '"version": 9'), "not a network's card"),
        (whole.replace('"std"', '"sdt"'), "nearest: std"),
    ):
        (tmp_path / CARD).write_text(damaged)
        with pytest.raises(RaynasError, match=match):
            Deployed.load(tmp_path)
    (tmp_path / CARD).write_text(whole)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:-100])
    with pytest.raises(RaynasError, match="corrupt"):
        Deployed.load(tmp_path)
