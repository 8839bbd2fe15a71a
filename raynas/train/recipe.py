"""Recipes: how a field trains its networks, as named values of `TrainConfig`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, PositiveInt, ValidationError

from raynas.config import Frozen
from raynas.errors import FileProblems, Problem
from raynas.spaces.library import explain, locate, read_yaml
from raynas.train.config import TrainConfig

_SAYS = ("title", "source", "note", "images")
_OWN = frozenset({"cell", "recipe", "seed", "threads", "deterministic", "compile", "devices"})
"""What is not a recipe's to say: it is the training's, or the machine's."""

_WHICH = frozenset({"name", "path", "download", "size", "storage", "options", "split_seed"})
"""Keys of the data that say which they are, or where."""


class Pictures(Frozen):
    """The images that a recipe was made for: pixels of a ``side``, and their classes."""

    side: PositiveInt = Field(le=4096)
    classes: PositiveInt = Field(le=1_000_000)


@dataclass(frozen=True)
class Recipe:
    """A training protocol: its values by the keys of `TrainConfig`, and where they come from.

    ``images`` is None where they are the usual ones of a cell's skeleton.
    """

    name: str
    title: str
    source: str
    note: str
    values: Mapping[str, Any]
    images: Pictures | None = None

    def config(self, cell: str, **changes: Any) -> TrainConfig:
        """Return a training of a cell by this recipe, with ``changes``; raises `pydantic.ValidationError`."""
        data = {**self.values.get("data", {}), **_as_mapping(changes.pop("data", {}))}
        if isinstance(text := changes.get("text"), Mapping):
            changes["text"] = {**self.values.get("text", {}), **text}
        return TrainConfig(**{**self.values, "cell": cell, "recipe": self.name, "data": data, **changes})

    def departures(self, config: TrainConfig) -> dict[str, tuple[Any, Any]]:
        """Return where a training parts from the recipe: key, the recipe's value, the training's.

        Every value that decides its numbers counts, also one that the recipe leaves at its default; which
        data are trained on, and where they lie, is not a departure.
        """
        own, usual = (each.model_dump(mode="json") for each in (config, self.config(config.cell)))
        found = {
            name: (value, own[name])
            for name, value in usual.items()
            if name not in _OWN | {"data", "text"} and own[name] != value
        }
        for group in ("data", "text"):
            theirs, ours = (each[group] or {} for each in (usual, own))
            for name in dict.fromkeys((*theirs, *ours)):
                pair = theirs.get(name), ours.get(name)
                if not (group == "data" and name in _WHICH) and pair[0] != pair[1]:
                    found[f"{group}.{name}"] = pair
        return found


def load_recipe(name: str) -> Recipe:
    """Load a recipe by name or path; raises `FileProblems` with every mistake in its file."""
    path = locate("recipes", name)
    content = read_yaml(path)
    problems = [
        Problem(key, f"expected a text, got {content.get(key)!r:.40}")
        for key in ("title", "source")
        if not isinstance(content.get(key), str)
    ]
    values = {key: value for key, value in content.items() if key not in _SAYS}
    problems += [
        Problem(key, "is not a recipe's to say: it belongs to a training") for key in values if key in _OWN
    ]
    try:
        TrainConfig(**{"cell": "any", **{key: v for key, v in values.items() if key not in _OWN}})
    except ValidationError as error:
        problems += explain(error, TrainConfig)
    images = None
    try:
        images = Pictures.model_validate(content["images"]) if "images" in content else None
    except ValidationError as error:
        problems += [Problem(f"images.{p.path}".rstrip("."), p.message) for p in explain(error, Pictures)]
    if problems:
        raise FileProblems(str(path), problems)
    note = str(content.get("note") or "")
    return Recipe(path.stem, content["title"], content["source"], note, values, images)


def _as_mapping(data: Any) -> Mapping[str, Any]:
    """Return a data section that may be a name alone."""
    if isinstance(data, str):
        return {"name": data}
    return data.model_dump() if hasattr(data, "model_dump") else dict(data)
