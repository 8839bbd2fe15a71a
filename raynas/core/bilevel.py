"""The bilevel problem of one pack of searches: its two sets of variables and its loss as a function of both.

The upper level chooses α on the validation half, the lower level trains the weights on the training half
(Liu et al. 2019, eq. 3 and 4). Everything an estimator, the curvature or a selection needs is the loss at
given weights and given α; this is the one place that computes it.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

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
    flat matrix of the supernet's parameters; both are what the updaters move in place.
    """

    def __init__(
        self, space: Space, supernet: Supernet, relax: Relaxation, generators: Sequence[torch.Generator]
    ) -> None:
        self.space = space
        self.supernet = supernet
        self.relax = relax
        self.parameters: list[Tensor] = list(supernet.parameters())
        self.names = [name for name, _ in supernet.named_parameters()]
        self.values = flatten([parameter.detach() for parameter in self.parameters])
        like = self.parameters[0]
        self.masks: dict[str, Tensor] = {
            cell.kind: torch.tensor(
                [[column < len(edge.ops) for column in range(cell.width)] for edge in cell.edges],
                device=like.device,
            )
            for cell in space.cells
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

    def one_hot(self, genotypes: Sequence[Genotype | None]) -> dict[str, Tensor]:
        """Return weights that leave on just what each lane's genotype has chosen, each with weight 1."""
        weights = {kind: torch.zeros_like(rows) for kind, rows in self.logits(self.alphas).items()}
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                continue
            for cell in self.space.cells:
                rows = {(edge.source, edge.target): row for row, edge in enumerate(cell.edges)}
                for choice in genotype.cell(cell.kind):
                    row = rows[choice.source, choice.target]
                    weights[cell.kind][lane, row, cell.edges[row].ops.index(choice.op)] = 1
        return weights

    def forward(
        self,
        batch: Batch,
        weights: dict[str, Tensor],
        statistics: Statistics = Statistics.BATCH,
        values: Tensor | None = None,
        twice: bool = False,
    ) -> Tensor:
        """Return logits [lanes, N, classes]; ``values`` replaces the supernet's parameters when given.

        ``twice`` prepares the pass for having its gradient differentiated.
        """
        arguments = (batch.images, weights, Pass(statistics, self.noise, twice))
        if values is None:
            return self.supernet(*arguments)  # type: ignore[no-any-return]
        tensors = dict(zip(self.names, unflatten(values, self.parameters), strict=True))
        return functional_call(self.supernet, tensors, arguments)  # type: ignore[no-any-return]

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
            torch._foreach_copy_(self.parameters, unflatten(self.values, self.parameters))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's mean cross entropy, [lanes], of logits [lanes, N, classes]."""
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)
