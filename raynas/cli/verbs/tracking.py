"""`raynas ui` and `raynas track`: the sweeps in MLflow."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated

import typer

from raynas.cli import complete
from raynas.cli.options import DEFAULT_RUNS, Runs, Store, SweepName
from raynas.cli.output import next_step, runs_option, say
from raynas.errors import RaynasError, plural

if TYPE_CHECKING:
    from raynas.sweep.folder import AnySweep

HOST = "127.0.0.1"

START_WITHIN = 90.0
"""Seconds MLflow gets to answer; a first start makes the tables of its database."""

END_WITHIN = 10.0
"""Seconds MLflow gets to end by itself."""

_QUIET = {
    # Seven more processes for evaluations of language models, which outlive the server.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def ui(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[SWEEP]", help="A sweep; without it, all there are.", autocompletion=complete.SWEEPS
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the page is served.")] = 5000,
    mlflow: Store = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Serve the sweeps' MLflow store on this machine; Ctrl-C ends it.

    Example: raynas ui quickstart
    """
    from raynas.sweep.file.uri import resolve_uri, shown

    folders = _folders(name, runs)
    by_store: dict[str, list[AnySweep]] = {}
    for folder in folders:
        try:
            uri = _store(folder, mlflow, "ui")
        except RaynasError as error:
            if name is not None or mlflow is not None:
                raise
            say(f"{folder.called} is left out: {error.what} ({error.got})")
            continue
        if uri is not None:
            by_store.setdefault(resolve_uri(uri), []).append(folder)
    if not by_store:
        raise RaynasError(
            f"no sweep in {runs} is tracked" if name is None else f"the sweep {name!r} is not tracked",
            expected="`track: {mlflow: sqlite:///mlflow.db}` in its trial file",
            next_step="raynas ls sweeps",
        )
    if len(by_store) > 1:
        stores = "; ".join(
            f"{shown(uri)}: {', '.join(f.called for f in used)}" for uri, used in by_store.items()
        )
        raise RaynasError(
            "the sweeps are in several stores", got=stores, next_step=f"raynas ui {folders[0].called}"
        )
    ((uri, tracked),) = by_store.items()
    failures = [_say_replayed(folder, uri) for folder in tracked]
    if uri.startswith(("http://", "https://")):
        say(f"MLflow is at {shown(uri)}")
        raise typer.Exit(int(all(failures)))
    _serve(uri, port)
    next_step("ls", "sweeps", *runs_option(runs))


def track(name: SweepName, mlflow: Store = None, runs: Runs = DEFAULT_RUNS) -> None:
    """Send to MLflow what it lacks of a sweep, as after an outage, or to another store.

    Example: raynas track quickstart
    """
    from raynas.cli.tables import print_damage
    from raynas.sweep.file.uri import shown
    from raynas.sweep.folder import find_sweep
    from raynas.track.mlflow import replay

    folder = find_sweep(runs, name)
    asked = ((each, _store(each, mlflow, "track")) for each in _with_trained(folder))
    stores = [(each, uri) for each, uri in asked if uri is not None]
    if not stores:
        raise RaynasError(
            f"the sweep {name!r} is not tracked",
            got="track: {mlflow: null} in its file",
            next_step=f"raynas track {folder.typed} --mlflow sqlite:///mlflow.db",
        )
    for each, uri in stores:
        added = replay(each, uri)
        sent = f"sent {plural(added.epochs, 'epoch')} and {plural(added.runs, 'new run')} to {shown(uri)}"
        say(sent if len(stores) == 1 else f"{each.called}: {sent}")
    print_damage(folder.damage(), folder.typed)
    # What was given here is not noted for the next time: the sweep may have a store of its own.
    next_step("ui", name, *(["--mlflow", shown(mlflow)] if mlflow else []), *runs_option(runs))


def has_store(folder: "AnySweep") -> bool:
    """Tell whether `raynas ui` has something to show of a sweep on this machine."""
    from raynas.sweep.file.uri import homeless, resolve_uri

    try:
        uri = folder.mlflow
    except RaynasError:
        return False  # its password stayed on another machine
    return uri is not None and not homeless(resolve_uri(uri))


