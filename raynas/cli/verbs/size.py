"""`raynas size`: parameters and multiply-adds of the network that a cell becomes."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.cell import CellArgument, find_cell, named
from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, say

if TYPE_CHECKING:
    from raynas.spaces.genotype import Genotype
    from raynas.spaces.skeletons.plan import Usual


_AS_USUAL = "as usual for such cells."


def _option(name: str, metavar: str, least: int, what: str) -> Any:
    return typer.Option(name, metavar=metavar, min=least, help=f"{what}; {_AS_USUAL}", show_default=False)


def size(
    cell: CellArgument,
    image: Annotated[int | None, _option("--image", "PIXELS", 4, "Side of the images")] = None,
    channels: Annotated[int | None, _option("--channels", "N", 1, "Channels, or units")] = None,
    cells: Annotated[int | None, _option("--cells", "N", 1, "Cells, as the skeleton counts them")] = None,
    classes: Annotated[int | None, _option("--classes", "N", 1, "Classes, or words")] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Count the parameters and multiply-adds of a cell's network, as it is trained from scratch.

    Example: raynas size darts-v2
    """
    from raynas.errors import RaynasError
    from raynas.nets.size import size_of
    from raynas.spaces import skeletons

    genotype = find_cell(cell, runs).genotype
    if skeletons.of(genotype).texts and image is not None:
        raise RaynasError(
            "this cell reads texts: there is no `--image`",
            got=f"a {genotype.skeleton} cell",
            expected="words",
        )
    asked = {"image": image, "classes": classes, "channels": channels, "cells": cells}
    usual = _usual(genotype, image)
    chosen = usual._replace(**{name: number for name, number in asked.items() if number is not None})
    shape = () if skeletons.of(genotype).texts else (3, chosen.image, chosen.image)
    found = size_of(genotype, shape, chosen.classes, chosen.channels, chosen.cells)
    if as_json:
        print_json({"cell": genotype.digest(), **chosen._asdict(), **found._asdict()})
        return
    if skeletons.of(genotype).texts:
        say(f"{chosen.channels} units, {chosen.classes:,} words; multiply-adds of one word")
    else:
        say(
            f"{chosen.cells} {skeletons.of(genotype).counts}, {chosen.channels} channels, images of "
            f"{chosen.image}×{chosen.image}, {chosen.classes} classes, no auxiliary head"
        )
    say(f"parameters     {found.parameters:,}")
    say(f"multiply-adds  {found.multiply_adds:,}")
    next_step("lookup", named(cell), "--table", "FILE")


def _usual(genotype: "Genotype", image: int | None) -> "Usual":
    """Return what the cell's space says of its networks; its skeleton's where it says nothing.

    A space speaks of small images or of large ones; of the others its skeleton does.
    """
    from raynas.spaces import skeletons
    from raynas.spaces.library import load_space, names
    from raynas.spaces.skeletons.plan import Usual
    from raynas.spaces.trunk import LARGE_INPUT

    if genotype.space in names("search_spaces"):
        space = load_space(genotype.space)
        said = space.network
        same = said and (image is None or (image >= LARGE_INPUT) == (said.image >= LARGE_INPUT))
        if said and same and space.skeleton == genotype.skeleton:
            return Usual(**said.model_dump())
    return skeletons.of(genotype).usually(genotype, image)
