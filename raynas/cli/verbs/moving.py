"""`raynas bundle` and `raynas unbundle`: a sweep's folder handed to somebody else."""

from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import DEFAULT_RUNS, Runs, SweepName
from raynas.cli.output import next_step, runs_option, say


def bundle(
    name: SweepName,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="The file to write; SWEEP.zip here.")
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Take the checkpoints along, so that it can be resumed.")
    ] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Write a sweep's folder as one .zip, which `raynas unbundle` unfolds anywhere.

    Example: raynas bundle quickstart
    """
    from raynas.disk import expanded
    from raynas.sweep.bundle import bundle as write
    from raynas.sweep.folder import find_sweep

    folder = find_sweep(runs, name)
    file = expanded(to) if to else Path(f"{folder.name}.zip")
    left_out = write(folder, file, checkpoints=checkpoints)
    say(f"{file}  {file.stat().st_size / 2**20:.1f} MiB")
    for what in left_out:
        say(f"left out: {what}")
    next_step("unbundle", str(file))


def unbundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .zip that `raynas bundle` wrote.")],
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Unfold a bundle into a folder of sweeps.

    Example: raynas unbundle quickstart.zip
    """
    from raynas.disk import expanded
    from raynas.sweep.bundle import unbundle as unfold

    folder = unfold(expanded(file), runs)
    say(str(folder.path))
    next_step("report", folder.name, *runs_option(runs))
