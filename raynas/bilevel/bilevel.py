"""The bilevel problem of one pack of searches: its two sets of variables and its loss as a function of both.

The upper level chooses α on the validation half, the lower level trains the weights on the training half
(Liu et al. 2019, eq. 3 and 4). Everything an estimator, the curvature or a selection needs is the loss at
given weights and given α; this is the one place that computes it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function, grad
from torch.func import functional_call

from raynas.bilevel.exchange import AttackedLoss, Draw, Outcome, Score, Tables
from raynas.bilevel.policy import Policy
from raynas.bilevel.progress import Progress
from raynas.bilevel.settings import now
from raynas.bilevel.slots import Objective, Penalty, Sampler, WeightPenalty
from raynas.data.batch import Batch
from raynas.nets.ops.flat import flatten, unflatten
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernets.recurrent import AnySupernet
from raynas.spaces.space import Space


class Bilevel:
    """A supernet, its policy and their losses, for K lanes.

    ``values`` is the flat matrix [lanes, numbers] of the supernet's parameters, α the policy's; both are what
    the updaters move in place. The parts say what a step multiplies in and what becomes of several draws.
    ``precision`` is that of the supernet's arithmetic in training and evaluation: passes that are
    differentiated twice stay as they are, for second derivatives drown in bfloat16's rounding. ``compiled``
    sends training's other passes through torch.compile.
    """

    def __init__(
        self,
        space: Space,
        supernet: AnySupernet,
        policy: Policy,
        precision: torch.dtype | None = None,
        compiled: bool = False,
        *,
        objective: Objective,
        weight_sampler: Sampler | None = None,
        penalties: Sequence[Penalty] = (),
        weight_penalties: Sequence[WeightPenalty] = (),
    ) -> None:
        self.space = space
        self.policy = policy
        self.precision = precision
        self.objective = objective
        self._compiled, self._scheduled = compiled, (weight_sampler, tuple(penalties))
        self._of_weights = tuple(weight_penalties)
        self.begin(policy.progress)
        self.use_supernet(supernet)
        self.noise: list[torch.Generator] = []
        self.drops: list[torch.Generator] = []

    def use_supernet(self, supernet: AnySupernet) -> None:
        """Take a supernet in, in place of the one before."""
        self.supernet = supernet
        self.fast: Callable[..., Tensor] = torch.compile(supernet) if self._compiled else supernet
        self.parameters: list[Tensor] = list(supernet.parameters())
        self.names = [name for name, _ in supernet.named_parameters()]
        self.values = flatten([parameter.detach() for parameter in self.parameters])
        self._views = unflatten(self.values, self.parameters)  # see the values, which only move in place
        self._costs = [penalty.costs(self.space, supernet) for penalty in self._scheduled[1]]

    def begin(self, progress: Progress) -> None:
        """Start an epoch: every schedule takes its value of this epoch."""
        self.policy.begin(progress)
        sampler, penalties = self._scheduled
        self.weight_sampler = now(sampler, progress)
        self.penalties = tuple(now(penalty, progress) for penalty in penalties)
        self.weight_penalties = tuple(now(penalty, progress) for penalty in self._of_weights)

    @property
    def alphas(self) -> Tensor:
        """Flat α [lanes, numbers] over all groups in the space's order."""
        return self.policy.alphas

    @property
    def lanes(self) -> int:
        """How many searches advance together."""
        return len(self.alphas)

    def forward(
        self,
        batch: Batch,
        draw: Draw,
        statistics: Statistics = Statistics.BATCH,
        values: Tensor | None = None,
        twice: bool = False,
        training: bool = False,
    ) -> Tensor:
        """Return logits [lanes, N, (T,) classes]; ``values`` replaces the supernet's parameters when given.

        ``twice`` prepares the pass for having its gradient differentiated. What modifiers add to passes is
        left out where derived cells are ``alone``, and outside ``training`` unless it is for ``every`` pass.
        """
        run = Pass(
            statistics, self.noise, twice, draw.active, draw.offsets, draw.carry, carried=batch.carried
        )
        if not draw.alone:
            there = [each for each in self.policy.modifiers if training or each.every]
            fields = {name: value for each in there for name, value in each.run().given().items()}
            run = replace(run, drops=self.drops, **fields)
        arguments = (batch.images, draw.weights, run)
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
        """Return each lane's α-step's loss in nats, [lanes], with the batch's own statistics."""
        return self.outcome(batch, alphas, Statistics.BATCH, values, twice).losses

    def outcome(
        self,
        batch: Batch,
        alphas: Tensor,
        statistics: Statistics,
        values: Tensor | None = None,
        twice: bool = False,
    ) -> Outcome:
        """Return what the objective makes of draws at flat α [lanes, numbers], penalties included."""
        draws: list[Draw] = []

        def draw() -> Draw:
            draws.append(self.policy.draw(alphas))
            return draws[-1]

        flat = self.policy.logits(alphas)
        score = self._scorer(batch, statistics, values, twice)
        losses, logits = self.objective(self.policy, flat, draw, score)
        for penalty, costs in zip(self.penalties, self._costs, strict=True):
            losses = penalty(losses, self.policy, flat, draws[0], costs)
        return Outcome(losses, logits)

    def weight_loss(self, batch: Batch) -> Outcome:
        """Return the weight step's outcome: its own sampler, α as it is, running statistics moved."""
        alphas = self.alphas.detach()
        # Handed to every weight sampler; just SDARTS-ADV's looks at it, and then it costs passes.
        attack = self._attacked(batch)
        score = self._scorer(batch, Statistics.UPDATE)
        return self.objective(
            self.policy,
            self.policy.logits(alphas),
            lambda: self.policy.draw(alphas, self.weight_sampler, attack),
            score,
        )

    def total(self, losses: Tensor, batch: Batch) -> Tensor:
        """Return the sum of a weight step's losses [lanes] and of terms that its pass left with the batch."""
        terms = [] if batch.carried is None else batch.carried.terms
        return sum((term.sum() for term in terms), losses.sum())

    def penalised(self, gradient: Tensor, values: Tensor) -> Tensor:
        """Return a training loss' gradient [lanes, weights] at flat weights with that of their penalties."""
        if not self.weight_penalties:
            return gradient
        flat = values.detach().requires_grad_()
        weights = dict(zip(self.names, unflatten(flat, self.parameters), strict=True))
        terms = [penalty(weights).sum() for penalty in self.weight_penalties]
        return gradient + grad(torch.stack(terms).sum(), flat)[0]

    def loss_at_logits(self, batch: Batch, flat: Tensor) -> Tensor:
        """Return each lane's loss [lanes] at given logits, without chance, ready to be differentiated twice.

        The weights enter as plain numbers, so that no derivative in them is computed.
        """
        logits = self.forward(batch, self.policy.mean(flat), values=self.values, twice=True)
        return cross_entropy(logits, batch.labels)

    def mean(self) -> Draw:
        """Return what the policy stands for without chance, as plain numbers."""
        with torch.no_grad():
            return self.policy.mean(self.policy.logits(self.alphas))

    def validation(self) -> tuple[Sampler | None, Statistics]:
        """Return the sampler whose cells are validated, None for the mixture, and under which statistics.

        The running statistics belong to what the weight steps ran: they are right for a mixture only where
        these ran that very mixture. Everything else has the batch's own.
        """
        sampler, of_weights = self.policy.sampler, self.weight_sampler
        if sampler.validated == "cells":
            # Validated are the cells that the weights were trained for, where these have a sampler of their
            # own.
            trained = of_weights is not None and of_weights.validated == "cells"
            return of_weights if trained else sampler, Statistics.BATCH
        same = not sampler.random and of_weights in (None, sampler)
        return None, Statistics.RUNNING if same else Statistics.BATCH

    def _scorer(
        self, batch: Batch, statistics: Statistics, values: Tensor | None = None, twice: bool = False
    ) -> Score:
        def score(draw: Draw) -> Outcome:
            logits = self.forward(batch, draw, statistics, values, twice, training=True)
            return Outcome(cross_entropy(logits, batch.labels), logits)

        def score_apart(draw: Draw) -> Outcome:
            if _learned(draw):
                return score(draw)
            # Just the steps that move the weights move the statistics; α needs nothing but the losses.
            if statistics is Statistics.UPDATE and torch.is_grad_enabled():
                return Outcome(*_AtOnce.apply(lambda: score(draw), *self.parameters))
            with torch.no_grad():
                return score(draw)

        return score_apart if self.objective.apart and not twice else score

    def _attacked(self, batch: Batch) -> AttackedLoss:
        """Return the loss as a function of weights; the same noise each time, or it would be compared."""
        noise = [generator.get_state() for generator in self.noise]

        def loss(weights: Tables) -> Tensor:
            for generator, state in zip(self.noise, noise, strict=True):
                generator.set_state(state)
            draw = self.policy.finish(Draw(weights), self.policy.logits(self.alphas))
            logits = self.forward(batch, draw, Statistics.RUNNING)
            for generator, state in zip(self.noise, noise, strict=True):
                generator.set_state(state)
            return cross_entropy(logits, batch.labels)

        return loss

    def generators(self) -> list[torch.Generator]:
        """Return everything that one evaluation of a loss draws from."""
        return [*self.noise, *self.drops, *self.policy.dice.generators]

    def publish(self) -> None:
        """Copy the flat ``values`` into the supernet after an updater has moved them."""
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self._views)


class _AtOnce(Function):
    """Losses [lanes] and logits of one pass, differentiated in the parameters before its graph is dropped.

    Lanes do not influence each other, so the gradient of their sum holds that of each, to be weighed later.
    """

    @staticmethod
    def forward(ctx: Any, run: Callable[[], Outcome], *parameters: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            losses, logits = run()
            # An operation that no lane has drawn has no gradient.
            ctx.slopes = grad(losses.sum(), parameters, allow_unused=True)
        return losses.detach(), logits.detach()

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor, by_logits: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(
            None if slope is None else slope * by_loss.view(-1, *[1] * (slope.dim() - 1)).to(slope)
            for slope in ctx.slopes
        )


def _learned(draw: Draw) -> bool:
    """Tell whether anything that a draw multiplies in is to be differentiated."""
    tables = (draw.weights, draw.offsets or {}, draw.carry or {})
    return any(tensor.requires_grad for each in tables for tensor in each.values())


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's mean cross entropy, [lanes], of logits [lanes, N, (T,) classes]."""
    each = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return each.view(len(labels), -1).mean(1)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each lane's share of images (or next words) it gets right, [lanes] in float64."""
    return (logits.argmax(-1) == labels).double().flatten(1).mean(1)
