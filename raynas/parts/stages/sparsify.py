"""BayesNAS: automatic relevance determination of operations and edges (Zhou, Yang, Wang, Pan 2019).

Every scale α has a Gaussian prior of mean 0 and variance γ, and so has every edge as a whole. Where the loss
is curved, a small variance costs little; what stays small although its variance is free to grow becomes
irrelevant. Between epochs `Sparsify` learns the variances and the price ω of a scale, in epochs `Relevance`
charges it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import Costs, Draw, Histories, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Penalty, Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.parts.stages.base import strongest
from raynas.spaces.space import Space

_Strength = Annotated[float, Field(gt=0)]


TOGETHER = "sparsify sets the prices that the penalty relevance charges: they go together"


@dataclass(frozen=True)
class Relevance(Penalty):
    """Adds Σ price·|α| over operations and Σ price·‖α‖₂ over edges, at the prices that `Sparsify` has set."""

    use: ClassVar[str] = "relevance"

    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """Charge |α| [lanes, rows, options] and ‖α‖₂ [lanes, rows]; nothing before prices are set."""
        for name, table in policy.layout.tables(flat).items():
            scales = table.masked_fill(~policy.masks[name], 0.0)
            for level, sizes in (("operation", scales.abs()), ("edge", scales.norm(dim=-1))):
                if (price := policy.memory.get(_key("price", level, name))) is not None:
                    losses = losses + (price * sizes).flatten(1).sum(1)
        return losses

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Its prices have to be set."""
        if not isinstance(method.stages, Sparsify):
            yield TOGETHER


@dataclass(frozen=True)
class Sparsify(Stages):
    """Sets variances and prices before every epoch but the first, from the curvature h of the loss in α.

    With C = 1/(1/γ + h/λ) the posterior variance, ω = √|1/γ − C/γ²| and γ ← |α|/ω; the price is λ·ω. An
    operation's variance is then joined with that of its edge, 1/(1/γ + 1/γ of the edge). ``strength`` is λ of
    operations, ``edge_strength`` that of edges. Variances start uniform in (0, 1).

    The arithmetic is that of the code (BayesNAS/BayesNAS f55a71c, search/Algorithm.py), with what differs
    around it: there every cell and every edge has scales of its own, an edge's multiplying what it reads, and
    the variances are learned once, after one epoch of the weights on a tenth of the images and one of weights
    and scales at random prices on the rest. Here the cells of a kind share α, an edge's scale is the norm of
    its operations', and variances and prices are learned before every epoch, as the paper iterates; nothing
    is charged before. Negative curvature counts as none, and a scale whose price is 0 keeps its variance.
    The rule for what is irrelevant could not be found (in the code cells are picked by hand): an operation
    dies when its variance falls below ``least``, but the best one of as many edges as a node keeps stays.
    That is assumed.
    """

    use: ClassVar[str] = "sparsify"
    version: ClassVar[int] = 2
    strength: _Strength = 0.01
    edge_strength: _Strength = 0.005
    least: _Strength = 1e-3

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Learn the variances of the first epoch from chance, and all others from the curvature."""
        if not policy.progress.epoch:
            for name, mask in policy.masks.items():
                for level, like in (
                    ("operation", mask.to(policy.alphas)),
                    ("edge", mask.any(-1).to(policy.alphas)),
                ):
                    policy.memory[_key("variance", level, name)] = policy.dice.uniform(like)
            return None
        scales = policy.layout.tables(policy.alphas)
        bends = policy.layout.tables(looks.bends().clamp_min(0).to(policy.alphas))
        return {name: self._learn(policy, name, scales[name], bends[name]) for name in scales}

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It learns variances of scales, and its prices have to be charged."""
        if not any(isinstance(each, Relevance) for each in method.penalties):
            yield TOGETHER
        if not (method.relaxation.identity and method.store.entrywise and not method.sampler.random):
            yield (
                "sparsify learns variances of scales: it needs a table, the relaxation scales and the "
                "sampler mean"
            )

    def _learn(self, policy: PolicyView, name: str, scales: Tensor, bend: Tensor) -> Tensor:
        """Set a group's variances and prices; return what stays alive."""
        memory, mask = policy.memory, policy.masks[name]
        own, edge = (_key("variance", level, name) for level in ("operation", "edge"))
        price = _price(memory[own], bend.masked_fill(~mask, 0.0), self.strength)
        edge_bend = bend.masked_fill(~mask, 0.0).sum(-1)
        edge_price = _price(memory[edge], edge_bend, self.edge_strength)
        memory[edge] = _variance(scales.masked_fill(~mask, 0.0).norm(dim=-1), edge_price, memory[edge])
        alone = _variance(scales.abs(), price, memory[own])
        joint = 1 / (1 / alone + 1 / memory[edge].unsqueeze(-1))
        memory[own] = torch.where(price > 0, joint, memory[own])
        memory[_key("price", "operation", name)] = self.strength * price
        memory[_key("price", "edge", name)] = self.edge_strength * edge_price
        left = memory[own].masked_fill(~mask, 0.0)
        return (mask & (left >= self.least)).cpu() | _spared(policy, name, left.cpu())


def _key(what: str, level: str, group: str) -> str:
    return f"relevance {what}/{level}/{group}"


def _price(variance: Tensor, bend: Tensor, strength: float) -> Tensor:
    """Return ω = √(1/γ − C/γ²) in a form that cancels nothing: √(q/(1 + γ·q)) with q = h/λ."""
    ratio = bend / strength
    return (ratio / (1 + variance * ratio)).sqrt()


def _variance(size: Tensor, price: Tensor, before: Tensor) -> Tensor:
    """Return γ = size/ω, never quite 0; where nothing is charged it stays."""
    found = (size / torch.where(price > 0, price, 1.0)).clamp_min(torch.finfo(size.dtype).tiny ** 0.5)
    return torch.where(price > 0, found, before)


def _spared(policy: PolicyView, name: str, joint: Tensor) -> Tensor:
    """Mark the most relevant option of as many rows as each node keeps, [lanes, rows, options]."""
    best = strongest(joint, policy.alive[name], 1)
    nodes = policy.layout.nodes[name]
    if nodes is None:
        return best
    cell = policy.space.cell(name)
    strengths = joint.amax(-1)
    for node in dict.fromkeys(nodes):
        rows = torch.tensor([row for row, target in enumerate(nodes) if target == node])
        order = rows[strengths[:, rows].argsort(dim=1, descending=True, stable=True)]
        for lane, dropped in enumerate(order[:, policy.space.kept(cell, node) :]):
            best[lane, dropped] = False
    return best
