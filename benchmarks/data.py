"""Images a second of a feed against a per-sample torchvision loader, both on one core.

    python benchmarks/data.py

Both crop, mirror and normalise the same 32×32 images in batches of 64. The two run in turn; the ratio is the
median over the rounds.
"""

import argparse
import time
from collections.abc import Iterable
from statistics import median

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from raynas.data.augment import Augment
from raynas.data.dataset import from_arrays
from raynas.data.feed import Feed, Images

BATCH = 64
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


class PerSample(Dataset[tuple[Tensor, int]]):
    """What DARTS' code does: one image at a time through PIL and torchvision's transforms."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
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


def rate(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return images a second of one pass."""
    start = time.perf_counter()
    images = sum(len(labels) for _, labels in batches)
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (args.images, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(args.images) % 10
    dataset = from_arrays("random", pixels, labels, mean=MEAN, std=STD)
    generator = torch.Generator().manual_seed(0)
    feed = Feed(Images(dataset), np.arange(args.images), BATCH, generator, Augment(pad=4, flip=True))
    loader = DataLoader(PerSample(pixels, labels), BATCH, shuffle=True, drop_last=True)
    ours, theirs = [], []
    for _ in range(args.rounds):
        ours.append(rate(feed.epoch()))
        theirs.append(rate(loader))
    ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
    print(f"feed {median(ours):,.0f} images/s   per-sample loader {median(theirs):,.0f}   ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
