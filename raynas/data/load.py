"""Loading a data set by its name."""

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raynas.config import DataConfig
from raynas.data.catalogue import (
    DATA_SETS,
    check_data,
    data_path,
    has_tests,
    is_text,
    runs_code,
)
from raynas.data.corpus import Corpus, load_text
from raynas.data.dataset import Dataset, Pixels, channel_statistics, from_arrays
from raynas.data.folder import ImageFiles, image_files_of, list_images
from raynas.data.functions import find_function
from raynas.data.pixels import together
from raynas.data.split import stratified
from raynas.data.tree import class_folders, find_tree
from raynas.errors import FileProblems, RaynasError

MEMORY_LIMIT = 2 * 1024**3
"""Bytes up to which ``storage: auto`` keeps the training images in memory."""

STATISTICS_IMAGES = 5000
"""Most images of a folder that mean and deviation are computed from, evenly spaced over its classes."""

_DIGITS_TEST_SHARE = 0.2
_DIGITS_SPLIT_SEED = 0

_TEST_SEED = 0
"""Of the images that `data.test` holds out. Not `split_seed`: what is tested on must not depend on it."""


def load_data(config: DataConfig) -> Dataset | Corpus:
    """Load the data set that ``config`` names, with ``config.limit`` applied to what trains.

    Raises `FileProblems` for what `check_data` finds and `RaynasError` for files or arrays that turn out
    to be wrong.
    """
    problems = check_data(config)
    if problems:
        raise FileProblems("data", problems)
    if is_text(config.name):
        return load_text(config)
    if config.name == "folder":
        return _folder(config)
    if runs_code(config.name):
        dataset = _from_function(config)
    elif config.name == "digits":
        dataset = _digits()
    else:
        dataset = _torchvision(config)
    dataset = _with_test_part(dataset, config)
    chosen = _limited(dataset.labels, config)
    return replace(dataset, images=dataset.images[chosen], labels=dataset.labels[chosen])


def held_out(labels: NDArray[np.int64], config: DataConfig) -> NDArray[np.int64]:
    """Return the images, ascending, that `data.test` keeps from searches and trainings; none where it is 0.

    Every class in proportion, and the same ones whatever `split_seed` and `limit` are, so that what is tested
    on them has never seen them. Raises `RaynasError` where a class would be left without an image to train.
    """
    count = round(config.test * len(labels))
    if not config.test:
        return np.arange(0)
    chosen = stratified(labels, count, _TEST_SEED)
    if not 0 < count < len(labels) or len(np.unique(np.delete(labels, chosen))) < len(np.unique(labels)):
        raise RaynasError(
            f"data.test={config.test:g} of {len(labels)} images leaves no image, or a class without one",
            got=f"{count} to test and {len(labels) - count} to train",
            expected="images of every class to train, and 1 or more to test",
        )
    return chosen


def _with_test_part(dataset: Dataset, config: DataConfig) -> Dataset:
    if not config.test:
        return dataset
    if dataset.test_images is not None:
        raise has_tests(dataset.name)
    tests = held_out(dataset.labels, config)
    rest = np.setdiff1d(np.arange(len(dataset.labels)), tests)
    return replace(
        dataset,
        images=dataset.images[rest],
        labels=dataset.labels[rest],
        test_images=dataset.images[tests],
        test_labels=dataset.labels[tests],
    )


def _limited(labels: NDArray[np.int64], config: DataConfig) -> NDArray[np.int64] | slice:
    if config.limit is None:
        return slice(None)
    if config.limit > len(labels):
        raise RaynasError(
            f"data.limit is larger than {config.name}",
            got=config.limit,
            expected=f"at most its {len(labels)} training images",
        )
    return stratified(labels, config.limit, config.split_seed)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    test = stratified(labels, round(_DIGITS_TEST_SHARE * len(labels)), _DIGITS_SPLIT_SEED)
    train = np.setdiff1d(np.arange(len(labels)), test)
    recipe = DATA_SETS["digits"].recipe
    return from_arrays(
        "digits",
        pixels[train],
        labels[train],
        test=(pixels[test], labels[test]),
        recipe=recipe,
        class_names=tuple("0123456789"),
    )


