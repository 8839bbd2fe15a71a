"""Samplers: what a step multiplies in, the mean weights or a random draw that can be differentiated in α.

How a draw's gradient comes about is part of the draw. A straight-through sample is ``hard + p − sg(p)`` and a
score-function one ``hard·(1 + log p − sg(log p))`` (sg stops the gradient): both have the value of the hard
sample, so every estimator works with every sampler.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd import Function

from raynas.bilevel.exchange import AttackedLoss, Draw, Tables, Validated
from raynas.bilevel.part import Composition
from raynas.bilevel.settings import Positive, number
from raynas.bilevel.slots import Sampler
from raynas.bilevel.views import PolicyView
from raynas.nets.fan import active
from raynas.parts.relaxations import concentration, masked_softmax
from raynas.spaces import skeletons
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space

Execute = Literal["all", "chosen"]

CHOICE = "which operations to compute is drawn from α, which lies on the GPU, and launched by the host"
"""Why a step waits for a GPU that computes the chosen operations alone: once per pass."""

SMALLEST = 1e-12
"""Least weight of a Dirichlet draw, whose gradient has a pole at 0."""


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """Return exactly the value of ``hard`` [...] with the gradient of ``soft`` [...]."""
    # In this order: (hard + soft) − soft rounds, and a chosen weight of .9999999 would no longer be 1.
    return hard + (soft - soft.detach())


def one_hot(scores: Tensor, mask: Tensor) -> Tensor:
    """Mark the largest allowed entry of [..., options]: ties go to the lowest index, without any all is 0."""
    best = scores.masked_fill(~mask, -float("inf")).argmax(-1, keepdim=True)
    return torch.zeros_like(scores).scatter(-1, best, 1.0).masked_fill(~mask, 0.0)


def safe_log(weights: Tensor) -> Tensor:
    """Return the logarithm [...], finite also at 0."""
    return weights.clamp_min(torch.finfo(weights.dtype).tiny).log()


@dataclass(frozen=True)
class Mean(Sampler):
    """No chance: the relaxed weights. ``execute: chosen`` leaves out of the computation what has weight 0."""

    use: ClassVar[str] = "mean"
    random: ClassVar[bool] = False
    execute: Execute = "all"

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return self.execute == "all"

    @property
    def leaves_out(self) -> bool:
        """Whether the chosen operations alone are computed."""
        return self.execute == "chosen"

    @property
    def waits(self) -> str:
        """Why a step with it waits for a GPU; empty when it does not."""
        return CHOICE if self.execute == "chosen" else ""

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Return the relaxation [lanes, rows, options] at these logits."""
        weights = policy.relax(flat)
        return Draw(weights, active(weights) if self.execute == "chosen" else None)


@dataclass(frozen=True)
class Gaussian(Sampler):
    """VIM-NAS: noise on the logits before they are relaxed, logits + std·ξ with ξ ~ N(0, 1).

    ``learned`` makes it logits·(1 + √a·ξ) with one learned log a per row, as variational dropout does
    (ablation -D; the exact form is not published and assumed).
    """

    use: ClassVar[str] = "gaussian"
    random: ClassVar[bool] = True
    version: ClassVar[int] = 2
    std: Annotated[float, Field(ge=0)] = 1.0
    learned: bool = False

    @property
    def extras(self) -> tuple[str, ...]:
        """The numbers it learns, one per row."""
        return ("log variance",) if self.learned else ()

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw fresh noise for every entry [lanes, rows, options]."""
        logits = flat[:, : policy.layout.entries]
        noise = self.std * policy.dice.normal(logits)
        if self.learned:
            deviations = [
                (rows / 2).exp().repeat_interleave(policy.layout.shapes[name][1], 1)
                for name, rows in policy.layout.column(flat, "log variance").items()
            ]
            noise = noise * torch.cat(deviations, 1) * logits
        return Draw(policy.relax(logits + noise))


@dataclass(frozen=True)
class Gumbel(Sampler):
    """The concrete distribution: softmax((log p + G)/temperature) with standard Gumbel G.

    Soft as in SNAS (Xie et al. 2019), or ``hard``: one-hot with the soft sample's gradient (GDAS, Dong &
    Yang 2019). Several ``samples`` are joined by their element-wise maximum and divided by their sum (DATA,
    Chang et al. 2019); an option that two of them have chosen, or none, has the mean of their gradients,
    where DATA's code takes that of one: the same on average, with less noise. ``execute: chosen`` computes
    the chosen operations alone; the others contribute their (vanishing) weight itself instead of their
    output, which gives every logit a gradient of its own. So does GDAS' code on NAS-Bench-201; in the DARTS
    space it drops them, and α learns through the chosen operation's weight alone (D-X-Y/AutoDL-Projects
    f46486e, xautodl/models/cell_searchs/search_cells.py:72-86 and 180-181).
    """

    use: ClassVar[str] = "gumbel"
    random: ClassVar[bool] = True
    version: ClassVar[int] = 2
    validated: ClassVar[Validated] = "cells"
    temperature: Positive = 1.0
    hard: bool = False
    samples: Annotated[int, Field(ge=1)] = 1
    execute: Execute = "all"

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return self.execute == "all"

    @property
    def leaves_out(self) -> bool:
        """Whether the chosen operations alone are computed."""
        return self.execute == "chosen"

    @property
    def waits(self) -> str:
        """Why a step with it waits for a GPU; empty when it does not."""
        return CHOICE if self.execute == "chosen" else ""

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw fresh Gumbel noise for every entry [lanes, rows, options] and sample."""
        tables = {
            name: self._sample(policy, weights, policy.masks[name])
            for name, weights in policy.relax(flat).items()
        }
        if self.execute == "all":
            return Draw(tables)
        chosen = {name: weights.detach() > 0 for name, weights in tables.items()}
        # States that are read need no computation: their weights stay, and with them their gradients.
        operations = {
            group.name: tables[group.name] for group in skeletons.groups(policy.space) if group.operations
        }
        left = {name: weights.masked_fill(~chosen[name], 0.0) for name, weights in operations.items()}
        offsets = {name: w.masked_fill(chosen[name], 0.0).sum(-1) for name, w in operations.items()}
        return Draw({**tables, **left}, chosen, offsets)

    def _sample(self, policy: PolicyView, weights: Tensor, mask: Tensor) -> Tensor:
        drawn = []
        for _ in range(self.samples):
            scores = (safe_log(weights) + policy.dice.gumbel(weights)) / number(self.temperature)
            soft = masked_softmax(scores, mask)
            drawn.append(straight_through(one_hot(soft, mask), soft) if self.hard else soft)
        if self.samples == 1:
            return drawn[0]
        joined = torch.stack(drawn).amax(0)
        return joined / torch.where(mask.any(-1, keepdim=True), joined.sum(-1, keepdim=True), 1.0)


