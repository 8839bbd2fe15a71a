"""A cell's network as it is trained: with the auxiliary head and drop path, which the deployed one lacks.

Both stay out of the network itself: the head is a module beside it and drop path acts on the outputs of its
operations from outside, so the state of the network loads strictly wherever it is used afterwards.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import RaynasError
from raynas.nets.network import Network

POOLED = 5
"""Side in pixels of the auxiliary head's pooling window, and the least side of the features it reads."""


class AuxiliaryHead(nn.Sequential):
    """A second classifier on the features of ``channels`` at 2/3 of the depth (Liu et al. 2019, A.2.1).

    As quark0/darts f276dd3 has it, cnn/model.py: for small images pooling of stride 3 and a batch norm after
    both convolutions; for ``large`` ones stride 2, and the second batch norm left out as in the authors'
    experiments. Features of more than 8 (14) pixels per side are pooled to 2×2 all the same.
    """

    def __init__(self, channels: int, classes: int, *, large: bool) -> None:
        super().__init__(
            nn.ReLU(),
            nn.AvgPool2d(POOLED, 2 if large else 3, count_include_pad=False),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *([] if large else [nn.BatchNorm2d(768)]),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(768, classes),
        )


class TrainedNetwork(nn.Module):
    """A network with what only training needs.

    ``auxiliary`` asks for the second head, after the cell of index 2·cells // 3. ``chance`` is drop path's;
    the numbers that decide what is dropped come from ``drops``, a generator on the network's device that the
    caller owns and saves. Raises `RaynasError` where the features are too small for the head.
    """

    def __init__(
        self, network: Network, drops: torch.Generator, *, auxiliary: bool, shape: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.network, self.drops, self.chance = network, drops, 0.0
        self.drawn: Tensor | None = None
        self.after: int | None = None
        if auxiliary:
            self.after = 2 * len(network.cells) // 3
            self.auxiliary = self._head(shape)
        for place, operation in enumerate(dropped(network)):
            operation.register_forward_hook(partial(self._drop, place))

    def _head(self, shape: tuple[int, int, int]) -> AuxiliaryHead:
        """Build the head for images of ``shape`` (channels, height, width)."""
        was_training = self.network.training
        with torch.no_grad():
            image = torch.zeros(1, *shape, dtype=self.network.head.weight.dtype)
            _, seen = self.network.eval().tapped(image, self.after)
        self.network.train(was_training)
        side = 0 if seen is None else min(seen.shape[2:])
        if seen is None or side < POOLED:
            raise RaynasError(
                "the images are too small for an auxiliary head",
                got=f"features of {side} pixels per side at 2/3 of the depth",
                expected=f"at least {POOLED}",
                next_step="set auxiliary=0",
            )
        return AuxiliaryHead(seen.shape[1], self.network.head.out_features, large=not self.network.small)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits [N, classes] of images [N, C, H, W], and in training those of the second head."""
        if self.after is None or not self.training:
            return self.network(images), None
        logits, seen = self.network.tapped(images, self.after)
        return logits, self.auxiliary(seen)

    def draw(self, count: int) -> None:
        """Draw what decides of ``count`` images for all operations at once, ahead of a compiled pass.

        A generator would break its graph at every operation.
        """
        places = (sum(1 for _ in dropped(self.network)), count, 1, 1, 1)
        device = self.drops.device
        self.drawn = torch.rand(places, generator=self.drops, device=device) if self.chance else None

    def _drop(self, place: int, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
        """Blank an operation's output for some images and scale up the others; None changes nothing."""
        if not (self.chance and module.training):
            return None
        keep = 1 - self.chance
        if self.drawn is None:
            drawn = torch.rand(
                len(output), 1, 1, 1, generator=self.drops, device=output.device, dtype=torch.float32
            )
        else:
            drawn = self.drawn[place]
        return output * ((drawn < keep).to(output.dtype) / keep)


def check_smallest_batch(trained: TrainedNetwork, smallest: int, shape: tuple[int, int, int]) -> None:
    """Raise `RaynasError` where batch norm cannot train on the smallest batch of an epoch.

    That is a single image of ``shape`` (channels, height, width) where features are of 1×1 pixels, as in the
    auxiliary head's: they have no variance. Nothing of the network is changed.
    """
    if smallest > 1:
        return
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    weight = trained.network.head.weight
    try:
        with torch.no_grad():
            trained.train()(torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device))
    except ValueError as error:
        raise RaynasError(
            "a batch of one image cannot train this network: where features are of 1×1 pixels, batch norm "
            "has one value per channel",
            got="1 image in the smallest batch of an epoch",
            expected="2 or more",
            next_step="choose another batch= or data.limit=, so that an epoch's last batch has 2 or more",
        ) from error
    finally:
        trained.load_state_dict(before)


def dropped(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the operations that drop path acts on: all of every cell but identities (darts, cnn/model.py)."""
    for cell in network.modules():
        operations = getattr(cell, "operations", None)
        if isinstance(operations, nn.ModuleList):
            yield from (operation for operation in operations if not isinstance(operation, nn.Identity))
