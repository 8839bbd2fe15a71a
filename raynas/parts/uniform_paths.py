"""The sampler that asks α nothing: every path through the supernet is as likely as any other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from raynas.bilevel.exchange import AttackedLoss, Draw, Tables, Validated
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Sampler
from raynas.bilevel.views import PolicyView
from raynas.nets.fan import active
from raynas.parts.cell_samplers import best_rows
from raynas.parts.samplers import CHOICE, one_hot
from raynas.spaces.space import Space


@dataclass(frozen=True)
class UniformPaths(Sampler):
    """RSPS: every operation as likely as any other, on as many random edges of each node as it keeps.

    The rest is 0 and is not computed; α has no say. Operations that no cell may have (`none`) are drawn as
    well, as the authors' code does for images (Li, Talwalkar 2019; liamcli/randomNAS_release 6513a0a,
    benchmarks/cnn/darts/darts_wrapper_discrete.py); `without` leaves them out.
    """

    use: ClassVar[str] = "uniform-paths"
    keeps_edges: ClassVar[bool] = True
    random: ClassVar[bool] = True
    validated: ClassVar[Validated] = "cells"
    trains_all: ClassVar[bool] = False
    waits: ClassVar[str] = CHOICE

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw one operation of each row among the alive, and each node's edges, [lanes, rows, options]."""
        tables: Tables = {}
        for name, logits in policy.layout.tables(flat).items():
            mask = policy.masks[name]
            hard = one_hot(policy.dice.gumbel(logits), mask)
            ranks = policy.dice.uniform(logits[..., 0])
            kept = best_rows(policy, name, ranks.masked_fill(~mask.any(-1), -float("inf")))
            tables[name] = hard.masked_fill(~kept.unsqueeze(-1), 0.0)
        return Draw(tables, active(tables))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It teaches α nothing."""
        if method.estimator is not None or method.order == "joint":
            yield "uniform-paths asks α nothing, so α would learn nothing: `estimator: null`"
