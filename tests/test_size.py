"""Parameters and multiply-adds of discrete networks against published counts."""

import json
from pathlib import Path

import pytest
from helpers.cli_folders import raynas

from raynas.errors import RaynasError
from raynas.nets.size import size_of
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.reading import genotype_from_text, genotype_to_text
from raynas.sweep.sizes import _usual as usual_size

S3, SKIP, DIL3, MAX, AVG = "sep_conv_3x3", "skip_connect", "dil_conv_3x3", "max_pool_3x3", "avg_pool_3x3"


def darts(normal, reduce):
    concat = "[2, 3, 4, 5]"
    return genotype_from_text(
        f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat={concat})"
    )


V1 = darts(
    [(S3, 1), (S3, 0), (SKIP, 0), (S3, 1), (SKIP, 0), (S3, 1), (S3, 0), (SKIP, 2)],
    [(MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 0), (MAX, 0), (SKIP, 2), (SKIP, 2), (AVG, 0)],
)
V2 = darts(
    [(S3, 0), (S3, 1), (S3, 0), (S3, 1), (S3, 1), (SKIP, 0), (SKIP, 0), (DIL3, 2)],
    [(MAX, 0), (MAX, 1), (SKIP, 2), (MAX, 1), (MAX, 0), (SKIP, 2), (SKIP, 2), (MAX, 1)],
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "cifar", "imagenet"),
    [
        (V1, (3_169_414, 500_987_520), (4_510_432, 505_864_704)),
        (V2, (3_349_342, 528_359_040), (4_718_752, 529_911_552)),
    ],
    ids=["DARTS_V1", "DARTS_V2"],
)
def test_the_cells_of_darts(cell, cifar, imagenet):
    """The counts of DARTS' own code, auxiliary head left out; 3.3M and 4.7M are those published for V2.

    The paper's 574M multiply-adds on ImageNet are not what its code has in convolutions and linear layers.
    """
    assert size_of(cell, (3, 32, 32), 10, 36, 20) == cifar
    assert size_of(cell, (3, 224, 224), 1000, 48, 14) == imagenet


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (("darts-v2", "--recipe", "darts-cifar"), (3_349_342, 528_359_040)),
        (("darts-v2", "--recipe", "darts-imagenet"), (4_718_752, 529_911_552)),
        (("darts-v1", "--recipe", "darts-cifar"), (3_169_414, 500_987_520)),
        (("darts-v2", "--recipe", "darts-cifar", "--classes", "100"), (3_401_272, 528_410_880)),
    ],
)
def test_what_a_recipe_trains(words, size, capsys):
    """3.3M on CIFAR and 4.7M on ImageNet are those published for V2."""
    counted = json.loads(raynas(capsys, "size", *words, "--json").out)
    assert (counted["parameters"], counted["multiply_adds"]) == size


