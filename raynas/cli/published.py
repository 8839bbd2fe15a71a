"""What `raynas ls` and `raynas show` say of published cells, and of recipes."""

from collections.abc import Callable, Mapping
from typing import Any

from raynas.cli.output import say, show_table, table
from raynas.errors import RaynasError

_COUNTED = {
    "parameters, CIFAR": "cifar_parameters",
    "multiply-adds, CIFAR": "cifar_multiply_adds",
    "parameters, ImageNet": "imagenet_parameters",
    "multiply-adds, ImageNet": "imagenet_multiply_adds",
    "parameters, as trained": "parameters",
    "multiply-adds, as trained": "multiply_adds",
}
_COLUMNS = ("space", "CIFAR-10 error %", "±", "ImageNet top-1 error %", "sized on", "parameters", "recounted")
"""Of the list of cells, beside name and title: what was published, and last the recount."""


def cell_rows(problems_of: Callable[[RaynasError], str]) -> list[dict[str, Any]]:
    """Return a row per published cell; ``problems_of`` puts what is wrong with a broken file into words."""
    from raynas.spaces.library import names
    from raynas.spaces.literature import load_cell
    from raynas.spaces.trunk import LARGE_INPUT

    rows = []
    for name, path in sorted(names("cells").items()):
        row: dict[str, Any] = {"name": name, **dict.fromkeys((*_COLUMNS, "title"))}
        try:
            found = load_cell(str(path))
        except RaynasError as error:
            row["title"] = f"damaged: {problems_of(error)}"
        else:
            said, counted = found.published, found.recounted
            own = found.trained
            large = said.imagenet_parameters is not None and said.cifar_parameters is None
            prefix = "" if own else "imagenet_" if large else "cifar_"
            seen = own.image if own else LARGE_INPUT if large else 1
            row |= {
                "space": found.space,
                "CIFAR-10 error %": said.cifar10_error,
                "±": said.deviation,
                "ImageNet top-1 error %": said.imagenet_top1,
                "sized on": "ImageNet" if seen >= LARGE_INPUT else "CIFAR" if seen else "text",
                "parameters": getattr(said, f"{prefix}parameters"),
                "recounted": getattr(counted, f"{prefix}parameters"),
                "title": found.title,
            }
        rows.append(row)
    return rows


def recipe_rows(problems_of: Callable[[RaynasError], str]) -> list[dict[str, Any]]:
    """Return a row per recipe; ``problems_of`` puts what is wrong with a broken file into words."""
    from raynas.spaces.library import names
    from raynas.train.recipe import load_recipe

    rows = []
    for name, path in sorted(names("recipes").items()):
        row: dict[str, Any] = {
            "name": name,
            "epochs": None,
            "batch": None,
            "learning rate": None,
            "title": "",
        }
        try:
            found = load_recipe(str(path))
        except RaynasError as error:
            row["title"] = f"damaged: {problems_of(error)}"
        else:
            config = found.config("any")
            row |= {"epochs": config.epochs, "batch": config.batch, "learning rate": config.learning_rate}
            row["title"] = found.title
        rows.append(row)
    return rows


def cell_facts(name: str) -> dict[str, Any]:
    """Return a published cell: source, text, the cell itself, what was printed of it, and the recount."""
    from raynas.spaces.library import locate
    from raynas.spaces.literature import load_cell

    found = load_cell(name)
    return {
        **found.model_dump(mode="json", exclude={"cell"}),
        "file": str(locate("cells", name)),
        "digest": found.genotype.digest(),
        "text": found.cell.strip(),
        "genotype": found.genotype.to_json(),
    }


def print_cell(facts: Mapping[str, Any]) -> None:
    """Print a published cell: its source, its errors, its sizes as printed and recounted, its text."""
    from raynas.cli.describe import print_fields

    said = facts["published"]
    percent = {
        "CIFAR-10 error": _error(said["cifar10_error"], said["deviation"]),
        "CIFAR-100 error": said["cifar100_error"],
        "ImageNet top-1 error": said["imagenet_top1"],
        "ImageNet top-5 error": said["imagenet_top5"],
    }
    shown = {key: facts[key] for key in ("source", "note", "space", "file")}
    shown |= {f"published {key}": f"{value} %" for key, value in percent.items() if value is not None}
    print_fields({"name": f"{facts['name']}: {facts['title']}", **shown, "perplexity": said["perplexity"]})
    counted = [(what, said[key], facts["recounted"][key]) for what, key in _COUNTED.items()]
    if any(numbers != [None, None] for _, *numbers in counted):
        say()
        sizes = table("", "published", "recounted", right=["published", "recounted"])
        for what, published, recounted in counted:
            if (published, recounted) != (None, None):
                sizes.add_row(what, _counted(published), _counted(recounted))
        show_table(sizes)
    say()
    say(facts["text"])


def recipe_facts(name: str) -> dict[str, Any]:
    """Return a recipe: its source, the values that it says, and all values of a training by it."""
    from raynas.spaces.library import locate
    from raynas.train.recipe import load_recipe

    found = load_recipe(name)
    values = found.config("any").plain()
    return {
        "name": found.name,
        "title": found.title,
        "source": found.source,
        "note": found.note,
        "file": str(locate("recipes", name)),
        "says": dict(found.values),
        "values": {key: value for key, value in values.items() if key not in ("cell", "recipe", "seed")},
    }


def print_recipe(facts: Mapping[str, Any]) -> None:
    """Print a recipe: its source, and the values that it says."""
    from raynas.cli.describe import print_fields

    shown = {key: facts[key] for key in ("source", "note", "file")}
    print_fields({"name": f"{facts['name']}: {facts['title']}", **shown})
    say()
    groups = ("text", "data")
    said = {key: value for key, value in facts["says"].items() if key not in groups}
    for group in groups:
        said |= {f"{group}.{key}": value for key, value in facts["says"].get(group, {}).items()}
    shown_values = table("key", "value")
    for key, value in said.items():
        shown_values.add_row(key, str(value))
    show_table(shown_values)


def _error(mean: float | None, deviation: float | None) -> str | None:
    if mean is None:
        return None
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f} ± {deviation:.2f}"


def _counted(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
