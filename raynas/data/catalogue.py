"""The data sets by name: plain data and checks, so that files can be verified without importing torch."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from raynas.config import DataConfig
from raynas.data.functions import GROUP, find_function, is_function
from raynas.data.text import PTB_FILES, WIKITEXT_FILES, text_problems
from raynas.data.tree import IMAGE_SUFFIXES, UNSEEN, Count, class_folders, find_tree, image_files
from raynas.disk import expanded
from raynas.errors import Problem, RaynasError, nearest, plural, quoted, unknown
from raynas.spaces.outside import offered


@dataclass(frozen=True)
class ImageRecipe:
    """The augmentation a data set is used with: random crop after ``pad`` pixels per side, and mirroring."""

    pad: int = 0
    flip: bool = False


AS_THEY_ARE = ImageRecipe()


@dataclass(frozen=True)
class DataEntry:
    """One data set: what it is, how it is augmented, and the files it needs below ``data.path``.

    A ``text`` is read by `raynas.data.text`, anything else holds images.

    ``mean`` and ``std`` are per channel in 0..1 where published; left empty they are computed from the
    training images. ``files`` names what torchvision reads, relative to ``data.path``. ``count`` is of the
    images and ``shape`` that of each, (channels, height, width), where they are always the same.
    ``torchvision`` is the class in `torchvision.datasets` that reads them, if one does.
    """

    name: str
    title: str
    recipe: ImageRecipe
    files: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    text: bool = False
    count: Count | None = None
    shape: tuple[int, int, int] | None = None
    torchvision: str = ""


_CIFAR10_FILES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_IDX_FILES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")

_ALL = (
    DataEntry(
        "digits",
        "1,797 handwritten digits, 8×8 gray, 10 classes; inside scikit-learn",
        ImageRecipe(pad=1),
        count=Count(1438, 10, 359),
        shape=(1, 8, 8),
    ),
    DataEntry(
        "cifar10",
        "CIFAR-10: 60,000 photographs, 32×32 colour, 10 classes",
        ImageRecipe(pad=4, flip=True),
        tuple(f"cifar-10-batches-py/{file}" for file in _CIFAR10_FILES),
        # Liu et al. 2019, cnn/utils.py of the authors' code.
        (0.49139968, 0.48215827, 0.44653124),
        (0.24703233, 0.24348505, 0.26158768),
        count=Count(50_000, 10, 10_000),
        shape=(3, 32, 32),
        torchvision="CIFAR10",
    ),
    DataEntry(
        "cifar100",
        "CIFAR-100: 60,000 photographs, 32×32 colour, 100 classes",
        ImageRecipe(pad=4, flip=True),
        tuple(f"cifar-100-python/{file}" for file in ("train", "test", "meta")),
        count=Count(50_000, 100, 10_000),
        shape=(3, 32, 32),
        torchvision="CIFAR100",
    ),
    DataEntry(
        "svhn",
        "Street View house numbers: 99,289 digits, 32×32 colour, 10 classes",
        ImageRecipe(pad=4),
        ("train_32x32.mat", "test_32x32.mat"),
        count=Count(73_257, 10, 26_032),
        shape=(3, 32, 32),
        torchvision="SVHN",
    ),
    DataEntry(
        "fashion-mnist",
        "Fashion-MNIST: 70,000 pieces of clothing, 28×28 gray, 10 classes",
        ImageRecipe(pad=2, flip=True),
        tuple(f"FashionMNIST/raw/{file}-ubyte" for file in _IDX_FILES),
        count=Count(60_000, 10, 10_000),
        shape=(1, 28, 28),
        torchvision="FashionMNIST",
    ),
    DataEntry(
        "folder",
        "images in one sub-folder per class, below train/ and test/ or right below the path; read as colour",
        ImageRecipe(pad=4, flip=True),
    ),
    DataEntry(
        "python-docs",
        "the texts of Python's own help(), some 97,000 words; inside Python",
        AS_THEY_ARE,
        text=True,
    ),
    DataEntry("text", "any file of UTF-8 text, word by word in lower case", AS_THEY_ARE, text=True),
    DataEntry("ptb", "the Penn Treebank, 929,589 words of training text", AS_THEY_ARE, PTB_FILES, text=True),
    DataEntry(
        "wikitext-2",
        "WikiText-2: 2,088,628 words of articles that train, upper case kept",
        AS_THEY_ARE,
        WIKITEXT_FILES,
        text=True,
    ),
)
DATA_SETS = MappingProxyType({entry.name: entry for entry in _ALL})


def titles() -> dict[str, str]:
    """Return the name and title of every data set, those that other distributions offer at the end."""
    own = {name: entry.title for name, entry in DATA_SETS.items()}
    others = {
        name: f"{point.value}, which an installed package offers" for name, point in offered(GROUP).items()
    }
    return own | {name: title for name, title in others.items() if name not in own}


def check_data(config: DataConfig) -> list[Problem]:
    """Find every mistake in ``config`` that can be found without loading images.

    Looks at names, folders and signatures only; a ``module:function`` is imported but not called.
    """
    if runs_code(config.name):
        return list(_function_problems(config))
    if config.name not in DATA_SETS:
        names = [*DATA_SETS, *offered(GROUP), "module:function"]
        error = unknown("data set", config.name, names, "raynas ls data")
        return [Problem("data.name", str(error))]
    if DATA_SETS[config.name].text:
        return list(text_problems(config))
    problems = list(_setting_problems(config))
    if config.name != "digits":
        problems += _path_problems(DATA_SETS[config.name], config)
    return problems


def has_tests(name: str) -> RaynasError:
    """Return the error of a share held out to test where there are test images."""
    return RaynasError(
        f"{name} has test images of its own",
        got="data.test",
        expected="it for images without any",
        next_step="leave data.test out",
    )


def runs_code(name: str) -> bool:
    """Tell whether a data set's name stands for a function; raynas' own names never do."""
    return name not in DATA_SETS and is_function(name)


def is_text(name: str) -> bool:
    """Tell whether a data set of this name is a text; a ``module:function`` gives images."""
    return name in DATA_SETS and DATA_SETS[name].text


def has_parts(config: DataConfig) -> bool:
    """Tell whether a text comes with a part to validate and one to test on."""
    return is_text(config.name) and bool(DATA_SETS[config.name].files)


def data_path(config: DataConfig) -> Path:
    """Return ``data.path`` with ``~`` expanded; `check_data` has made sure that it is given."""
    return expanded(config.path or ".")


def says(config: DataConfig, *, trained: bool = False) -> str:
    """Say what a data set holds and whether it runs code, as far as that is known without loading it.

    ``trained`` is for a training from scratch, which looks at the test images once. Raises `RaynasError` for
    an image folder that cannot be listed.
    """
    if runs_code(config.name):
        return f"{config.name} runs code: {find_function(config.name).runs}"
    entry = DATA_SETS[config.name]
    if entry.text:
        return f"{config.name}, a text"
    count = count_of(config)
    if count is None:
        return f"{config.name}: {count}{f', {config.limit:,} of them used' if config.limit else ''}"
    if not trained:
        return f"{config.name}: {count.told(UNSEEN, config.limit)}"
    without = "" if count.tests else "; no test images, so that no test error will be known"
    return f"{config.name}: {count.told('that are looked at only once, at the end', config.limit)}{without}"


def count_of(config: DataConfig) -> Count | None:
    """Return how many images a data set holds, to learn from and to test; None where only loading tells.

    Those that ``data.test`` holds out are test images. Raises `RaynasError` for a folder that cannot be
    listed.
    """
    if config.name == "folder":
        count: Count | None = find_tree(data_path(config)).count()
    else:
        count = DATA_SETS[config.name].count if config.name in DATA_SETS else None
    if count is None or not config.test:
        return count
    tests = round(config.test * count.images)
    return replace(count, images=count.images - tests, tests=tests)


def counted(config: DataConfig) -> int | None:
    """Return how many images a search learns from, weights and α together; None where only loading tells.

    Raises as `count_of`.
    """
    if (count := count_of(config)) is None:
        return None
    return min(count.images, config.limit) if config.limit else count.images


def image_shape(config: DataConfig) -> tuple[int, int, int] | None:
    """Return (channels, height, width) of a data set's images; None where only loading it can tell.

    Of a folder that is not resized its first image tells. Raises `RaynasError` where that cannot be read.
    """
    if config.name != "folder":
        return DATA_SETS[config.name].shape if config.name in DATA_SETS else None
    if config.size is not None:
        return 3, config.size, config.size
    from raynas.data.pixels import open_image, turned

    classes = class_folders(find_tree(data_path(config)).train)
    for path in (path for folder in classes for path in image_files(folder)):
        with open_image(path) as image:
            width, height = turned(image, path)
            return 3, height, width
    return None


def _function_problems(config: DataConfig) -> Iterator[Problem]:
    yield from _setting_problems(config)
    module, colon, inside = config.name.partition(":")
    if colon and not (module and inside):
        error = RaynasError(
            f"{quoted(config.name)} does not name a {'function' if module else 'module'}",
            expected="module:function, as mine:load for the function `load` of mine.py",
            near=nearest(module, DATA_SETS),
            next_step=None if module in DATA_SETS else "raynas ls data",
        )
        yield Problem("data.name", str(error))
        return
    if config.path is not None:
        yield Problem("data.path", f"{config.name} gets no path: pass it in data.options")
    try:
        function = find_function(config.name).call
    except RaynasError as error:
        yield Problem("data.name", str(error))
        return
    try:
        inspect.signature(function).bind(**config.options)
    except TypeError as error:
        yield Problem("data.options", f"do not fit {config.name}: {error}")
    except ValueError:
        return  # compiled functions have no signature to compare with


def _setting_problems(config: DataConfig) -> Iterator[Problem]:
    """Settings that would be ignored are mistakes: the user believes that they change the numbers."""
    if config.options and not runs_code(config.name):
        given = ", ".join(config.options)
        yield Problem(
            "data.options", f"{config.name} takes no options, got {given}; only module:function does"
        )
    for key in ("words", "min_count", "bptt"):
        if getattr(config, key) != DataConfig.model_fields[key].default:
            yield Problem(f"data.{key}", f"only a text has {key}, and {config.name} is not one")
    if (
        config.test
        and (entry := DATA_SETS.get(config.name)) is not None
        and entry.count
        and entry.count.tests
    ):
        yield Problem("data.test", f"{config.name} has test images of its own: leave it out")
    if config.name != "folder":
        if config.size is not None:
            yield Problem("data.size", f"only the images of `folder` are resized, not those of {config.name}")
        if config.storage == "stream":
            yield Problem("data.storage", f"only `folder` can be streamed; {config.name} is kept in memory")


def _path_problems(entry: DataEntry, config: DataConfig) -> Iterator[Problem]:
    download = bool(entry.files) and config.download
    if config.path is None:
        contents = "class sub-folders" if entry.name == "folder" else entry.files[0].split("/")[0]
        yield Problem("data.path", f"{entry.name} needs `path`, the folder that holds {contents}")
        return
    root = data_path(config)
    if download:
        if root.exists() and not root.is_dir():
            yield Problem("data.path", f"{root} is not a folder")
        return
    if not root.is_dir():
        state = "is not a folder" if root.exists() else "does not exist"
        siblings = [path.name for path in root.parent.glob("*") if path.is_dir()]
        close = nearest(root.name, siblings)
        yield Problem("data.path", f"{root} {state}" + (f"; nearest: {root.parent / close}" if close else ""))
        return
    problem = _missing_files(entry, root) if entry.files else _folder_problem(root, config.test)
    if problem:
        yield Problem("data.path", problem)


def _missing_files(entry: DataEntry, root: Path) -> str | None:
    missing = [file for file in entry.files if not (root / file).is_file()]
    if not missing:
        return None
    hint = "set data.path to the folder that holds it, or data.download=true"
    if (root.parent / entry.files[0]).is_file():
        hint = f"set data.path={root.parent}"
    elif _folder_problem(root) is None:
        hint += "; images in class sub-folders are read with data.name=folder"
    return f"{root} lacks {missing[0]}, which {entry.name} is read from: {hint}"


def _folder_problem(root: Path, held_out: float = 0.0) -> str | None:
    """Return what is wrong with an image folder, every file of it looked at from outside."""
    try:
        tree = find_tree(root)
        classes = class_folders(tree.train)
        tested = class_folders(tree.test) if tree.test else []
        counts = {folder: sum(1 for _ in image_files(folder)) for folder in (*classes, *tested)}
    except RaynasError as error:
        return str(error)
    if len(classes) < 2:
        inside = f"; or is it {classes[0]}?" if classes and len(class_folders(classes[0])) > 1 else ""
        wanted = "needs 2 or more, one per class, of images"
        found = plural(len(classes), "class sub-folder")
        return f"{tree.train} holds {found}; {wanted}{_loose(tree.train, classes)}{inside}"
    suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
    if not any(counts.values()):
        return f"there are no images below {root}, in none of {len(counts)} folders ({suffixes} are read)"
    for folder, count in counts.items():
        if not count:
            return f"{folder} holds no images ({suffixes}); add some, or move the folder away"
    if tested and held_out:
        return f"{tree.test} holds test images already: leave data.test out, or move that folder away"
    if extra := {path.name for path in tested} - {path.name for path in classes}:
        return f"{tree.test} has the class {min(extra)!r}, which {tree.train} has not"
    return None


def _loose(folder: Path, classes: list[Path]) -> str:
    """Say how many images lie in a folder itself, where those of classes were looked for."""
    if classes or not (count := sum(1 for _ in image_files(folder))):
        return ""
    images = plural(count, "image lies", "images lie")
    return f"; {images} right in it: move those of each class into a folder of its own"
