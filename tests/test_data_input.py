"""Whatever a folder of images may hold and a function may return: read rightly, or named before a step."""

import os
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from raynas.config import DataConfig
from raynas.data.catalogue import check_data, runs_code, says
from raynas.data.load import load_data
from raynas.data.pixels import open_image, to_colour, turned
from raynas.data.tree import find_tree
from raynas.errors import RaynasError


def colour(path: Path) -> np.ndarray:
    with open_image(path) as image:
        return np.asarray(to_colour(image, path))


def test_grey_of_16_bits_is_scaled(tmp_path):
    grey = np.array([[0, 257], [128 * 257, 65535]], np.uint16)
    for suffix in (".png", ".tif", ".pgm"):
        Image.fromarray(grey).save(tmp_path / f"a{suffix}")
        np.testing.assert_array_equal(colour(tmp_path / f"a{suffix}")[..., 0], [[0, 1], [128, 255]])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_other_modes_are_what_pillow_makes_of_them(tmp_path, mode):
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(mode)
    image.save(tmp_path / "a.tif")
    if mode == "YCbCr" and int(PIL.__version__.split(".")[0]) < 13:  # which do not read what they write
        with pytest.raises(RaynasError, match="cannot read the image"):
            colour(tmp_path / "a.tif")
        return
    np.testing.assert_array_equal(colour(tmp_path / "a.tif"), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_where_nothing_is_hidden_and_refused_elsewhere(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (10, 10, 10, 255)).convert(mode)
    image.save(tmp_path / "a.png")
    assert (colour(tmp_path / "a.png") == 10).all()
    image.putpixel((0, 0), (10,) * (len(mode) - 1) + (0,))
    image.save(tmp_path / "a.png")
    with pytest.raises(RaynasError, match=r"a\.png") as caught:
        colour(tmp_path / "a.png")
    assert f"transparent pixels (mode {mode}, PNG)" in str(caught.value)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_white_are_refused(tmp_path, mode):
    Image.fromarray(np.ones((4, 4), np.float32 if mode == "F" else np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(RaynasError, match=r"a\.tif") as caught:
        colour(tmp_path / "a.tif")
    assert f"mode {mode}, TIFF" in str(caught.value)


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_orientation_tag_is_obeyed(tmp_path, turn):
    """Against the table of the standard, in turns and mirrors of NumPy's."""
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:4, :8] = 255
    upright = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: np.rot90(stored, -1), 7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[turn]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(colour(tmp_path / "a.png"), upright)
    with open_image(tmp_path / "a.png") as image:
        assert turned(image, tmp_path / "a.png") == (upright.shape[1], upright.shape[0])


def test_a_truncated_image_is_named_also_when_only_its_tags_are_read(tmp_path):
    """Pillow reads a PNG to its end for them."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:100])
    with pytest.raises(RaynasError, match=r"cannot read the image .*a\.png"):
        turned(open_image(tmp_path / "a.png"), tmp_path / "a.png")


def test_a_gigantic_image_is_refused_by_its_header(tmp_path):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "a.png")
    with pytest.raises(RaynasError, match=r"cannot read|too large"):
        open_image(tmp_path / "a.png")


def folder(root: Path, *classes: str) -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(root / name / "a.png")
        Image.new("RGB", (4, 4)).save(root / name / "b.png")
    return root


def wrong(root: Path) -> str:
    return "\n".join(problem.message for problem in check_data(DataConfig(name="folder", path=str(root))))


@pytest.mark.parametrize("train", ["train", "Training", "TRAIN"])
def test_every_spelling_of_the_splits_is_known(tmp_path, train):
    folder(tmp_path, f"{train}/cat", f"{train}/dog", "Testing/cat", "val/cat", "val/dog")
    config = DataConfig(name="folder", path=str(tmp_path))
    assert not check_data(config)
    tree = find_tree(tmp_path)
    assert (tree.train.name, tree.test.name if tree.test else "", tree.unused) == (train, "Testing", ("val",))
    assert says(config) == (
        "folder: 4 training images in 2 classes, 2 test images that a search does not look at; not used: val/"
    )
    limited = says(config.model_copy(update={"limit": 2}), trained=True)
    assert limited.startswith("folder: 2 of 4 training images in 2 classes, 2 test images that are looked at")
    assert load_data(config).classes == 2


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["train/cat", "train/dog", "training/cat", "training/dog"], "train/ and training/"),
        (["Testing/cat", "Testing/dog"], "Testing/ with class folders, and no train/"),
        (["val/cat", "val/dog", "cat", "dog"], "val/ with class folders, and no train/"),
        (["set/train/cat", "set/train/dog"], "holds 1 class sub-folder;"),
    ],
)
def test_splits_that_can_be_read_in_two_ways_are_refused(tmp_path, classes, message):
    assert message in wrong(folder(tmp_path, *classes))


def test_links_pipes_and_locked_files_are_named_by_check(tmp_path):
    root = folder(tmp_path / "data", "cat", "dog")
    assert not wrong(root)
    (root / "dog" / "c.png").symlink_to("nowhere.png")
    assert "c.png" in wrong(root)
    (root / "dog" / "c.png").unlink()
    (root / "dog" / "more").symlink_to(root / "dog")
    assert "leads back" in wrong(root)
    (root / "dog" / "more").unlink()
    os.mkfifo(root / "dog" / "d.png")
    assert "not an ordinary file" in wrong(root)
    (root / "dog" / "d.png").unlink()
    (root / "bird").symlink_to(tmp_path / "nowhere")
    assert "the link leads nowhere" in wrong(root)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of the user's into the working folder; return a configuration of a function."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "their_arrays.py").write_text(
        "import sys\nfrom subprocess import getoutput\nimport numpy as np, torch\n"
        "labels = np.arange(4) % 2\nimages = np.zeros((4, 4, 4, 3), np.uint8)\n"
        "def good(): return images, labels\n"
        "def ragged(): return [[1, 2], [3]], labels\n"
        "def gradients(): return torch.zeros(4, 4, 4, requires_grad=True), labels\n"
        "def first(): return images.transpose(0, 3, 1, 2).repeat(2, 3), labels\n"
        "def leaves(): sys.exit('enough')\n"
    )
    yield lambda function: DataConfig(name=f"their_arrays:{function}")
    sys.modules.pop("their_arrays", None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("ragged", "cannot become an array"),
        ("gradients", "tensor.detach"),
        ("first", "channels first"),
        ("leaves", "SystemExit: enough"),
    ],
)
def test_what_a_function_gives_is_named(module, function, message):
    with pytest.raises(RaynasError) as caught:
        load_data(module(function))
    assert message in str(caught.value)


def test_a_search_calls_what_lies_in_the_working_folder_and_nothing_else(module, tmp_path, monkeypatch):
    assert not check_data(module("good"))
    assert says(module("good")).endswith(f"runs code: their_arrays:good of {tmp_path / 'their_arrays.py'}")
    assert len(load_data(module("good")).labels) == 4
    (tmp_path / "subprocess.py").write_text("def getoutput(cmd): return cmd\n")
    for name in (
        "subprocess:getoutput",
        "os:system",
        "torch.hub:load",
        "their_arrays:getoutput",
        "raynas.cli.main:main",
    ):
        [problem] = check_data(DataConfig(name=name))
        assert "is not called" in problem.message, name
    monkeypatch.chdir("/")
    [problem] = check_data(module("good"))
    assert "there is no their_arrays.py in /" in problem.message


def test_a_package_may_register_a_function(monkeypatch):
    from importlib.metadata import EntryPoint

    from raynas.data import functions

    point = EntryPoint("spirals", "sklearn.datasets:load_digits", functions.GROUP)
    monkeypatch.setattr(functions, "offered", {functions.GROUP: {"spirals": point}}.get)
    for name in ("spirals", "sklearn.datasets:load_digits"):
        assert functions.find_function(name).runs == "sklearn.datasets:load_digits of an installed package"
    assert functions.is_function("spirals")
    assert runs_code("spirals")
    taken = {functions.GROUP: {"digits": point}}
    monkeypatch.setattr(functions, "offered", taken.get)
    assert not runs_code("digits")  # nobody takes a name of raynas' own
    with pytest.raises(RaynasError, match="is not called"):
        functions.find_function("sklearn.datasets:fetch_openml")


def test_a_batch_of_one_pixel_is_refused_before_the_first_step(make_search_config, build):
    from dataclasses import replace

    from raynas.data.split import Splits
    from raynas.search.loop import Search

    config = make_search_config(batch=1)
    space, splits = build(config)
    tiny = replace(
        splits.dataset, images=splits.dataset.images[:, :4, :4], test_images=None, test_labels=None
    )
    with pytest.raises(RaynasError, match="shrinks to a single pixel"):
        Search(config, space, Splits(tiny, splits.train, splits.valid, 0))
    assert torch.is_grad_enabled()
