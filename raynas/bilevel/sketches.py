"""Two networks of next to nothing on which a space's cells are measured before anything is trained (TE-NAS).

They are so small that what an operation adds can be counted at all: in a full supernet no two images ever
share a linear region. Source: Chen, Gong, Wang 2021, and its code. Unlike there, the operations are this
package's: batch norms inside cells have no scale that the kernel could count, and DARTS' poolings have one.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from raynas.bilevel.exchange import Draw
from raynas.errors import RaynasError
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.nets.trainability import condition_numbers, count_regions
from raynas.spaces import skeletons
from raynas.spaces.skeletons.edges import EdgeSkeleton
from raynas.spaces.space import Space

SIDE = 3
"""Pixels per side of the squares, of one channel, whose linear regions are counted."""


class Sketches:
    """A network with a stem that could learn ``shape``'s images, and one without that divides 3×3 squares.

    Both are of one lane, in float64 and with batch statistics. Raises `RaynasError` where rows of α are not
    edges.
    """

    def __init__(
        self, space: Space, shape: Sequence[int], classes: int, device: torch.device | str = "cpu"
    ) -> None:
        skeleton = skeletons.of(space)
        if not isinstance(skeleton, EdgeSkeleton):
            raise RaynasError("only cells of operations on edges can be sketched", got=space.skeleton)
        self.learner, self.divider = (
            Supernet(
                space,
                size,
                classes,
                channels=1,
                cells=1,
                generators=[torch.Generator().manual_seed(0)],
                dtype=torch.float64,
                plan=skeleton.sketch(space.nodes, stem),
            ).to(device)
            for size, stem in ((shape, True), ((1, SIDE, SIDE), False))
        )

    def draw(self, generator: torch.Generator) -> None:
        """Draw all weights anew: normal, of Kaiming's spread by what a layer reads or (the learner) gives."""
        redraw(self.learner, generator, forward=False)
        redraw(self.divider, generator, forward=True)

    def condition(self, draw: Draw, images: Tensor, noise: Sequence[torch.Generator] = ()) -> Tensor:
        """Return the condition number [1] of the kernel on ``images`` [1, N, channels, height, width].

        It counts kernels, the head and batch norms' scales: no shifts, and no bias.
        """
        with torch.enable_grad():
            logits = _logits(self.learner, draw, images, noise)
            scales = [p for name, p in self.learner.named_parameters() if p.ndim > 2 or "scale" in name]
            return condition_numbers(logits, scales)

    @torch.no_grad()
    def regions(self, draw: Draw, squares: Tensor, noise: Sequence[torch.Generator] = ()) -> int:
        """Count the linear regions that squares [1, N, 1, 3, 3] fall into."""
        return count_regions(lambda: _logits(self.divider, draw, squares, noise))


def _logits(net: Supernet, draw: Draw, images: Tensor, noise: Sequence[torch.Generator]) -> Tensor:
    run = Pass(Statistics.BATCH, noise, active=draw.active)
    weights = {name: rows.to(torch.float64) for name, rows in draw.weights.items()}
    logits: Tensor = net(images.to(torch.float64), weights, run)
    return logits


@torch.no_grad()
def redraw(net: nn.Module, generator: torch.Generator, *, forward: bool) -> None:
    """Draw kernels and head from a normal distribution of variance 2/fan (He et al. 2015).

    The fan is that of what a layer reads (``forward``) or of what it gives; that of a depthwise kernel, as in
    PyTorch, counts all channels among what it gives. Scales become 1, shifts and biases 0.
    """
    for name, parameter, reads, gives in fans(net):
        if reads:
            spread = math.sqrt(2 / (reads if forward else gives))
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(drawn * spread)
        else:
            parameter.fill_(1.0 if "scale" in name else 0.0)


def fans(net: nn.Module) -> Iterator[tuple[str, Tensor, int, int]]:
    """Yield each parameter with its name and what it reads and gives, 0 and 0 where it is not a kernel.

    A kernel is [..., outputs, inputs, k, k], or the head's [lanes, classes, features].
    """
    for name, parameter in net.named_parameters():
        if parameter.ndim < 3:
            yield name, parameter, 0, 0
            continue
        gives, reads, *window = parameter.shape[-4:] if parameter.ndim > 3 else parameter.shape[-2:]
        if name.endswith("depthwise"):
            gives, reads = reads, gives
        yield name, parameter, reads * math.prod(window), gives * math.prod(window)
