"""`raynas retrain`: networks of given cells trained from scratch, and what runs any sweep of trainings."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli import complete
from raynas.cli.cell import cell_from_pipe, piped
from raynas.cli.options import DEFAULT_RUNS, Address, OnDevice, Overrides, Runs
from raynas.cli.output import console, next_step, runs_option, say
from raynas.disk import DiskFull
from raynas.errors import RaynasError, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from raynas.launch.launcher import Launcher
    from raynas.launch.observer import Observer
    from raynas.sweep.folder import SweepFolder, TrainSweep
    from raynas.sweep.plan import Sweep
    from raynas.train.config import TrainConfig


def retrain(
    cell: Annotated[
        str,
        typer.Argument(
            metavar="CELL|SWEEP",
            help="A cell's name, a file (FILE:NAME is one of several), a cell's text, `-` for standard "
            "input, or a sweep (its best cell).",
            autocompletion=complete.CELLS,
        ),
    ],
    overrides: Overrides = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="How it is trained: a recipe's name or file; quick, or quick-text for a text cell.",
            show_default=False,
            autocompletion=complete.RECIPES,
        ),
    ] = None,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="0,1,2", help="The seeds, one training each.")
    ] = "0,1,2",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the new sweep and its folder.")
    ] = None,
    short: Annotated[
        bool,
        typer.Option("--short", help="Train every search's cell for a few epochs, to choose among them."),
    ] = False,
    address: Address = None,
    local: Annotated[
        bool, typer.Option("--local", help="Train in this process, one after another, without Ray.")
    ] = False,
    device: OnDevice = "auto",
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Train a cell, or a sweep's winner, from scratch by a recipe, and test it once.

    Example: raynas retrain quickstart --recipe quick
    """
    launcher = chosen_launcher(local=local, address=address, device=device)
    if short:
        raise typer.Exit(_shortly(cell, launcher, overrides or [], recipe, runs))
    planned, place, text = _planned(cell, overrides or [], recipe, seeds, name, runs)
    from raynas.sweep.folder import TrainSweep

    folder = TrainSweep((place / planned.name).absolute())
    folder.create(rooted(planned), text)
    again = ["--local"] if local else ["--address", address] if address else []
    try:
        code = run_training(folder, launcher, again=again)
    except RaynasError:
        folder.forget_unstarted()
        raise
    raise typer.Exit(code)


def _shortly(sweep: str, launcher: "Launcher", overrides: list[str], recipe: str | None, runs: Path) -> int:
    from raynas.sweep.folder import SweepFolder

    folder = SweepFolder.find(runs, sweep)
    code = train_short(folder, launcher, (), [*overrides, *([f"train={recipe}"] if recipe else [])])
    if code in (0, 1):
        next_step("select", folder.name, "--by", "short_training", *runs_option(runs))
    return code


def chosen_launcher(*, local: bool, address: str | None, device: Any) -> "Launcher":
    """Return what runs the trials; raises `RaynasError` for options that exclude each other."""
    if local and address:
        raise RaynasError("--local and --address exclude each other", next_step="leave one of them out")
    if device != "auto" and not local:
        raise RaynasError("--device needs --local", next_step="set `resources.gpu` in the trial file for Ray")
    if local:
        from raynas.launch.local import LocalLauncher

        return LocalLauncher(device)
    from raynas.launch.tune.launcher import RayLauncher

    return RayLauncher(address=address)


