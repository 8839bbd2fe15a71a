"""Modifiers: what else an edge does with its weights.

A modifier may weigh whole edges of a draw (``weigh``, with the numbers it learns in ``extras``), ask for a
supernet that is built differently (``build``), and set fields of every training pass (``run``, with the
numbers of the epoch), or of ``every`` pass. What it does not say stays as it is.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field, InstanceOf
from torch import Tensor

from raynas.bilevel.policy import Draw, Policy, Tables
from raynas.bilevel.progress import Chance, Schedule, Value, number
from raynas.parts.schedules import Linear

FADING = Linear(1.0, 0.0, reach=False)
"""From 1 in the first epoch to 0 in the one that would follow the last."""
RISING = Linear(0.0, 1.0)
"""From 0 in the first epoch to 1 in the last."""


class Modifier:
    """A modifier that changes nothing; its kinds say what they change."""

    extras: ClassVar[tuple[str, ...]] = ()
    every: ClassVar[bool] = False

    def weigh(self, draw: Draw, policy: Policy, flat: Tensor) -> Draw:
        """Return the draw with its edges weighed."""
        return draw

    def build(self) -> dict[str, int]:
        """Return what the supernet is built with, by the names of `Supernet`'s arguments."""
        return {}

    def run(self) -> dict[str, float]:
        """Return what training passes (with ``every``: all) run with, by the names of `Pass`' fields."""
        return {}

    def cutout(self) -> float:
        """Return the chance with which a training image gets the data's cutout."""
        return 1.0


@dataclass(frozen=True)
class EdgeNormalisation(Modifier):
    """PC-DARTS: one more logit an edge; a node weighs its edges by their softmax (Xu et al. 2020, eq. 3).

    Edges without a live operation take no part. Channels that by-pass the operations are weighed alike.
    """

    extras: ClassVar[tuple[str, ...]] = ("edge",)

    def weigh(self, draw: Draw, policy: Policy, flat: Tensor) -> Draw:
        """Multiply each row's weights by its edge's share; rows that are no edges stay as they are."""
        logits = policy.layout.column(flat, "edge")
        shares: Tables = {
            name: self._shares(rows, policy.masks[name].any(-1), policy.layout.nodes[name])
            for name, rows in logits.items()
        }
        weights = {name: rows * shares[name].unsqueeze(-1) for name, rows in draw.weights.items()}
        return draw._replace(weights=weights, carry=shares)

    def _shares(self, logits: Tensor, alive: Tensor, nodes: tuple[int, ...] | None) -> Tensor:
        if nodes is None:
            return torch.ones_like(logits)
        counts = [nodes.count(node) for node in dict.fromkeys(nodes)]
        pieces = zip(torch.split(logits, counts, 1), torch.split(alive, counts, 1), strict=True)
        shares = [
            edges.masked_fill(~live & live.any(1, keepdim=True), -float("inf")).softmax(1)
            for edges, live in pieces
        ]
        return torch.cat(shares, 1).masked_fill(~alive, 0.0)


@dataclass(frozen=True)
class PartialChannels(Modifier):
    """PC-DARTS: operations see the first 1/``k`` of the channels, the rest by-passes them (Xu et al. 2020).

    ``k`` has to divide the supernet's channels; 1 is the plain supernet.
    """

    k: Annotated[int, Field(ge=1)] = 4

    def build(self) -> dict[str, int]:
        """Ask for partial channels."""
        return {"partial": self.k}


@dataclass(frozen=True)
class DropPath(Modifier):
    """Drops what an edge gives, image by image, with a chance; what stays is scaled up to the same mean.

    SNAS trains with a chance of 0.3 (Xie et al. 2019), R-DARTS with one that grows from 0 (Zela et al. 2020).
    """

    probability: Chance = 0.3

    def run(self) -> dict[str, float]:
        """Give the chance of this epoch."""
        return {"drop_path": number(self.probability)}


@dataclass(frozen=True)
class CutoutChance(Modifier):
    """R-DARTS (DP): the cutout that `data.cutout` asks for strikes an image with a chance only.

    In the code of Zela et al. 2020 it grows with that of drop path, from 0 to 1 in the last epoch. Without
    `data.cutout` this changes nothing.
    """

    chance: Annotated[float, Field(ge=0, le=1)] | InstanceOf[Schedule] = RISING

    def cutout(self) -> float:
        """Give the chance of this epoch."""
        return number(self.chance)


@dataclass(frozen=True)
class SkipDropout(Modifier):
    """P-DARTS: dropout, entry by entry, on skip connections at stride 1 (Chen et al. 2019, section 3.3)."""

    rate: Chance = 0.4

    def run(self) -> dict[str, float]:
        """Give the rate of this epoch."""
        return {"skip_dropout": number(self.rate)}


@dataclass(frozen=True)
class AuxiliarySkip(Modifier):
    """DARTS-: one more skip on every edge, scaled by β, which falls to 0 (Chu et al. 2021, section 3.3).

    It is part of the supernet in every pass, validation and curvature included, as in the authors' code; a
    derived cell has none, so it is evaluated without.
    """

    every: ClassVar[bool] = True
    version: ClassVar[int] = 2
    beta: Value = FADING

    def build(self) -> dict[str, int]:
        """Ask for auxiliary skips."""
        return {"auxiliary": True}

    def run(self) -> dict[str, float]:
        """Give β of this epoch."""
        return {"auxiliary": number(self.beta)}
