"""The bilevel problem of one pack of searches: its two sets of variables and its loss as a function of both.

The upper level chooses α on the validation half, the lower level trains the weights on the training half
(Liu et al. 2019, eq. 3 and 4). Everything an estimator, the curvature or a selection needs is the loss at
given weights and given α; this is the one place that computes it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from raynas.core.derive import selected
from raynas.core.flat import flatten, unflatten
from raynas.core.genotype import Genotype
from raynas.core.ops.lanes import Pass, Statistics
from raynas.core.space import Space
from raynas.core.supernet import Supernet


class Relaxation(Protocol):
    """From α to weights: maps logits [lanes, edges, operations] to weights of the same shape.

    ``mask`` [edges, operations] marks the operations an edge has; all other entries must get weight 0.
    """

    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor: ...


class Batch(NamedTuple):
    """Images [lanes, N, channels, height, width] with their classes [lanes, N]."""

    images: Tensor
    labels: Tensor


class Bilevel:
    """A supernet, its α and their loss, for K lanes.

    ``alphas`` is a flat matrix [lanes, numbers] over all kinds of cell in the space's order, ``values`` the
    flat matrix of the supernet's parameters; both are what the updaters move in place. ``precision`` is that
    of the supernet's arithmetic in training and evaluation: passes that are differentiated twice stay as
    they are, for second derivatives drown in bfloat16's rounding. ``compiled`` sends training's other passes
    through torch.compile.
    """

    def __init__(
        self,
        space: Space,
        supernet: Supernet,
        relax: Relaxation,
        generators: Sequence[torch.Generator],
        precision: torch.dtype | None = None,
        compiled: bool = False,
    ) -> None:
        self.space = space
        self.supernet = supernet
        self.precision = precision
        self.fast: Callable[..., Tensor] = torch.compile(supernet) if compiled else supernet
        self.relax = relax
        self.parameters: list[Tensor] = list(supernet.parameters())
        self.names = [name for name, _ in supernet.named_parameters()]
        self.values = flatten([parameter.detach() for parameter in self.parameters])
        self._views = unflatten(self.values, self.parameters)  # see the values, which only move in place
        like = self.parameters[0]
        self.masks: dict[str, Tensor] = {
            group.name: torch.tensor(
                [[column < len(row.options) for column in range(group.width)] for row in group.rows],
                device=like.device,
            )
            for group in space.groups
        }
        self.alphas = self._start(generators).to(like)
        self.noise: list[torch.Generator] = []

    def _start(self, generators: Sequence[torch.Generator]) -> Tensor:
        """Draw α = 1e-3·N(0, 1), each lane from its own generator."""
        numbers = sum(mask.numel() for mask in self.masks.values())
        return torch.stack(
            [1e-3 * torch.randn(numbers, generator=g, dtype=torch.float64) for g in generators]
        )

    @property
    def lanes(self) -> int:
        """How many searches advance together."""
        return len(self.alphas)

    def logits(self, alphas: Tensor) -> dict[str, Tensor]:
        """Cut flat α [lanes, numbers] into logits [lanes, edges, operations] by kind."""
        pieces = torch.split(alphas, [mask.numel() for mask in self.masks.values()], 1)
        return {
            kind: piece.reshape(-1, *mask.shape)
            for (kind, mask), piece in zip(self.masks.items(), pieces, strict=True)
        }

    def weights(self, alphas: Tensor) -> dict[str, Tensor]:
        """Return the architecture weights [lanes, edges, operations] at flat α."""
        return {kind: self.relax(logits, self.masks[kind]) for kind, logits in self.logits(alphas).items()}

    @torch.no_grad()
    def rows(self, lane: int) -> dict[str, list[list[float]]]:
        """Return a lane's weights at its α by kind, each row cut to the options it has."""
        weights = self.weights(self.alphas[lane : lane + 1])
        return {
            group.name: [
                values[: len(row.options)]
                for values, row in zip(weights[group.name][0].tolist(), group.rows, strict=True)
            ]
            for group in self.space.groups
        }

    @torch.no_grad()
    def entropy(self, lane: int) -> dict[str, float]:
        """Return the mean entropy of a lane's rows by kind, in nats."""
        weights = self.weights(self.alphas[lane : lane + 1])
        return {kind: float(torch.special.entr(rows).sum(-1).mean()) for kind, rows in weights.items()}

    def one_hot(self, genotypes: Sequence[Genotype | None]) -> dict[str, Tensor]:
        """Return weights that leave on just what each lane's genotype has chosen, each with weight 1."""
        weights = {kind: torch.zeros_like(rows) for kind, rows in self.logits(self.alphas).items()}
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                continue
            for group, entries in selected(self.space, genotype).items():
                for row, option in entries:
                    weights[group][lane, row, option] = 1
        return weights

    def forward(
        self,
        batch: Batch,
        weights: dict[str, Tensor],
        statistics: Statistics = Statistics.BATCH,
        values: Tensor | None = None,
        twice: bool = False,
        active: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return logits [lanes, N, classes]; ``values`` replaces the supernet's parameters when given.

        ``twice`` prepares the pass for having its gradient differentiated; ``active`` leaves out what it
        marks as of weight 0 (see `Pass`).
        """
        arguments = (batch.images, weights, Pass(statistics, self.noise, twice, active))
        lower = self.precision is not None and not twice
        with torch.autocast(batch.images.device.type, self.precision, enabled=lower):
            if values is None:
                # Evaluations change from epoch to epoch in what they compute: each would be compiled anew.
                forward = self.fast if torch.is_grad_enabled() and not twice else self.supernet
                return forward(*arguments).to(self.values.dtype)
            tensors = dict(zip(self.names, unflatten(values, self.parameters), strict=True))
            logits: Tensor = functional_call(self.supernet, tensors, arguments)
            return logits.to(self.values.dtype)

    def losses(
        self,
        batch: Batch,
        alphas: Tensor,
        values: Tensor | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return each lane's mean cross entropy in nats, [lanes], with the batch's own statistics."""
        logits = self.forward(batch, self.weights(alphas), values=values, twice=twice)
        return cross_entropy(logits, batch.labels)

    def publish(self) -> None:
        """Copy the flat ``values`` into the supernet after an updater has moved them."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self._views)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's mean cross entropy, [lanes], of logits [lanes, N, classes]."""
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's share of images it classifies right, [lanes] in float64."""
    return (logits.argmax(2) == labels).double().mean(1)
