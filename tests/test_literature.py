"""Cells of the literature: every one is read, and sized as its file says."""

import pytest
import torch

from raynas.errors import FileProblems, RaynasError
from raynas.nets.network import Network
from raynas.nets.size import size_of
from raynas.spaces.library import names
from raynas.spaces.literature import load_cell

SHIPPED = sorted(names("cells"))


SIZES = {"cifar": ((3, 32, 32), 10, 36, 20), "imagenet": ((3, 224, 224), 1000, 48, 14)}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_cell_has_the_weights_that_its_file_says(name):
    cell = load_cell(name)
    assert cell.title
    if said := cell.recounted.cifar_parameters:
        with torch.device("meta"):
            network = Network(cell.genotype, *SIZES["cifar"])
        assert sum(p.numel() for p in network.parameters()) == said


@pytest.mark.drill
@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_cell_is_sized_as_its_file_says(name):
    """The whole count of both networks: some 7 s per cell."""
    cell = load_cell(name)
    for data, size in SIZES.items():
        said = getattr(cell.recounted, f"{data}_parameters"), getattr(cell.recounted, f"{data}_multiply_adds")
        if said != (None, None):
            assert tuple(size_of(cell.genotype, *size)) == said


def test_sizes_are_those_of_the_authors_own_networks():
    """A hook count on quark0/darts f276dd3, model.NetworkCIFAR and NetworkImageNet, of DARTS_V2."""
    sizes = load_cell("darts-v2").recounted
    assert sizes.cifar_parameters == 3_349_342
    assert sizes.imagenet_parameters == 4_718_752
    assert sizes.imagenet_multiply_adds == pytest.approx(529.91e6, rel=1e-5)


def test_published_parameters_agree_to_their_rounding():
    """Of those printed for CIFAR only DARTS' first cell departs (3.3M; its own network has 3.17M)."""
    for name in set(SHIPPED) - {"darts-v1"}:
        cell = load_cell(name)
        printed, counted = cell.published.cifar_parameters, cell.recounted.cifar_parameters
        if printed and counted:
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
