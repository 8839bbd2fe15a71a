"""`raynas search`, `sweep` and `resume`: running trials, and what is said once they have ended."""

import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.options import (
    DEFAULT_RUNS,
    Address,
    OnDevice,
    Overrides,
    PlaceWords,
    Runs,
    SweepName,
    TrialFile,
)
from raynas.cli.output import console, next_step, runs_option, say
from raynas.cli.verbs.retrain import (
    chosen_launcher,
    rooted,
    run_training,
    say_departures,
    train_short,
    train_winners,
)
from raynas.cli.verbs.tracking import has_store
from raynas.disk import DiskFull
from raynas.errors import RaynasError, plural, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raynas.cli.observers import ReportWriter
    from raynas.launch.launcher import Launcher
    from raynas.launch.observer import Observer
    from raynas.sweep.folder import AnySweep, SweepFolder
    from raynas.sweep.plan import Sweep

MOST_NAMED = 12
"""Trial ids that an error names; `raynas show FILE` has them all."""


def search(
    file: TrialFile,
    overrides: Overrides = None,
    trial: Annotated[
        str | None, typer.Option("--trial", metavar="ID", help="Which search, where the file holds several.")
    ] = None,
    runs: Runs = DEFAULT_RUNS,
    device: OnDevice = "auto",
) -> None:
    """Run one search in this process, without Ray.

    Example: raynas search quickstart --trial darts-wd0.0003-s0
    """
    path, planned = _load(file, overrides)
    chosen = _single(planned, trial, file)
    folder = _create(chosen, path, runs)

    from raynas.launch.local import LocalLauncher

    raise typer.Exit(_first_run(folder, LocalLauncher(device), runs, ["--local"]))


def sweep(
    file: TrialFile,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials and how many run at once, and run none.")
    ] = False,
    or_resume: Annotated[
        bool,
        typer.Option(
            "--or-resume", help="Go on where the sweep is there already; for jobs that are requeued."
        ),
    ] = False,
    address: Address = None,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Run every search, or training, of a file in parallel with Ray Tune.

    Example: raynas sweep quickstart epochs=20 'grid.seed=[0, 1]'
    """
    path, planned = _load_any(file, overrides)
    if dry_run:
        _print_plan(planned, address)
        next_step(
            "sweep",
            file,
            *(overrides or []),
            *(["--address", address] if address else []),
            *runs_option(runs),
        )
        return
    from raynas.launch.tune.launcher import RayLauncher

    again, launcher = ["--address", address] if address else [], RayLauncher(address=address)
    if or_resume and (begun := _begun(planned, runs)) is not None:
        _say_changed(begun)
        raise typer.Exit(_run_any(begun, launcher, runs, again))
    raise typer.Exit(_first_run(_create(planned, path, runs), launcher, runs, again))


def resume(
    name: SweepName,
    places: PlaceWords = None,
    address: Address = None,
    local: Annotated[
        bool, typer.Option("--local", help="Go on in this process, one search after another, without Ray.")
    ] = False,
    device: OnDevice = "auto",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run the searches that failed once more.")
    ] = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Go on with a sweep that was interrupted; what has ended stays as it is.

    Example: raynas resume quickstart
    """
    from raynas.sweep.folder import find_sweep

    launcher = chosen_launcher(local=local, address=address, device=device)
    folder = find_sweep(runs, name)
    _put_places(folder, places or [])
    _say_changed(folder)
    again = ["--local"] if local else ["--address", address] if address else []
    raise typer.Exit(_run_any(folder, launcher, runs, again, retry_failed))


def _put_places(folder: "AnySweep", words: "Sequence[str]") -> None:
    """Note where this machine has what the sweep names, and say where a store's folder is not here."""
    from raynas.sweep.file.uri import homeless, shown

    sweep = folder.sweep()
    if words:
        paths = [trial.config.data.path for trial in sweep.trials if trial.config]
        paths += [(base.get("data") or {}).get("path") for base in sweep.base.values()]
        folder.places.with_(words, paths, table=sweep.benchmark is not None).save(folder.path)
        folder.moved()
    if (store := folder.mlflow) and homeless(store):
        say(
            f"MLflow: the folder of {shown(store)} is not here; the sweep goes on without. Elsewhere: "
            f"raynas resume {folder.typed} track.mlflow=URI, later: raynas track {folder.typed} --mlflow URI"
        )


def _begun(planned: "Sweep[Any]", runs: Path) -> "AnySweep | None":
    """Return the folder of a sweep that was begun before; raises `RaynasError` if it plans other trials."""
    from raynas.sweep.folder import AnySweep

    folder = AnySweep((runs / planned.name).absolute())
    if not folder.exists:
        return None
    there = {trial.id: trial.config for trial in folder.sweep().trials}
    for trial in planned.trials:
        if there.pop(trial.id, None) != trial.config:
            there = {trial.id: trial.config}
            break
    if there:
        raise RaynasError(
            f"the sweep {folder.name!r} was begun with other trials than the file has now",
            got=f"{next(iter(there))} differs",
            expected=f"what stands in {folder.path / 'sweep.yaml'}",
            next_step=f"raynas resume {folder.typed}, or give the new one another name: name={folder.name}-2",
        )
    return folder


