"""Folders of images: which sub-folders are classes, which are splits, and which files are images."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from raynas.errors import RaynasError, short

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

SPLITS = {
    "train": ("train", "training", "trn"),
    "test": ("test", "testing", "tst"),
    "validation": ("validation", "valid", "val", "dev", "eval", "evaluation"),
}
"""How folders of splits are called, in any case of letters."""


@dataclass(frozen=True)
class Tree:
    """An image folder: those of the training and test classes, and the names of folders that are not used."""

    train: Path
    test: Path | None = None
    unused: tuple[str, ...] = ()

    def count(self) -> "Count":
        """Count its images; raises `RaynasError` naming a file or folder that cannot be read."""
        classes = class_folders(self.train)
        tested = class_folders(self.test) if self.test else []
        return Count(
            sum(1 for folder in classes for _ in image_files(folder)),
            len(classes),
            sum(1 for folder in tested for _ in image_files(folder)),
            self.unused,
        )


UNSEEN = "that a search does not look at"
"""How a search looks at test images."""


@dataclass(frozen=True)
class Count:
    """How many images train, in how many classes, how many test, and which folders are not used."""

    images: int
    classes: int
    tests: int = 0
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.told(UNSEEN)

    def told(self, how: str, limit: int | None = None) -> str:
        """Say it all, and ``how`` the test images are looked at; a ``limit`` is on those that train."""
        of_them = f"{limit:,} of " if limit else ""
        tested = f", {self.tests:,} test images {how}" if self.tests else ""
        unused = f"; not used: {', '.join(f'{name}/' for name in self.unused)}" if self.unused else ""
        return f"{of_them}{self.images:,} training images in {self.classes:,} classes{tested}{unused}"


def find_tree(root: Path) -> Tree:
    """Find the training and test classes of an image folder.

    A folder of a split counts when it holds sub-folders; a `train/` of nothing but images is a class. Raises
    `RaynasError` for two folders of the same split, for a split without `train/`, and as `class_folders`.
    """
    folders = class_folders(root)
    found: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for folder in folders:
        for split, spellings in SPLITS.items():
            if folder.name.lower() in spellings and class_folders(folder):
                found[split].append(folder)
    for same in found.values():
        if len(same) > 1:
            names = " and ".join(f"{folder.name}/" for folder in same)
            raise RaynasError(f"{root} holds {names}, which mean the same", next_step="move one of them away")
    if not found["train"]:
        for split in ("test", "validation"):
            for folder in found[split]:
                raise RaynasError(
                    f"{root} holds {folder.name}/ with class folders, and no train/ beside it",
                    expected="train/ and test/, each with a sub-folder per class; or the classes alone",
                    next_step=f"name the folder of the training classes {root / 'train'}",
                )
        return Tree(root)
    train, test = found["train"][0], next(iter(found["test"]), None)
    return Tree(train, test, tuple(folder.name for folder in folders if folder not in (train, test)))


def class_folders(folder: Path) -> list[Path]:
    """Return the sub-folders of ``folder`` in order of name, without hidden ones; none if it is not a folder.

    Raises `RaynasError` for a folder that cannot be listed, and for a link that leads nowhere.
    """
    if not folder.is_dir():
        return []
    return sorted(Path(entry.path) for entry in _entries(folder) if _is_folder(entry))


def _refuse(error: RaynasError) -> None:
    raise error


def image_files(folder: Path, amiss: Callable[[RaynasError], None] = _refuse) -> Iterator[Path]:
    """Yield the image files anywhere below ``folder``, in a stable order, without hidden ones.

    What cannot be listed or read, and links that lead in a circle or nowhere, become `RaynasError`, raised
    unless ``amiss`` takes them.
    """
    yield from _images(folder, (), amiss)


def _images(
    folder: Path, above: tuple[tuple[int, int], ...], amiss: Callable[[RaynasError], None]
) -> Iterator[Path]:
    try:
        status = folder.stat()
        entries = _entries(folder)
    except (OSError, RaynasError) as error:
        amiss(error if isinstance(error, RaynasError) else _unreadable(folder, error.strerror))
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        amiss(RaynasError(f"{folder} leads back to a folder that it lies in", next_step="delete the link"))
        return
    folders, files = [], []
    for entry in entries:
        try:
            if _is_folder(entry):
                folders.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122
                files.append(entry)
        except RaynasError as error:
            amiss(error)
    for entry in files:
        if not entry.is_file():
            amiss(_unreadable(entry.path, "it is not an ordinary file"))
        elif not os.access(entry.path, os.R_OK):
            amiss(_unreadable(entry.path, "permission denied"))
        else:
            yield Path(entry.path)
    for path in folders:
        yield from _images(Path(path), (*above, here), amiss)


def _entries(folder: Path) -> "list[os.DirEntry[str]]":
    """List a folder in order of name, without hidden entries."""
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error.strerror) from None
    return sorted(entries, key=lambda entry: entry.name)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Tell whether an entry is a folder or leads to one; a link that leads nowhere is an error."""
    try:
        if entry.is_symlink():
            entry.stat()
        return entry.is_dir()
    except OSError as error:
        raise _unreadable(entry.path, f"the link leads nowhere: {error.strerror}") from None


def _unreadable(path: Path | str, why: str | None) -> RaynasError:
    return RaynasError(
        f"cannot read {path}", got=short(why or "it cannot be opened"), next_step="fix or delete it"
    )