class _Dirichlet(Function):
    """A Dirichlet draw with its pathwise gradient, dA_i/dβ_j through the marginal Beta distributions.

    Only what ``considered`` marks takes part: the draw of more is cut to a draw of that.
    """

    @staticmethod
    def forward(ctx, drawn: Tensor, beta: Tensor, considered: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        cut = drawn.masked_fill(~considered, 0.0)
        draw = cut / cut.sum(-1, keepdim=True)
        ctx.save_for_backward(draw, beta, considered)
        return draw

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, Tensor, None]:  # type: ignore[no-untyped-def]
        draw, beta, considered = ctx.saved_tensors
        total = beta.masked_fill(~considered, 0.0).sum(-1, keepdim=True).expand_as(beta)
        slope = torch._dirichlet_grad(draw.clamp_min(SMALLEST), beta, total).masked_fill(~considered, 0.0)
        return None, slope * (gradient - (draw * gradient).sum(-1, keepdim=True)), None


@dataclass(frozen=True)
class Dirichlet(Sampler):
    """DrNAS: each row is a Dirichlet draw with concentrations elu(α) + 1 (Chen et al. 2021).

    What has been pruned has concentration 1, is set to 0 in the draw and the row divided by its sum, as in
    the authors' code: a draw from the Dirichlet of the rest. What the method never considers takes no part.
    """

    use: ClassVar[str] = "dirichlet"
    dirichlet: ClassVar[bool] = True
    version: ClassVar[int] = 2
    waits = "PyTorch draws Dirichlet samples with a generator on the CPU, from α there"
    random: ClassVar[bool] = True

    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """Draw fresh weights [lanes, rows, options], row by row."""
        tables = policy.layout.tables(flat).items()
        return Draw({name: self._sample(policy, name, logits) for name, logits in tables})

    def _sample(self, policy: PolicyView, name: str, logits: Tensor) -> Tensor:
        mask = policy.masks[name]
        considered = policy.layout.alive[name].to(mask.device).expand_as(mask)
        beta = torch.where(mask, concentration(logits), 1.0)
        lanes = zip(policy.dice.generators, beta.detach().double().cpu(), strict=True)
        drawn = torch.stack([torch._sample_dirichlet(rows, generator=g) for g, rows in lanes])
        sample: Tensor = _Dirichlet.apply(drawn.to(logits).clamp_min(SMALLEST), beta, considered)
        alive = sample.masked_fill(~mask, 0.0)
        return alive / torch.where(mask.any(-1, keepdim=True), alive.sum(-1, keepdim=True), 1.0)


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
class Projection(Sampler):
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

    @property
    def leaves_out(self) -> bool:
        """Whether the chosen operations alone are computed."""
        return self.execute == "chosen"

    @property
    def waits(self) -> str:
        """Why a step with it waits for a GPU; empty when it does not."""
        return CHOICE if self.execute == "chosen" else ""

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
