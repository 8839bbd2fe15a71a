"""`raynas compare`: cells, sweeps or trained networks side by side, under one protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raynas.cli import complete
from raynas.cli.cell import find_cell
from raynas.cli.options import DEFAULT_RUNS, AsJson, OnDevice, Runs
from raynas.cli.output import next_step, print_csv, print_json, runs_option, say, show_table, table

if TYPE_CHECKING:
    from raynas.report.compare import Comparison
    from raynas.trust.contenders import Contender, Tested

    Known = dict[tuple[str, str], list[Tested]]

Contenders = Annotated[
    list[str],
    typer.Argument(
        metavar="CELL...",
        help="Cells as `raynas draw` takes them, sweeps (of searches the winner, of trainings each cell), or "
        "folders of trained networks.",
        autocompletion=complete.CELLS,
    ),
]


def compare(
    cells: Contenders,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", metavar="NAME", help="Trainings, and a network, by this recipe alone."),
    ] = None,
    latency: Annotated[
        bool,
        typer.Option("--latency", help="Measure the networks here: batch 1 and the recipe's."),
    ] = False,
    device: OnDevice = "auto",
    draw: Annotated[
        Path | None,
        typer.Option("--draw", metavar="FILE", help="Draw the cells side by side, as .html or .png."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV and nothing else: a row per cell, errors in [0, 1].")
    ] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Compare cells: trained errors under one protocol, sizes, latency, edges in common.

    Errors are of the trainings on record in the folder of sweeps, paired by seed with the first cell's.

    Example: raynas compare darts-v1 darts-v2
    """
    from raynas.report.compare import compare_cells
    from raynas.report.side import check_drawable, write_side_by_side

    if draw is not None:
        check_drawable(draw)  # before anything takes time
    contenders = _contenders(cells, runs)
    found = compare_cells(contenders, recipe)
    if latency:
        found = _measured(found, contenders, device)
    if draw is not None:
        write_side_by_side(found, contenders, draw)
    if as_json:
        print_json(found.to_json())
        return
    if as_csv:
        print_csv([{**row, **_flat(row)} for row in found.to_json()["cells"]])
        return
    _print(found, contenders)
    if draw is not None:
        say(f"drawn     {draw}")
    untrained = next((name for name, row in zip(cells, found.cells, strict=False) if not row.errors), None)
    step = ["draw", cells[0]] if untrained is None else ["retrain", untrained, "--seeds", "0,1,2"]
    next_step(*step, *runs_option(runs))


def _flat(row: dict[str, object]) -> dict[str, str]:
    """Return a row's lists as texts."""
    return {key: " ".join(map(str, value)) for key, value in row.items() if isinstance(value, list)}


def _contenders(given: list[str], runs: Path) -> "list[Contender]":
    """Return the cells that the arguments mean, in their order; several of a sweep of trainings.

    Those that would have one name are numbered. Raises `RaynasError` as finding a cell does.
    """
    from raynas.trust.contenders import trainings_in

    known = trainings_in(runs)
    found = [each for name in given for each in _meant(name, runs, known)]
    labels = [each.label for each in found]
    return [
        each if labels.count(each.label) == 1 else _numbered(each, place)
        for place, each in enumerate(found, start=1)
    ]


def _numbered(each: "Contender", place: int) -> "Contender":
    from dataclasses import replace

    return replace(each, label=f"{each.label} ({place})")


def _meant(name: str, runs: Path, known: "Known") -> "list[Contender]":
    from raynas.disk import expanded
    from raynas.spaces.genotype import Genotype
    from raynas.spaces.reading import genotype_from_json
    from raynas.sweep.cells import best_of, cell_label, sweep_behind
    from raynas.sweep.folder import AnySweep, TrainSweep, trains
    from raynas.sweep.sizes import images_of
    from raynas.train.records import CARD
    from raynas.trust.contenders import Contender, Tested, network_of, training_of, trainings_of

    for place in (runs / name, expanded(name)):
        if (sweep := AnySweep(place.absolute())).exists and trains(sweep):
            folder = TrainSweep(place.absolute())
            by_cell: dict[Genotype, list[Tested]] = {cell: [] for cell in folder.sweep().cells.values()}
            for cell, training in trainings_of(folder):
                by_cell[cell].append(training)
            names = {cell: cell_label(called) for called, cell in folder.sweep().cells.items()}
            return [Contender(names[cell], cell, tuple(own)) for cell, own in by_cell.items()]
        if network := next((each for each in (place, place / "network") if (each / CARD).is_file()), None):
            from raynas.train.deployed import read_card

            card = read_card(network)
            own = training_of(card)
            return [Contender(name, genotype_from_json(card.genotype), (own,) if own else ())]
    genotype = find_cell(name, runs).genotype
    behind = sweep_behind(name, runs)
    images = images_of(best_of(behind, 1)[0]) if behind is not None else {}
    return [Contender(cell_label(name), genotype, tuple(known.get(network_of(genotype), ())), images)]


def _measured(found: "Comparison", contenders: "list[Contender]", device: str) -> "Comparison":
    from raynas.errors import RaynasError
    from raynas.launch.device import local_device
    from raynas.nets.latency import latencies
    from raynas.nets.network import Network
    from raynas.report.compare import batches_of, with_latency

    if found.texts:
        raise RaynasError("latency is measured for images; these cells read texts", got="--latency")
    place = local_device(device)
    shapes = [shape for shape, _ in (each.network for each in found.cells)]
    networks = [
        Network(each.genotype, shape, usual.classes, usual.channels, usual.cells).to(place)
        for each, (shape, usual) in zip(contenders, (row.network for row in found.cells), strict=True)
    ]
    batches = dict.fromkeys(batches_of(found))
    return with_latency(found, {batch: latencies(networks, shapes, batch, place) for batch in batches})


def _print(found: "Comparison", contenders: "list[Contender]") -> None:
    from raynas.report.compare import edge_rows

    headers = found.headers()
    shown = table(*headers, right=headers[1:-1])
    for row in found.rows():
        shown.add_row(*row)
    show_table(shown)
    if found.settings:
        told = (f"{key} {found.settings[key]}" for key in ("data.name", "epochs", "batch"))
        say(f"protocol  recipe {found.recipe}: {', '.join(told)}")
    for note in found.notes:
        say(f"careful: {note}")
    edges = table("kind", "edge", *(each.label for each in contenders))
    for row in edge_rows(contenders):
        edges.add_row(*row)
    show_table(edges)
