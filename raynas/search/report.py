"""The report of an epoch: what one search says of it, or that its loss is no longer finite."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from raynas.bilevel.bilevel import Bilevel
from raynas.bilevel.exchange import Draw, Tables
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import Curvature, EpochReport, perplexity
from raynas.bilevel.settings import scheduled
from raynas.config import SearchConfig
from raynas.errors import Diverged
from raynas.methods.record import Method
from raynas.search.look import Pair
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space

EpochOutcome = EpochReport | Diverged
"""What an epoch ends with, for one search of a pack."""


class EpochLosses(NamedTuple):
    """Mean loss and accuracy of one search: in training, of what it validates, of its derived cell alone.

    ``select`` is of what it validates on the third part, None without one.
    """

    train: Pair
    valid: Pair
    discrete: Pair
    select: Pair | None = None


def diverged(config: SearchConfig, epoch: int, train: Pair, valid: Pair, rate: float) -> Diverged:
    """Return what to say of a search whose mean losses and accuracies in an epoch were these."""
    return Diverged(
        f"the search diverged in epoch {epoch + 1}",
        got=f"training loss {train[0]:.6g}, validation loss {valid[0]:.6g} at learning rate {rate:.4g}",
        expected="finite losses",
        next_step=f"lower learning_rate ({config.learning_rate}) or clip ({config.clip})",
    )


def cell_at(method: Method, space: Space, mean: Draw, lane: int) -> Genotype:
    """Return the cell that a method reads from a lane's mean weights."""
    return method.derivation(space, _of_lane(mean, lane))


def report_of(
    problem: Bilevel,
    method: Method,
    lane: int,
    progress: Progress,
    *,
    mean: Draw,
    genotype: Genotype,
    losses: EpochLosses,
    rate: float,
    measured: Curvature | None,
    restart: int,
) -> EpochReport:
    """Return a lane's report of the epoch that has just been run; measurements of time are added later."""
    space = problem.space
    return EpochReport(
        epoch=progress.epoch,
        train_loss=losses.train[0],
        train_accuracy=losses.train[1],
        valid_loss=losses.valid[0],
        valid_accuracy=losses.valid[1],
        discrete_loss=losses.discrete[0],
        discrete_accuracy=losses.discrete[1],
        learning_rate=rate,
        genotype=genotype,
        weights=rows_of(space, mean.weights, lane),
        entropy=entropy_of(mean.weights, lane),
        skips=skeletons.of(genotype).count(genotype, "skip_connect"),
        curvature=measured,
        extra={**_extra(problem, method, lane, progress, losses), **_notes(method, space, mean, lane)},
        restart=restart,
        select_loss=losses.select and losses.select[0],
        select_accuracy=losses.select and losses.select[1],
    )


def _extra(
    problem: Bilevel, method: Method, lane: int, progress: Progress, losses: EpochLosses
) -> dict[str, float]:
    """Return the values of the method's schedules, a text's perplexities, and what is alive.

    The last only once something no longer is.
    """
    values = [scheduled(part, progress) for _, part in method.parts()]
    extra = {name: float(value) for each in values for name, value in each.items()}
    if skeletons.of(problem.space).texts:
        extra["perplexity"] = perplexity(losses.valid[0])
        extra["discrete_perplexity"] = perplexity(losses.discrete[0])
        if losses.select is not None:
            extra["select_perplexity"] = perplexity(losses.select[0])
    if method.stages is not None:
        extra["alive"] = float(sum(int(mask[lane].sum()) for mask in problem.policy.alive.values()))
    return extra


def _notes(method: Method, space: Space, mean: Draw, lane: int) -> Mapping[str, float]:
    """Return what the derivation has to say of a cell beside the cell itself."""
    notes = getattr(method.derivation, "notes", None)
    return dict(notes(space, _of_lane(mean, lane))) if notes else {}


def _of_lane(mean: Draw, lane: int) -> dict[str, list[list[float]]]:
    return {name: rows[lane].tolist() for name, rows in mean.weights.items()}


def rows_of(space: Space, tables: Tables, lane: int) -> dict[str, list[list[float]]]:
    """Return a lane's weights by group, of tables [lanes, rows, options], each row cut to its own options."""
    return {
        group.name: [
            values[: len(row.options)]
            for values, row in zip(tables[group.name][lane].tolist(), group.rows, strict=True)
        ]
        for group in skeletons.groups(space)
    }


def entropy_of(tables: Tables, lane: int) -> dict[str, float]:
    """Return the mean entropy of a lane's rows by group, in nats; rows that do not sum to 1 are scaled."""
    return {
        name: float(torch.special.entr(_shares(table[lane])).sum(-1).mean()) for name, table in tables.items()
    }


def _shares(rows: Tensor) -> Tensor:
    total = rows.clamp_min(0).sum(-1, keepdim=True)
    scaled = rows.clamp_min(0) / torch.where(total > 0, total, 1.0)
    # A row that sums to 1 but for rounding stays as it is, bit for bit.
    return torch.where((rows.sum(-1, keepdim=True) - 1).abs() < 1e-5, rows.clamp_min(0), scaled)
