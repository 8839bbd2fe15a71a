"""Arguments and options that several verbs share, and the context every verb gets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from raynas.cli import complete

Device = Literal["auto", "cpu", "cuda"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
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

INTERRUPTED = 130
"""The exit code after Ctrl-C."""


@dataclass
class Settings:
    """What was said before the verb: ``debug`` shows the traceback of user errors too."""

    debug: bool = False
