"""Proposals judged by inherited weights: in place of a table stands the supernet's validation half."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, InstanceOf

from raynas.bilevel.exchange import BatchSpan, Histories, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Proposals
from raynas.bilevel.views import Looks, PolicyView
from raynas.parts.proposals import RegularisedEvolution
from raynas.parts.stages.base import Afterwards
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


@dataclass(frozen=True)
class RankProposals(Afterwards):
    """Keep the best of the cells that ``proposals`` propose, judged with this search's own weights.

    It happens in one epoch after the search, in which nothing trains. A cell is scored alone, under its
    batches' statistics, on the validation half or on the first ``batches`` of it, the same for all cells, by
    its accuracy or, with ``criterion`` loss, by e^−loss. What α has learned has no say. With the sampler
    `uniform-paths` and evolution it is the search of Guo et al. 2020 (SPOS), whose evolution is another one
    (crossover and mutation of the best ten).
    """

    use: ClassVar[str] = "rank-proposals"
    proposals: InstanceOf[Proposals] = RegularisedEvolution(1000, population=50, tournament=10)  # noqa: RUF009
    batches: Annotated[int, Field(ge=1)] | None = None
    criterion: Literal["accuracy", "loss"] = "accuracy"

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Leave each lane's best cell alone alive; of equals the one proposed first."""
        if not policy.progress.fine_tuning:
            return None
        part = None if self.batches is None else BatchSpan(0, self.batches)
        seeds = policy.dice.each(lambda generator: torch.randint(2**62, (1,), generator=generator))
        proposers = [self.proposals.start(policy.space, str(int(seed))) for seed in seeds]
        best: list[tuple[float, Genotype]] = []
        for _ in range(self.proposals.evaluations):
            cells = [proposer.propose() for proposer in proposers]
            with torch.no_grad():
                losses, right = looks.score(policy.one_hot(cells), part)
            values = ((-losses).exp() if self.criterion == "loss" else right).nan_to_num(nan=0.0).tolist()
            told = list(zip(values, cells, strict=True))
            for proposer, (value, cell) in zip(proposers, told, strict=True):
                proposer.tell(cell, value)
            best = [old if old[0] >= new[0] else new for old, new in zip(best or told, told, strict=True)]
        return {name: rows > 0 for name, rows in policy.one_hot([cell for _, cell in best]).weights.items()}

    def passes(self, space: Space) -> int:
        """Return how many passes over the validation half it takes at most."""
        return self.proposals.evaluations

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """What is proposed must be in the supernet, and the budget one of evaluations."""
        yield from self.proposals.misfits(method, space, {})
        if self.proposals.seconds is not None:
            yield "inherited weights know no training times: leave `seconds` of the proposals out"
        edges = [edge for cell in space.cells for edge in cell.edges] if space else []
        if gone := {op for edge in edges if space for op in space.allowed(edge)} & {*method.without}:
            yield f"proposals may have {', '.join(sorted(gone))}, which the method leaves out (`without`)"
