"""Cells of the literature: every one is read, drawn and built, and sized as its file and its own code say."""

import json

import pytest
import torch

from raynas.errors import FileProblems, RaynasError
from raynas.nets.network import Network
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.nets.size import size_of
from raynas.report.draw import write_cells
from raynas.spaces import skeletons
from raynas.spaces.library import names
from raynas.spaces.literature import load_cell
from raynas.spaces.reading import genotype_from_json

SHIPPED = sorted(names("cells"))


SIZES = {"cifar": ((3, 32, 32), 10, 36, 20), "imagenet": ((3, 224, 224), 1000, 48, 14)}

COUNTED: dict[str, dict[str, tuple[int, int]]] = {
    "D-X-Y/AutoDL-Projects f46486e, xautodl/nas_infer_model/DXYs/CifarNet.py": {
        "gdas-v1": (3_368_782, 519_428_736),
        "pnasnet-5": (4_481_110, 706_026_528),
    },
    "Meituan-AutoML/DARTS- adb81a8, src/eval/model.py": {
        "darts-minus": (3_454_318, 546_551_424),
    },
    "SNAS-Series/SNAS-Series 9a43adb, SNAS/model.py": {
        "snas-mild": (2_663_542, 422_218_368),
        "snas-moderate": (2_848_222, 440_687_232),
    },
    "XinbangZhang/DATA-NAS 29691ea, model_gumbel.py": {
        "data-m4": (3_894_094, 608_344_704),
        "data-m7": (3_410_038, 516_663_936),
    },
    "chenxin061/pdarts b880e87, model.py": {
        "p-darts": (3_433_798, 532_174_464),
    },
    "lightaime/sgas 9cfff65, cnn/model.py": {
        "sgas-cri1": (3_795_166, 601_653_888),
        "sgas-cri2": (4_094_110, 631_679_616),
        "sgas-cri2-imagenet": (3_909_430, 611_330_688),
    },
    "quark0/darts f276dd3, cnn/model.py": {
        "amoebanet-a": (3_145_078, 488_931_552),
        "darts-plus": (3_652_390, 583_157_376),
        "darts-v1": (3_169_414, 500_987_520),
        "darts-v2": (3_349_342, 528_359_040),
        "nasnet-a": (3_830_950, 603_452_448),
    },
    "ruocwang/darts-pt 4ec3149, sota/cnn/model.py": {
        "darts-pt": (2_851_246, 449_119_872),
        "darts-pt-fixed": (3_039_598, 477_569_664),
    },
    "xiangning-chen/DrNAS f2caa4d, DARTS-space/model.py": {
        "drnas-cifar": (4_099_294, 635_135_616),
        "drnas-imagenet": (4_048_750, 617_938_560),
    },
    "xiangning-chen/SmoothDARTS d3dbfed, sota/cnn/model.py": {
        "sdarts-adv": (3_344_806, 526_755_456),
        "sdarts-rs": (3_606_166, 562_393_728),
    },
    "xiaomi-automl/FairDARTS 270cfc9, fairdarts/model.py": {
        "enasnet-fair-darts": (4_020_166, 622_142_496),
        "fair-darts-a": (2_360_782, 371_455_200),
        "fair-darts-b": (3_407_878, 536_487_552),
        "fair-darts-c": (2_598_814, 399_987_936),
        "fair-darts-d": (3_365_542, 532_506_240),
        "fair-darts-e": (2_643_742, 414_696_672),
        "fair-darts-f": (3_151_054, 497_614_464),
        "fair-darts-g": (2_899_054, 453_376_224),
        "mdenas": (3_783_286, 599_110_272),
    },
    "xujinfan/NASP-codes 3bfb706, codes/model.py": {
        "nasp": (7_363_486, 1_102_995_072),
    },
    "yuhuixu1993/PC-DARTS b74702f, model.py": {
        "pc-darts-cifar": (3_634_678, 556_670_592),
        "pc-darts-imagenet": (3_721_510, 570_466_944),
    },
}
"""Parameters and multiply-adds (hooks on convolutions and the linear layer) of the networks that the sources'
own code builds of these cells: 36 channels, 20 cells, no auxiliary head. Given equal weights all give what
raynas gives to 1e-14, training or not, but that SNAS' and DrNAS' normalise what pooling gives."""

RECURRENT = {"darts-rnn-v1": 22_960_000, "darts-rnn-v2": 22_960_000, "enas-rnn": 27_295_000}
"""Parameters of quark0/darts f276dd3, rnn/model.py, RNNModel, 850 units and 10,000 words."""

AUXILIARY = 576 * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 769 * 10
"""Parameters of the auxiliary head on four nodes of 144 channels, which FairDARTS counts in six of seven."""


def test_every_cell_is_counted_by_its_own_code_where_that_can_be_run():
    """ENAS' and AmoebaNet's are TensorFlow 1; see tests/test_nasnet_enas.py, test_amoeba.py."""
    counted = {name for cells in COUNTED.values() for name in cells}
    assert counted | {*RECURRENT} | {"enas-micro", "enas-macro", "amoebanet-a-authors"} == set(SHIPPED)


