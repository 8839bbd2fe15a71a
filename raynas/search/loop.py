"""The search: Algorithm 1 of DARTS (Liu et al. 2019), from top to bottom.

`Pack.advance` runs an epoch: `Pack.train_epoch` goes through the data, and in every `Pack.step`
`Pack.step_alphas` moves α down the gradient of the loss on the validation half, `Pack.step_weights` the
weights down that of the loss on the training half; then the cell is derived from α. `Pack` does so for one or
several like-shaped searches in lock step (lanes); `Search` is the ordinary case of one.

`state_dict` between two epochs holds everything: a search restored from it yields the same bits.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from raynas.bilevel.bilevel import accuracy
from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.data.batch import Batch
from raynas.data.split import Splits
from raynas.nets.ops.flat import column, flatten
from raynas.nets.ops.lanes import Statistics
from raynas.parts.updaters import clip_norm
from raynas.search.look import Looker, Pair
from raynas.search.memory import peak_memory, reset_peak_memory
from raynas.search.report import EpochLosses, EpochOutcome, cell_at, diverged, report_of
from raynas.search.rollback import judge
from raynas.search.searches import Searches
from raynas.spaces.space import Space


class Pack(Searches):
    """K searches of one shape that advance together; lanes never influence each other.

    Iterating yields, per epoch, one `EpochReport` or `Diverged` for each search in order. A search that its
    method ends early says so in its report; what the pack reports of it after that means nothing.
    """

    def __iter__(self) -> Iterator[list[EpochOutcome]]:
        while self.epoch < self.epochs:
            outcomes = self.advance()
            yield outcomes
            if all(isinstance(each, EpochReport) and each.ended for each in outcomes):
                return

    def advance(self) -> list[EpochOutcome]:
        """Run one epoch: train, validate, derive, measure curvature; return what each search has to say."""
        started, lanes = self.clock(), range(len(self.configs))
        reset_peak_memory(self.device)
        self.begin()
        progress, history = self.progress, self.state.history
        rates = [self.calendar.rate(self.configs[lane], progress, history[lane]) for lane in lanes]
        train = self.train_epoch(column(rates, self.problem.values))
        mean = self.problem.mean()
        self.tell("validating", 1.0)
        valid, chosen = self.evaluator.validate(self.epoch), self.evaluator.select(self.epoch)
        finite = [all(map(math.isfinite, (*a, *b))) for a, b in zip(train, valid, strict=True)]
        genotypes = [cell_at(self.method, self.space, mean, lane) if finite[lane] else None for lane in lanes]
        discrete = self.evaluator.alone(genotypes, "discrete", self.epoch)
        due = self.calendar.curvature_due(self.epoch) and any(finite)
        measured = self.measure_curvature() if due else [None for _ in lanes]
        seconds = self.clock() - started
        outcomes: list[EpochOutcome] = []
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                outcomes.append(
                    diverged(self.configs[lane], self.epoch, train[lane], valid[lane], rates[lane])
                )
                continue
            report = report_of(
                self.problem,
                self.method,
                lane,
                progress,
                mean=mean,
                genotype=genotype,
                losses=EpochLosses(train[lane], valid[lane], discrete[lane], chosen[lane]),
                rate=rates[lane],
                measured=measured[lane],
                restart=self.state.restarts[lane],
            )
            outcomes.append(replace(report, seconds=seconds, peak_memory=peak_memory(self.device)))
        self.state.epoch += 1
        return [judge(self.state, lane, each, self.space) for lane, each in enumerate(outcomes)]

    def begin(self) -> None:
        """Start an epoch: schedules take their values, stages take operations away and rebuild."""
        self.progress = progress = self.calendar.progress(self.epoch)
        self.problem.begin(progress)
        if self.stages[progress.stage].rate is not None and not progress.stage_epoch:
            self.trainer.forget_momentum()
        if self.method.stages is not None:
            looks = Looker(self.evaluator, self.epoch, self.epoch * self.train.steps_per_epoch)
            alive = self.method.stages(self.problem.policy, self.history, looks)
            if alive is not None:
                self.problem.policy.prune(alive)
        if progress.stage != self.trainer.stage:
            self.trainer.enter(progress.stage)

    def train_epoch(self, rates: Tensor) -> list[Pair]:
        """Train for one epoch at rates [lanes, 1]; return each lane's mean loss and accuracy."""
        totals = torch.zeros(2, len(self.configs), device=self.device, dtype=torch.float64)
        resting = self.calendar.weights_rest(self.progress)
        for number, (train, valid) in enumerate(self.batches()):
            self.tell("training", min(number / self.train.steps_per_epoch, 1.0))
            due = not resting and self.calendar.alphas_due(self.progress, number)
            now = rates * train.share
            totals += self.watch(train) if resting else self.step(train, valid, now, move_alphas=due)
        return [(loss, right) for loss, right in (totals / (number + 1)).T.tolist()]

    def step(self, train: Batch, valid: Batch, rates: Tensor, *, move_alphas: bool) -> Tensor:
        """Move the weights, and α where due, in the method's order; return losses, accuracies [2, lanes]."""
        order = self.method.order
        if move_alphas and order == "joint":
            return self.step_both(train, rates)
        if move_alphas and order == "alphas-first":
            self.step_alphas(train, valid, rates)
        seen = self.step_weights(train, rates)
        if move_alphas and order == "weights-first":
            self.step_alphas(train, valid, rates)
        return seen

    def step_alphas(self, train: Batch, valid: Batch, rates: Tensor) -> None:
        """Move α once; ``rates`` [lanes, 1] are the weights' learning rates, for methods that look ahead."""
        if self.method.estimator is not None:
            trainer = self.trainer
            trainer.updater.step(self.method.estimator(self.problem, train, valid, trainer.foresight, rates))

    def step_weights(self, train: Batch, rates: Tensor) -> Tensor:
        """Move the weights once; return each lane's loss and accuracy before the step, [2, lanes]."""
        losses, logits = self.problem.weight_loss(train)
        # What no lane has computed gets a gradient of 0, so that a lane does not depend on its company.
        slopes = grad(self.problem.total(losses, train), self.problem.parameters, materialize_grads=True)
        self._move_weights(flatten(slopes), rates)
        return torch.stack([losses.detach(), accuracy(logits, train.labels)])

    def step_both(self, train: Batch, rates: Tensor) -> Tensor:
        """Move α and the weights once, down one training loss; return losses, accuracies [2, lanes]."""
        alphas = self.problem.alphas.detach().clone().requires_grad_()
        losses, logits = self.problem.outcome(train, alphas, Statistics.UPDATE)
        total, both = self.problem.total(losses, train), [alphas, *self.problem.parameters]
        slope, *slopes = grad(total, both, materialize_grads=True)
        self.trainer.updater.step(slope)
        self._move_weights(flatten(slopes), rates)
        return torch.stack([losses.detach(), accuracy(logits, train.labels)])

    def _move_weights(self, gradient: Tensor, rates: Tensor) -> None:
        gradient = self.problem.penalised(gradient, self.problem.values)
        self.trainer.sgd.step(self.problem.values, clip_norm(gradient, self.trainer.clip), rates)
        self.problem.publish()

    @torch.no_grad()
    def watch(self, train: Batch) -> Tensor:
        """Move nothing but running statistics; return losses, accuracies [2, lanes]."""
        losses, logits = self.problem.weight_loss(train)
        return torch.stack([losses, accuracy(logits, train.labels)])


class Search:
    """One search: iterating and `advance` give `EpochReport`s.

    ``more`` is what `Searches` takes by name, ``pack`` all there is to look into. Raises `Diverged`.
    """

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        splits: Splits,
        device: torch.device | str = "cpu",
        **more: Any,
    ) -> None:
        self.pack = Pack([config], space, splits, device, **more)

    def __iter__(self) -> Iterator[EpochReport]:
        return (_report(outcomes) for outcomes in self.pack)

    def advance(self) -> EpochReport:
        """Run one epoch and report it."""
        return _report(self.pack.advance())

    def state_dict(self) -> dict[str, Any]:
        """Return everything the search needs to go on from here, as tensors and plain values."""
        return self.pack.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        self.pack.load_state_dict(state)


def _report(outcomes: list[EpochOutcome]) -> EpochReport:
    [outcome] = outcomes
    if not isinstance(outcome, EpochReport):
        raise outcome
    return outcome
