"""One α-step and one weight step of every method on the device against the CPU, in float64."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu.near import apart, short
from benchmarks.gpu.where import Where, pack_on
from benchmarks.lines import Line, at_most
from raynas.methods import method_names, resolve
from raynas.nets.ops.flat import column
from raynas.search.loop import Pack

EXACT = 1e-6
"""Adam divides by the gradient's size, which turns rounding into more where a gradient is nearly 0."""
TOLD_APART = "draws on the device: the numbers are others than the CPU's, only that they are finite is seen"


def run(where: Where) -> Iterator[Line]:
    """Yield one line for each method: alone, and where it can in a pack of two."""
    for name in method_names():
        try:
            yield _line(name, where.device)
        except Exception as problem:  # a line that says so is worth more than a section that ends here
            yield Line(name, float("nan"), "error", at_most(EXACT), short(problem))


def _line(name: str, device: str) -> Line:
    # A rule that ends searches has no part in a step, but may refuse a small space.
    method = {"base": name, "name": name, "stop": None}
    lanes = 1 if resolve(method).solo else 2
    configs = [{"method": method, "seed": seed} for seed in range(lanes)]
    ours, theirs = (pack_on(place, configs) for place in (device, "cpu"))
    drawn = [generator.get_state() for generator in (*theirs.problem.noise, *theirs.problem.drops)]
    first, second = _stepped(ours), _stepped(theirs)
    after = [generator.get_state() for generator in (*theirs.problem.noise, *theirs.problem.drops)]
    if any(not torch.equal(a, b) for a, b in zip(drawn, after, strict=True)):
        finite = all(bool(tensor.isfinite().all()) for tensor in first)
        return Line(name, 0.0 if finite else float("nan"), "error", at_most(EXACT), TOLD_APART)
    return Line(name, apart(first, second), "error", at_most(EXACT), f"{lanes} lanes")


def _stepped(pack: Pack) -> list[Tensor]:
    """Return losses, α and weights after one step of each; how much they moved, not where they lie."""
    train, valid = next(iter(pack.batches()))
    rates = column([config.learning_rate for config in pack.configs], pack.problem.values)
    alphas, values = pack.problem.alphas.clone(), pack.problem.values.clone()
    seen = pack.step(train, valid, rates, move_alphas=pack.method.estimator is not None)
    return [seen[0], pack.problem.alphas - alphas, pack.problem.values - values]
