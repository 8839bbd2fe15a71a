"""How often Lanczos misses an end of the spectrum: products and misses on recorded Hessians, by many starts.

``python -m benchmarks.lanczos``, or with another .npz of symmetric matrices. hessians.npz holds the 18 on
which an earlier rule missed λmin most often, in 63 to 75 % of starts, of 1,614 published by Zela et al.
(automl/RobustDARTS 3dec3fed, experiments/search_logs): in the directions that a softmax can feel, without the
1e-3 on their diagonal.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from raynas.bilevel.hessian import curvature
from raynas.config import HessianConfig

RECORDED = Path(__file__).parent / "hessians.npz"
SMALL = 0.1
"""The error of an end that is smaller than this share of the other is relative to this share."""


@dataclass(frozen=True)
class Starts:
    """What starts on one matrix gave: their products, and the relative errors of λmax, λmin and the gap."""

    products: list[int]
    largest: list[float]
    smallest: list[float]
    gap: list[float]

    @classmethod
    def on(cls, square: Tensor, starts: int, tolerance: float) -> "Starts":
        """Measure a symmetric matrix [n, n] in float64 from so many starts, side by side."""
        exact = torch.linalg.eigvalsh(square)
        size = float(exact.abs().max())
        found = curvature(
            lambda at: torch.einsum("li,ij,lj->l", at, square, at) / 2,
            torch.zeros(starts, len(square), dtype=torch.float64),
            torch.eye(len(square), dtype=torch.float64),
            [torch.Generator().manual_seed(seed) for seed in range(starts)],
            steps=HessianConfig().steps,
            tolerance=tolerance,
        )

        def off(value: float, right: float) -> float:
            return abs(value - right) / max(abs(right), SMALL * size)

        return cls(
            [each.products for each in found],
            [off(each.eig_max, float(exact[-1])) for each in found],
            [off(each.eig_min, float(exact[0])) for each in found],
            [abs(each.eig_gap - float(exact[-1] - exact[-2])) / size for each in found],
        )


def recorded(path: Path = RECORDED) -> dict[str, Tensor]:
    """Return the matrices of a file by name, in float64."""
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name].astype(np.float64)) for name in file.files}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a row for each size of matrix; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanczos", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", default=RECORDED, help="a .npz of symmetric matrices")
    parser.add_argument("--starts", type=int, default=100, help="on each matrix")
    parser.add_argument("--tolerance", type=float, default=HessianConfig().tolerance)
    chosen = parser.parse_args(arguments)
    sizes: dict[int, list[Starts]] = {}
    for square in recorded(chosen.file).values():
        sizes.setdefault(len(square), []).append(Starts.on(square, chosen.starts, chosen.tolerance))
    for size, found in sorted(sizes.items()):
        products = [count for each in found for count in each.products]
        misses = {
            name: [error > chosen.tolerance for each in found for error in getattr(each, name)]
            for name in ("largest", "smallest", "gap")
        }
        shares = ", ".join(f"{name} {100 * fmean(each):.2f} %" for name, each in misses.items())
        print(
            f"{size} directions, {len(found)} matrices, {chosen.starts} starts each: "
            f"{fmean(products):.1f} products, at most {max(products)}; off by more than "
            f"{100 * chosen.tolerance:g} %: {shares}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
