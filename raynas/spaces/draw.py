"""Cells drawn at random from a space: the control that a search is held against."""

import random

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.derive import genotype_in
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.space import Space


def draw_cells(space: Space, count: int, seed: int | str) -> list[Genotype]:
    """Return ``count`` independent random cells of a space; the same seed gives the same ones everywhere.

    Every genotype that a search of the space may derive is as likely as any other (see `Skeleton.draw`). So a
    network that several genotypes stand for, by another order of its nodes or, in NAS-Bench-201, by edges
    that carry nothing, is as many times as likely: of NAS-Bench-201's 15,625 genotypes, as published tables
    average over them.
    """
    source = random.Random(seed)  # noqa: S311  (chance that repeats; no secret)
    return [uniform_cell(space, source) for _ in range(count)]


def uniform_cell(space: Space, source: random.Random) -> Genotype:
    """Return one such cell."""
    return genotype_in(space, skeletons.of(space).draw(space, source))


MOST_TRIES = 1000
"""Draws after which a space is taken to have no other cell that differs in one block."""


def mutated(space: Space, genotype: Genotype, source: random.Random) -> Genotype:
    """Return a cell of a space that differs from another one in one choice.

    One choice, as likely as any other, gets another operation, or its node reads another state instead,
    all ways of doing so alike. Where operations are not on edges of their own (blocks, pairs, connections)
    one node's choices are drawn anew instead, until they are others. A space of one cell gives that cell.
    """
    if not skeletons.of(space).edgewise:
        return _another_node(space, genotype, source)
    ways = [
        (kind, place, others)
        for kind, choices in genotype.cells
        for place, choice in enumerate(choices)
        if (others := _others(space, kind, choices, choice))
    ]
    if not ways:
        return genotype
    kind, place, others = source.choice(ways)
    cells = {each: list(choices) for each, choices in genotype.cells}
    cells[kind][place] = source.choice(others)
    return genotype_in(space, cells)


def _others(space: Space, kind: str, choices: tuple[Choice, ...], choice: Choice) -> list[Choice]:
    """Return what may stand in a choice's place: another operation, or another edge with the same one."""
    taken = {each.source for each in choices if each.target == choice.target}
    found = []
    for edge in space.usable(space.cell(kind), choice.target):
        if edge.source == choice.source:
            found += [Choice(op, edge.source, choice.target) for op in space.allowed(edge) if op != choice.op]
        elif edge.source not in taken and choice.op in space.allowed(edge):
            found.append(Choice(choice.op, edge.source, choice.target))
    return found


def _another_node(space: Space, genotype: Genotype, source: random.Random) -> Genotype:
    for _ in range(MOST_TRIES):
        drawn = uniform_cell(space, source)
        kind, target = source.choice(genotype.kinds), source.choice(space.targets)
        cells = {each: list(choices) for each, choices in genotype.cells}
        cells[kind] = [choice for choice in cells[kind] if choice.target != target]
        cells[kind] += [choice for choice in drawn.cell(kind) if choice.target == target]
        try:
            found = genotype_in(space, cells)
        except RaynasError:
            continue  # a connection to what is not there any more
        if found != genotype:
            return found
    return genotype
