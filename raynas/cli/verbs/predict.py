"""`raynas predict`: a trained network asked about images."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raynas.cli.options import DEFAULT_RUNS, AsJson, Device, Runs
from raynas.cli.output import next_step, print_json, runs_option, say, show_table, table
from raynas.cli.trained import TrainedArgument, find_trained
from raynas.errors import plural, printable

if TYPE_CHECKING:
    from raynas.train.deployed import Prediction

OnDevice = Annotated[Device, typer.Option("--device", help="Where the network computes.")]
Batch = Annotated[int, typer.Option("--batch", min=1, max=65536, help="Images at once.")]


MOST_TOLD = 12
"""Files that cannot be read which are told one by one."""


def predict(
    trained: TrainedArgument,
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE", help="Image files, or folders of them at any depth.")
    ],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write a table instead of printing it.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print per image.")] = 1,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Scale images of another size, and crop them at the centre; done anyway where those of the "
            "training were.",
        ),
    ] = False,
    batch: Batch = 256,
    device: OnDevice = "auto",
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Say which class each image is of, and how probable that is; exit code 1 if one could not be read.

    Example: raynas predict quickstart photos
    """
    from raynas.disk import expanded, write_atomic
    from raynas.errors import RaynasError
    from raynas.launch.device import local_device
    from raynas.train.deployed import Deployed
    from raynas.train.reading import predict_files

    if csv_file is not None and expanded(csv_file).is_dir():
        raise RaynasError(
            "--csv names a folder", got=str(csv_file), expected="the file that the table is written to"
        )
    found = find_trained(trained, runs)
    deployed = Deployed.load(found.folder, local_device(device))
    names = deployed.card.class_names
    rows: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    fit = fit or deployed.card.fitted
    for told in predict_files(deployed, map(expanded, images), fit=fit, batch=batch):
        if told.problem is not None:
            problems.append({"file": str(told.path), "problem": str(told.problem)})
            if not as_json and len(problems) <= MOST_TOLD:
                print(printable(str(told.problem)), file=sys.stderr)
        elif told.prediction is not None:
            rows += _ranked(told.path, told.prediction, names, top)
    if not as_json and (more := len(problems) - MOST_TOLD) > 0:
        print(f"and {plural(more, 'other')}; --json has them all", file=sys.stderr)
    if csv_file is not None:
        write_atomic(expanded(csv_file), _as_csv(rows))
    if as_json:
        print_json({"network": found.folder, "images": rows, "problems": problems})
    elif rows:
        _say_predictions(rows, csv_file, found.said)
        next_step("evaluate", trained, *runs_option(runs))
    if problems:
        raise typer.Exit(1)


def _ranked(path: Path, prediction: "Prediction", names: Sequence[str], top: int) -> Iterator[dict[str, Any]]:
    """Yield an image's likeliest classes, the likeliest first."""
    order = sorted(range(len(names)), key=lambda place: -prediction.probabilities[place])
    for rank, place in enumerate(order[:top], start=1):
        probability = prediction.probabilities[place]
        yield {"file": str(path), "rank": rank, "class": names[place], "probability": probability}


def _as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("file", "rank", "class", "probability"))
    for row in rows:
        writer.writerow((row["file"], row["rank"], row["class"], f"{row['probability']:.6f}"))
    return text.getvalue().encode("utf-8", "surrogateescape")


def _say_predictions(rows: Sequence[dict[str, Any]], csv_file: Path | None, said: str) -> None:
    if said:
        say(said)
    if csv_file is not None:
        say(f"{plural(len({row['file'] for row in rows}), 'image')} in {csv_file}")
        return
    shown = table("file", "class", "probability", right=["probability"])
    for row in rows:
        shown.add_row(
            row["file"] if row["rank"] == 1 else "", row["class"], f"{100 * row['probability']:.1f} %"
        )
    show_table(shown)
