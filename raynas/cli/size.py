"""`raynas size`: parameters and multiply-adds of the network that a cell becomes."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from raynas.cli.lookup import Cell, find
from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, say

if TYPE_CHECKING:
    from raynas.core.genotype import Genotype


class Usual(NamedTuple):
    """How a field trains its cells from scratch: on which images, in which network."""

    image: int
    classes: int
    channels: int
    cells: int


_DARTS = (Usual(32, 10, 36, 20), Usual(224, 1000, 48, 14))
_USUAL = {
    "residual": (Usual(32, 10, 16, 5),),
    "blocks": (Usual(32, 10, 128, 9),),
}
"""By skeleton, else as DARTS: for CIFAR's images, and for larger ones from a side of so many pixels on."""


def size(
    cell: Cell,
    image: Annotated[
        int | None,
        typer.Option(
            "--image", metavar="PIXELS", min=4, help="Side of the images; CIFAR's 32.", show_default=False
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            "--channels", metavar="N", min=1, help="Channels; as usual for such cells.", show_default=False
        ),
    ] = None,
    cells: Annotated[
        int | None,
        typer.Option(
            "--cells",
            metavar="N",
            min=1,
            help="Cells, as the skeleton counts them; as usual.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option("--classes", metavar="N", min=1, help="Classes; as usual.", show_default=False),
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Count the parameters and multiply-adds of a cell's network, as it is trained from scratch."""
    from raynas.core.size import size_of

    genotype = find(cell, runs)
    usual = _usual(genotype, image)
    chosen = Usual(
        usual.image if image is None else image,
        usual.classes if classes is None else classes,
        usual.channels if channels is None else channels,
        usual.cells if cells is None else cells,
    )
    shape = (3, chosen.image, chosen.image)
    found = size_of(genotype, shape, chosen.classes, chosen.channels, chosen.cells)
    if as_json:
        print_json({"cell": genotype.digest(), **chosen._asdict(), **found._asdict()})
        return
    say(
        f"{chosen.cells} {genotype.form.counts}, {chosen.channels} channels, images of "
        f"{chosen.image}×{chosen.image}, {chosen.classes} classes, no auxiliary head"
    )
    say(f"parameters     {found.parameters:,}")
    say(f"multiply-adds  {found.multiply_adds:,}")
    next_step("lookup", cell, "--table", "FILE")


def _usual(genotype: "Genotype", image: int | None) -> Usual:
    first, *larger = _USUAL.get(genotype.skeleton, _DARTS)
    return next((usual for usual in larger if image is not None and image >= usual.image), first)
