"""Both ends of the Hessian's spectrum in α, against the whole matrix row by row.

Row by row is how repositories do it: differentiate the gradient once for each α through the graph of a plain
supernet. Only some rows are timed and the rest extrapolated. ``hessian.spectrum`` computes every eigenvalue
of our own loss, and so says how exact the ends are.
"""

from collections.abc import Iterator
from statistics import median

import torch
from torch import Tensor
from torch.autograd import grad

from benchmarks.lines import Line, at_least, at_most
from benchmarks.plain import PlainLoop
from benchmarks.setting import Setting, stepper

ROWS = 8
STEPS = 8
"""Steps before the measurement: at the start the spectrum is that of a random net."""
CHEAPER = 10.0
EPOCH, SHARE = 100, 5.0
SMALL = 0.1
"""The error of an end that is smaller than this share of the other is relative to this share."""
PATIENCE = 120.0
"""Seconds that every eigenvalue may take before it is left out."""


def run(setting: Setting) -> Iterator[Line]:
    """Yield seconds, ratios, and the ends' relative errors."""
    pack = setting.pack()
    step = stepper(pack)
    for _ in range(STEPS):
        step()
    loop = PlainLoop(setting.size, setting.device)
    probe = pack.evaluator.probe
    images, labels = probe.images[0].contiguous(), probe.labels[0]
    seconds = setting.medians({"step": step, "ours": pack.measure_curvature})
    rows, entries = _row_by_row(setting, loop, images, labels)
    [measured] = pack.measure_curvature()
    yield Line("both ends, gap and trace", 1000 * seconds["ours"], "ms")
    yield Line("products with the Hessian", measured.products, "")
    yield Line("one row through a plain net", 1000 * rows, "ms", note=f"median of {ROWS}")
    yield Line(
        "whole matrix row by row / ours",
        rows * entries / seconds["ours"],
        target=at_least(CHEAPER),
        note=f"{ROWS} of {entries} rows, extrapolated",
    )
    share = 100 * seconds["ours"] / (EPOCH * seconds["step"])
    yield Line("share of an epoch of 100 steps", share, "%", at_most(SHARE))
    yield Line("ours / first-order step", seconds["ours"] / seconds["step"])
    yield from _against_every_eigenvalue(setting, seconds["ours"], seconds["ours"] / measured.products)


def _row_by_row(setting: Setting, loop: PlainLoop, images: Tensor, labels: Tensor) -> tuple[float, int]:
    """Return the median seconds of a row of the Hessian of a plain net, and how many rows there are."""
    alphas = list(loop.alphas.values())
    gradients = grad(loop.loss(images, labels), alphas, create_graph=True)
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    chosen = torch.linspace(0, len(flat) - 1, ROWS).long().tolist()
    took = [
        setting.seconds(lambda entry=flat[row]: grad(entry, alphas, retain_graph=True))  # type: ignore[misc]
        for row in chosen
    ]
    return median(took), len(flat)


def _against_every_eigenvalue(setting: Setting, ends: float, product: float) -> Iterator[Line]:
    """Yield what every eigenvalue of the same loss costs and how far the ends are from the exact ones."""
    searches = [setting.pack(hessian={"spectrum": spectrum}) for spectrum in (False, True)]
    if len(searches[1].evaluator.basis) * product > PATIENCE:
        return
    for step in map(stepper, searches):
        for _ in range(STEPS):
            step()
    [near], [exact] = (search.measure_curvature() for search in searches)
    yield Line("every eigenvalue of ours / ours", exact.seconds / ends, note=f"{exact.products} products")
    largest = max(abs(exact.eig_max), abs(exact.eig_min))
    for name in ("eig_max", "eig_min"):
        value = getattr(exact, name)
        error = abs(getattr(near, name) - value) / max(abs(value), SMALL * largest)
        yield Line(f"relative error of {name}", 100 * error, "%", at_most(1.0))
