"""`raynas cp` and `raynas check`: the files a user edits."""

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from raynas.cli import complete
from raynas.cli.options import AsJson, Overrides
from raynas.cli.output import next_step, print_json, say
from raynas.errors import RaynasError, plural, unknown
from raynas.spaces.here import only_looking

if TYPE_CHECKING:
    from raynas.sweep.plan import Sweep

FileKind = Literal["space", "trial"]

_NAME_LINE = re.compile(r"^name:[^\n#]*?(?=\s*(#|$))", re.MULTILINE)


def cp(
    name: Annotated[
        str, typer.Argument(help="A space or a trial file, by name.", autocompletion=complete.FILES)
    ],
    file: Annotated[Path, typer.Argument(help="Where to; `.yaml` is added if it is missing.")],
    kind: Annotated[
        FileKind | None, typer.Option("--kind", help="Which, where a space and a trial share it.")
    ] = None,
) -> None:
    """Copy a space or a trial file to edit it; its `name:` becomes the new file's, its keys are explained.

    Example: raynas cp quickstart mine.yaml
    """
    from raynas.config import folder_name

    source, found = find(name, kind)
    target = file / f"{source.stem}.yaml" if file.is_dir() else file
    if target.suffix not in {".yaml", ".yml"}:
        target = target.with_name(f"{target.name}.yaml")
    text = source.read_text(encoding="utf-8")
    with suppress(ValueError):
        text = _NAME_LINE.sub(f"name: {folder_name(target.stem)}", text, count=1)
    if found == "trial":
        from raynas.cli.comments import commented

        text = commented(text)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as copy:
            copy.write(text)
    except FileExistsError:
        raise RaynasError(
            f"{target} is there already", next_step="give another file name, or delete that one first"
        ) from None
    except OSError as error:
        raise RaynasError(f"cannot write {target}: {error.strerror}") from None
    say(f"copied the {'search space' if found == 'space' else 'trial file'} {source.stem} to {target}")
    next_step("check", str(target))


