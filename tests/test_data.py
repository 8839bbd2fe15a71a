"""Data sets: checks without loading, loading, fingerprints, limits and splits."""

import hashlib
import json
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raynas.config import DataConfig
from raynas.data import load
from raynas.data.catalogue import DATA_SETS, ImageRecipe, check_data
from raynas.data.dataset import Dataset, channel_statistics, from_arrays
from raynas.data.folder import ImageFiles
from raynas.data.load import load_data
from raynas.data.split import permutation, split, stratified
from raynas.errors import FileProblems, RaynasError

CIFAR_ARCHIVE = Path(__file__).parents[2] / "shared/data/cifar10/cifar10-jpeg.tar.xz"


def write_images(root: Path, classes: dict[str, int], size: tuple[int, int] = (6, 5), seed: int = 0) -> None:
    """Write random PNGs of ``size`` (width, height), ``classes`` giving the number in each sub-folder."""
    rng = np.random.default_rng(seed)
    for name, count in classes.items():
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index:03}.png")


def problems(**fields: object) -> dict[str, str]:
    return {problem.path: problem.message for problem in check_data(DataConfig(**fields))}


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), dtype=np.uint8)


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A module of the user's on Python's path, with its name."""
    (tmp_path / "their_images.py").write_text(
        "import numpy as np\n"
        "called = []\n"
        "constant = 3\n"
        "def make(count, side=4):\n"
        "    called.append(count)\n"
        "    return np.zeros((count, side, side), np.uint8), np.arange(count) % 2\n"
        "def wrong():\n"
        "    return 'images'\n"
        "def failing():\n"
        "    raise KeyError('their own mistake')\n"
    )
    (tmp_path / "broken_images.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "their_images"
    sys.modules.pop("their_images", None)


def test_checking_and_loading_import_no_torch():
    code = "import sys, raynas.data.load; print([m for m in ('torch', 'sklearn', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_published_mean_has_its_deviation():
    for entry in DATA_SETS.values():
        assert len(entry.mean) == len(entry.std)
        assert entry.title


def test_check_names_the_nearest_data_set():
    found = problems(name="cifar-10")
    assert list(found) == ["data.name"]
    assert "unknown data set 'cifar-10'" in found["data.name"]
    assert "nearest:  cifar10" in found["data.name"]
    assert problems(name="digits") == {}


def test_check_wants_a_path_that_exists(tmp_path):
    (tmp_path / "images").mkdir()
    assert "needs `path`" in problems(name="cifar10")["data.path"]
    message = problems(name="cifar10", path=str(tmp_path / "imagse"))["data.path"]
    assert "does not exist" in message
    assert f"nearest: {tmp_path / 'images'}" in message
    assert problems(name="cifar10", path=str(tmp_path / "new"), download=True) == {}
    (tmp_path / "file").touch()
    assert "is not a folder" in problems(name="svhn", path=str(tmp_path / "file"), download=True)["data.path"]


def test_check_names_the_file_torchvision_would_miss(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()
    for name in ("train", "meta"):
        (tmp_path / "cifar-100-python" / name).touch()
    message = problems(name="cifar100", path=str(tmp_path))["data.path"]
    assert "lacks cifar-100-python/test" in message
    assert "data.download=true" in message
    (tmp_path / "cifar-100-python" / "test").touch()
    assert problems(name="cifar100", path=str(tmp_path)) == {}
    inside = problems(name="cifar100", path=str(tmp_path / "cifar-100-python"))["data.path"]
    assert f"set data.path={tmp_path}" in inside


def test_check_points_jpeg_folders_to_folder(tmp_path):
    write_images(tmp_path / "train", {"cat": 1, "dog": 1})
    assert "data.name=folder" in problems(name="cifar10", path=str(tmp_path))["data.path"]


def test_check_refuses_settings_that_would_do_nothing():
    found = problems(name="digits", options={"a": 1}, size=8, storage="stream")
    assert set(found) == {"data.options", "data.size", "data.storage"}
    assert "takes no options, got a" in found["data.options"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("mine:", "does not name a function"), (":", "a module"), ("digits:", "nearest:  digits")],
)
def test_check_says_what_a_function_s_name_lacks(name, says):
    assert says in problems(name=name)["data.name"]


def test_check_looks_into_image_folders(tmp_path):
    assert "0 class sub-folders" in problems(name="folder", path=str(tmp_path))["data.path"]
    write_images(tmp_path, {"cat": 2, "dog": 1})
    (tmp_path / ".cache").mkdir()
    assert problems(name="folder", path=str(tmp_path)) == {}
    (tmp_path / "eel").mkdir()
    assert "eel holds no images" in problems(name="folder", path=str(tmp_path))["data.path"]
    (tmp_path / "eel").rmdir()
    for place in ("cat", "dog"):
        (tmp_path / "none" / place).mkdir(parents=True)
    assert "no images below" in problems(name="folder", path=str(tmp_path / "none"))["data.path"]
    loose = problems(name="folder", path=str(tmp_path / "dog"))["data.path"]
    assert "0 class sub-folders" in loose
    assert "1 image lies right in it" in loose
    write_images(tmp_path / "train", {"cat": 1, "dog": 1})
    write_images(tmp_path / "test", {"cat": 1, "fox": 1})
    assert "the class 'fox'" in problems(name="folder", path=str(tmp_path))["data.path"]


def test_check_imports_functions_but_does_not_call_them(user_module):
    assert problems(name=f"{user_module}:make", options={"count": 4}) == {}
    assert sys.modules[user_module].called == []
    assert "missing a required argument: 'count'" in problems(name=f"{user_module}:make")["data.options"]
    found = problems(name=f"{user_module}:make", options={"count": 4, "sied": 2}, path="x")
    assert "unexpected keyword argument 'sied'" in found["data.options"]
    assert "gets no path" in found["data.path"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_images:make", "there is no no_such_images.py"),
        ("broken_images:make", "No module named 'no_such_package'"),
        ("their_images:mkae", "nearest:  make"),
        ("their_images:constant", "'constant' is not callable"),
        (":make", "does not name a module"),
    ],
)
def test_check_explains_functions_that_cannot_be_used(user_module, name, message):
    assert message in problems(name=name)["data.name"]


def test_load_raises_what_check_finds():
    with pytest.raises(FileProblems, match=r"data\.name: unknown data set") as caught:
        load_data(DataConfig(name="didgits"))
    assert [problem.path for problem in caught.value.problems] == ["data.name"]


def test_digits_are_scaled_and_split_by_class():
    from sklearn.datasets import load_digits

    dataset = load_data(DataConfig())
    assert dataset.shape == (1, 8, 8)
    assert (len(dataset.labels), len(dataset.test_labels), dataset.classes) == (1438, 359, 10)
    assert (dataset.images.min(), dataset.images.max()) == (0, 255)
    bunch = load_digits()
    ours = np.concatenate([dataset.images, dataset.test_images])[..., 0] * (16 / 255)
    theirs = bunch.images.reshape(-1, 64)
    rows = {tuple(image.ravel()) for image in ours.round().astype(int)}
    assert rows == {tuple(image) for image in theirs.astype(int)}
    share = np.bincount(dataset.test_labels) / np.bincount(bunch.target)
    np.testing.assert_allclose(share, 0.2, atol=0.005)
    np.testing.assert_allclose(dataset.mean, dataset.images.mean() / 255)
    assert load_data(DataConfig(split_seed=5)).fingerprint() == dataset.fingerprint()


def test_cifar_is_read_through_torchvision(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    flat = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        flat[name] = rng.integers(0, 256, (10, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": flat[name], "labels": list(range(10))}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    dataset = load_data(DataConfig(name="cifar10", path=str(tmp_path)))
    assert dataset.images.shape == (50, 32, 32, 3)
    assert dataset.images.flags.c_contiguous
    assert dataset.images[13, 2, 7, 1] == flat["data_batch_2"][3, 1024 + 2 * 32 + 7]
    assert dataset.labels[13] == 3
    assert dataset.test_images.shape == (10, 32, 32, 3)
    assert dataset.mean == DATA_SETS["cifar10"].mean
    assert dataset.recipe == ImageRecipe(pad=4, flip=True)


def test_svhn_is_read_through_torchvision(tmp_path, monkeypatch):
    from scipy.io import savemat

    monkeypatch.setattr("torchvision.datasets.svhn.check_integrity", lambda *_: True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    labels = np.arange(20)[:, None] % 10 + 1
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels})
    dataset = load_data(DataConfig(name="svhn", path=str(tmp_path)))
    np.testing.assert_array_equal(dataset.images[7], pixels[..., 7])
    np.testing.assert_array_equal(dataset.labels, (np.arange(20) + 1) % 10)
    assert dataset.recipe == ImageRecipe(pad=4)
    np.testing.assert_allclose(dataset.std, (pixels / 255).std((0, 1, 3)))


def test_fashion_mnist_is_read_through_torchvision(tmp_path):
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    labels = (np.arange(20) % 10).astype(np.uint8)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">iiii", 2051, 20, 28, 28) + pixels.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">ii", 2049, 20) + labels.tobytes())
    dataset = load_data(DataConfig(name="fashion-mnist", path=str(tmp_path)))
    assert dataset.shape == (1, 28, 28)
    np.testing.assert_array_equal(dataset.images[..., 0], pixels)


def test_damaged_files_are_explained(tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"{part}_32x32.mat").write_bytes(b"half a download")
    with pytest.raises(RaynasError, match=r"cannot load svhn") as caught:
        load_data(DataConfig(name="svhn", path=str(tmp_path)))
    assert "data.download=true" in caught.value.next_step


def test_a_function_of_the_user_gives_arrays(user_module):
    dataset = load_data(DataConfig(name=f"{user_module}:make", options={"count": 6, "side": 3}))
    assert (dataset.shape, dataset.classes, dataset.std) == ((1, 3, 3), 2, (1.0,))
    with pytest.raises(RaynasError, match=r"not a data set\n.*str"):
        load_data(DataConfig(name=f"{user_module}:wrong"))
    with pytest.raises(RaynasError, match=r"failing failed\n.*KeyError: 'their own mistake'"):
        load_data(DataConfig(name=f"{user_module}:failing"))


def test_a_function_may_return_a_whole_data_set(user_module, images):
    labels = np.arange(40) % 3
    made = from_arrays("mine", images, labels, classes=7, recipe=ImageRecipe(pad=1))
    sys.modules.pop(user_module, None)
    module = __import__(user_module)
    module.make_all = lambda: made
    module.make_all.__module__ = user_module
    dataset = load_data(DataConfig(name=f"{user_module}:make_all", limit=9))
    assert (dataset.classes, dataset.recipe, dataset.mean) == (7, ImageRecipe(pad=1), made.mean)
    assert np.bincount(dataset.labels).tolist() == [3, 3, 3]


def test_floats_become_bytes(images):
    dataset = from_arrays("mine", images / 255, np.arange(40) % 2)
    np.testing.assert_array_equal(dataset.images, images)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (np.zeros((4, 3), np.uint8), [0, 1, 0, 1], r"shape \(4, 3\)"),
        (np.zeros((0, 3, 3), np.uint8), [], r"shape \(0, 3, 3, 1\)"),
        (np.full((4, 3, 3), 1.5), [0, 1, 0, 1], r"floats from 1.5 to 1.5"),
        (np.full((4, 3, 3), np.nan), [0, 1, 0, 1], r"floats from nan"),
        (np.zeros((4, 3, 3), np.int32), [0, 1, 0, 1], r"got: +int32"),
        (np.zeros((4, 3, 3), np.uint8), [0.0, 1.0, 0.0, 1.0], r"got: +float64"),
        (np.zeros((4, 3, 3), np.uint8), [0, 1, 0], r"labels of mine\n.*\(3,\)"),
        (np.zeros((4, 3, 3), np.uint8), [1, 2, 1, 2], r"got: +1, 2\n"),
        (np.zeros((4, 3, 3), np.uint8), [0, 1, 3, 1], r"got: +0, 1, 3\n"),
        (np.zeros((4, 3, 3), np.uint8), [0, 0, 0, 0], r"2 classes or more"),
    ],
)
def test_arrays_that_cannot_be_a_data_set(pixels, labels, message):
    with pytest.raises(RaynasError, match=message):
        from_arrays("mine", pixels, labels)


def test_a_data_set_refuses_parts_that_do_not_fit(images):
    labels = np.arange(40) % 2
    with pytest.raises(RaynasError, match=r"training labels of mine\n.*0 to 1\n.*0 to 0"):
        from_arrays("mine", images, labels, classes=1)
    with pytest.raises(RaynasError, match="test images of mine differ"):
        from_arrays("mine", images, labels, test=(images[:, :4], labels))
    with pytest.raises(RaynasError, match="3 numbers each"):
        from_arrays("mine", images, labels, mean=(0.5,), std=(0.5,))
    with pytest.raises(RaynasError, match="not both"):
        Dataset("mine", 2, images, labels, (0.5,) * 3, (0.5,) * 3, test_images=images)


def test_channel_statistics_are_those_of_all_pixels(images):
    mean, std = channel_statistics([images[:7], images[7:]])
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-12)
    assert channel_statistics([np.full((2, 3, 3, 1), 51, np.uint8)]) == ((0.2,), (1.0,))


def test_pickling_leaves_the_pixels_outside(images):
    big = np.tile(images, (50, 1, 1, 1))
    dataset = from_arrays("mine", big, np.arange(2000) % 4)
    fingerprint = dataset.fingerprint()
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(split(dataset, DataConfig()), protocol=5, buffer_callback=buffers.append)
    assert len(text) < 2000
    shared = pickle.loads(text, buffers=[bytes(buffer.raw()) for buffer in buffers])
    assert not shared.dataset.images.flags.writeable
    assert shared.dataset.fingerprint() == fingerprint
    np.testing.assert_array_equal(shared.dataset.images, big)


def test_the_fingerprint_is_that_of_the_content(images):
    labels = np.arange(40) % 2
    dataset = from_arrays("mine", images, labels)
    assert (
        from_arrays("other name", images.copy(), labels.astype(np.int32)).fingerprint()
        == dataset.fingerprint()
    )
    changed = images.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [
        from_arrays("mine", changed, labels),
        from_arrays("mine", images, 1 - labels),
        from_arrays("mine", images.reshape(40, 6, 5, 3), labels),
        from_arrays("mine", images, labels, test=(images, labels)),
    ]
    assert len({dataset.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_limit_keeps_the_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    for count in (10, 20, 50, 100):
        chosen = stratified(labels, count, seed=1)
        assert len(np.unique(chosen)) == count
        np.testing.assert_array_equal(chosen, np.sort(chosen))
        np.testing.assert_array_equal(np.bincount(labels[chosen]), np.array([6, 3, 1]) * count // 10)
    assert len(stratified(labels, 2, seed=1)) == 2
    assert not np.array_equal(stratified(labels, 20, seed=1), stratified(labels, 20, seed=2))


def test_limit_applies_to_training_images_only():
    dataset = load_data(DataConfig(limit=100))
    assert (len(dataset.labels), len(dataset.test_labels)) == (100, 359)
    assert np.bincount(dataset.labels).min() >= 9
    with pytest.raises(RaynasError, match=r"data\.limit is larger than digits"):
        load_data(DataConfig(limit=1439))


def test_split_is_disjoint_whole_and_seeded():
    dataset = load_data(DataConfig())
    halves = split(dataset, DataConfig(valid=0.25))
    both = np.concatenate([halves.train, halves.valid])
    np.testing.assert_array_equal(np.sort(both), np.arange(1438))
    assert (halves.train.dtype, halves.valid.dtype) == (np.int64, np.int64)
    record = {"name": "digits", "classes": 10, "hash": dataset.fingerprint(), "split_seed": 0}
    record |= {"train": 1078, "valid": 360}
    assert json.loads(json.dumps(halves.record())) == record
    other = split(dataset, DataConfig(valid=0.25, split_seed=1))
    assert not np.array_equal(other.valid, halves.valid)


def test_split_is_the_same_for_ever():
    halves = split(load_data(DataConfig()), DataConfig(split_seed=3))
    digest = hashlib.sha256(halves.train.tobytes() + halves.valid.tobytes()).hexdigest()
    assert digest[:16] == "0b3808307a69dd16"
    np.testing.assert_array_equal(np.sort(permutation(1000, 2**70)), np.arange(1000))


@pytest.mark.parametrize("valid", [0.01, 0.99])
def test_split_refuses_an_empty_half(images, valid):
    dataset = from_arrays("mine", images[:10], np.arange(10) % 2)
    with pytest.raises(RaynasError, match="one half of the split empty"):
        split(dataset, DataConfig(valid=valid))


def test_a_folder_is_read_as_it_is(tmp_path):
    write_images(tmp_path / "train", {"b": 3, "a": 2})
    write_images(tmp_path / "test", {"b": 2, "a": 1}, seed=1)
    (tmp_path / "train" / "a" / "deeper").mkdir()
    (tmp_path / "train" / "a" / "001.png").rename(tmp_path / "train" / "a" / "deeper" / "é.PNG")
    (tmp_path / "train" / "a" / "._000.png").write_bytes(b"not an image")
    (tmp_path / "train" / "a" / "notes.txt").touch()
    dataset = load_data(DataConfig(name="folder", path=str(tmp_path)))
    assert (dataset.name, dataset.shape, dataset.classes) == (tmp_path.name, (3, 5, 6), 2)
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.test_labels.tolist() == [0, 1, 1]
    for index, file in enumerate(["a/000.png", "a/deeper/é.PNG", "b/000.png", "b/001.png", "b/002.png"]):
        np.testing.assert_array_equal(
            dataset.images[index], np.asarray(Image.open(tmp_path / "train" / file))
        )
    np.testing.assert_allclose(dataset.mean, (dataset.images / 255).mean((0, 1, 2)))


def test_a_folder_without_train_is_the_training_set(tmp_path):
    write_images(tmp_path, {"car": 2, "train": 3})
    dataset = load_data(DataConfig(name="folder", path=str(tmp_path)))
    assert dataset.labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.test_images is None


def test_a_folder_of_several_sizes_needs_one_named(tmp_path):
    write_images(tmp_path / "train", {"a": 2, "b": 2})
    Image.new("RGB", (9, 7)).save(tmp_path / "train" / "b" / "odd.png")
    for storage in ("memory", "stream"):
        with pytest.raises(RaynasError, match=r"9×7 pixels in .*odd\.png") as caught:
            load_data(DataConfig(name="folder", path=str(tmp_path), storage=storage))
        assert caught.value.expected == "6×5, as the first image has"
        assert "data.size" in caught.value.next_step
    assert load_data(DataConfig(name="folder", path=str(tmp_path), size=4)).shape == (3, 4, 4)


def test_resizing_scales_the_shorter_side_and_crops_the_centre(tmp_path):
    from torchvision.transforms import functional

    ramp = np.add.outer(np.arange(16) * 4, np.arange(48) * 3).astype(np.uint8)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(ramp).save(tmp_path / name / "0.png")
    dataset = load_data(DataConfig(name="folder", path=str(tmp_path), size=8))
    plain = functional.center_crop(functional.resize(Image.fromarray(ramp).convert("RGB"), 8), 8)
    inner = (slice(1, -1), slice(1, -1))  # at the border the crop has no neighbours to blend with
    np.testing.assert_allclose(dataset.images[0][inner], np.asarray(plain, int)[inner], atol=1)


def test_a_damaged_image_is_named(tmp_path):
    write_images(tmp_path, {"a": 2, "b": 2})
    whole = (tmp_path / "b" / "001.png").read_bytes()
    for content in (b"not an image", whole[: len(whole) // 2]):
        (tmp_path / "b" / "001.png").write_bytes(content)
        with pytest.raises(RaynasError, match=r"cannot read the image .*b/001\.png"):
            load_data(DataConfig(name="folder", path=str(tmp_path)))


def test_a_large_folder_stays_on_disk(tmp_path, monkeypatch):
    write_images(tmp_path, {"a": 4, "b": 4})
    config = DataConfig(name="folder", path=str(tmp_path))
    monkeypatch.setattr(load, "MEMORY_LIMIT", 8 * 6 * 5 * 3 + 1)
    resident = load_data(config)
    assert isinstance(resident.images, np.ndarray)
    monkeypatch.setattr(load, "MEMORY_LIMIT", 8 * 6 * 5 * 3)
    streamed = load_data(config)
    assert isinstance(streamed.images, ImageFiles)
    assert (streamed.mean, streamed.std, streamed.shape) == (resident.mean, resident.std, resident.shape)
    assert isinstance(load_data(config.model_copy(update={"storage": "memory"})).images, np.ndarray)
    np.testing.assert_array_equal(streamed.images.decode(), resident.images)


def test_a_streamed_fingerprint_is_that_of_names_and_sizes(tmp_path):
    for copy in ("one", "two"):
        write_images(tmp_path / copy, {"a": 4, "b": 4})
    configs = [
        DataConfig(name="folder", path=str(tmp_path / copy), storage="stream") for copy in ("one", "two")
    ]
    first, second = (load_data(config).fingerprint() for config in configs)
    assert first == second
    assert load_data(configs[0].model_copy(update={"size": 4})).fingerprint() != first
    (tmp_path / "two" / "a" / "000.png").rename(tmp_path / "two" / "a" / "zzz.png")
    assert load_data(configs[1]).fingerprint() != first


def test_a_relative_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    write_images(tmp_path / "here", {"a": 2, "b": 2})
    monkeypatch.chdir(tmp_path)
    dataset = load_data(DataConfig(name="folder", path="here", storage="stream"))
    monkeypatch.chdir("/")
    assert dataset.images.decode().shape == (4, 5, 6, 3)


def test_a_limited_folder_reads_only_what_it_keeps(tmp_path):
    write_images(tmp_path, {"a": 6, "b": 6})
    config = DataConfig(name="folder", path=str(tmp_path), limit=4)
    dataset = load_data(config)
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    kept = stratified(np.repeat([0, 1], 6), 4, 0)
    for path in set(range(12)) - set(kept.tolist()):
        (tmp_path / "ab"[path // 6] / f"{path % 6:03}.png").write_bytes(b"not an image")
    np.testing.assert_array_equal(load_data(config).images, dataset.images)


@pytest.mark.skipif(not CIFAR_ARCHIVE.exists(), reason="the CIFAR-10 archive is not beside the repository")
def test_cifar_as_an_image_folder(tmp_path):
    with tarfile.open(CIFAR_ARCHIVE) as archive:
        for member in archive:
            if member.name.endswith("00.jpg"):
                archive.extract(member, tmp_path, filter="data")
    dataset = load_data(DataConfig(name="folder", path=str(tmp_path)))
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), 10)
    assert len(dataset.labels) + len(dataset.test_labels) == 600
    np.testing.assert_allclose(dataset.mean, DATA_SETS["cifar10"].mean, atol=0.02)
    np.testing.assert_allclose(dataset.std, DATA_SETS["cifar10"].std, atol=0.02)
