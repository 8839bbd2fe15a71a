"""Stages that rebuild the supernet: deeper with fewer operations (P-DARTS), or wider (DrNAS)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field

from raynas.bilevel.exchange import Histories, Stage, SupernetBuild, Tables
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Stages
from raynas.bilevel.views import Looks, PolicyView
from raynas.errors import RaynasError
from raynas.parts.modifiers import unbuilt
from raynas.parts.stages.base import no_edges, present, strongest, without_excluded
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Numbers = tuple[Annotated[int, Field(ge=1)], ...]

FEWEST = 2
"""Options a row keeps that may be chosen: with a single one there would be nothing to compare edges by."""


@dataclass(frozen=True)
class Deepen(Stages):
    """P-DARTS: one stage for each depth, each with fewer operations per edge, weights and α started anew.

    The last stage has the configuration's cells and the others fewer, in the proportion of ``cells`` (but as
    many as the skeleton needs); published are 5, 11 and 17 of 17. ``keep`` is how many operations per edge
    has in each stage, in proportion to what the space offers: of n operations n·keep/first stay, rounded up,
    and at least two that may be chosen. Those stay that weigh most at the end of the stage before, `none`
    among them: as in the authors' code it goes at the very end only, when the cell is derived. Source: Chen
    et al. 2019 and its code.
    """

    use: ClassVar[str] = "deepen"
    version: ClassVar[int] = 2
    cells: Numbers = (5, 11, 17)
    keep: Numbers = (8, 5, 3)

    def __post_init__(self) -> None:
        _check_numbers("cells", self.cells, self.keep)
        if list(self.cells) != sorted(self.cells):
            raise RaynasError("every stage is at least as deep as the one before", got=f"cells: {self.cells}")

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Divide the epochs evenly among the depths."""
        depths = [
            max(round(cells * depth / self.cells[-1]), skeletons.of(space).fewest_cells)
            for depth in self.cells
        ]
        lengths = zip(_in_parts(epochs, len(depths)), depths, strict=True)
        return tuple(Stage(length, SupernetBuild(cells=depth), "fresh") for length, depth in lengths)

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Prune at the start of every stage but the first."""
        return _fewer(policy, self.keep)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It needs edges, and a skeleton that can be as deep as asked."""
        if space is None:
            return
        if any(skeletons.of(space).wrong_cells(cells) for cells in self.cells):
            yield f"deepen stacks numbers of cells that the space's skeleton does not have ({space.name})"
        yield from no_edges(space)


@dataclass(frozen=True)
class Widen(Stages):
    """DrNAS, progressive: in each stage more channels pass through fewer operations; weights are widened.

    One channel in ``partial`` goes through the operations, which has to divide the supernet's channels. Of
    every edge the heaviest operations stay: ``keep`` of them, in proportion to what the space offers, as
    `Deepen` has it. How kernels are widened: `raynas.nets.widen`. Source: Chen et al. 2021, section 3.4, and
    its code (on NAS-Bench-201 4 and 2, 5 and 3; on ImageNet 6 and 3, 7 and 4).
    """

    use: ClassVar[str] = "widen"
    version: ClassVar[int] = 2
    partial: Numbers = (6, 4)
    keep: Numbers = (7, 4)

    def __post_init__(self) -> None:
        _check_numbers("partial", self.partial, self.keep)
        if list(self.partial) != sorted(self.partial, reverse=True):
            raise RaynasError(
                "every stage is at least as wide as the one before", got=f"partial: {self.partial}"
            )

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """Divide the epochs evenly among the widths."""
        lengths = zip(_in_parts(epochs, len(self.partial)), self.partial, strict=True)
        return tuple(Stage(length, SupernetBuild(partial=partial), "widen") for length, partial in lengths)

    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """Prune at the start of every stage but the first."""
        return _fewer(policy, self.keep)

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It alone sets how many channels pass, where that can be built."""
        if any(modifier.build().partial for modifier in method.modifiers):
            yield ("widen says itself how many channels pass through operations: leave partial-channels out")
        yield from unbuilt(space)


def _check_numbers(name: str, numbers: Numbers, keep: Numbers) -> None:
    got = f"{name}: {numbers}, keep: {keep}"
    if not numbers or len(keep) != len(numbers):
        raise RaynasError(f"{name} and keep have one number per stage", got=got, expected="as many")
    if list(keep) != sorted(keep, reverse=True):
        raise RaynasError("no stage has more operations than the one before", got=got)


def _in_parts(epochs: int, parts: int) -> list[int]:
    """Divide epochs as evenly as can be, the first parts getting the rest."""
    if epochs < parts:
        raise RaynasError(
            "a search in stages needs an epoch for each", got=f"epochs: {epochs}", expected=f"{parts} or more"
        )
    return [epochs // parts + (part < epochs % parts) for part in range(parts)]


def _fewer(policy: PolicyView, keep: Numbers) -> Tables | None:
    """Return what a stage begins with, once the first is over."""
    stage = policy.progress.stage
    if policy.progress.stage_epoch or not stage:
        return None
    weights = present(policy)
    alive = {}
    for name, mask in policy.alive.items():
        offered = policy.layout.alive[name].sum(-1)
        counts = [math.ceil(int(n) * keep[stage] / keep[0]) for n in offered]
        allowed = without_excluded(policy, name, mask)
        rows = [strongest(weights[name][:, row], mask[:, row], count) for row, count in enumerate(counts)]
        alive[name] = torch.stack(rows, 1) | strongest(weights[name], allowed, FEWEST)
    return alive
