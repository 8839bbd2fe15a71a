"""An image folder looked at before it is searched, the test images held out of it, and what α gets of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_folders import IDS, make_sweep, play, raynas
from PIL import Image

from raynas.cli.steps import alpha_steps
from raynas.config import DataConfig, SearchConfig, shape_of
from raynas.data.dataset import Dataset
from raynas.data.folder import ImageFiles
from raynas.data.load import load_data
from raynas.data.survey import survey
from raynas.errors import RaynasError
from raynas.sweep.cells import searched_data
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder
from raynas.train.config import TrainData

Capture = pytest.CaptureFixture[str]
COUNTS = {"cat": 10, "dog": 20, "owl": 30}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """60 images of 3 classes, each of its own grey, of 60x40 pixels but for one of 40x80."""
    root = tmp_path / "photographs"
    for kind, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir(parents=True)
        for place in range(count):
            size = (80, 40) if (name, place) == ("owl", 0) else (40, 60)
            Image.fromarray(np.full((*size, 3), 10 + 60 * kind + place, np.uint8)).save(
                root / name / f"{place:02}.png"
            )
    return root


def loaded(root: Path, **more: object) -> Dataset:
    dataset = load_data(DataConfig.model_validate({"name": "folder", "path": str(root), "size": 8, **more}))
    assert isinstance(dataset, Dataset)
    return dataset


def greys(images: object) -> list[int]:
    array = images.decode() if isinstance(images, ImageFiles) else images
    return sorted(int(image[0, 0, 0]) for image in array)  # type: ignore[union-attr]


@pytest.mark.parametrize("storage", ["memory", "stream"])
def test_a_fifth_is_held_out_of_every_class_and_of_everything(photographs: Path, storage: str) -> None:
    dataset = loaded(photographs, test=0.2, storage=storage)
    assert dataset.test_labels is not None
    assert np.bincount(dataset.test_labels).tolist() == [2, 4, 6]
    assert np.bincount(dataset.labels).tolist() == [8, 16, 24]
    tests = greys(dataset.test_images)
    assert sorted(tests + greys(dataset.images)) == greys(loaded(photographs).images)
    # The same ones for every split, limit and training: no search has seen what a network is tested on.
    for more in ({"split_seed": 5}, {"limit": 20}, {"valid": 0.1}):
        other = loaded(photographs, test=0.2, storage=storage, **more)
        assert greys(other.test_images) == tests
        assert not set(greys(other.images)) & set(tests)
    assert len(loaded(photographs, test=0.2, limit=20).labels) == 20
    assert dataset.fingerprint() != loaded(photographs, storage=storage).fingerprint()


def test_a_function_without_test_images_gets_some_and_one_with_them_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    lines = ["import numpy as np", "from raynas.data.dataset import from_arrays", "def plain():"]
    lines += [
        "    return np.arange(40 * 4, dtype=np.uint8).reshape(40, 2, 2), np.arange(40) % 2",
        "def tested():",
    ]
    lines += ["    return from_arrays('mine', *plain(), test=plain())"]
    (tmp_path / "held_out_part.py").write_text("\n".join(lines))
    found = load_data(DataConfig(name="held_out_part:plain", test=0.25))
    assert isinstance(found, Dataset)
    assert found.test_labels is not None
    assert (len(found.labels), np.bincount(found.test_labels).tolist()) == (30, [5, 5])
    with pytest.raises(RaynasError, match="has test images of its own"):
        load_data(DataConfig(name="held_out_part:tested", test=0.25))


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("digits", {}, "digits has test images of its own"),
        ("folder", {"test": 0.999}, "a class without one"),
        ("folder", {"test": 0.001}, "leaves no image"),
    ],
)
def test_what_cannot_be_held_out_is_refused(
    photographs: Path, name: str, more: dict[str, object], said: str
) -> None:
    path = str(photographs) if name == "folder" else None
    with pytest.raises(RaynasError) as caught:
        load_data(DataConfig.model_validate({"name": name, "path": path, "test": 0.2, **more}))
    assert said in str(caught.value)


def test_without_the_key_all_is_written_as_before(photographs: Path) -> None:
    """Shapes of packs, identities of checkpoints and ids hash what is written of a configuration."""
    for data in (DataConfig(), TrainData()):
        assert "test" not in data.model_dump()
        assert "test" not in data.model_dump_json()
    given = SearchConfig.model_validate({"space": "tiny", "data": {"name": "digits", "test": 0.25}})
    assert given.model_dump()["data"]["test"] == 0.25
    assert SearchConfig.model_validate_json(given.model_dump_json()) == given
    assert shape_of(given) != shape_of(SearchConfig(space="tiny"))


def test_a_training_tests_on_what_the_search_held_out(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "runs")
    record = folder.trial(IDS[0]).record()
    data = DataConfig(name="folder", path="x", size=8, test=0.2, valid=0.3)
    kept = searched_data(folder, replace(record, config=record.config.model_copy(update={"data": data})))
    assert kept == {"name": "folder", "path": "x", "size": 8, "test": 0.2}


def test_headers_say_classes_sizes_and_what_a_size_does(photographs: Path) -> None:
    seen = survey(DataConfig(name="folder", path=str(photographs)))
    assert (seen.classes, seen.images, seen.tested) == ({"owl": 30, "dog": 20, "cat": 10}, 60, False)
    with pytest.raises(RaynasError) as caught:
        list(seen.says(DataConfig(name="folder", path=str(photographs))))
    assert caught.value.what == "the images of the folder differ in size"
    assert caught.value.got == "60×40 to 40×80 pixels"
    lines = list(seen.says(DataConfig(name="folder", path=str(photographs), size=64)))
    assert lines[:2] == [
        "classes: owl 30, dog 20, cat 10",
        "sizes: 60×40 to 40×80 pixels; size 64 makes them 1.6 times larger, blurred, 33% of the longer side "
        "cut off, 4.0 times the arithmetic of 32",
    ]
    assert "data.test=0.2 holds out 12 images" in lines[2]
    assert len(list(seen.says(DataConfig(name="folder", path=str(photographs), size=64, test=0.1)))) == 2


@pytest.mark.parametrize("where", ["headers", "pixels"])
def test_bad_files_are_told_together(photographs: Path, where: str) -> None:
    bad = sorted((photographs / "cat").iterdir())
    for path in bad:
        path.write_bytes(path.read_bytes()[:-30] if where == "pixels" else b"no image")
    # Half of a class are test images: those of both parts are told.
    data = DataConfig(name="folder", path=str(photographs), size=8, test=0.5)
    with pytest.raises(RaynasError, match="10 images of the folder cannot be used") as caught:
        (load_data if where == "pixels" else survey)(data)
    lines = str(caught.value.got).splitlines()
    assert all(str(path) in line for path, line in zip(bad, lines, strict=True))
    for path in bad[1:]:
        path.unlink()
    with pytest.raises(RaynasError, match=f"cannot read the image {bad[0]}"):
        loaded(photographs)


def test_steps_of_several_methods_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "space: tiny\ndata: {name: digits, limit: 400}\nepochs: 20\ngrid: {method: [darts, pc-darts]}\n"
    )
    told = alpha_steps(load_sweep(file, ["arch_learning_rate=1"]))
    assert [line.partition(",")[0] for line in told] == [
        "darts: 3 steps per epoch",
        "pc-darts: 1 step per epoch",
    ]
    alone = alpha_steps(load_sweep(file, ["method=darts", "arch_learning_rate=1"]))
    assert alone == ["3 steps per epoch, 60 of α in all, at α rate 1"]


def test_check_counts_the_steps_of_alpha(
    capsys: Capture, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["check", "my-images", f"data.path={photographs}"]
    outcome = raynas(capsys, *words, "epochs=50", "batch=4", "arch_learning_rate=3e-4")
    # 48 images are left of 60, half of them train: 6 batches of 4; 50 epochs at 3e-4 carry α 0.09 far.
    assert (
        "folder: 48 training images in 3 classes, 12 test images that a search does not look at"
        in outcome.out
    )
    assert (
        "6 steps per epoch, 300 of α in all, at α rate 0.0003: α will hardly move (each by 0.09 at most"
        in outcome.out
    )
    assert "arch_learning_rate=0.02, more epochs, or a smaller batch" in outcome.out
    enough = raynas(capsys, *words, "epochs=50", "batch=4", "arch_learning_rate=0.02")
    assert "6 steps per epoch, 300 of α in all, at α rate 0.02\n" in enough.out
    mixed = raynas(capsys, *words, "data.size=null")
    assert (mixed.code, "next:     data.size=32" in mixed.err) == (2, True)
    assert raynas(capsys, "check", "quickstart", "data.test=0.2").code == 2


def test_size_takes_images_and_classes_of_the_sweep(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_sweep(tmp_path / "runs")
    for trial in IDS:
        play(folder, trial, [0.5])
    assert "images of 8×8, 10 classes" in raynas(capsys, "size", "four").out
    assert (
        "images of 16×16, 7 classes" in raynas(capsys, "size", "four", "--image", "16", "--classes", "7").out
    )
    SweepFolder(folder.path).records()
