"""Samplers of single cells: what a step computes is one operation per edge, drawn or projected.

A score-function sample is ``hard·(1 + log p − sg(log p))`` (sg stops the gradient), a straight-through one
``hard + p − sg(p)``: both have the value of the hard sample, so every estimator works with every sampler.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from raynas.bilevel.exchange import AttackedLoss, Draw, Tables, Validated
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Sampler
from raynas.bilevel.views import PolicyView
from raynas.nets.fan import active
from raynas.parts.samplers import CHOICE, Execute, Executing, one_hot, safe_log, straight_through
from raynas.spaces import skeletons
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space


@dataclass(frozen=True)
class Categorical(Sampler):
    """One operation a row, drawn with the relaxed weights as probabilities.

    ``gradient`` says what α learns from it: ``score`` is DSNAS' local credit ⟨∂L/∂Z, Z⟩·∇log p (Hu et al.
    2020), with only the chosen operations computed; ``straight-through`` computes all and hands their
    gradients to p (ProxylessNAS, mode full); ``none`` leaves α to an objective that weighs whole draws.
    """

    use: ClassVar[str] = "categorical"
    random: ClassVar[bool] = True
    version: ClassVar[int] = 2
    validated: ClassVar[Validated] = "cells"
    gradient: Literal["score", "straight-through", "none"] = "none"

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return self.gradient == "straight-through"

    @property
    def leaves_alpha(self) -> bool:
        """Whether α learns nothing through a draw."""
        return self.gradient == "none"

    @property
    def waits(self) -> str:
        """Why a step with it waits for a GPU; empty when it does not."""
        return "" if self.gradient == "straight-through" else CHOICE

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw by the largest of log p + Gumbel noise, [lanes, rows, options]; p = 0 is never drawn."""
        tables: Tables = {}
        for name, weights in policy.relax(flat).items():
            mask = policy.masks[name] & (weights > 0)
            hard = one_hot(safe_log(weights.detach()) + policy.dice.gumbel(weights), mask)
            if self.gradient == "straight-through":
                hard = straight_through(hard, weights)
            elif self.gradient == "score":
                hard = hard * (1 + (safe_log(weights) - safe_log(weights).detach()))
            tables[name] = hard
        return Draw(tables, None if self.gradient == "straight-through" else active(tables))


@dataclass(frozen=True)
class Pair(Sampler):
    """ProxylessNAS, mode two: two operations per row are drawn without replacement, one is switched on.

    Their probabilities are divided by their sum; α learns from both outputs, as if the pair were all there
    is (Cai et al. 2019, section 3.2.1). What was not drawn gets no gradient, from penalties neither: they
    charge the pair's probabilities. Where zeros (`none`, `zero`) are switched on, the row learns nothing in
    this step, as in the authors' code; Adam counts it as a step with gradient 0 there, which the code does
    not.
    """

    use: ClassVar[str] = "pair"
    version: ClassVar[int] = 2
    waits = CHOICE
    random: ClassVar[bool] = True
    validated: ClassVar[Validated] = "cells"

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return False

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Take the two largest of log p + Gumbel noise [lanes, rows, options]: a draw without replacement."""
        tables: Tables = {}
        pairs: Tables = {}
        probabilities: Tables = {}
        logits = policy.layout.tables(flat)
        for name, weights in policy.relax(flat.detach()).items():
            mask = policy.masks[name] & (weights > 0)
            scores = safe_log(weights) + policy.dice.gumbel(weights)
            first = one_hot(scores, mask)
            second = one_hot(scores, mask & (first == 0))
            pair = (first + second) > 0
            # Not the weights divided by their sum: round-off would leave tiny gradients outside the pair, and
            # Adam would make whole steps of them.
            shared = policy.relaxation(logits[name], pair)
            hard = one_hot(safe_log(shared.detach()) + policy.dice.gumbel(weights), pair)
            rests = (hard * _zeros(policy, name).to(hard)).sum(-1, keepdim=True) > 0
            probabilities[name] = torch.where(rests, shared.detach(), shared)
            tables[name] = straight_through(hard, probabilities[name])
            pairs[name] = pair
        return Draw(tables, pairs, shares=probabilities)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """A row of one option has no pair."""
        if space is None:
            return
        options = (
            set(row.options) - set(method.without) for group in skeletons.groups(space) for row in group.rows
        )
        if any(len(each) < 2 for each in options):
            yield f"pair needs two options everywhere ({space.name})"


def _zeros(policy: PolicyView, name: str) -> Tensor:
    """Mark the options [rows, options] of a group that give nothing but zeros."""
    rows, width = policy.layout.options[name], policy.layout.shapes[name][1]
    zeros = {op for op, about in OPERATIONS.items() if about.family == "none"}
    return torch.tensor(
        [[column < len(row) and row[column] in zeros for column in range(width)] for row in rows]
    )


@dataclass(frozen=True)
class Projection(Executing):
    """NASP: one operation per edge, the best edges of each node, everything else exactly 0 (Yao et al. 2020).

    The gradient at the projected point is handed to α unchanged. Ties go to the lowest index. ``execute:
    all`` computes every operation, so that every one gets its gradient (α-steps); ``chosen`` only what is
    left on.
    """

    use: ClassVar[str] = "projection"
    keeps_edges: ClassVar[bool] = True
    random: ClassVar[bool] = False
    version: ClassVar[int] = 2
    validated: ClassVar[Validated] = "cells"
    execute: Execute = "all"

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return False

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Project each group's relaxed weights [lanes, rows, options]."""
        tables: Tables = {}
        for name, weights in policy.relax(flat).items():
            hard = one_hot(weights.detach(), policy.masks[name])
            kept = best_rows(policy, name, weights.detach().masked_fill(hard == 0, -float("inf")).amax(-1))
            tables[name] = straight_through(hard.masked_fill(~kept.unsqueeze(-1), 0.0), weights)
        return Draw(tables, active(tables) if self.execute == "chosen" else None)


def best_rows(policy: PolicyView, name: str, strengths: Tensor) -> Tensor:
    """Mark, for every node, the rows [lanes, rows] of as many edges as it keeps, strongest first."""
    kept = torch.zeros_like(strengths, dtype=torch.bool)
    nodes = policy.layout.nodes[name]
    if nodes is None:
        return ~kept
    cell = policy.space.cell(name)
    for node in dict.fromkeys(nodes):
        rows = [row for row, target in enumerate(nodes) if target == node]
        order = strengths[:, rows].argsort(dim=1, descending=True, stable=True)
        best = torch.tensor(rows, device=order.device)[order[:, : policy.space.kept(cell, node)]]
        kept.scatter_(1, best, True)
    return kept
