"""`raynas evaluate`: a trained network judged on labelled images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from raynas.cli.options import DEFAULT_RUNS, AsJson, Runs
from raynas.cli.output import next_step, print_json, runs_option, say, show_table, table
from raynas.cli.trained import TrainedArgument, find_trained
from raynas.cli.verbs.predict import Batch, OnDevice
from raynas.errors import FileProblems, Problem, RaynasError, quoted, short

if TYPE_CHECKING:
    from raynas.cli.trained import FoundNetwork
    from raynas.config import DataConfig
    from raynas.train.config import TrainData
    from raynas.train.deployed import Card, Deployed
    from raynas.train.evaluate import Evaluation

Part = Literal["test", "train"]

MOST_CLASSES = 40
"""Classes that get a row; ``--json`` has them all."""


def evaluate(
    trained: TrainedArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE",
            help="Of the data, as `data.path=photos data.size=32`.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME", help="The data set; what the network was trained on."),
    ] = None,
    part: Annotated[Part, typer.Option("--part", help="Its test images, or those that train.")] = "test",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The picture's folder; `evaluation` in the network's."),
    ] = None,
    batch: Batch = 256,
    device: OnDevice = "auto",
    as_json: AsJson = False,
    runs: Runs = DEFAULT_RUNS,
) -> None:
    """Test a network on a data set: accuracy, loss, and which classes it takes for which, as a picture.

    Example: raynas evaluate quickstart
    """
    from raynas.data.catalogue import is_text
    from raynas.data.dataset import Dataset
    from raynas.data.load import load_data
    from raynas.disk import expanded
    from raynas.launch.device import local_device
    from raynas.report.confusion import write_confusion
    from raynas.train.deployed import Deployed
    from raynas.train.evaluate import evaluation_of

    found = find_trained(trained, runs)
    deployed = Deployed.load(found.folder, local_device(device))
    config, limit, own = _config(deployed.card, data, settings or [])
    config = _here(found.folder, config)
    if deployed.card.texts:
        _evaluate_text(found, deployed, config, part, as_json=as_json)
        return
    loaded = None if is_text(config.name) else load_data(config)
    if not isinstance(loaded, Dataset):
        raise RaynasError("a network of images cannot be tested on a text", got=config.name)
    evaluation = evaluation_of(deployed, loaded, part, batch, trained_on=config if own else None, limit=limit)
    files = write_confusion(evaluation, found.folder / "evaluation" if out is None else expanded(out))
    if as_json:
        print_json({"network": found.folder, **_facts(evaluation), "files": files})
        return
    if found.said:
        say(found.said)
    _say(evaluation)
    for file in files:
        say(str(file))
    next_step("predict", trained, "IMAGES", *runs_option(runs))


def _here(network: Path, config: "TrainData") -> "TrainData":
    """Return data from where the sweep that a network lies in has them on this machine."""
    from raynas.sweep.folder import AnySweep

    sweep = AnySweep(network.parent.parent.parent)
    return cast("TrainData", sweep.places.of(config)) if sweep.exists else config


def _evaluate_text(
    found: "FoundNetwork", deployed: "Deployed", config: "DataConfig", part: Part, *, as_json: bool
) -> None:
    """Say how well a language model predicts a text, numbered by the network's own vocabulary."""
    from raynas.data.catalogue import check_data, is_text
    from raynas.data.corpus import load_text
    from raynas.train.evaluate import text_evaluation_of

    if not is_text(config.name):
        raise RaynasError("a language model cannot be tested on images", got=config.name)
    if problems := check_data(config):
        raise FileProblems("data", problems)
    told = text_evaluation_of(deployed, load_text(config, deployed.card.class_names), part)
    if as_json:
        facts = {field: getattr(told, field) for field in ("data", "part", "words", "unknown")}
        numbers = {"accuracy": told.accuracy, "loss": told.loss, "perplexity": told.perplexity}
        print_json({"network": found.folder, **facts, **numbers})
        return
    if found.said:
        say(found.said)
    say(f"{told.data}, {told.words:,} {told.part} words")
    say(f"perplexity  {told.perplexity:.2f}")
    say(f"loss        {told.loss:.4f} nats a word")
    say(f"accuracy    {100 * told.accuracy:.2f} % of the next words")
    say(f"unknown     {100 * told.unknown:.2f} % of the words are not in its vocabulary")


