"""`raynas size`: parameters and multiply-adds of the network that a cell becomes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from raynas.cli.cell import CellArgument, find_cell, named
from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, say

_AS_USUAL = "as usual for such cells."


def _option(name: str, metavar: str, least: int, what: str) -> Any:
    return typer.Option(name, metavar=metavar, min=least, help=f"{what}; {_AS_USUAL}", show_default=False)


def size(
    cell: CellArgument,
    image: Annotated[int | None, _option("--image", "PIXELS", 4, "Side of the images")] = None,
    channels: Annotated[int | None, _option("--channels", "N", 1, "Channels, or units")] = None,
    cells: Annotated[int | None, _option("--cells", "N", 1, "Cells, as the skeleton counts them")] = None,
    classes: Annotated[int | None, _option("--classes", "N", 1, "Classes, or words")] = None,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="As this recipe trains it: its width, depth, images."),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Count the parameters and multiply-adds of a cell's network, as it is trained from scratch.

    Of a sweep, for the images and classes that it searched on, unless a recipe names its own.

    Example: raynas size darts-v2
    """
    from raynas.errors import RaynasError
    from raynas.nets.size import size_of
    from raynas.spaces import skeletons
    from raynas.sweep.sizes import network_for

    genotype = find_cell(cell, runs).genotype
    if skeletons.of(genotype).texts and image is not None:
        raise RaynasError(
            "this cell reads texts: there is no `--image`",
            got=f"a {genotype.skeleton} cell",
            expected="words",
        )
    known = _searched(cell, runs) if not skeletons.of(genotype).texts else {}
    asked = {"image": image, "classes": classes, "channels": channels, "cells": cells}
    given = {name: number for name, number in asked.items() if number is not None}
    shape, chosen = network_for(genotype, recipe, known, given)
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
    next_step("retrain", named(cell))


def _searched(cell: str, runs: Path) -> dict[str, int]:
    """Return side, colours and classes of the images that a sweep searched on, as far as they are known."""
    from raynas.sweep.cells import best_of, sweep_behind
    from raynas.sweep.sizes import images_of

    folder = sweep_behind(cell, runs)
    if folder is None:
        return {}
    record = best_of(folder, 1)[0]
    return images_of(record, folder.places.of(record.config.data))
