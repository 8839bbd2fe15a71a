"""What an image folder holds, told from its files' headers: classes, sizes, what a size makes of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from raynas.config import DataConfig
from raynas.data.catalogue import data_path
from raynas.data.pixels import MOST_BAD, open_image, together, turned
from raynas.data.tree import class_folders, find_tree, image_files
from raynas.errors import RaynasError, plural, printable

MOST_HEADERS = 2000
"""Headers read of a folder, evenly spaced: a few seconds on a disk; whoever loads it reads every one."""

MOST_NAMED = 12
"""Classes that are named with their counts."""

SIZES = (32, 64)
"""Sides that are offered: the published searches' 32, and twice that for what is told by detail."""

SUGGESTED = 0.2
"""The share that `data.test` is suggested with."""


@dataclass(frozen=True)
class Survey:
    """The images of a folder by class, ``sizes`` (width, height) of those looked at, whether some test."""

    classes: dict[str, int]
    sizes: tuple[tuple[int, int], ...]
    tested: bool

    @property
    def images(self) -> int:
        """How many there are in the training classes."""
        return sum(self.classes.values())

    def says(self, config: DataConfig) -> Iterator[str]:
        """Say it in lines; raises `RaynasError` for images of several sizes and no `data.size`."""
        names = [f"{printable(name)} {count:,}" for name, count in self.classes.items()]
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        yield f"classes: {', '.join(names[:MOST_NAMED])}{more}"
        yield self._about_sizes(config.size)
        if not self.tested and not config.test:
            count = round(SUGGESTED * self.images)
            yield (
                f"no test part: a trained network's error will not be known. data.test={SUGGESTED:g} holds "
                f"out {plural(count, 'image')}, the same ones always, that no search and no training sees"
            )

    def _about_sizes(self, size: int | None) -> str:
        small, large = min(self.sizes, key=_area), max(self.sizes, key=_area)
        seen = f" of {len(self.sizes):,} looked at" if len(self.sizes) < self.images else ""
        if small == large and len(set(self.sizes)) == 1:
            found = f"all {small[0]}×{small[1]} pixels{seen}"
        else:
            found = f"{small[0]}×{small[1]} to {large[0]}×{large[1]} pixels{seen}"
            if size is None:
                raise RaynasError(
                    "the images of the folder differ in size",
                    got=found,
                    expected=f"`data.size` to scale and crop them all; {'; '.join(map(self._makes, SIZES))}",
                    next_step=f"data.size={SIZES[0]}",
                )
        if size is None:
            offers = [self._makes(side) for side in SIZES if side < min(small)]
            return f"sizes: {found}; searched as they are" + "".join(f"; {offer}" for offer in offers)
        return f"sizes: {found}; {self._makes(size)}"

    def _makes(self, side: int) -> str:
        """Say what scaling to a square side does: how much it shrinks, and what it cuts off."""
        factor = median(min(size) / side for size in self.sizes)
        cut = median(1 - min(size) / max(size) for size in self.sizes)
        scaled = f"{factor:.1f} times smaller" if factor >= 1 else f"{1 / factor:.1f} times larger, blurred"
        if 0.95 < factor < 1.05:
            scaled = "as large as they are"
        cropped = f", {cut:.0%} of the longer side cut off" if round(cut, 2) else ""
        times = (side / SIZES[0]) ** 2
        cost = "" if times == 1 else f", {times:.1f} times the arithmetic of {SIZES[0]}"
        return f"size {side} makes them {scaled}{cropped}{cost}"


def survey(config: DataConfig) -> Survey:
    """Look at an image folder; raises `RaynasError` naming a file or folder that cannot be read."""
    tree = find_tree(data_path(config))
    found = {folder.name: list(image_files(folder)) for folder in class_folders(tree.train)}
    paths = [path for each in found.values() for path in each]
    step = max(len(paths) / MOST_HEADERS, 1.0)
    looked_at = [paths[int(place * step)] for place in range(min(len(paths), MOST_HEADERS))]
    counts = Counter({name: len(each) for name, each in found.items()})
    return Survey(dict(counts.most_common()), tuple(_sizes(looked_at)), tree.test is not None)


def _sizes(paths: list[Path]) -> Iterator[tuple[int, int]]:
    failed: list[RaynasError] = []
    for path in paths:
        try:
            with open_image(path) as image:
                yield turned(image, path)
        except RaynasError as error:
            failed.append(error)
        if len(failed) == MOST_BAD:
            break
    if failed:
        raise together(failed)


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