def _config(card: "Card", name: str | None, settings: Sequence[str]) -> "tuple[TrainData, int | None, bool]":
    """Return the data that is asked for, how many images of it, and whether they are the training's own.

    They are where nothing is said of them but the limit; another data set takes nothing over from the
    training's, and where some of its settings are other ones, it is taken whole.
    """
    from pydantic import ValidationError

    from raynas.spaces.library import explain
    from raynas.train.config import TrainData

    given = _given(settings)
    name = given.setdefault("name", name) if name is not None else given.get("name")
    config = card.trained.get("config")
    before = config.get("data") if isinstance(config, Mapping) else None
    before = before if isinstance(before, Mapping) else {}
    if name is None and "name" not in before:
        raise RaynasError(
            "which data the network is tested on is not said",
            got=f"a network trained on {card.data}, its settings not on record",
            expected="--data NAME, with data.path=DIR where files are needed",
            next_step="raynas ls data",
        )
    values = {**(before if name in (None, before.get("name")) else {}), **given}
    own = {**before, "limit": None} == {**values, "limit": None}
    try:
        asked = TrainData.model_validate(values if own or "limit" in given else {**values, "limit": None})
        if card.texts:  # whose limit says where the words of the test are
            return TrainData.model_validate(values), None, own
        whole = asked.model_copy(update={"limit": before.get("limit") if own else None})
    except ValidationError as error:
        raise FileProblems("data", explain(error, TrainData)) from None
    return whole, asked.limit if "limit" in given else None, own


def _given(settings: Sequence[str]) -> dict[str, Any]:
    """Return what ``KEY=VALUE`` say of the data; ``data.`` before a key may be left out."""
    from raynas.yaml_text import NotYaml, parse_value

    given: dict[str, Any] = {}
    problems = []
    for text in settings:
        key, equals, value = text.partition("=")
        try:
            if not equals:
                raise NotYaml("a setting is written key=value, as in data.path=photos")
            key = key.strip().removeprefix("data.")
            inside, _, option = key.partition(".")
            if inside == "options" and option:
                given.setdefault("options", {})[option] = parse_value(value)
            else:
                given[key] = parse_value(value)
        except NotYaml as error:
            problems.append(Problem(short(key or text), f"{error}; got {quoted(text)}"))
    if problems:
        raise FileProblems("data", problems)
    return given


def _facts(found: "Evaluation") -> dict[str, Any]:
    return {
        "data": found.data,
        "part": found.part,
        "images": found.images,
        "accuracy": found.accuracy,
        "loss": found.loss,
        "classes": [
            {"class": name, "images": int(row.sum()), "accuracy": accuracy}
            for name, row, accuracy in zip(
                found.class_names, found.confusion, found.class_accuracies, strict=True
            )
        ],
        "confusion": found.confusion.tolist(),
    }


def _say(found: "Evaluation") -> None:
    say(f"{found.data}, {found.images:,} {found.part} images")
    say(f"accuracy  {100 * found.accuracy:.2f} %")
    say(f"loss      {found.loss:.4f} nats")
    shown = table("class", "images", "right", "most taken for", right=["images", "right"])
    for place, name in list(enumerate(found.class_names))[:MOST_CLASSES]:
        row, accuracy = found.confusion[place], found.class_accuracies[place]
        wrong = row.copy()
        wrong[place] = 0
        other = int(wrong.argmax())
        confused = f"{found.class_names[other]} ({wrong[other]})" if wrong[other] else ""
        right = "" if accuracy is None else f"{100 * accuracy:.1f} %"
        shown.add_row(name, str(int(row.sum())), right, confused)
    show_table(shown)
    if (more := len(found.class_names) - MOST_CLASSES) > 0:
        say(f"+ {more} more; --json has them all")
