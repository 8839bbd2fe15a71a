"""Recipes: every packaged one loads, says where it comes from, and is refused where it is wrong."""

import pytest

from raynas.errors import FileProblems, RaynasError
from raynas.spaces.library import names
from raynas.train.config import TrainConfig
from raynas.train.recipe import load_recipe

PACKAGED = sorted(names("recipes"))


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_recipe_loads_and_names_its_source(name):
    recipe = load_recipe(name)
    config = recipe.config("darts-v2")
    assert config.recipe == name
    assert recipe.departures(config) == {}
    assert recipe.title
    assert recipe.source


def test_the_defaults_are_darts_own():
    """quark0/darts f276dd3, cnn/train.py, as its README calls it: --auxiliary --cutout."""
    config = load_recipe("darts-cifar").config("darts-v2")
    assert config.model_dump(exclude={"data", "recipe", "channels", "cells"}) == TrainConfig(
        cell="darts-v2", drop_path=0.2, auxiliary=0.4
    ).model_dump(exclude={"data", "recipe", "channels", "cells"})
    assert (config.channels, config.cells, config.data.cutout) == (36, 20, 16)


@pytest.mark.parametrize("name", [name for name in PACKAGED if name.endswith("-imagenet")])
def test_imagenet_s_recipes_augment_alike(name):
    """All sources': RandomResizedCrop(224), ColorJitter(.4, .4, .4, .2), Resize(256), CenterCrop(224)."""
    config = load_recipe(name).config("darts-v2")
    assert (config.data.kept, config.data.jitter) == (224 / 256, (0.4, 0.4, 0.4, 0.2))
    assert (config.epochs, config.label_smoothing, config.weight_decay) == (250, 0.1, 3e-5)
    # Their warm-up is for batches of more than 256; GDAS has one of its own.
    assert (config.warmup == 5) == (config.batch > 256 or name == "gdas-imagenet")


def test_what_a_training_changes_is_told():
    recipe = load_recipe("darts-cifar")
    config = recipe.config("darts-v2", epochs=3, data={"name": "digits", "cutout": 0})
    assert recipe.departures(config) == {"epochs": (600, 3), "data.cutout": (16, 0)}
    assert recipe.config("darts-v2", data="cifar10").data.cutout == 16
    # Also what the recipe leaves at its default; not which data they are.
    more = recipe.config("darts-v2", nesterov=True, data={"name": "folder", "path": "x", "limit": 9})
    assert recipe.departures(more) == {"nesterov": (False, True), "data.limit": (None, 9)}


def test_a_wrong_recipe_is_refused_with_every_mistake(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\nepoch: 3\nbatch: -1\nseed: 4\n")
    with pytest.raises(FileProblems) as caught:
        load_recipe(str(path))
    text = str(caught.value)
    assert "nearest: epochs" in text
    assert "batch" in text
    assert "source" in text
    assert "seed" in text
    with pytest.raises(RaynasError, match=r"nearest: +darts-cifar"):
        load_recipe("dart-cifar")
