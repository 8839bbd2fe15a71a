"""`raynas lookup` and `raynas tabulate`: what a public table says of one cell, and making such a table."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.cell import CellArgument, find_cell
from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, say, show_table, table

if TYPE_CHECKING:
    from raynas.spaces.genotype import Genotype
    from raynas.tables.table import AccuracyTable


def lookup(
    cell: CellArgument,
    file: Annotated[
        Path,
        typer.Option(
            "--table",
            metavar="FILE",
            help="A .csv or .parquet file of trained accuracies, or the folder of a surrogate.",
        ),
    ],
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Look a cell up in a table of trained accuracies.

    Example: raynas lookup quickstart --table accuracy.csv
    """
    from raynas.disk import expanded
    from raynas.errors import RaynasError
    from raynas.report.text import percent
    from raynas.tables.open import open_table

    found = open_table(expanded(file))
    genotype = find_cell(cell, runs).genotype
    entry = found.look_up(genotype)
    if entry is None:
        raise RaynasError(
            "the table does not hold this cell",
            got=f"{genotype.digest()}, a cell of {genotype.space}",
            expected=f"a cell of {found.name}",
        )
    bests = _bests(found, genotype)
    rows: dict[str, dict[str, Any]] = {
        column: {
            "accuracy": accuracy,
            "best": bests.get(column),
            "regret": bests[column] - accuracy if column in bests else None,
        }
        for column, accuracy in entry.accuracies.items()
    }
    sizes = {"parameters": entry.parameters, "flops": entry.flops, "seconds": entry.seconds}
    if as_json:
        facts = {"cell": genotype.digest(), "table": str(file), "predicted": found.predicts}
        print_json({**facts, "accuracies": rows, **sizes})
        return
    if found.predicts:
        say(f"predicted, not measured: {found.name}")
    shown = table(
        "column", "accuracy / %", "best / %", "regret / %", right=["accuracy / %", "best / %", "regret / %"]
    )
    for column, row in rows.items():
        shown.add_row(column, *(percent(value) for value in row.values()))
    show_table(shown)
    for name, size in sizes.items():
        if size is not None:
            say(f"{name}  {size:g}")
    next_step("show", genotype.space)


def _bests(found: "AccuracyTable", genotype: "Genotype") -> Mapping[str, float]:
    """Return the best accuracies of the cell's space, of the whole table where no space has that name."""
    from raynas.spaces.library import load_space, names

    known = genotype.space in names("search_spaces")
    return found.best_in(load_space(genotype.space)) if known else found.best


def tabulate(
    source: Annotated[
        Path,
        typer.Argument(help="NATS-Bench's topology folder or .pickle.pbz2, or NAS-Bench-101's .tfrecord."),
    ],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The table to write, as nb201.csv.")],
) -> None:
    """Write the official files of NAS-Bench-201 (needs nats_bench) or NAS-Bench-101 as a table.

    Example: raynas tabulate NATS-tss-v1_0-3ffb9-simple accuracy.csv
    """
    from raynas.disk import expanded
    from raynas.tables.official import write_table

    count = write_table(expanded(source), expanded(to))
    say(f"{count} cells in {to}")
    next_step("lookup", "SWEEP", "--table", str(to))
