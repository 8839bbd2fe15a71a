"""`raynas logs`, `stop`, `rm` and `clean`: what a sweep wrote, ending it, and what it costs on disk."""

import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs, SweepName
from raynas.cli.output import next_step, print_json, runs_option, say, show_table, table
from raynas.errors import RaynasError, plural, short, unknown

if TYPE_CHECKING:
    from raynas.sweep.folder import AnySweep

MOST_LOG = 64 * 2**10
"""Bytes shown of the end of a log."""

END_WITHIN = 120.0
"""Seconds that `stop` waits for a driver: it ends an epoch's record, then Ray, then the report."""

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]


def logs(
    name: SweepName,
    trial: Annotated[
        str | None, typer.Argument(metavar="[TRIAL]", help="One trial; without it, all that have a log.")
    ] = None,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Print what went wrong in a sweep's trials: tracebacks and warnings.

    Example: raynas logs quickstart
    """
    from raynas.sweep.folder import find_sweep

    folder = find_sweep(runs, name)
    known = [each.id for each in folder.sweep().trials]
    if trial is not None and trial not in known:
        raise unknown("trial", trial, known, next_step=f"raynas status {folder.typed}")
    files = {each: folder.trial(each).log for each in ([trial] if trial else known)}
    if trial is None:
        files["observers"] = folder.path / "observers.log"
    found = {each: text for each, path in files.items() if (text := _end_of(path)) is not None}
    if as_json:
        print_json(found)
        return
    for each, text in found.items():
        say(f"== {each}: {files[each]}")
        say(text.rstrip())
        say()
    if not found:
        say(f"{trial} has no log: nothing went wrong" if trial else "no trial has a log: nothing went wrong")
    next_step("status", name, *runs_option(runs))


def _end_of(path: Path) -> str | None:
    """Return the end of a log, from a whole line on; None for none."""
    from raynas.disk import open_own

    with suppress(OSError, ValueError), os.fdopen(open_own(path, os.O_RDONLY), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - MOST_LOG, 0))
        text = file.read(MOST_LOG).decode(errors="replace")
        cut = f"… ({size - MOST_LOG:,} bytes before)\n" if size > MOST_LOG else ""
        return cut + (text.partition("\n")[2] if cut else text)
    return None


def stop(name: SweepName, runs: Runs = DEFAULT_RUNS) -> None:
    """End a running sweep as Ctrl-C does; `raynas resume` goes on with it.

    Example: raynas stop quickstart
    """
    from raynas.disk import holder
    from raynas.sweep.folder import find_sweep

    folder = find_sweep(runs, name)
    lock = folder.path / ".driver.lock"
    if (held := holder(lock)) is None:
        raise RaynasError(
            f"the sweep {folder.name!r} is not running", next_step=f"raynas status {folder.typed}"
        )
    pid = _driver(held, lock, folder)
    try:
        os.kill(pid, signal.SIGTERM if _ignores_ctrl_c(pid) else signal.SIGINT)
    except ProcessLookupError:
        pass  # it has ended by itself just now
    except PermissionError:
        raise RaynasError("the sweep is somebody else's", got=held) from None
    say(f"{folder.name}: asked process {pid} to end")
    sys.stdout.flush()
    until = time.monotonic() + END_WITHIN
    while holder(lock) is not None:
        if time.monotonic() > until:
            say(f"it has not ended within {END_WITHIN:.0f} s")
            next_step("status", name, *runs_option(runs))
            raise typer.Exit(1)
        time.sleep(0.2)
    say("ended; all that was recorded is kept")
    next_step("resume", name, *runs_option(runs))


def _driver(held: str, lock: Path, folder: "AnySweep") -> int:
    """Return the process that drives a sweep; raises `RaynasError` where that is not certain."""
    told = re.fullmatch(r"process (\d+) on (.+)", held)
    if told is None or told[2] != socket.gethostname():
        raise RaynasError(
            f"the sweep {folder.name!r} is not driven from this machine",
            got=short(held),
            expected=f"a process on {socket.gethostname()}",
            next_step="stop it where it runs: Ctrl-C, raynas stop, or ray job stop",
        )
    pid = int(told[1])
    open_there: set[str] | None = None
    with suppress(OSError):
        open_there = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    if open_there is not None and str(lock.resolve()) not in open_there:
        raise RaynasError(
            f"process {pid} does not drive the sweep {folder.name!r}",
            got=short(held),
            expected="a process that holds its lock: the sweep may run in a container of its own",
            next_step="stop it where it runs, with Ctrl-C",
        )
    return pid


def _ignores_ctrl_c(pid: int) -> bool:
    """Tell whether a process was started so that Ctrl-C passes it by, as scripts start theirs with `&`."""
    with suppress(OSError):
        ignored = re.search(r"^SigIgn:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return ignored is not None and bool(int(ignored[1], 16) >> (signal.SIGINT - 1) & 1)
    return False


def rm(name: SweepName, yes: Yes = False, runs: Runs = DEFAULT_RUNS) -> None:
    """Remove a sweep's folder with all that is in it; never that of a running sweep.

    Example: raynas rm quickstart
    """
    from raynas.launch.driver import only_driver
    from raynas.sweep.folder import find_sweep

    folder = find_sweep(runs, name)
    _check_idle(folder)
    if folder.path.is_symlink():
        raise RaynasError("the sweep's folder is a link", got=folder.path, next_step="remove it yourself")
    sizes = [path.lstat().st_size for path in folder.path.rglob("*") if not path.is_dir()]
    trials = plural(len(folder.sweep().trials), "trial")
    say(f"{folder.path}: {trials}, {plural(len(sizes), 'file')}, {_mib(sum(sizes))}")
    if not yes and not _agreed(f"Remove {folder.name} with all its results?", f"rm {folder.typed}"):
        say("nothing was removed")
        raise typer.Exit(1)
    with only_driver(folder):  # so that nobody starts it meanwhile
        shutil.rmtree(folder.path)
    say(f"removed {folder.name}")
    next_step("ls", "sweeps", *runs_option(runs))


def _check_idle(folder: "AnySweep") -> None:
    from raynas.disk import holder

    for lock in (*folder.path.glob(".*.lock"), *folder.path.glob("trained/*/.*.lock")):
        if (held := holder(lock)) is not None:
            raise RaynasError(
                f"the sweep {folder.name!r} is in use",
                got=f"{short(held)} ({lock.relative_to(folder.path)})",
                next_step=f"end it first: raynas stop {folder.typed}",
            )


def clean(
    name: Annotated[
        str | None, typer.Argument(metavar="[SWEEP]", help="A sweep; without it, all there are.")
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Say what checkpoints of finished trials cost, and remove them.

    Nothing goes on from them. All records, cells, networks and reports stay.

    Example: raynas clean quickstart
    """
    found = {folder: list(_needless(folder)) for folder in _idle(name, runs)}
    found = {folder: files for folder, files in found.items() if files}
    costs = {folder.name: sum(path.stat().st_size for path in files) for folder, files in found.items()}
    if as_json:
        rows: list[dict[str, Any]] = [
            {"name": folder.name, "files": [str(path) for path in files], "bytes": costs[folder.name]}
            for folder, files in found.items()
        ]
        print_json(rows)
        return
    if not found:
        say("no finished trial has a checkpoint")
        return
    shown = table("sweep", "checkpoints", "MiB", right=("checkpoints", "MiB"))
    for folder, files in found.items():
        shown.add_row(folder.name, str(len(files)), f"{costs[folder.name] / 2**20:.1f}")
    show_table(shown)
    again = " ".join(["clean", *([name] if name else []), *runs_option(runs)])
    if not yes and not _agreed(f"Remove them, {_mib(sum(costs.values()))}?", again):
        return
    for files in found.values():
        for path in files:
            path.unlink(missing_ok=True)
    say(f"removed {plural(sum(map(len, found.values())), 'checkpoint')}, {_mib(sum(costs.values()))}")
    next_step("ls", "sweeps", *runs_option(runs))


def _idle(name: str | None, runs: Path) -> "Iterator[AnySweep]":
    """Yield the sweeps to clean; of all there are, those that can be read and do not run."""
    from raynas.sweep.folder import AnySweep, find_sweep

    if name is not None:
        folder = find_sweep(runs, name)
        _check_idle(folder)
        yield folder
        return
    for path in sorted((*runs.glob("*/sweep.json"), *runs.glob("*/trained/*/sweep.json"))):
        folder = AnySweep(path.parent.absolute())
        with suppress(RaynasError):
            folder.sweep()
            _check_idle(folder)
            yield folder


def _needless(folder: "AnySweep") -> Iterator[Path]:
    """Yield the checkpoints of trials that are over; one that failed may be tried again from its own."""
    from raynas.sweep.status import OVER

    for trial in folder.trials():
        files = [path for path in (trial.checkpoint, trial.following) if path.is_file()]
        if files and trial.glance().status in OVER and not trial.record().damage:
            yield from files


def _agreed(question: str, verb: str) -> bool:
    """Ask, where somebody is there to answer."""
    if not sys.stdin or not sys.stdin.isatty():
        say(f"raynas {verb} --yes does it")
        return False
    say(f"{question} [y/N]")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