def test_a_recipe_leaves_open_what_it_does_not_say(capsys, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("title: own\nsource: here\nchannels: 8\n")
    counted = json.loads(raynas(capsys, "size", "darts-v2", "--recipe", str(path), "--json").out)
    assert [counted[key] for key in ("image", "classes", "channels", "cells")] == [32, 10, 8, 20]
    path.write_text("title: own\nsource: here\nimages: {side: 0, clases: 3}\n")
    refused = raynas(capsys, "size", "darts-v2", "--recipe", str(path)).err
    assert "images.side" in refused
    assert "nearest: classes" in refused
    assert "darts-cifar" in raynas(capsys, "size", "darts-v2", "--recipe", "darts-cifr").err
    assert "reads texts" in raynas(capsys, "size", "darts-rnn-v1", "--recipe", "quick").err


@pytest.mark.parametrize(
    ("text", "millions"),
    [
        (
            "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
            (0.129306, 15.64737),
        ),
        (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|nor_conv_3x3~1|avg_pool_3x3~2|",
            (0.802426, 113.95137),
        ),
        (
            "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|none~0|nor_conv_1x1~1|none~2|",
            (0.101306, 11.71521),
        ),
    ],
)
def test_nas_bench_201_s_own_records(text, millions):
    """Cells 0, 11 and 284 in the benchmark's files; it counts one addition a class more, the bias."""
    size = size_of(genotype_from_text(text), (3, 32, 32), 10, 16, 5)
    assert (size.parameters, size.multiply_adds + 10) == tuple(round(each * 1e6) for each in millions)


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    V2.save(tmp_path / "v2.json")
    outcome = raynas(capsys, "size", str(tmp_path / "v2.json"))
    assert (outcome.code, outcome.err) == (0, "")
    assert "20 cells in all, 36 channels, images of 32×32" in outcome.out
    assert "3,349,342" in outcome.out
    words = ["size", str(tmp_path / "v2.json"), "--image", "224", "--json"]
    large = json.loads(raynas(capsys, *words).out)
    assert (large["channels"], large["cells"], large["classes"]) == (48, 14, 1000)
    assert (large["parameters"], large["multiply_adds"]) == (4_718_752, 529_911_552)
    small = json.loads(raynas(capsys, *words, "--channels", "16", "--cells", "8", "--classes", "2").out)
    assert small["parameters"] == size_of(V2, (3, 224, 224), 2, 16, 8).parameters
    assert "at least 3 cells" in raynas(capsys, "size", str(tmp_path / "v2.json"), "--cells", "2").err
    assert raynas(capsys, "size", str(tmp_path / "gone.json")).code == 2


LAYERS = " ".join(" ".join(["0"] * (1 + layer)) for layer in range(12))
RECURRENT = "Genotype(recurrent=[" + ", ".join(["('tanh', 0)"] * 8) + "], concat=range(1, 9))"


@pytest.mark.parametrize(
    ("space", "text", "usual"),
    [
        ("darts", genotype_to_text(V2), (32, 10, 36, 20)),
        ("darts-imagenet", genotype_to_text(V2), (224, 1000, 48, 14)),
        ("suite-wide-regular", genotype_to_text(V2), (32, 10, 18, 4)),
        ("suite-deep-regular", genotype_to_text(V2), (32, 10, 7, 18)),
        ("dso-nas", "dense 16: 1=sep3x3-bn-relu(0) out=(1)", (32, 10, 48, 8)),
        ("enas-macro", LAYERS, (32, 10, 96, 1)),
        ("enas-micro", "0 0 1 0 " * 10, (32, 10, 36, 17)),
        ("proxyless", "chain 32,16 | 24/2: mbconv3_3x3 zero | 1280", (224, 1000, 32, 2)),
    ],
)
def test_every_field_has_its_own_usual_network(space, text, usual):
    assert usual_size(genotype_from_text(text, space), None) == usual


def test_images_of_another_size_have_the_skeletons_network():
    for space, image, usual in (
        ("darts", 224, (224, 1000, 48, 14)),
        ("darts-imagenet", 32, (32, 10, 36, 20)),
        ("suite-wide-regular", 224, (224, 1000, 48, 14)),
        ("gone", None, (32, 10, 36, 20)),
    ):
        assert usual_size(genotype_from_text(genotype_to_text(V2), space), image) == usual


def test_the_language_model_of_darts(capsys):
    """8 nodes, 850 units, 10,000 words: 22.96M; a product for each node, the first one, the words' scores."""
    found = json.loads(raynas(capsys, "size", RECURRENT, "--json").out)
    products = (2 * 850) ** 2 + 8 * 850 * 1700 + 10_000 * 850
    assert found["parameters"] == products + 10_000 == 22_960_000
    assert found["multiply_adds"] == products
    assert "850 units, 10,000 words" in raynas(capsys, "size", RECURRENT).out
    assert "reads texts" in raynas(capsys, "size", RECURRENT, "--image", "32").err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--cells", "1000000000"), "up to cells: 1000"),
        (("--channels", "1000000000"), "up to channels: 65536"),
        (("--classes", "1000000000000"), "up to classes: 10000000"),
        (("--image", "1000000000"), "up to image: 16384"),
    ],
)
def test_numbers_beyond_counting_are_refused(capsys, option, words):
    outcome = raynas(capsys, "size", genotype_to_text(V2), *option)
    assert (outcome.code, words in outcome.err) == (2, True)


def test_the_largest_channels_are_counted():
    assert size_of(V2, (3, 8, 8), 10, 65_536, 3).parameters > 10**11
    wide = Genotype.of("x", 100, {kind: [Choice("noise", 0, n) for n in range(2, 102)] for kind in V2.kinds})
    with pytest.raises(RaynasError, match="too many operations"):
        size_of(wide, (3, 8, 8), 10, 4, 1_000)