def _say_changed(folder: "AnySweep") -> None:
    """Say which versions are not those the sweep was planned with, where they decide its numbers."""
    from raynas.sweep.file.resolve import versions

    now, then = versions(), folder.sweep().versions
    changed = [
        f"{name} was {then[name]} and is {now[name]}"
        for name in ("raynas", "torch")
        if then.get(name, now[name]) != now[name]
    ]
    if changed:
        # Another raynas goes on only with methods that compute the same; another torch rounds differently.
        rounding = ": what is still to run may differ in rounding" if "torch" in changed[-1] else ""
        say(", ".join(changed) + rounding)


def _first_run(folder: "AnySweep", launcher: "Launcher", runs: Path, again: "Sequence[str]") -> int:
    """Run a sweep that was just written; what fails before its first trial leaves its name free."""
    try:
        return _run_any(folder, launcher, runs, again)
    except RaynasError:
        folder.forget_unstarted()
        raise


def _run_any(
    folder: "AnySweep", launcher: "Launcher", runs: Path, again: "Sequence[str]", retry_failed: bool = False
) -> int:
    from raynas.sweep.folder import trains

    if trains(folder):
        return run_training(folder, launcher, again=again, retry_failed=retry_failed)
    code = run(folder, launcher, runs, again=again, retry_failed=retry_failed)
    return code or train_winners(folder, launcher, again)


def run(
    folder: "SweepFolder",
    launcher: "Launcher",
    runs: Path,
    *,
    again: "Sequence[str]" = (),
    retry_failed: bool = False,
) -> int:
    """Run a sweep under the live display, the report writer and its trackers; return the exit code.

    0: every planned trial finished; 1: some did not; 130: interrupted by Ctrl-C, 143: by SIGTERM. ``again``
    are the words that `raynas resume` needs to go on the same way.
    """
    from raynas.cli.display import LiveDisplay
    from raynas.cli.observers import ReportWriter
    from raynas.cli.stopping import stoppable
    from raynas.track import trackers_for

    report, display = ReportWriter(), LiveDisplay(console())
    trackers = trackers_for(folder)
    # In this order: the trackers find the report written, and the display tells until all of it is done.
    observers: list[Observer] = [report, *trackers, display]
    words = ["resume", folder.name, *again, *runs_option(runs)]
    try:
        with stoppable(display, shlex.join(words)) as stop:
            try:
                launcher.run(folder, observers, retry_failed=retry_failed)
            except KeyboardInterrupt:
                _say_interrupted(folder, words)
                return stop.code
    except DiskFull as error:
        step = f"free some space, then raynas resume {folder.typed}"
        raise DiskFull(error.what, got=error.got, next_step=step) from error
    for message in [message for tracker in trackers if (message := getattr(tracker, "message", None))]:
        say(message)
    if (chosen := train_short(folder, launcher, again)) > 1:
        return chosen  # interrupted: a resume goes on with it
    code = _conclude(folder, report, runs, again)
    report.raise_failure()
    return code or chosen


def _conclude(folder: "SweepFolder", report: "ReportWriter", runs: Path, again: "Sequence[str]") -> int:
    from raynas.cli.progress import SweepProgress
    from raynas.cli.tables import print_selection
    from raynas.report.facts import gather
    from raynas.report.remarks import remarks
    from raynas.report.trust import worth_of

    planned = folder.sweep()
    progress = SweepProgress(planned, folder.records(), lookups=folder.lookups)
    # From the folder: a display keeps no weights of those that ended.
    # What the report was made of a moment ago, as a table takes seconds; after short trainings all is anew.
    made = None if "short_training" in planned.select.rules else report.written
    facts = made.facts if made else gather(folder)
    found = made.worth if made else worth_of(folder, facts)
    print_selection(
        facts.selection, remarks(facts.selection, facts.space), found.remarks, found.verdict.sentences
    )
    for label, path in report.results(folder):
        say(f"{label:<10}{path}")
    counts = progress.count()
    if counts["finished"] == progress.planned:
        next_step("ui" if has_store(folder) else "draw", folder.name, *runs_option(runs))
        return 0
    say(f"only {counts['finished']} of {plural(progress.planned, 'search', 'searches')} finished")
    retry = ["--retry-failed"] if counts["failed"] and not counts["running"] + counts["waiting"] else []
    if retry or counts["running"] + counts["waiting"]:
        next_step("resume", folder.name, *retry, *again, *runs_option(runs))
    else:
        next_step("status", folder.name, *runs_option(runs))
    return 1


