"""What a search step costs, against the loop that NAS repositories copy: one module per operation and edge.

    python benchmarks/step.py [--size tiny|paper16] [--threads 1] [--device cpu] [--runs 5]

The plain loop holds every candidate as its own module, multiplies each output by its weight, and calls
`backward` on all parameters in both steps, as the original code does. Runs are interleaved and medians given;
every ratio is time(plain) / time(ours), or ours / ours where it says so. Kernels are calls into PyTorch's
operators, views included.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from raynas.core import skeleton
from raynas.core.bilevel import Batch
from raynas.core.config import SearchConfig
from raynas.core.flat import column
from raynas.core.ops.plain import FactorizedReduce, ReluConvNorm, plain
from raynas.core.space import Space
from raynas.data.dataset import from_arrays
from raynas.data.split import split
from raynas.library import load_space
from raynas.search import Search

SIZES = {"tiny": (8, 4, 16, 16), "paper16": (16, 8, 16, 32)}
"""Channels, cells, images a batch, pixels a side."""


class PlainCell(nn.Module):
    """A cell with one module per candidate and edge."""

    def __init__(self, space: Space, cell: skeleton.CellPlan) -> None:
        super().__init__()
        self.spec, self.nodes = space.cell(cell.kind), space.nodes
        first = FactorizedReduce if cell.previous_reduced else ReluConvNorm
        self.inputs = nn.ModuleList(
            [first(cell.inputs[0], cell.channels, False), ReluConvNorm(cell.inputs[1], cell.channels, False)]
        )
        self.edges = nn.ModuleList()
        for edge in self.spec.edges:
            stride = 2 if cell.kind == "reduce" and edge.source < 2 else 1
            candidates = nn.ModuleList()
            for name in edge.ops:
                if name == "none":
                    candidates.append(nn.Identity())
                elif "pool" in name:
                    pool = plain(name, cell.channels, stride, False)
                    candidates.append(nn.Sequential(pool, nn.BatchNorm2d(cell.channels, affine=False)))
                else:
                    candidates.append(plain(name, cell.channels, stride, False))
            self.edges.append(candidates)

    def forward(self, before: Tensor, previous: Tensor, weights: Tensor) -> Tensor:
        """Mix all candidates of every edge."""
        states = [module(x) for module, x in zip(self.inputs, (before, previous), strict=True)]
        for node in range(2, 2 + self.nodes):
            total: Tensor | float = 0.0
            for row, (edge, candidates) in enumerate(zip(self.spec.edges, self.edges, strict=True)):
                if edge.target == node:
                    for index, name in enumerate(edge.ops):
                        if name != "none":
                            total = total + weights[row, index] * candidates[index](states[edge.source])
            states.append(total)
        return torch.cat(states[2:], 1)


class PlainSupernet(nn.Module):
    """The supernet as repositories write it."""

    def __init__(self, space: Space, side: int, channels: int, cells: int) -> None:
        super().__init__()
        plan = skeleton.plan((3, side, side), space.nodes, cells, channels)
        width = plan.stem_channels
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.kinds = [cell.kind for cell in plan.cells]
        self.cells = nn.ModuleList(PlainCell(space, cell) for cell in plan.cells)
        self.head = nn.Linear(plan.features, 10)
        self.alphas = {
            cell.kind: (1e-3 * torch.randn(len(cell.edges), cell.width)).requires_grad_()
            for cell in space.cells
        }

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        before = previous = self.stem(images)
        for kind, cell in zip(self.kinds, self.cells, strict=True):
            weights = self.alphas[kind].softmax(-1)
            before, previous = previous, cell(before, previous, weights)
        logits: Tensor = self.head(previous.mean((2, 3)))
        return logits


class PlainLoop:
    """DARTS' first-order step with PyTorch's optimisers."""

    def __init__(self, net: PlainSupernet) -> None:
        self.net = net
        self.sgd = torch.optim.SGD(net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
        self.adam = torch.optim.Adam(net.alphas.values(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def step(self, train: Batch, valid: Batch) -> None:
        """Move α, then the weights."""
        for optimiser, batch in ((self.adam, valid), (self.sgd, train)):
            optimiser.zero_grad()
            images = batch.images[0].contiguous()  # as loaders of the original code deliver them
            nn.functional.cross_entropy(self.net(images), batch.labels[0]).backward()
            if optimiser is self.sgd:
                nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            optimiser.step()


class Kernels(TorchDispatchMode):
    """Counts calls into PyTorch's operators."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Count and pass on."""
        self.count += 1
        return function(*args, **(kwargs or {}))


def medians(work: dict[str, Callable[[], object]], runs: int, device: str) -> dict[str, float]:
    """Time each piece of work in turn, ``runs`` times after one warm-up; return median seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for run in range(runs + 1):
        for name, piece in work.items():
            started = time.perf_counter()
            piece()
            if device == "cuda":
                torch.cuda.synchronize()
            if run:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    channels, cells, batch, side = SIZES[options.size]
    space = load_space("darts")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2 * batch, side, side, 3), dtype=np.uint8)
    config = SearchConfig(space="darts", channels=channels, cells=cells, batch=batch)
    splits = split(from_arrays("random", pixels, np.arange(2 * batch) % 10, classes=10), config.data)
    searches = {
        label: Search(config.model_copy(update={"method": method}), space, splits, options.device)
        for label, method in (("first order", "darts"), ("second order", "darts-2nd"))
    }
    loop = PlainLoop(PlainSupernet(space, side, channels, cells).to(options.device))
    first = searches["first order"]
    train, valid = next(first.batches())
    rates = column([0.025], first.problem.values)

    def step(search: Search) -> None:
        search.step_alphas(train, valid, rates)
        search.step_weights(train, rates)

    work: dict[str, Callable[[], object]] = {"plain loop": lambda: loop.step(train, valid)}
    work |= {label: partial(step, search) for label, search in searches.items()}
    work["curvature"] = first.measure_curvature
    found = medians(work, options.runs, options.device)
    counted = {}
    for name in ("plain loop", "first order"):
        with Kernels() as kernels:
            work[name]()
        counted[name] = kernels.count
    print(f"{options.size}: {channels} channels, {cells} cells, batch {batch}, {side}×{side}, darts space")
    for name, seconds in found.items():
        print(f"  {name:<14}{seconds * 1000:9.1f} ms")
    one = found["first order"]
    print(f"  plain loop / first order    {found['plain loop'] / one:6.2f}")
    print(f"  second order / first order  {found['second order'] / one:6.2f}")
    print(f"  curvature / first order     {found['curvature'] / one:6.2f}")
    print(f"  kernels, first order / plain {counted['first order'] / counted['plain loop']:5.2f}")


if __name__ == "__main__":
    main()