def _planned(
    cell: str, overrides: list[str], recipe: str | None, seeds: str, name: str | None, runs: Path
) -> "tuple[Sweep[TrainConfig], Path, str]":
    """Return the sweep, the folder that it goes into, and its file's text.

    What a sweep's winner is trained for lies in that sweep's folder, under ``trained``.
    """
    import yaml

    from raynas.config import folder_name
    from raynas.spaces import skeletons
    from raynas.spaces.reading import genotype_to_text
    from raynas.sweep.cells import best_of, cell_label, cell_of, searched_data, sweep_behind
    from raynas.sweep.file.keys import apply_overrides
    from raynas.sweep.file.training import SECTIONS, resolve_training
    from raynas.sweep.folder import TRAINED

    # What stood on standard input is on record as a text, which a resume can read again.
    cell = genotype_to_text(cell_from_pipe(cell)) if piped(cell) else cell
    called, genotype = cell_of(cell, runs)
    recipe = recipe or ("quick-text" if skeletons.of(genotype).texts else "quick")
    behind = sweep_behind(cell, runs)
    label = Path(recipe).stem
    usual = label if behind else f"{cell_label(called)}-{label}"
    try:
        chosen = folder_name(name or usual)
    except ValueError as error:
        raise RaynasError(f"no folder can be called so: {error}", next_step="--name NAME") from None
    content: dict[str, Any] = {
        "name": chosen,
        "train": recipe,
        "cell": called,
        "grid": {"seed": _seeds(seeds)},
    }
    elsewhere = any(each.split("=")[0].strip() in ("data", "data.name") for each in overrides)
    if behind and not elsewhere:
        content["data"] = searched_data(behind, best_of(behind, 1)[0])
    if behind:
        content["track"] = _tracked(behind)
    command = ["raynas", "retrain", cell, *overrides, "--recipe", recipe, "--seeds", seeds]
    command += ["--name", name] if name else []
    data, problems = apply_overrides(content, overrides, SECTIONS)
    planned = resolve_training(
        data, f"retrain {chosen}", problems, command=shlex.join([*command, *runs_option(runs)]), runs=runs
    )
    text = yaml.safe_dump(planned.resolved, sort_keys=False, allow_unicode=True)
    return planned, behind.path / TRAINED if behind else runs, text


def train_winners(folder: "SweepFolder", launcher: "Launcher", again: "Sequence[str]") -> int:
    """Train what a sweep's file asks for once its searches have finished, from where that stands."""
    import yaml

    from raynas.sweep.cells import best_of, searched_data
    from raynas.sweep.control import with_random
    from raynas.sweep.file.training import resolve_training
    from raynas.sweep.folder import TRAINED, TrainSweep
    from raynas.sweep.short_results import network

    sweep = folder.sweep()
    if sweep.retrain is None:
        return 0
    place = folder.path / TRAINED
    trained = TrainSweep(place / Path(sweep.retrain.recipe).stem)
    if not trained.exists:
        best = best_of(folder, len(sweep.trials))
        known: dict[str, str] = {}
        for record in best:  # several searches may have found one network: it is trained once
            if len(known) < sweep.retrain.top:
                known.setdefault(network(record), str(folder.trial(record.id).path / "genotype.json"))
        cells = with_random(folder, best[0], known)
        content = {
            "name": trained.name,
            "train": sweep.retrain.recipe,
            "data": searched_data(folder, best[0]),
            "track": _tracked(folder),
            "grid": {
                "cell": cells,
                "seed": list(sweep.retrain.seeds),
            },
        }
        planned = resolve_training(content, f"retrain of {folder.name}", command=sweep.command)
        trained.create(rooted(planned), yaml.safe_dump(planned.resolved, sort_keys=False, allow_unicode=True))
    say(f"training the best of {folder.name} from scratch: {trained.path}")
    code = run_training(trained, launcher, again=again)
    if sweep.control.by == "training":
        _say_control(folder)
    return code


def _say_control(folder: "SweepFolder") -> None:
    """Say how the winner stands among the random cells that were trained with it."""
    from raynas.report.facts import gather
    from raynas.trust.trust import trust_of
    from raynas.trust.words import random_words

    facts = gather(folder)
    trust = trust_of(folder, facts.sweep, facts.records, facts.selection, facts.yardstick)
    if trust.random is not None:
        say(random_words(trust.random))


def train_short(
    folder: "SweepFolder",
    launcher: "Launcher",
    again: "Sequence[str]",
    asked: "Sequence[str] | None" = None,
) -> int:
    """Train the cells of all searches shortly, from where that stands, once all of these have ended.

    Only where the sweep's file selects by that, or where it is ``asked`` for with words as `epochs=3`.
    Returns `sweep`'s exit code.
    """
    import yaml

    from raynas.sweep.file.keys import apply_overrides
    from raynas.sweep.file.training import SECTIONS, resolve_training
    from raynas.sweep.short import short_content, short_folder, untrained
    from raynas.sweep.status import ENDED

    select, trained = folder.sweep().select, short_folder(folder)
    statuses = [record.status for record in folder.records()]
    over = len(statuses) == len(folder.sweep().trials) and all(each in ENDED for each in statuses)
    wanted = "short_training" in select.rules and over and "finished" in statuses
    if asked is None and not wanted:
        return 0
    if not trained.exists:
        content = short_content(folder, select, _tracked(folder))
        data, problems = apply_overrides(content, asked or [], SECTIONS)
        called = f"short trainings of {folder.name}"
        planned = resolve_training(data, called, problems, command=folder.sweep().command)
        trained.create(rooted(planned), yaml.safe_dump(planned.resolved, sort_keys=False, allow_unicode=True))
    elif asked:
        raise RaynasError(
            f"there are short trainings of {folder.name!r} already",
            got=" ".join(asked),
            next_step=f"raynas retrain {folder.typed} --short goes on with them; or delete {trained.path}",
        )
    if late := untrained(folder, trained):
        say(
            f"careful: the short trainings lack the cells of {', '.join(late)}, which finished later: delete "
            f"{trained.path}, then raynas retrain {folder.typed} --short"
        )
    if asked is None and all(record.status in ENDED for record in trained.records()):
        return 0
    say(f"training the cells of {folder.name} shortly, to choose among them: {trained.path}")
    return run_training(trained, launcher, again=again, between=True)