@pytest.mark.parametrize(("name", "own"), [pair for cells in COUNTED.values() for pair in cells.items()])
def test_sizes_are_those_of_the_source_s_own_network(name, own):
    """SNAS' differs by the scales and shifts of what pooling gives, .03 and .08 %."""
    sizes = load_cell(name).recounted
    assert sizes.cifar_parameters == (pytest.approx(own[0], rel=1e-3) if name.startswith("snas") else own[0])
    assert sizes.cifar_multiply_adds == own[1]


SLOW = "enas-macro"
"""Drawing its 24 layers takes 7 s."""


ONE_OF_A_KIND = {"darts-v2", "nasnet-a", "enas-micro", "enas-rnn", "fair-darts-c"}
"""Cells that the quick tests draw and build, of all forms but a whole network's: half a second each."""


def tier(name):
    return [pytest.mark.drill] if name == SLOW else [pytest.mark.slow] * (name not in ONE_OF_A_KIND)


@pytest.mark.parametrize("name", [pytest.param(name, marks=tier(name)) for name in SHIPPED])
def test_a_shipped_cell_is_drawn_built_and_written(name, tmp_path):
    genotype = load_cell(name).genotype
    skeleton = skeletons.of(genotype)
    assert len(write_cells(genotype, tmp_path)) == 2 * len(genotype.kinds)
    assert genotype_from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    assert skeletons.same_network(genotype, genotype)
    sizes = ((), 10, 4, 1) if skeleton.texts else ((3, 8, 8), 10, 4, skeleton.fewest_cells)
    counted = size_of(genotype, *sizes)
    if skeleton.texts:
        network = RecurrentNetwork(genotype, 10, 4)
        assert network(torch.zeros(2, 3, dtype=torch.long))[0].shape == (2, 3, 10)
    else:
        network = Network(genotype, *sizes)
        assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 10)
    assert counted.parameters == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_cell_has_the_weights_that_its_file_says(name):
    cell = load_cell(name)
    assert cell.title
    own, said = cell.trained, cell.recounted
    size = (own.shape, own.classes, own.channels, own.cells) if own else SIZES["cifar"]
    with torch.device("meta"):
        texts = skeletons.of(cell.genotype).texts
        network = RecurrentNetwork(cell.genotype, *size[1:3]) if texts else Network(cell.genotype, *size)
    counted = said.parameters if own else said.cifar_parameters
    assert sum(p.numel() for p in network.parameters()) == counted


@pytest.mark.drill
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_cell_is_sized_as_its_file_says(name):
    """The whole count of both networks: some 7 s per cell."""
    cell = load_cell(name)
    own = cell.trained
    sizes = {"": (own.shape, own.classes, own.channels, own.cells)} if own else SIZES
    for data, size in sizes.items():
        words = [f"{data}_{word}".removeprefix("_") for word in ("parameters", "multiply_adds")]
        said = tuple(getattr(cell.recounted, word) for word in words)
        if said != (None, None):
            assert tuple(size_of(cell.genotype, *size)) == said


def test_sizes_are_those_of_the_authors_own_networks():
    """A hook count on quark0/darts f276dd3, model.NetworkCIFAR and NetworkImageNet, of DARTS_V2."""
    sizes = load_cell("darts-v2").recounted
    assert sizes.cifar_parameters == 3_349_342
    assert sizes.imagenet_parameters == 4_718_752
    assert sizes.imagenet_multiply_adds == pytest.approx(529.91e6, rel=1e-5)


def test_published_parameters_agree_to_their_rounding():
    """Two of those for CIFAR depart: DARTS' first cell (3.3M; its own network: 3.17M), DATA's (2.9M; 3.41M).

    FairDARTS cuts digits off, and counts the auxiliary head in all cells but the third.
    """
    for name in set(SHIPPED) - {"darts-v1", "data-m7"}:
        cell = load_cell(name)
        printed, counted = cell.published.cifar_parameters, cell.recounted.cifar_parameters
        if printed and name.startswith("fair-darts"):
            counted += 0 if name.endswith("-c") else AUXILIARY
            assert abs(printed - counted) < 10_000, name
        elif printed and counted:
            digit = 10_000 if printed % 100_000 else 100_000
            assert abs(printed - counted) <= 0.51 * digit, name


def test_a_cell_of_one_s_own_is_found_and_mistakes_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells").mkdir()
    arch = "'|skip_conect~0|+|none~0|none~1|+|none~0|none~1|none~2|'"
    text = f"title: mine\nsource: me\nspace: nas-bench-201\ncell: {arch}\n"
    (tmp_path / "cells" / "mine.yaml").write_text(text)
    with pytest.raises(FileProblems, match="cell"):
        load_cell("mine")
    whole = text.replace("conect", "connect")
    (tmp_path / "cells" / "mine.yaml").write_text(whole)
    assert load_cell("mine").genotype.skeleton == "residual"
    with pytest.raises(RaynasError, match=r"nearest: +darts-v2"):
        load_cell("darts-v3")


def test_recurrent_cells_have_the_parameters_of_darts_own_model():
    for name, own in RECURRENT.items():
        cell = load_cell(name)
        assert cell.recounted.parameters == own
        assert cell.published.parameters in (None, 23_000_000)
    assert load_cell("darts-rnn-v2").published.perplexity == 55.68