def _store(folder: "AnySweep", given: str | None, verb: str) -> str | None:
    """Return the address of a sweep's store, or the one given instead.

    Raises `RaynasError` for a store in a folder that is not on this machine: it would be a new, empty one.
    """
    from raynas.sweep.file.uri import homeless, resolve_uri, shown

    if given is not None:
        return resolve_uri(given)
    uri = folder.mlflow
    if uri is not None and homeless(resolve_uri(uri)):
        raise RaynasError(
            f"the MLflow store of {folder.name!r} is not here",
            got=shown(uri),
            next_step=f"raynas {verb} {folder.typed} --mlflow sqlite:///mlflow.db makes one of its records",
        )
    return uri


def _folders(name: str | None, runs: Path) -> "list[AnySweep]":
    from raynas.sweep.folder import AnySweep, find_sweep

    if name is not None:
        return _with_trained(find_sweep(runs, name))
    found = (AnySweep(path.parent.absolute()) for path in sorted(runs.glob("*/sweep.json")))
    return [each for folder in found for each in _with_trained(folder)]


def _with_trained(folder: "AnySweep") -> "list[AnySweep]":
    """Return a sweep, and those in which its winners are trained."""
    from raynas.sweep.folder import TRAINED, AnySweep

    return [folder, *(AnySweep(folder.path / TRAINED / name) for name in folder.trained())]


def _say_replayed(folder: "AnySweep", uri: str) -> bool:
    """Bring the store level and return whether that failed.

    A sweep that runs now does so by itself, and a broken one hides no other.
    """
    from raynas.track.mlflow import replay

    try:
        added = replay(folder, uri)
    except RaynasError as error:
        say(f"{folder.called}: {error.what}" + (f" ({error.got})" if error.got else ""))
        return True
    if added.runs or added.epochs:
        say(f"{folder.called}: added {plural(added.runs, 'run')} and {plural(added.epochs, 'epoch')}")
    return False


def _serve(uri: str, port: int) -> None:
    """Run MLflow's server until Ctrl-C or SIGTERM, and take it down with all of its workers."""
    if _answers(port):
        raise RaynasError(
            f"port {port} is taken", expected="a free port", next_step=f"raynas ui --port {port + 1}"
        )
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    before = signal.signal(signal.SIGTERM, _interrupt)
    # In an empty folder, as its server looks for modules where it runs, whatever Python is told.
    empty = TemporaryDirectory(prefix="raynas-")
    messages = TemporaryFile()  # noqa: SIM115 - closed below, when the server has ended
    # In a session of its own, so that Ctrl-C reaches us alone and we end all of it, in order.
    server = subprocess.Popen(
        command,
        env=os.environ | _QUIET,
        cwd=empty.name,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=messages,
    )
    try:
        _wait_for(server, port, messages)
        say(f"MLflow shows the sweeps at http://{HOST}:{port} (Ctrl-C ends it)")
        sys.stdout.flush()
        # Asked twice a second: a Ctrl-C that the system hands to another thread than this one is only noticed
        # between two steps of this one, never while it is blocked in a wait without end.
        while server.poll() is None:
            time.sleep(0.5)
        raise RaynasError("MLflow's server has ended by itself", got=f"exit code {server.returncode}")
    except KeyboardInterrupt:
        say("ended")
    finally:
        _end(server)
        messages.close()
        empty.cleanup()
        signal.signal(signal.SIGTERM, before)


def _wait_for(server: "subprocess.Popen[bytes]", port: int, messages: IO[bytes]) -> None:
    until = time.monotonic() + START_WITHIN
    while not _answers(port):
        if server.poll() is not None:
            messages.seek(0)
            said = messages.read().decode(errors="replace").strip()
            raise RaynasError("MLflow's server did not start", got=said[-500:] or "no message")
        if time.monotonic() > until:
            raise RaynasError(f"MLflow's server does not answer after {START_WITHIN:.0f} s")
        time.sleep(0.2)


def _end(server: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(END_WITHIN)
    # Its workers are in its session: whoever is left now has had the time to end.
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
