"""Views for parts: what they see of the policy and the problem that they work on, which hold parts.

`raynas.bilevel.policy.Policy` and `raynas.bilevel.bilevel.Bilevel` are these; a part that asks for no more
can be tried on anything that looks like them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from raynas.bilevel.dice import Dice
from raynas.bilevel.exchange import BatchSpan, Draw, Sample, Tables
from raynas.bilevel.layout import Layout
from raynas.bilevel.progress import Progress
from raynas.data.batch import Batch
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


class PolicyView(Protocol):
    """A policy as parts see it: α [lanes, numbers], its layout, what is alive, and what it stands for.

    ``memory`` keeps tensors by name between steps, [lanes, ...]; all else is read, and α moved by updaters.
    """

    @property
    def space(self) -> Space: ...
    @property
    def layout(self) -> Layout: ...
    @property
    def dice(self) -> Dice: ...
    @property
    def progress(self) -> Progress: ...
    @property
    def lanes(self) -> int: ...
    @property
    def alphas(self) -> Tensor: ...
    @property
    def alive(self) -> Tables: ...
    @property
    def masks(self) -> Tables: ...
    @property
    def live(self) -> Tensor | None: ...
    @property
    def memory(self) -> dict[str, Tensor]: ...
    @property
    def relaxation(self) -> Callable[[Tensor, Tensor], Tensor]: ...

    def logits(self, alphas: Tensor) -> Tensor:
        """Flat logits [lanes, numbers] of flat α of that shape."""

    def relax(self, flat: Tensor) -> Tables:
        """Each group's relaxed weights [lanes, rows, options] at flat logits [lanes, numbers]."""

    def mean(self, flat: Tensor) -> Draw:
        """What it stands for without chance, at flat logits [lanes, numbers]."""

    def finish(self, draw: Draw, flat: Tensor) -> Draw:
        """The draw, made at flat logits [lanes, numbers], with its edges weighed by the modifiers."""

    def one_hot(self, genotypes: Sequence[Genotype | None]) -> Draw:
        """Weights that leave on just what each lane's genotype has chosen."""

    def pruned(self, alive: Tables) -> AbstractContextManager[None]:
        """A context in which only these options live."""


class ProblemView(Protocol):
    """The bilevel problem as an estimator sees it: the losses, and what they depend on.

    ``values`` is the flat matrix [lanes, weights] of the supernet's ``parameters``.
    """

    @property
    def alphas(self) -> Tensor: ...
    @property
    def values(self) -> Tensor: ...
    @property
    def parameters(self) -> Sequence[Tensor]: ...
    @property
    def precision(self) -> torch.dtype | None: ...

    def losses(
        self, batch: Batch, alphas: Tensor, values: Tensor | None = None, twice: bool = False
    ) -> Tensor:
        """Each lane's loss in nats, [lanes], on a batch at flat α [lanes, numbers]."""

    def generators(self) -> Sequence[torch.Generator]:
        """Everything that one evaluation of a loss draws from."""


class Looks(Protocol):
    """What a stage controller may look at, changing nothing, after the weights' ``steps`` so far."""

    @property
    def steps(self) -> int: ...
    def score(self, draw: Draw, part: BatchSpan | None = None) -> tuple[Tensor, Tensor]:
        """Each lane's loss and accuracy on the validation half under given weights, [lanes] each.

        With ``part`` on these batches of it alone, the same for all.
        """

    def trainability(self, draw: Draw, sample: Sample) -> tuple[Tensor, Tensor]:
        """An untrained network's kernel condition number and linear regions, [lanes] each.

        What it is measured on is the same for all draws of an epoch and a sample.
        """

    def bends(self) -> Tensor:
        """The diagonal of the validation loss's Hessian in the logits, [lanes, numbers]."""