def _torchvision(config: DataConfig) -> Dataset:
    from torchvision import datasets

    entry, root = DATA_SETS[config.name], data_path(config)
    kind = getattr(datasets, entry.torchvision)
    takes_split = "split" in inspect.signature(kind).parameters
    parts = [{"split": "train"}, {"split": "test"}] if takes_split else [{"train": True}, {"train": False}]
    try:
        sources = [kind(root=root, download=config.download, **part) for part in parts]
        train, test = map(_arrays, sources)
    except (RuntimeError, OSError) as error:
        raise RaynasError(
            f"cannot load {config.name} from {root}",
            got=str(error),
            next_step="delete the damaged files, then set data.path or data.download=true",
        ) from error
    return from_arrays(
        entry.name,
        *train,
        test=test,
        recipe=entry.recipe,
        mean=entry.mean,
        std=entry.std,
        class_names=tuple(map(str, getattr(sources[0], "classes", ()))),
    )


def _arrays(source: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pixels and labels of a torchvision data set; SVHN alone calls the labels so, channels first."""
    if hasattr(source, "labels"):
        return source.data.transpose(0, 2, 3, 1), np.asarray(source.labels)
    return np.asarray(source.data), np.asarray(source.targets)


def _from_function(config: DataConfig) -> Dataset:
    try:
        result = find_function(config.name).call(**config.options)
    except RaynasError:
        raise
    except (Exception, SystemExit) as error:  # the function is the user's: anything may come out of it
        raise RaynasError(
            f"{config.name} failed",
            got=f"{type(error).__name__}: {error}",
            next_step="fix it; `raynas --debug` before the verb shows where it failed",
        ) from error
    if isinstance(result, Dataset):
        return result
    if not isinstance(result, tuple) or len(result) != 2:
        raise RaynasError(
            f"{config.name} returned something that is not a data set",
            got=type(result).__name__,
            expected="a raynas.data.dataset.Dataset, or a pair of arrays (images, labels)",
        )
    return from_arrays(config.name, *result)


def _folder(config: DataConfig) -> Dataset:
    tree = find_tree(data_path(config))
    train_folder, test_folder = tree.train, tree.test
    classes = [path.name for path in class_folders(train_folder)]
    paths, labels = list_images(train_folder, classes)
    tests = held_out(labels, config)
    rest = np.setdiff1d(np.arange(len(paths)), tests)
    chosen = rest[_limited(labels[rest], config)]
    train = image_files_of(train_folder, [paths[index] for index in chosen], config.size, kept=config.kept)
    test, test_labels = None, None
    if len(tests):
        test = image_files_of(
            train_folder, [paths[index] for index in tests], config.size, train, config.kept
        )
        test_labels = labels[tests]
    elif test_folder is not None:
        test_paths, test_labels = list_images(test_folder, classes)
        test = image_files_of(test_folder, test_paths, config.size, train, config.kept)
    # Parts are cut out of the files themselves, which are of any size.
    resident = config.kept is None and (
        config.storage == "memory" or (config.storage == "auto" and int(np.prod(train.shape)) < MEMORY_LIMIT)
    )
    images, *tested = _read([train, *([] if test is None else [test])], resident)
    mean, std = channel_statistics(_sample(images))
    return Dataset(
        name=data_path(config).resolve().name,
        classes=len(classes),
        images=images,
        labels=labels[chosen],
        mean=mean,
        std=std,
        recipe=DATA_SETS["folder"].recipe,
        test_images=tested[0] if tested else None,
        test_labels=test_labels,
        class_names=tuple(classes),
    )


def _read(parts: list[ImageFiles], resident: bool) -> list[Pixels]:
    """Read or check the files of several parts; raises `RaynasError` naming the bad ones of all."""
    read: list[Pixels] = []
    failed = []
    for files in parts:
        try:
            if resident:
                read.append(files.decode_in_threads())
            else:
                files.check_sizes()
                read.append(files)
        except MemoryError:
            raise RaynasError(
                "the images do not fit in memory",
                got=f"{int(np.prod(files.shape)):,} bytes",
                next_step="set data.storage=stream, or a smaller data.size",
            ) from None
        except RaynasError as error:
            failed.append(error)
    if failed:
        raise together(failed)
    return read


def _sample(images: Pixels, piece: int = 256) -> Iterator[NDArray[np.uint8]]:
    """Yield images evenly spaced over the set, the same ones whether they are in memory or on disk."""
    count = len(images)
    rows = np.unique(np.linspace(0, count - 1, min(count, STATISTICS_IMAGES)).round().astype(np.int64))
    for start in range(0, len(rows), piece):
        chosen = images[rows[start : start + piece]]
        yield chosen.decode_in_threads() if isinstance(chosen, ImageFiles) else chosen
