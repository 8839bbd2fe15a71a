"""Types that parts hand to each other: tables, draws, losses, costs, stages."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from raynas.bilevel.records import EpochReport
from raynas.nets.ops.lanes import WordDrops

Tables = dict[str, Tensor]
"""One tensor for each group of α (for most spaces: each kind of cell), [lanes, rows, options]."""

AttackedLoss = Callable[[Tables], Tensor]
"""Maps weights to one loss per lane, [lanes], on the batch of the step, with running statistics."""

Validated = Literal["mixture", "cells", "table"]
"""What a validation loss is of: the mean mixture, or the cells that a sampler draws, on average.

Of a method that proposes cells there is none; a table's error of its best cell stands in its place."""

Costs = Mapping[str, Tensor]
"""What every option costs, [rows, options] by group of α, in the unit of its penalty."""

Generators = Sequence[torch.Generator]
"""One for each lane, on the CPU."""


class Draw(NamedTuple):
    """What one pass multiplies in.

    ``active`` marks, on the CPU, what has to be computed; None stands for everything that is alive.
    ``offsets`` [lanes, rows] are numbers added to every entry of an edge's output, and ``carry`` [lanes,
    rows] the weights of channels that by-pass an edge's operations; None stands for 0 and for 1. ``alone``
    says that these are derived cells, which have nothing of what modifiers add to the supernet's passes.
    ``shares`` are the probabilities the draw was made with, what penalties charge; None stands for the
    relaxed weights.
    """

    weights: Tables
    active: Tables | None = None
    offsets: Tables | None = None
    carry: Tables | None = None
    alone: bool = False
    shares: Tables | None = None


class Outcome(NamedTuple):
    """Losses [lanes] to be differentiated, and logits [lanes, N, (T,) classes] accuracy is taken from."""

    losses: Tensor
    logits: Tensor


Score = Callable[[Draw], Outcome]
"""Runs the supernet once: each lane's mean cross entropy under a draw, and the logits."""


Histories = Sequence[Sequence[EpochReport]]
"""Every lane's reports so far."""


class _Partly:
    """Fields of which those that are None say nothing."""

    def given(self) -> dict[str, Any]:
        """Return what is said, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class SupernetBuild(_Partly):
    """How a supernet is built where a configuration does not say it; what is None is left to others.

    ``cells`` is its depth, ``partial`` k lets operations see 1/k of the channels, and ``auxiliary`` gives
    every edge one more skip: the arguments of `Supernet` by these names.
    """

    cells: int | None = None
    partial: int | None = None
    auxiliary: bool | None = None


@dataclass(frozen=True)
class PassFields(_Partly):
    """What the supernet's passes run with in an epoch: fields of `Pass`; what is None is left to others."""

    drop_path: float | None = None
    skip_dropout: float | None = None
    auxiliary: float | None = None
    word_drops: WordDrops | None = None


@dataclass(frozen=True)
class Stage:
    """A stretch of ``epochs`` epochs.

    ``build`` replaces what the supernet is built with. ``start`` says what becomes of the stage before:
    ``keep`` goes on with it, ``fresh`` draws weights and α anew, ``widen`` lets a wider supernet take over
    the weights and goes on with α; what has died stays dead in all of them. With ``rate`` the weights'
    learning rate is this share of the largest instead of annealed, and their momentum starts anew; with
    ``rate`` 0 the weights rest.
    """

    epochs: int
    build: SupernetBuild = SupernetBuild()
    start: Literal["keep", "fresh", "widen"] = "keep"
    rate: float | None = None


class BatchSpan(NamedTuple):
    """Some batches of the validation half in a row: from which, and how many."""

    first: int
    size: int


class Sample(NamedTuple):
    """What untrained networks are measured on: which draw of weights, how many images and crops."""

    repeat: int
    images: int
    crops: int