def _say_interrupted(folder: "SweepFolder", words: "Sequence[str]") -> None:
    from raynas.cli.progress import SweepProgress

    progress = SweepProgress(folder.sweep(), folder.records())
    counts = progress.count()
    ended = progress.planned - counts["running"] - counts["waiting"]
    say(f"interrupted: {ended} of {plural(progress.planned, 'search', 'searches')} ended")
    for record in progress.running():
        say(f"  {record.id} is saved up to epoch {len(record.reports)} of {record.epochs}")
    say(f"all of it is in {folder.path}")
    next_step(*words)


def _load(file: str, overrides: list[str] | None) -> "tuple[Path, Sweep]":
    from raynas.spaces import library
    from raynas.sweep.file.load import load_sweep

    path = library.locate("trials", file)
    return path, load_sweep(path, overrides or [])


def _load_any(file: str, overrides: list[str] | None) -> "tuple[Path, Sweep[Any]]":
    from raynas.spaces import library
    from raynas.sweep.file.load import load_any

    path = library.locate("trials", file)
    return path, load_any(path, overrides or [])


def _create(planned: "Sweep[Any]", source: Path, runs: Path) -> "AnySweep":
    from raynas.sweep.folder import AnySweep

    folder = AnySweep((runs / planned.name).absolute())
    folder.create(rooted(planned), source.read_text(encoding="utf-8"))
    return folder


def _single(planned: "Sweep", trial_id: str | None, file: str) -> "Sweep":
    """Return the sweep of one trial, named after both, so that it never stands where the sweep will."""
    ids = [trial.id for trial in planned.trials]
    if trial_id is None and len(ids) > 1:
        more = f", and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
        raise RaynasError(
            f"{file} holds {len(ids)} searches, and `raynas search` runs one",
            expected=f"--trial with one of {', '.join(ids[:MOST_NAMED])}{more}",
            next_step=f"raynas search {file} --trial {ids[0]}, or all of them: raynas sweep {file}",
        )
    if trial_id is not None and trial_id not in ids:
        raise unknown("trial", trial_id, ids, next_step=f"raynas show {file}")
    trial = planned.trials[ids.index(trial_id) if trial_id else 0]
    if trial.config is None:
        raise RaynasError(
            f"the settings of {trial.id} are suggested while the sweep runs", next_step=f"raynas sweep {file}"
        )
    return replace(planned, name=f"{planned.name}-{trial.id}", trials=(trial,), retrain=None)


def _print_plan(planned: "Sweep[Any]", address: str | None) -> None:
    from raynas.cli.describe import print_trials
    from raynas.cli.verbs.files import data_of, held_out, searches

    if planned.kind == "train":
        from raynas.cli.training import trainings

        say(f"{planned.name}: {trainings(planned)}")
        say_departures(planned)
    else:
        say(f"{planned.name}: {searches(planned)}{held_out(planned)}")
    for line in data_of(planned):
        say(f"data: {line}")
    print_trials([{"id": trial.id, "axes": trial.axes} for trial in planned.trials])
    say(_at_once(planned, address))


def _at_once(planned: "Sweep[Any]", address: str | None) -> str:
    """Say how many trials run at once: on the cluster at ``address``, or on this machine."""
    from raynas.launch.tune.cluster import Ask, cluster, concurrency

    resources = planned.resources
    cpus = max((trial.config.cpus for trial in planned.trials if trial.config), default=1)
    ask = Ask(resources.cpu or cpus, resources.gpu)
    if address is not None:
        with cluster(address) as grows:
            fit = concurrency(ask, resources.max_concurrent, len(planned.trials), grows=grows)
        where = f"the cluster at {address}"
    else:
        import torch

        from raynas.cpus import whole_cpus

        here = {"CPU": float(whole_cpus()), "GPU": float(torch.cuda.device_count())}
        slots = ask.fit(here)
        fit = min(slots, resources.max_concurrent or slots, len(planned.trials))
        where = f"this machine ({here['CPU']:g} CPU, {here['GPU']:g} GPU)"
    if fit == 0:
        return f"each asks for {ask}: more than {where} has"
    return f"each process asks for {ask}: {fit} at once on {where}; {_packs(planned, fit)}"


def _packs(planned: "Sweep[Any]", fit: int) -> str:
    """Say how the searches are dealt out to processes."""
    from raynas.config import shape_of
    from raynas.sweep.propose import dealt

    if planned.resources.pack == "auto" and planned.kind == "search" and len(planned.trials) > fit:
        return "how many like-shaped searches share one (pack: auto) is measured at the start"
    most = planned.resources.pack if isinstance(planned.resources.pack, int) else 1
    # What is still to be suggested counts as shapes of their own.
    shapes = Counter(shape_of(trial.config) if trial.config else trial.id for trial in planned.trials)
    packs = [size for count in shapes.values() for size in dealt(count, most)]
    of = f" in packs of up to {max(packs)}" if max(packs) > 1 else ""
    return f"{plural(-(-len(packs) // fit), 'round')}{of}"
