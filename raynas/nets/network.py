"""The discrete network of a genotype: one module per chosen operation, as it is trained from scratch."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from raynas.nets.ops.plain import ResidualBlock
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.outside import load_dotted
from raynas.spaces.skeletons.plan import HalfPlan, Plan


class Halve(nn.Module):
    """A fixed layer between two stages."""

    def __init__(self, plan: HalfPlan) -> None:
        super().__init__()
        self.layer = (
            ResidualBlock(plan.inputs, plan.channels) if plan.residual else nn.MaxPool2d(2, ceil_mode=True)
        )

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Halve the resolution of the last state, to [N, channels, H/2, W/2], rounded up."""
        return self.layer(previous)  # type: ignore[no-any-return]


class Network(nn.Module):
    """The network a genotype describes, for images of ``shape`` (channels, height, width).

    Batch norms have learned scales (``affine``) as in training from scratch (Liu et al. 2019, A.1.2). What
    ``cells`` counts is the skeleton's: all cells, or those of one stage. A cell of choice blocks becomes the
    network of NAS-Bench-101, whose defaults are 128 channels and 9 cells.
    """

    def __init__(
        self,
        genotype: Genotype,
        shape: Sequence[int],
        classes: int,
        channels: int,
        cells: int,
        affine: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.depth = channels, cells
        skeletons.checked(genotype)
        plan = skeletons.of(genotype).plan(shape, genotype.nodes, cells, channels, genotype, genotype.trunk)
        self.small = plan.stem != "large"
        self.stem = _stem(plan, shape[0])
        build: Callable[[Genotype, Any, bool], nn.Module] = load_dotted(
            skeletons.of(genotype).layer, f"the skeleton {genotype.skeleton}"
        )
        self.cells = nn.ModuleList(
            Halve(layer) if isinstance(layer, HalfPlan) else build(genotype, layer, affine)
            for layer in plan.cells
        )
        norms = [nn.BatchNorm2d(plan.features)] if plan.tail == "norm" else []
        self.tail = nn.Sequential(*norms, *[nn.ReLU()] if plan.tail in ("norm", "relu") else [])
        self.head = nn.Linear(plan.features, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = skeletons.of(genotype).epsilon

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes] of images [N, channels, height, width]."""
        return self.tapped(images, None)[0]

    def tapped(self, images: Tensor, after: int | None) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and the output [N, C, H', W'] of the cell of index ``after``."""
        before = self.stem[0](images)
        previous = before if self.small else self.stem[1](before)
        seen = None
        for index, cell in enumerate(self.cells):
            before, previous = previous, cell(before, previous)
            seen = previous if index == after else seen
        logits: Tensor = self.head(self.tail(previous).mean((2, 3)))
        return logits, seen


def _stem(plan: Plan, colours: int) -> nn.ModuleList:
    """Build the one layer small images pass, the three of large ones (the last gives state 1), or nothing."""
    if plan.stem == "none":
        return nn.ModuleList([nn.Identity()])
    width = plan.stem_channels
    if plan.stem in ("unpadded", "strided"):
        stride = 1 if plan.stem == "unpadded" else 2
        convolution = nn.Conv2d(colours, width, 3, stride, bias=False)
        return nn.ModuleList([nn.Sequential(convolution, nn.BatchNorm2d(width))])
    widths = [colours, width] if plan.stem == "small" else [colours, width // 2, width, width]
    layers: list[nn.Module] = []
    for index, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.ReLU()] if index else []
        stride = 1 if plan.stem == "small" else 2
        layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)]
    layers += [nn.ReLU()] if plan.rectified else []
    if plan.stem == "small":
        return nn.ModuleList([nn.Sequential(*layers)])
    return nn.ModuleList([nn.Sequential(*layers[:5]), nn.Sequential(*layers[5:])])
