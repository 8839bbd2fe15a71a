"""Which form of a separable convolution is faster, by channels: the numbers behind `DENSE_CHANNELS`.

    python benchmarks/convolution_forms.py [--threads 1] [--device cpu]

Prints time(dense) / time(depthwise, pointwise), forward and backward, median of interleaved runs: below 1 the
one dense convolution wins. `fan out` is several edges on one shared input, `per edge` the second half of a
separable convolution, each edge on its own input.
"""

import argparse
import statistics
import time

import torch

from raynas.core.ops.fused import SeparablePair
from raynas.core.ops.lanes import Lanes

SHAPES = [(3, 1), (5, 1), (3, 2), (5, 2)]
CHANNELS = {4: 8, 8: 16, 16: 32, 32: 16, 64: 8}
EDGES = 4


def seconds(pair: SeparablePair, x: torch.Tensor, fan_out: bool) -> float:
    """Time one forward and backward pass."""
    started = time.perf_counter()
    out = pair.fan_out(x, 1) if fan_out else pair.per_edge(x)
    torch.autograd.grad(out.sum(), [x, *pair.parameters()])
    if x.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def ratio(channels: int, kernel: int, dilation: int, fan_out: bool, device: str, runs: int = 9) -> float:
    """Return the median of time(dense) / time(split) over interleaved runs."""
    lanes = Lanes([torch.Generator().manual_seed(0)])
    pair = SeparablePair(lanes, EDGES, channels, kernel, dilation).to(device)
    width = channels if fan_out else channels * EDGES
    side = CHANNELS[channels]
    x = torch.randn(16, width, side, side, device=device, requires_grad=True)
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    found = []
    for run in range(runs + 2):
        times = {}
        for dense in (True, False):
            pair.dense = dense
            times[dense] = seconds(pair, x, fan_out)
        if run >= 2:
            found.append(times[True] / times[False])
    return statistics.median(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("kernel dilation form      " + "".join(f"{f'C={channels}':>8}" for channels in CHANNELS))
    for kernel, dilation in SHAPES:
        for fan_out in (True, False) if dilation == 1 else (True,):
            row = [ratio(channels, kernel, dilation, fan_out, options.device) for channels in CHANNELS]
            name = "fan out" if fan_out else "per edge"
            print(
                f"{kernel}×{kernel}    {dilation}        {name:<10}"
                + "".join(f"{value:8.2f}" for value in row)
            )


if __name__ == "__main__":
    main()
