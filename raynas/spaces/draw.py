"""Cells drawn at random from a space: the control that a search is held against."""

import random

from raynas.spaces import skeletons
from raynas.spaces.derive import genotype_in
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


def draw_cells(space: Space, count: int, seed: int | str) -> list[Genotype]:
    """Return ``count`` independent random cells of a space; the same seed gives the same ones everywhere.

    Every genotype that a search of the space may derive is as likely as any other (see `Skeleton.draw`). So a
    network that several genotypes stand for, by another order of its nodes or, in NAS-Bench-201, by edges
    that carry nothing, is as many times as likely: of NAS-Bench-201's 15,625 genotypes, as published tables
    average over them.
    """
    source = random.Random(seed)  # noqa: S311  (chance that repeats; no secret)
    skeleton = skeletons.of(space)
    return [genotype_in(space, skeleton.draw(space, source)) for _ in range(count)]
