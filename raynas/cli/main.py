"""The `raynas` command: which verbs there are, and what becomes of an error."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import INTERRUPTED, TERMINATED, Settings
from raynas.cli.verbs import (
    compare,
    evaluate,
    export,
    files,
    keeping,
    lookup,
    ls,
    moving,
    predict,
    results,
    retrain,
    run,
    show,
    size,
    tracking,
)
from raynas.errors import RaynasError, printable, quoted, short
from raynas.spaces.here import only_looking

app = typer.Typer(
    name="raynas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_VERBS: dict[str, dict[str, Callable[..., None]]] = {
    "Look": {"ls": ls.ls, "show": show.show},
    "Prepare": {"cp": files.cp, "check": files.check},
    "Run": {"search": run.search, "sweep": run.sweep, "resume": run.resume, "retrain": retrain.retrain},
    "Results": {
        "status": results.status,
        "select": results.select,
        "report": results.report,
        "compare": compare.compare,
        "draw": results.draw,
        "size": size.size,
        "lookup": lookup.lookup,
        "tabulate": lookup.tabulate,
        "export": export.export,
        "predict": predict.predict,
        "evaluate": evaluate.evaluate,
        "track": tracking.track,
        "ui": tracking.ui,
    },
    "Keep": {
        "logs": keeping.logs,
        "stop": keeping.stop,
        "bundle": moving.bundle,
        "unbundle": moving.unbundle,
        "clean": keeping.clean,
        "rm": keeping.rm,
    },
}
for panel, verbs in _VERBS.items():
    for name, verb in verbs.items():
        app.command(name, rich_help_panel=panel)(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        from raynas import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="RAYNAS_DEBUG", help="Show the traceback of errors.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Many differentiable architecture searches in parallel: one YAML in, one report out.

    Start with: raynas ls
    """
    context.obj.debug = debug
    # Code that a file names is imported by the verbs that run it; the others only look.
    context.with_resource(only_looking(context.invoked_subcommand not in _VERBS["Run"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: all is well; 1: some trials failed or did not finish; 2: a mistake of the user, told on stderr;
    130: interrupted by Ctrl-C; 143: by SIGTERM.
    """
    # With a stream closed (`>&-`) Python has None in its place, which nothing can be written to.
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show λ or ± shows a question mark; it is no reason to end a sweep.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # `data: {name: "mine:load"}` means mine.py here; last, so that it can hide nothing installed. `python -m`
    # has it first.
    here = str(Path.cwd())
    sys.path[:] = [*(place for place in sys.path if place not in ("", here)), here]
    settings = Settings()
    try:
        code = _invoke(arguments, settings)
        sys.stdout.flush()
    except RaynasError as error:
        if settings.debug:
            traceback.print_exception(error)
        else:
            print(printable(str(error)), file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has left; let the interpreter flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, MemoryError) as error:
        # A name longer than the system takes, a folder that may not be entered, a disk that is gone.
        if settings.debug:
            traceback.print_exception(error)
        else:
            print(_of_the_machine(error), file=sys.stderr)
        return 2
    if code == TERMINATED:
        sys.stderr.flush()
        os._exit(code)  # Ray's own end waits for processes that SIGTERM may have reached too
    if code == INTERRUPTED:
        # One more Ctrl-C would tear the interpreter's own end, which takes seconds with torch and Ray.
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


def _of_the_machine(error: OSError | MemoryError) -> RaynasError:
    """Return the error of what the machine refused."""
    if isinstance(error, MemoryError):
        return RaynasError("there is not enough memory", next_step="`raynas --debug` shows for what")
    name = "" if error.filename is None else f"{quoted(str(error.filename))}: "
    return RaynasError(
        "a file or folder cannot be used",
        got=f"{name}{printable(short(error.strerror or str(error), 200))}",
        next_step="check its name and who may read it; `raynas --debug` shows where it was met",
    )


def _invoke(arguments: Sequence[str] | None, settings: Settings) -> int:
    try:
        app(args=arguments, prog_name="raynas", obj=settings)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
