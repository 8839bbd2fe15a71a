"""`raynas size`: parameters and multiply-adds of the network that a cell becomes."""

from pathlib import Path
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
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="As this recipe trains it: its width, depth, images."),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Count the parameters and multiply-adds of a cell's network, as it is trained from scratch.

    Of a sweep, for the images and classes that it searched on.

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
    known = _searched(cell, runs) if recipe is None and not skeletons.of(genotype).texts else {}
    asked = {name: known.get(name) if number is None else number for name, number in asked.items()}
    side = asked["image"]
    usual = _usual(genotype, side) if recipe is None else _by_recipe(genotype, recipe, side)
    chosen = usual._replace(**{name: number for name, number in asked.items() if number is not None})
    shape = () if skeletons.of(genotype).texts else (known.get("colours", 3), chosen.image, chosen.image)
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
    from raynas.data.catalogue import image_shape
    from raynas.sweep.cells import best_of, sweep_behind

    if (folder := sweep_behind(cell, runs)) is None:
        return {}
    record = best_of(folder, 1)[0]
    told = ((record.start or {}).get("data") or {}).get("classes")
    found = {"classes": told} if isinstance(told, int) and told > 0 else {}
    if (shape := image_shape(record.config.data)) is not None:
        found |= {"colours": shape[0], "image": max(shape[1:])}
    return found


def _by_recipe(genotype: "Genotype", name: str, image: int | None) -> "Usual":
    """Return the network that a recipe trains; what it leaves open is as usual for images of its size."""
    from raynas.errors import RaynasError
    from raynas.spaces import skeletons
    from raynas.train.recipe import load_recipe

    if skeletons.of(genotype).texts:
        raise RaynasError("this cell reads texts: recipes are for images", got=f"--recipe {name}")
    recipe = load_recipe(name)
    config, images = recipe.config("any"), recipe.images
    side = image or (images.side if images else None)
    usual = skeletons.of(genotype).usually(genotype, side)
    return usual._replace(
        image=side or usual.image,
        classes=images.classes if images else usual.classes,
        channels=config.channels or usual.channels,
        cells=config.cells or usual.cells,
    )


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
