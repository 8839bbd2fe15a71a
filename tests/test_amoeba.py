"""AmoebaNet-A as its authors specify it: their lists, and the sizes of their network.

tensorflow/tpu 7dc921f, models/official/amoeba_net: the lists are of model_specs.py, the sizes of
model_builder.py, run with a TensorFlow that keeps shapes alone.
"""

import pytest
import torch

from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.size import size_of
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.literature import load_cell
from raynas.spaces.reading import genotype_from_json, genotype_from_text, genotype_to_text

NAMES = {
    "none": "skip_connect",
    "separable_3x3_2": "sep_conv_3x3",
    "separable_5x5_2": "sep_conv_5x5",
    "separable_7x7_2": "sep_conv_7x7",
    "1x7_7x1": "bottleneck_1x7_7x1",
}
SPECS = {
    "normal": (
        "avg_pool_3x3 max_pool_3x3 separable_3x3_2 none none avg_pool_3x3 separable_3x3_2 separable_5x5_2 "
        "avg_pool_3x3 separable_3x3_2",
        [0, 0, 1, 1, 0, 1, 0, 2, 5, 0],
        [1, 0, 1, 0, 0, 1, 0],
    ),
    "reduce": (
        "separable_3x3_2 avg_pool_3x3 max_pool_3x3 separable_7x7_2 max_pool_3x3 max_pool_3x3 separable_3x3_2 "
        "1x7_7x1 avg_pool_3x3 separable_7x7_2",
        [1, 0, 0, 2, 1, 0, 4, 0, 1, 0],
        [1, 1, 0, 0, 0, 0, 0],
    ),
}


def state(number: int) -> int:
    """The authors' state 0 is the last cell's output, here 1."""
    return 1 - number if number < 2 else number


def test_the_shipped_cell_is_the_authors():
    cells, outputs = {}, {}
    for kind, (operations, indices, used) in SPECS.items():
        words = [NAMES.get(word, word) for word in operations.split()]
        slots = zip(words, indices, strict=True)
        cells[kind] = [Choice(op, state(at), 2 + place // 2) for place, (op, at) in enumerate(slots)]
        outputs[kind] = [state(number) for number, is_used in enumerate(used) if not is_used]
    cell = Genotype.of("amoebanet", 5, cells, "amoeba", outputs=outputs)
    assert load_cell("amoebanet-a-authors").genotype == skeletons.checked(cell)
    assert genotype_from_json(cell.to_json()) == genotype_from_text(genotype_to_text(cell)) == cell
    assert skeletons.canonical(cell) != skeletons.canonical(load_cell("amoebanet-a").genotype)


@pytest.mark.parametrize(
    ("side", "classes", "channels", "cells", "own"),
    [
        (224, 1000, 48, 14, (4_729_568, 515_754_300)),
        (96, 7, 8, 5, (60_897, 4_178_064)),
        (32, 10, 36, 20, (3_198_962, 448_562_196)),
        (33, 10, 40, 8, (1_628_266, 249_013_912)),
    ],
)
def test_networks_have_the_size_of_the_authors_own(side, classes, channels, cells, own):
    """Of 50 channels the stem has 25, which their code refuses to halve; here it becomes 12 and 13."""
    cell = load_cell("amoebanet-a-authors").genotype
    assert size_of(cell, (3, side, side), classes, channels, cells) == own


def test_published_sizes_are_counted_to_their_rounding():
    cell = load_cell("amoebanet-a-authors")
    assert cell.published.parameters == round(cell.recounted.parameters, -5)
    assert cell.published.multiply_adds == round(cell.recounted.multiply_adds, -6)


@pytest.mark.parametrize("side", [5, 100])
def test_a_network_runs_and_all_of_it_counts(side):
    network = Network(load_cell("amoebanet-a-authors").genotype, (3, side, side), 3, 8, 5)
    network(torch.randn(4, 3, side, side)).square().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert {m.eps for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


def test_impossible_outputs_are_refused_and_loose_ends_are_the_rule():
    good = load_cell("amoebanet-a-authors").cell
    with pytest.raises(RaynasError, match="cannot output 3, 4, 6, 7"):
        genotype_from_text(good.replace("> 0 3", "> 7 3"))
    with pytest.raises(RaynasError, match="not the text form"):
        genotype_from_text(good.replace("> 0 3 4 6", ""))
    with pytest.raises(RaynasError, match="unknown operation"):
        genotype_from_text(good.replace("avg_pool_3x3", "avg_pool_9x9", 1))
    loose = genotype_from_text(good.replace("> 0 3 4 6", "> 3 4 6"))
    assert dict(loose.outputs) == {"reduce": (2, 3, 4, 5, 6)}
    space = load_space("amoebanet")
    assert any(
        "outputs 0, 3, 4, 6" in why
        for why in skeletons.of(space).unsearchable(space, load_cell("amoebanet-a-authors").genotype)
    )