def check(
    file: Annotated[
        str,
        typer.Argument(
            help="A trial file or a search space: a path, or a name.", autocompletion=complete.FILES
        ),
    ],
    overrides: Overrides = None,
    imports: Annotated[
        bool,
        typer.Option("--import", help="Import parts of your own (`use: module:Class`) to look into them."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a trial file or a search space, and say all that is wrong with it.

    Example: raynas check quickstart epochs=20
    """
    try:
        path, kind = find(file, None if _is_path(file) else _guess(file))
        data: list[str] = []
        if kind == "space":
            verdict = _check_space(path, overrides)
        else:
            with only_looking(not imports):
                verdict, data = _check_trial(path, overrides)
    except RaynasError as error:
        if not as_json:
            raise
        problems = [{"path": p.path, "message": p.message} for p in getattr(error, "problems", ())]
        problems = problems or [{"path": "", "message": str(error)}]
        print_json({"ok": False, "file": file, "kind": None, "says": error.what, "problems": problems})
        raise typer.Exit(2) from None
    if as_json:
        facts = {"ok": True, "file": str(path), "kind": kind, "says": verdict, "data": data, "problems": []}
        print_json(facts)
        return
    say(f"ok: {verdict}")
    for line in data:
        say(f"data: {line}")
    words = ["show", file] if kind == "space" else ["sweep", file, *(overrides or []), "--dry-run"]
    next_step(*words)


def find(name: str, kind: FileKind | None = None) -> tuple[Path, FileKind]:
    """Return the file behind a name or a path, and what it holds; raises `RaynasError` with the nearest."""
    from raynas.spaces import library

    if _is_path(name):
        path = library.locate("trials", name)
        if kind is None:
            data = library.read_yaml(path)
            # Trial files have `cells` too, as a number.
            kind = "space" if "nodes" in data or isinstance(data.get("cells"), dict) else "trial"
        return path, kind
    spaces, trials = library.names("search_spaces"), library.names("trials")
    kinds: list[FileKind] = [
        each for each in get_args(FileKind) if name in (spaces if each == "space" else trials)
    ]
    if kind is not None:
        kinds = [each for each in kinds if each == kind]
    if not kinds:
        raise unknown("space or trial file", name, {*spaces, *trials}, next_step="raynas ls")
    if len(kinds) > 1:
        raise RaynasError(
            f"{name!r} is a search space and a trial file", next_step="add `--kind space` or `--kind trial`"
        )
    return (spaces if kinds[0] == "space" else trials)[name], kinds[0]


def searches(sweep: "Sweep") -> str:
    """Say how many searches a sweep holds, and what varies: ``8 searches (2 method × 4 seed)``."""
    axes: dict[str, set[str]] = {}
    for trial in sweep.trials:
        for key, value in trial.axes.items():
            axes.setdefault(key, set()).add(repr(value))
    varied = " × ".join(f"{len(values)} {key}" for key, values in axes.items() if len(values) > 1)
    epochs = sorted({trial.config.epochs for trial in sweep.trials if trial.config is not None})
    *shorter, longest = map(str, epochs or [0])
    length = f", {'/'.join([*shorter, plural(int(longest), 'epoch')])} each" if epochs else ""
    drawn = f", values drawn by {sweep.strategy}" if sweep.sample else ""
    return (
        plural(len(sweep.trials), "search", "searches") + (f" ({varied})" if varied else "") + length + drawn
    )


def _check_space(path: Path, overrides: list[str] | None) -> str:
    from raynas.spaces import library

    if overrides:
        raise RaynasError(
            "only trial files take key=value", got=" ".join(overrides), expected="a space alone"
        )
    space = library.load_space(str(path))
    edges = " and ".join(f"{plural(len(cell.edges), 'edge')} ({cell.kind})" for cell in space.cells)
    return f"the search space {space.name} with {space.nodes} nodes, {edges}"


def _check_trial(path: Path, overrides: list[str] | None) -> tuple[str, list[str]]:
    from raynas.sweep.file.load import load_any

    sweep = load_any(path, overrides or [])
    if sweep.kind == "train":
        from raynas.cli.training import trainings
        from raynas.report.trained import departures, recipe_of

        configs = [trial.config for trial in sweep.trials if trial.config is not None]
        parts = dict.fromkeys(each for config in configs for each in departures(config, recipe_of(sweep)))
        words = f"; parts from the recipe: {'; '.join(parts)}" if parts else ""
        return f"the sweep {sweep.name} with {trainings(sweep)}{words}", data_of(sweep)
    return (
        f"the sweep {sweep.name} with {searches(sweep)}{_budget(sweep)}{_validated(sweep)}"
        f"{_optimistic(sweep)}{held_out(sweep)}{_untrained(sweep)}{_unseen(sweep)}",
        data_of(sweep),
    )


def data_of(sweep: "Sweep[Any]") -> list[str]:
    """Say what a sweep's trials learn from: how many images in how many classes, and the code that runs."""
    from raynas.config import DataConfig
    from raynas.data.catalogue import says
    from raynas.data.survey import survey
    from raynas.sweep.file.resolve import method_label

    trained = sweep.kind == "train"
    judged: dict[str, str] = {} if trained else proposals_of(sweep)
    known = [trial.config for trial in sweep.trials if trial.config is not None]
    configs = [config.data for config in known if trained or method_label(config.method) not in judged]
    configs += [DataConfig.model_validate(each["data"]) for each in sweep.base.values()]
    asked = {(each.name, each.path, each.limit, each.size, each.test, each.select): each for each in configs}
    said = []
    for each in asked.values():
        said.append(says(each, trained=trained))
        if each.name == "folder":
            said += survey(each).says(each)
    if not trained:
        from raynas.cli.steps import alpha_steps

        said += alpha_steps(sweep)
    said += judged.values()
    return list(dict.fromkeys(said))


def proposals_of(sweep: "Sweep") -> dict[str, str]:
    """Say, by the label of each method that proposes cells, how many a table judges; of others nothing."""
    from raynas.methods import resolve
    from raynas.sweep.file.resolve import method_label

    if sweep.benchmark is None:
        return {}
    found = {}
    methods = {method_label(each.config.method): each.config.method for each in sweep.trials if each.config}
    for label, method in methods.items():
        proposals = resolve(method).proposals
        if proposals is not None:
            judge = sweep.benchmark.open().judge()
            limit = f", or {proposals.seconds:,.0f} simulated seconds" if proposals.seconds else ""
            words = f"{judge.column} of {judge.table.name} judges {proposals.evaluations:,} cells{limit}"
            found[label] = f"{words} ({label})"
    return found


def _budget(sweep: "Sweep") -> str:
    """Say how large the network of a chosen cell may be."""
    from raynas.sweep.budget import in_words

    return f"; budget: {in_words(sweep.select.where)}" if sweep.select.where else ""


def _validated(sweep: "Sweep") -> str:
    """Say what the loss that selects is of, and where those of the methods do not compare."""
    from raynas.methods import resolve
    from raynas.sweep.ranking import OF_KINDS
    from raynas.sweep.reasons import UNDECIDED
    from raynas.sweep.record import VALIDATED

    if sweep.select.rule not in OF_KINDS:
        return ""
    kinds: dict[str, list[str]] = {}
    for given in sweep.methods:
        method = resolve(given["method"])
        kinds.setdefault(method.validated, []).append(method.name)
    said = [f"{VALIDATED[kind]} ({', '.join(dict.fromkeys(names))})" for kind, names in kinds.items()]
    if len(kinds) < 2:
        loss = "validation loss" if sweep.select.rule == "valid_loss" else "loss on the third part"
        what = "" if "table" in kinds else f"the {loss}, "
        return f"; selected by {what}{said[0]}" if said else ""
    return f"; careful: their validation losses do not compare, {' against '.join(said)}. {UNDECIDED}"


def _optimistic(sweep: "Sweep") -> str:
    """Say whether what chooses is a loss on images that trained α as well."""
    from raynas.methods import proposes

    if sweep.select.rule not in ("valid_loss", "select_loss", "discrete_loss"):
        return ""
    if all(proposes(given["method"]) for given in sweep.methods):
        return ""  # nothing trains α
    thirds = all(trial.config.data.select for trial in sweep.trials if trial.config)
    if thirds and sweep.select.rule != "valid_loss":
        return "; not optimistic: chosen on a third part of the data, which trains nothing"
    other = "select: {by: select_loss} is not" if thirds else "data.select=0.1 holds out a third part"
    return f"; optimistic: chosen on the half that trains α ({other})"


def _untrained(sweep: "Sweep") -> str:
    """Say where random cells were to be trained beside others, and none are trained."""
    if sweep.control.by != "training" or sweep.retrain or "short_training" in sweep.select.rules:
        return ""
    return "; careful: control.by=training trains nothing without `retrain` or `select: {by: short_training}`"


def _unseen(sweep: "Sweep") -> str:
    """Say which parts of the user's own were not looked into."""
    from raynas.methods.build import own_parts
    from raynas.spaces.here import looks_only

    names = dict.fromkeys(name for given in sweep.methods for name in own_parts(given["method"]))
    if not names or not looks_only():
        return ""
    return f"; not looked into: {', '.join(names)}, which runs code: `raynas check --import` imports it"


def held_out(sweep: "Sweep") -> str:
    """Say which methods train α and weights together, on what share of the images; nothing if none does."""
    from raynas.data.catalogue import is_text
    from raynas.methods import resolve

    found: dict[float, dict[str, None]] = {}
    for trial in sweep.trials:
        config = trial.config
        if config is None or is_text(config.data.name):  # a text says itself where it is cut
            continue
        if (method := resolve(config.method)).learns_from:
            found.setdefault(config.data.valid, {})[method.name] = None
    said = [
        f"; {', '.join(names)}: α and weights learn together from {1 - valid:.0%} of the data, the rest is "
        f"held out (data.valid {valid:g}), where the source trains on all"
        for valid, names in found.items()
    ]
    return "".join(said)


def _is_path(name: str) -> bool:
    return Path(name).suffix in {".yaml", ".yml"} or len(Path(name).parts) > 1


def _guess(name: str) -> FileKind | None:
    from raynas.spaces import library

    # A name that both shelves have means the trial file: that is what `sweep` would run.
    return "trial" if name in library.names("trials") else None
