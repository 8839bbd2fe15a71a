"""Sample and rank: draw whole architectures by what was learned, keep the one that validates best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from raynas.bilevel.exchange import Histories, Stage, Tables
from raynas.bilevel.slots import Looks, Stages
from raynas.bilevel.views import PolicyView
from raynas.parts.samplers import safe_log
from raynas.parts.stages.base import present, side_by_side
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


@dataclass(frozen=True)
class SampleAndRank(Stages):
    """Keep the best of ``samples`` architectures on the validation half, in one epoch after the search.

    Every row's option is drawn by its weight among the alive: Gumbel noise is added to the weights'
    logarithms, and the space's rule reads the cell from the sums, so that which edges a node keeps is drawn
    as well. The first candidate is the cell without noise. Each is scored alone, with the supernet's weights
    and its batches' statistics; ``criterion`` says by what. Nothing trains in that epoch. Sources: Li,
    Talwalkar 2019 (random search with shared weights); Dong, Yang 2019 (SETN); Pham et al. 2018, section 2.2.
    """

    use: ClassVar[str] = "sample-and-rank"
    samples: Annotated[int, Field(ge=1)] = 100
    criterion: Literal["accuracy", "loss"] = "accuracy"

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Add an epoch, in which nothing trains, for the ranking."""
        return Stage(epochs), Stage(1, rate=0.0)

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Leave each lane's best candidate alone alive."""
        if not policy.progress.fine_tuning:
            return None
        weights = present(policy)
        drawn = [_candidates(policy, weights, noisy=place > 0) for place in range(self.samples)]
        candidates = {lane: [each[lane] for each in drawn] for lane in range(policy.lanes)}
        with torch.no_grad():
            # Every lane has as many candidates, so each time all lanes have one.
            scores = side_by_side(candidates, lambda chosen: looks.score(policy.one_hot([*chosen.values()])))
        best = []
        for lane, found in scores.items():
            errors = [loss if self.criterion == "loss" else -accuracy for loss, accuracy in found]
            best.append(candidates[lane][errors.index(min(errors))])
        return {name: rows > 0 for name, rows in policy.one_hot(best).weights.items()}

    def passes(self, space: Space) -> int:
        """Return how many passes over the validation half the ranking takes."""
        return self.samples


def _candidates(policy: PolicyView, weights: Tables, noisy: bool) -> Sequence[Genotype]:
    """Derive a cell for each lane, from the weights or from their logarithms with Gumbel noise."""
    rated = {name: safe_log(rows) for name, rows in weights.items()}
    if noisy:
        rated = {name: rows + policy.dice.gumbel(rows) for name, rows in rated.items()}
    return [
        derive(policy.space, {name: rows[lane].tolist() for name, rows in rated.items()})
        for lane in range(policy.lanes)
    ]
