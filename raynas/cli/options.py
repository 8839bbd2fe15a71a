"""Arguments and options that several verbs share, and the context every verb gets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from raynas.cli import complete

Device = Literal["auto", "cpu", "cuda"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
AsCsv = Annotated[
    bool, typer.Option("--csv", help="Print CSV and nothing else: a row per trial, fractions in [0, 1].")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="The folder that holds the sweeps.")]
SweepName = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="A sweep's name, or the path of its folder.", autocompletion=complete.SWEEPS
    ),
]
TrialFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A trial file: a path, or a name from `raynas ls trials`.",
        autocompletion=complete.TRIALS,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Changes to the file, as `epochs=10 data.name=digits grid.seed=[0,1]`.",
        show_default=False,
        autocompletion=complete.OVERRIDES,
    ),
]
PlaceWords = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=PLACE",
        help="Where this machine has `data.path`, `benchmark.table`, `track.mlflow`; kept for the next time.",
        show_default=False,
    ),
]
Store = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="URI", help="A store instead of the sweep's own, as sqlite:///mine.db."),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="ADDR",
        help="A running Ray cluster (`auto`, `host:6379`); else one is started here.",
    ),
]
OnDevice = Annotated[Device, typer.Option("--device", help="Where the search computes.")]

DEFAULT_RUNS = Path("runs")

INTERRUPTED, TERMINATED = 130, 143
"""The exit codes after Ctrl-C and after SIGTERM."""


@dataclass
class Settings:
    """What was said before the verb: ``debug`` shows the traceback of user errors too."""

    debug: bool = False
