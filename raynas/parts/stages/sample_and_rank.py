"""Sample and rank: draw whole architectures by what was learned, keep the one that validates best."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from raynas.bilevel.exchange import BatchSpan, Histories, Tables
from raynas.bilevel.views import Looks, PolicyView
from raynas.parts.samplers import safe_log
from raynas.parts.stages.base import Afterwards, present, side_by_side
from raynas.spaces.derive import derive
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


def _error(criterion: str, loss: float, accuracy: float) -> float:
    """Return what ranks a cell, the lowest first; a loss that is not a number ranks last."""
    if criterion == "loss":
        return math.inf if math.isnan(loss) else loss
    return -accuracy


@dataclass(frozen=True)
class SampleAndRank(Afterwards):
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
            errors = [_error(self.criterion, *pair) for pair in found]
            best.append(candidates[lane][errors.index(min(errors))])
        return {name: rows > 0 for name, rows in policy.one_hot(best).weights.items()}

    def passes(self, space: Space) -> int:
        """Return how many passes over the validation half the ranking takes."""
        return self.samples


@dataclass(frozen=True)
class RankInRounds(Afterwards):
    """RSPS: in each round rank ``samples`` cells on a few batches, and the best of these on all of them.

    All cells of a round are scored on the same ``batches`` of the validation half, the ``finalists`` on the
    whole half; the best finalist of all rounds is kept. There is a round for every ``every`` batches that
    have trained the weights, at least one; each has batches of its own, as far as there are enough. Cells are
    drawn as `sample-and-rank` draws them, none without chance, and scored with their batches' statistics.
    Nothing trains in that epoch. Source: Li, Talwalkar 2019 (liamcli/randomNAS_release 6513a0a,
    searchers/random_weight_share.py:81-115). There the batches roll on from cell to cell, so that part of
    the ranking is that of the batches; and running statistics are used.
    """

    use: ClassVar[str] = "rank-in-rounds"
    samples: Annotated[int, Field(ge=1)] = 1000
    batches: Annotated[int, Field(ge=1)] = 10
    finalists: Annotated[int, Field(ge=1)] = 10
    every: Annotated[int, Field(ge=1)] = 10_000
    criterion: Literal["accuracy", "loss"] = "accuracy"

    def rounds(self, steps: int) -> int:
        """Return how many rounds there are after so many batches have trained the weights."""
        return max(1, steps // self.every)

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Leave each lane's best finalist alone alive."""
        if not policy.progress.fine_tuning:
            return None
        weights = present(policy)
        found: dict[int, list[tuple[float, Genotype]]] = {lane: [] for lane in range(policy.lanes)}
        for number in range(self.rounds(looks.steps)):
            drawn = [_candidates(policy, weights, noisy=True) for _ in range(self.samples)]
            cells = {lane: [each[lane] for each in drawn] for lane in range(policy.lanes)}
            window = BatchSpan(number * self.batches, self.batches)
            ranked = self._ranked(policy, looks, cells, window)
            finalists = {lane: [cell for _, cell in each[: self.finalists]] for lane, each in ranked.items()}
            for lane, judged in self._ranked(policy, looks, finalists, None).items():
                found[lane].append(judged[0])
        best = [min(each, key=lambda pair: pair[0])[1] for each in found.values()]
        return {name: rows > 0 for name, rows in policy.one_hot(best).weights.items()}

    def _ranked(
        self,
        policy: PolicyView,
        looks: Looks,
        cells: Mapping[int, Sequence[Genotype]],
        part: BatchSpan | None,
    ) -> dict[int, list[tuple[float, Genotype]]]:
        """Return every lane's cells with their errors, best first; of equal ones the earlier."""
        with torch.no_grad():
            scores = side_by_side(cells, lambda chosen: looks.score(policy.one_hot([*chosen.values()]), part))
        ranked = {}
        for lane, each in scores.items():
            errors = [_error(self.criterion, *pair) for pair in each]
            ranked[lane] = sorted(zip(errors, cells[lane], strict=True), key=lambda pair: pair[0])
        return ranked

    def passes(self, space: Space) -> int:
        """Return how many passes one round takes at most: where ``batches`` are all that there are."""
        return self.samples + self.finalists


def _candidates(policy: PolicyView, weights: Tables, noisy: bool) -> Sequence[Genotype]:
    """Derive a cell for each lane, from the weights or from their logarithms with Gumbel noise."""
    rated = {name: safe_log(rows) for name, rows in weights.items()}
    if noisy:
        rated = {name: rows + policy.dice.gumbel(rows) for name, rows in rated.items()}
    return [
        derive(policy.space, {name: rows[lane].tolist() for name, rows in rated.items()})
        for lane in range(policy.lanes)
    ]
