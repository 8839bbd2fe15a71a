"""Published cells and recipes on the command line: listed, shown, and used wherever a cell is."""

import json
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, make_sweep, play, raynas

from raynas.spaces.library import names
from raynas.spaces.literature import load_cell


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(capsys, *words):
    outcome = raynas(capsys, *words, "--json")
    assert outcome.code == 0
    return json.loads(outcome.out)


def test_cells_and_recipes_are_listed(capsys):
    cells = {row["name"]: row for row in parsed(capsys, "ls", "cells")}
    assert set(cells) == set(names("cells"))
    v2 = cells["darts-v2"]
    assert (v2["CIFAR-10 error %"], v2["±"]) == (2.76, 0.09)
    assert (v2["parameters"], v2["recounted"]) == (3_300_000, 3_349_342)
    assert cells["drnas-imagenet"]["sized on"] == "ImageNet"
    own = cells["amoebanet-a-authors"]
    assert (own["sized on"], own["parameters"], own["recounted"]) == ("ImageNet", 5_100_000, 5_086_930)
    assert cells["darts-rnn-v2"]["sized on"] == "text"
    recipes = {row["name"]: row for row in parsed(capsys, "ls", "recipes")}
    assert set(recipes) == set(names("recipes"))
    assert (recipes["darts-cifar"]["epochs"], recipes["darts-cifar"]["batch"]) == (600, 96)


def test_a_broken_cell_of_ones_own_is_told_and_hides_no_other(capsys, here):
    for shelf in ("cells", "recipes"):
        (here / shelf).mkdir()
        (here / shelf / "mine.yaml").write_text("title: mine\nspaec: darts\nepochs: many\n")
        out = raynas(capsys, "ls", shelf).out
        assert "damaged: " in out.split("mine", 1)[1].splitlines()[0]
        assert len(out.splitlines()) > len(names(shelf))


def test_a_cell_is_shown_with_what_was_published_and_recounted_apart(capsys):
    out = raynas(capsys, "show", "darts-v2").out
    assert "2.76 ± 0.09 %" in out
    [row] = [line for line in out.splitlines() if line.startswith("multiply-adds, ImageNet")]
    assert row.split()[-2:] == ["574,000,000", "529,911,552"]
    assert "normal_concat=range(2, 6)" in out
    facts = parsed(capsys, "show", "darts-v2")["cell"]
    assert facts["genotype"] == load_cell("darts-v2").genotype.to_json()
    assert facts["published"]["deviation"] == 0.09


def test_a_recipe_is_shown_with_keys_that_can_be_typed(capsys):
    out = raynas(capsys, "show", "darts-cifar").out
    assert "learning_rate   0.025" in out
    assert "data.cutout     16" in out
    facts = parsed(capsys, "show", "darts-cifar")["recipe"]
    assert facts["says"]["batch"] == 96
    assert facts["values"]["schedule"] == "cosine"


def test_all_that_share_a_name_are_shown(capsys):
    assert set(parsed(capsys, "show", "pc-darts-cifar")) == {"cell", "recipe"}
    assert set(parsed(capsys, "show", "pc-darts-cifar", "--kind", "recipe")) == {"recipe"}


@pytest.mark.parametrize("shelf", ["cells", "recipes"])
def test_a_file_is_told_by_its_keys(capsys, shelf):
    path = next(iter(names(shelf).values()))
    assert set(parsed(capsys, "show", str(path))) == {shelf[:-1]}


def test_a_published_cell_is_usable_wherever_a_cell_is(capsys, here):
    small = ("--channels", "4", "--cells", "3", "--image", "8")
    assert parsed(capsys, "size", "darts-v2", *small)["cell"] == load_cell("darts-v2").genotype.digest()
    drawn = parsed(capsys, "draw", "pc-darts-cifar", "--to", "drawn")
    assert drawn["genotype"] == load_cell("pc-darts-cifar").genotype.to_json()
    assert (here / "drawn/cell-normal.svg").is_file()


def test_a_sweep_of_the_name_goes_first(capsys, here):
    folder = make_sweep(here / "runs", ["name=darts-v2"])
    play(folder, IDS[0], [0.9, 0.8, 0.7, 0.6])
    assert parsed(capsys, "draw", "darts-v2", "--to", "drawn")["genotype"]["space"] == "tiny"


def test_a_name_that_is_neither_gives_the_nearest_of_both(capsys, here):
    assert "nearest:  darts-v2" in raynas(capsys, "size", "darts-v3").err
    make_sweep(here / "runs", ["name=darts-v33"])
    outcome = raynas(capsys, "draw", "darts-v3x")
    assert outcome.code == 2
    assert "nearest:  darts-v33" in outcome.err
