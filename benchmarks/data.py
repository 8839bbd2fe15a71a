"""Images a second of a feed against a per-sample torchvision loader, both in this process.

Both crop, mirror and normalise the same 32×32 images in batches of 64.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.lines import Line, at_least
from benchmarks.setting import Setting
from raynas.data.augment import Augment
from raynas.data.dataset import from_arrays
from raynas.data.feed import ImageFeed, Images

IMAGES = 4096
BATCH = 64
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
FASTER = 10.0


class PerSample(Dataset[tuple[Tensor, int]]):
    """What DARTS' code does: one image at a time through PIL and torchvision's transforms."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self.pixels, self.labels = pixels, labels
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), int(self.labels[index])


def run(setting: Setting, count: int = IMAGES) -> Iterator[Line]:
    """Yield both rates and their ratio."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    dataset = from_arrays("random", pixels, labels, mean=MEAN, std=STD)
    generator = torch.Generator().manual_seed(0)
    images = Images(dataset, setting.device)
    feed = ImageFeed(images, np.arange(count), BATCH, generator, Augment(pad=4, flip=True))
    loader = DataLoader(PerSample(pixels, labels), BATCH, shuffle=True, drop_last=True)
    work: dict[str, Callable[[], object]] = {
        "feed": lambda: _exhaust(feed.epoch()),
        "per-sample loader": lambda: _exhaust((x.to(setting.device), y) for x, y in loader),
    }
    seconds = setting.medians(work)
    seen = count // BATCH * BATCH
    for name, took in seconds.items():
        yield Line(name, seen / took, "images/s")
    gain = seconds["per-sample loader"] / seconds["feed"]
    yield Line("feed / per-sample loader", gain, target=at_least(FASTER))


def _exhaust(batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    for _ in batches:
        pass
