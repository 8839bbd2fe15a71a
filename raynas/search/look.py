"""Looks of a search at its losses, its derived cell, its curvature. Nothing is changed by them.

Every look draws from streams of its own purpose and epoch, so that looking more often changes no search.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from raynas.bilevel.bilevel import Bilevel, accuracy, cross_entropy
from raynas.bilevel.dice import Dice
from raynas.bilevel.exchange import BatchSpan, Draw, Sample
from raynas.bilevel.hessian import curvature, diagonal, shift_free_basis
from raynas.bilevel.records import Curvature
from raynas.bilevel.sketches import SIDE, Sketches
from raynas.config import SearchConfig
from raynas.data.batch import Batch
from raynas.data.feeds import Feeds
from raynas.errors import RaynasError
from raynas.nets.ops.lanes import Statistics
from raynas.search.streams import stream
from raynas.spaces.genotype import Genotype

Pair = tuple[float, float]
"""A mean loss and an accuracy."""

LEAST_DRAWS = 8
"""Fewest cells that the validation loss of a sampler is the mean of."""


class Sketched(NamedTuple):
    """What a sample in an epoch, the ``key``, is measured on: networks, images [1, N, …] and squares."""

    key: tuple[Sample, int]
    nets: Sketches
    images: Tensor
    squares: Tensor


class Evaluator:
    """Evaluates a pack's problem on the validation half, which all of its searches share.

    ``feeds`` deals out that half; ``draws`` is the fewest cells of a sampler that are validated;
    ``shift_free`` says whether a common shift of a row's logits changes nothing.
    """

    def __init__(
        self,
        problem: Bilevel,
        configs: Sequence[SearchConfig],
        feeds: Feeds,
        shift_free: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.problem, self.configs, self.config, self.feeds = problem, configs, configs[0], feeds
        self._clock, self._shift_free = clock, shift_free
        self.draws = LEAST_DRAWS
        self._sketched: Sketched | None = None
        self.probe = self._probe()
        self.basis = self._basis()

    def _probe(self) -> Batch:
        """Draw the fixed batch on which curvature is measured; one for a whole sweep, so λ compares."""
        hessian = self.config.hessian
        generator = stream(self.config.data.split_seed, "probe")
        return self.feeds.probe(hessian.batches, hessian.batch or self.config.batch, generator)

    def _basis(self) -> Tensor:
        """Return the directions of the logits that may matter; what has been pruned adds known zeros."""
        layout = self.problem.policy.layout
        masks = list(layout.masks.values())
        real = torch.cat([mask.flatten() for mask in masks])
        entries = (
            shift_free_basis(masks) if self._shift_free else torch.eye(len(real), dtype=torch.float64)[real]
        )
        extras = torch.eye(layout.numbers - layout.entries, dtype=torch.float64)
        basis: Tensor = torch.block_diag(entries, extras)  # type: ignore[no-untyped-call]
        return basis

    @torch.no_grad()
    def check_statistics(self, draw: Draw) -> None:
        """Raise `RaynasError` where a batch of one image leaves batch normalisation nothing to average over.

        That is where its map shrinks to a single pixel: one value per channel has no variance.
        """
        images, labels = self.probe.images[:, :1], self.probe.labels[:, :1]
        try:
            with self._noise("check", 0):
                self.problem.forward(Batch(images, labels), draw, Statistics.BATCH)
        except ValueError as error:
            raise RaynasError(
                "a batch of one image cannot be normalised, for its map shrinks to a single pixel",
                got=f"batch: {self.config.batch}, images of {' × '.join(map(str, images.shape[-2:]))} pixels",
                expected="2 images or more in each batch of search and curvature",
                next_step="set batch (and hessian.batch) to 2 or more, or take larger images",
            ) from error

    @torch.no_grad()
    def validate(self, epoch: int) -> list[Pair]:
        """Return each lane's mean loss and accuracy of what its method stands for, on the validation half.

        That is its mixture; for a sampler that draws single cells it is the mean over cells drawn anew for
        each batch (at least ``draws``, so small halves are passed over several times; a text's hidden
        state goes from one cell to the next, as in training). See `Bilevel.validation` for the statistics.
        """
        sampler, statistics = self.problem.validation()
        if sampler is None:
            return self.look(self.problem.mean(), statistics, "validate", epoch)
        policy, dice = self.problem.policy, self.problem.policy.dice
        # With the policy's own dice, validating would change which cells training draws next.
        policy.dice = Dice([stream(config.seed, f"dice/validate/{epoch}") for config in self.configs])
        try:
            draw = partial(policy.draw, policy.alphas, sampler)
            return self._pass(draw, statistics, "validate", epoch, self.draws if sampler.random else 1)
        finally:
            policy.dice = dice

    def look(
        self, draw: Draw, statistics: Statistics, purpose: str, epoch: int, part: BatchSpan | None = None
    ) -> list[Pair]:
        """Pass over the validation half, not augmented; return each lane's mean loss and accuracy.

        With ``part`` only over these of its batches, in which all lanes and draws see the same images.
        """
        return self._pass(lambda: draw, statistics, purpose, epoch, part=part)

    def judge(self, cells: Sequence[Sequence[Genotype | None]], epoch: int) -> list[list[Pair]]:
        """Return, for each lane, its cells' losses and accuracies with the lane's weights.

        ``cells`` are rows of one cell per lane. Each is judged as a derived cell is (`discrete_loss`): alone,
        under each batch's own statistics.
        """
        draws = map(self.problem.policy.one_hot, cells)
        looks = [self.look(draw, Statistics.BATCH, "control", epoch) for draw in draws]
        return [list(lane) for lane in zip(*looks, strict=True)]

    @torch.no_grad()
    def _pass(
        self,
        draw: Callable[[], Draw],
        statistics: Statistics,
        purpose: str,
        epoch: int,
        least: int = 1,
        part: BatchSpan | None = None,
    ) -> list[Pair]:
        """Look with a ``draw`` for each batch, in as many passes as it takes for ``least`` batches."""
        problem = self.problem
        like = problem.values
        totals = torch.zeros(2, problem.lanes, device=like.device, dtype=torch.float64)
        count = drawn = 0
        with self._noise(purpose, epoch):
            while drawn < least:
                for batch in self._batches(part):
                    logits = problem.forward(batch, draw(), statistics)
                    both = torch.stack([cross_entropy(logits, batch.labels), accuracy(logits, batch.labels)])
                    # By images, not by batches: the last batch may be smaller.
                    totals += both * batch.labels[0].numel()
                    count += batch.labels[0].numel()
                    drawn += 1
        return pairs(totals / count)

    def _batches(self, part: BatchSpan | None) -> Iterator[Batch]:
        """Yield the validation half's batches in order: all, or ``part`` of them, moved back to fit."""
        size = self._batch()
        batches = self.feeds.plain(size)
        if part is None:
            return batches
        first = max(min(part.first, -(-self.feeds.count // size) - part.size), 0)
        return islice(batches, first, first + part.size)

    def _batch(self) -> int:
        """Return the nearest size of batches, smaller ones first, that leaves no single image over.

        A single image may have maps of one pixel, whose variance does not exist.
        """
        count, batch = self.feeds.count, self.config.batch
        sizes = [*range(batch, 1, -1), *range(batch + 1, count + 1)]
        return next((size for size in sizes if count % size != 1), batch)

    def measure_curvature(self, epoch: int) -> list[Curvature]:
        """Measure the validation loss's curvature in the logits on the probe images."""
        hessian, started, policy = self.config.hessian, self._clock(), self.problem.policy
        with self._noise("curvature", epoch):
            measured = curvature(
                lambda flat: self.problem.loss_at_logits(self.probe, flat),
                policy.logits(policy.alphas).detach(),
                self.basis,
                [stream(config.seed, "curvature") for config in self.configs],
                # One for each row of α: the direction in which all of its logits shift by the same amount.
                zeros=policy.layout.rows if self._shift_free else 0,
                steps=hessian.steps,
                tolerance=hessian.tolerance,
                spectrum=hessian.spectrum,
            )
        seconds = self._clock() - started
        return [replace(each, seconds=seconds) for each in measured]

    def hessian_diagonal(self, epoch: int) -> Tensor:
        """Return the diagonal of the Hessian in the logits on the probe images, [lanes, numbers].

        It takes a product for every option that is alive in some lane; all others have 0.
        """
        policy = self.problem.policy
        flat = policy.logits(policy.alphas).detach()
        entries = torch.cat([mask.any(0).flatten() for mask in policy.alive.values()])
        with self._noise("bends", epoch):  # the stream's name decides numbers, so it outlives the method's
            at = entries.nonzero()[:, 0].tolist()
            return diagonal(lambda logits: self.problem.loss_at_logits(self.probe, logits), flat, at)

    def trainability(self, draw: Draw, sample: Sample, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the kernel's condition number and the count of linear regions of a single lane, both [1].

        Measured on `Sketches`, whose weights, images and squares are those of ``sample`` in this epoch.
        """
        problem = self.problem
        # Candidates of one round must differ in what was taken away and in nothing else, so all see one draw.
        if self._sketched is None or self._sketched.key != (sample, epoch):
            self._sketched = self._sketch(sample, epoch)
        at = self._sketched
        with self._noise("trainability", epoch):
            condition = at.nets.condition(draw, at.images, problem.noise)
            regions = at.nets.regions(draw, at.squares, problem.noise)
        return condition.cpu(), torch.tensor([float(regions)], dtype=torch.float64)

    def _sketch(self, sample: Sample, epoch: int) -> Sketched:
        """Draw what a sample is measured on; two networks of one space serve all samples."""
        if self._sketched is None:
            classes = self.problem.supernet.get_parameter("head").shape[1]
            shape, device = self.probe.images.shape[2:], self.problem.values.device
            nets = Sketches(self.problem.space, shape, classes, device)
        else:
            nets = self._sketched.nets
        generator = stream(self.config.seed, f"trainability/{epoch}/{sample.repeat}")
        nets.draw(generator)
        images = self.feeds.probe(1, sample.images, generator).images
        squares = self.feeds.crops(sample.crops, SIDE, generator).unsqueeze(0)
        return Sketched((sample, epoch), nets, images, squares)

    @contextmanager
    def _noise(self, purpose: str, epoch: int) -> Iterator[None]:
        """Let noise operations draw from streams of this purpose and epoch, and leave training's alone."""
        training = self.problem.noise
        device, name = self.problem.values.device, f"noise/{purpose}/{epoch}"
        self.problem.noise = [stream(config.seed, name, device) for config in self.configs]
        try:
            yield
        finally:
            self.problem.noise = training


@dataclass(frozen=True)
class Looker:
    """What stage controllers look at in one epoch, see `raynas.parts.stages.base.Looks`."""

    evaluator: Evaluator
    epoch: int
    steps: int = 0

    def score(self, draw: Draw, part: BatchSpan | None = None) -> tuple[Tensor, Tensor]:
        """Return each lane's loss and accuracy on the validation half or ``part`` of it, [lanes] each."""
        found = self.evaluator.look(draw, Statistics.BATCH, "score", self.epoch, part)
        losses, right = torch.tensor(found, dtype=torch.float64).T
        return losses, right

    def trainability(self, draw: Draw, sample: Sample) -> tuple[Tensor, Tensor]:
        """Return each lane's kernel condition number and count of linear regions, [lanes] each."""
        return self.evaluator.trainability(draw, sample, self.epoch)

    def bends(self) -> Tensor:
        """Return the diagonal of the Hessian in the logits, [lanes, numbers]."""
        return self.evaluator.hessian_diagonal(self.epoch)


def pairs(totals: Tensor) -> list[Pair]:
    """Return each lane's numbers of a [2, lanes] tensor."""
    return [(float(loss), float(right)) for loss, right in totals.T.tolist()]
