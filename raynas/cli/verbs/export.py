"""`raynas export`: a trained network in a form that others run."""

from pathlib import Path
from typing import Annotated

import typer

from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, runs_option, say
from raynas.cli.trained import TrainedArgument, find_trained
from raynas.errors import RaynasError, unknown


def export(
    trained: TrainedArgument,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="onnx, torch (a program of torch.export), model.py (a file that needs torch alone), "
            "safetensors or mlflow; several times for several.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The folder for the exports; `export` in the network's."),
    ] = None,
    register: Annotated[
        str | None, typer.Option("--register", metavar="NAME", help="Register the MLflow model so.")
    ] = None,
    mlflow: Annotated[
        str, typer.Option("--mlflow", metavar="URI", help="The MLflow store to register it in.")
    ] = "sqlite:///mlflow.db",
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Export a trained network, and compare each export with it on 1, 2 and 7 images, or texts.

    Example: raynas export quickstart --to onnx
    """
    from raynas.disk import expanded
    from raynas.sweep.file.uri import resolve_uri
    from raynas.track.model import MLFLOW, register_model
    from raynas.train.deployed import Deployed
    from raynas.train.export.formats import FORMATS, check_export, check_exported, write_export

    known = {**FORMATS, MLFLOW.name: MLFLOW}
    for name in to:
        if name not in known:
            raise unknown("format", name, known)
    if register is not None and MLFLOW.name not in to:
        raise RaynasError("`--register` goes with `--to mlflow`", got=f"--to {' --to '.join(to)}")
    resolve_uri(mlflow)
    found = find_trained(trained, runs)
    folder = found.folder / "export" if out is None else expanded(out)
    forms = [check_export(known[name], folder) for name in dict.fromkeys(to)]
    deployed = Deployed.load(found.folder)
    for form in forms:
        check_exported(deployed, form)
    files = {form.name: write_export(deployed, form, folder) for form in forms}
    version = None if register is None else register_model(deployed, register, mlflow)
    if as_json:
        print_json({"network": found.folder, "files": files, "registered": register, "version": version})
        return
    if found.said:
        say(found.said)
    for form in forms:
        say(f"{form.name:<12} {files[form.name]}  {form.title}")
    if register is not None:
        say(f"registered   models:/{register}/{version} in {mlflow}")
    used = ("evaluate", trained) if deployed.card.texts else ("predict", trained, "IMAGES")
    next_step(*used, *runs_option(runs))