def _tracked(searches: "SweepFolder") -> dict[str, Any]:
    """Return where searches are recorded, the password of their store included, for what comes of them."""
    return {**searches.sweep().track.wanted, "mlflow": searches.mlflow}


def rooted(planned: "Sweep[Any]") -> "Sweep[Any]":
    """Return a sweep whose MLflow store is meant from here: it may be resumed from anywhere."""
    from raynas.sweep.file.uri import resolve_uri

    if not planned.track.mlflow:
        return planned
    absolute = {"mlflow": resolve_uri(planned.track.mlflow)}
    return replace(planned, track=planned.track.model_copy(update=absolute))


def _seeds(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise RaynasError(
            "--seeds takes whole numbers",
            got=text,
            expected="as in --seeds 0,1,2",
            next_step="raynas retrain",
        ) from None


def run_training(
    folder: "TrainSweep",
    launcher: "Launcher",
    *,
    again: "Sequence[str]" = (),
    retry_failed: bool = False,
    between: bool = False,
) -> int:
    """Run a sweep of trainings under its display, report writer and trackers; return `sweep`'s exit code.

    ``between``: something follows, so that no next step is named.
    """
    from raynas.cli.stopping import stoppable
    from raynas.cli.training import TrainDisplay, TrainedWriter, print_trained
    from raynas.track import trackers_for

    say_departures(folder.sweep(), folder.recipe)
    writer, display = TrainedWriter(), TrainDisplay(console())
    # In the order of searches: the trackers find the report written, and the display tells until then.
    trackers = trackers_for(folder)
    observers: list[Observer[Any, Any]] = [writer, *trackers, display]
    # What follows is a part of the searches' sweep, and goes on with that.
    words = ["resume", *((folder.behind if between else None) or folder).words, *again]
    try:
        with stoppable(display, shlex.join(words)) as stop:
            try:
                launcher.run(folder, observers, retry_failed=retry_failed)
            except KeyboardInterrupt:
                ended = sum(record.status not in ("running", "waiting") for record in folder.records())
                say(f"interrupted: {ended} of {plural(len(folder.sweep().trials), 'training')} ended")
                next_step(*words)
                return stop.code
    except DiskFull as error:
        step = f"free some space, then raynas resume {folder.typed}"
        raise DiskFull(error.what, got=error.got, next_step=step) from error
    for message in [message for tracker in trackers if (message := getattr(tracker, "message", None))]:
        say(message)
    print_trained(folder)
    if writer.paths:
        say(f"report    {writer.paths[0]}")
    statuses = [record.status for record in folder.records()]
    finished = statuses.count("finished")
    if between:
        return 0 if finished == len(statuses) else 1
    if finished == len(statuses):
        tested = any(record.tested.test_accuracy is not None for record in folder.records() if record.tested)
        name, *where = folder.words
        next_step(*(["evaluate", name] if tested else ["predict", name, "IMAGES"]), *where)
        return 0
    say(f"only {finished} of {plural(len(statuses), 'training')} finished")
    left = {"running", "waiting"} & set(statuses)
    retry = ["--retry-failed"] if "failed" in statuses and not left else []
    verb = "resume" if retry or left else "status"
    next_step(verb, *folder.words, *(retry if verb == "resume" else []))
    return 1


def say_departures(sweep: "Sweep[TrainConfig]", kept: Path | None = None) -> None:
    """Say where the trainings of a sweep part from their recipe, once per key and value."""
    from raynas.report.trained import departures, recipe_of

    configs = [trial.config for trial in sweep.trials if trial.config is not None]
    found = dict.fromkeys(each for config in configs for each in departures(config, recipe_of(sweep, kept)))
    if found:
        say(f"parts from the recipe {configs[0].recipe}: {'; '.join(found)}")
