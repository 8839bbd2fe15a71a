"""Data of your own: a function that returns images and labels. In a trial file: `data: own_data:stripes`."""

import numpy as np
from numpy.typing import NDArray

from raynas import Search, SearchConfig, load_space, split
from raynas.data.dataset import from_arrays


def stripes(count: int = 160, size: int = 8) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images uint8 [count, size, size] of horizontal (0) and vertical (1) stripes, and labels."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pattern = 180 * (np.arange(size) % 2)
    images = np.where(labels[:, None, None] == 0, pattern[:, None], pattern[None, :])
    return (images + random.integers(0, 70, (count, size, size))).astype(np.uint8), labels


if __name__ == "__main__":
    config = SearchConfig(space="tiny", epochs=3, batch=8, learning_rate=0.1, hessian={"every": 0})
    data = from_arrays("stripes", *stripes())
    for report in Search(config, load_space(config.space), split(data, config.data)):
        print(f"validation accuracy {report.valid_accuracy:.0%}")
