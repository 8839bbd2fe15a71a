"""What `raynas ls keys` and `raynas show KEY` say: meaning, unit, defaults of each method, an example."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import yaml

from raynas.cli.output import say
from raynas.errors import RaynasError
from raynas.spaces import library
from raynas.sweep.file.axes import may_be_sampled
from raynas.sweep.file.keys import SEARCH_KEYS
from raynas.sweep.file.training import TRAIN_KEYS
from raynas.sweep.file.words import SEARCHES, TRAININGS, Word

T = TypeVar("T")

_PLACES = (("searches", SEARCHES), ("trainings", TRAININGS))
"""The kinds of files, and the keys of each."""


def key_names() -> list[str]:
    """Return every key of a trial file, those of trainings alone at the end."""
    return list(dict.fromkeys([*SEARCHES, "train", *TRAININGS]))


def key_named(name: str) -> str | None:
    """Return the key of a name, or the one that is meant by it; None where that is unclear."""
    if name in key_names():
        return name
    found = SEARCHES.meant(name) or TRAININGS.meant(name)
    return None if found is None else found.name


def key_rows() -> list[dict[str, Any]]:
    """Return a row per key: its default, and what it means."""
    facts = [(name, next(iter(key_facts(name, methods=False)["in"].values()))) for name in key_names()]
    return [{"name": name, "default": written(each), "title": each["about"]} for name, each in facts]


def key_facts(name: str, methods: bool = True) -> dict[str, Any]:
    """Return what a key means in files of searches and of trainings, where it is one of theirs.

    With ``methods`` also what methods, spaces and recipes bring along instead of its default.
    """
    if name == "train":
        return {"name": name, "in": {"trainings": _train()}}
    places = {place: _facts(words[name], place) for place, words in _PLACES if name in words}
    if methods:
        by = {"searches": _of_methods(name), "trainings": _of_recipes(name)}
        places = {place: {**each, "brought": dict(by[place])} for place, each in places.items()}
    apart = [{key: each for key, each in facts.items() if key != "varies"} for facts in places.values()]
    if len(apart) == 2 and apart[0] == apart[1]:
        places = {"searches and trainings": places["searches"]}
    return {"name": name, "in": places}


def print_key(facts: Mapping[str, Any]) -> None:
    """Print a key: one block for each kind of file that means something of its own by it."""
    from raynas.cli.describe import print_fields

    for place, (kind, each) in enumerate(facts["in"].items()):
        if place:
            say()
        shown = {"key": f"{facts['name']} (of {kind})", "means": each["about"], "takes": each["takes"]}
        shown |= {"unit": each["unit"], "default": written(each), "may vary": each["varies"]}
        shown |= {"elsewhere": each["also"], "keys in it": each["keys"]}
        print_fields(shown)
        brought = each["brought"]
        for value, names in brought.items():
            say(f"  {value:<{max(map(len, brought))}}  {', '.join(names)}")
        say(f"\n  {each['example']}")


def written(facts: Mapping[str, Any]) -> str:
    """Return a key's default as a trial file has it; nothing for a key that has none."""
    return _flow(facts["default"]) if "default" in facts else ""


def _flow(value: Any) -> str:
    """Write a value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def _train() -> dict[str, Any]:
    from raynas.sweep.file.training import TrainFile

    about = TrainFile.model_fields["train"].description
    return {
        "about": f"what makes it a file of trainings: {about} (`raynas ls recipes`)",
        "takes": "a text",
        "unit": "",
        "varies": [],
        "also": [],
        "keys": [],
        "brought": {},
        "example": "train: darts-cifar",
    }


def _facts(word: Word, place: str) -> dict[str, Any]:
    return {
        "about": word.about,
        "takes": "a mapping of keys" if word.inside is not None else _takes(word),
        "unit": word.key.unit,
        **word.defaults,
        "varies": _varies(word, place),
        "also": list(word.also),
        "keys": [] if word.inside is None else [f"{word.name}.{name}" for name in word.inside.model_fields],
        "example": _example(word),
    }


def _takes(word: Word) -> str:
    from raynas.methods.about import takes  # brings torch

    return takes(word.field.annotation, word.field.metadata).replace("dict", "a mapping")


def _varies(word: Word, place: str) -> list[str]:
    """Return the sections of a file in which a key may have several values."""
    if place == "trainings":
        return ["grid"] if word.name in TRAIN_KEYS else []
    if word.name not in SEARCH_KEYS:
        return []
    return ["grid", "zip", "sample"] if may_be_sampled(word.name) else ["grid", "zip"]


def _example(word: Word) -> str:
    value = word.key.example if word.key.example is not None else word.defaults.get("default")
    *groups, last = word.name.split(".")
    inner = value if isinstance(value, Mapping) and last in value else {last: value}
    for group in reversed(groups[1:]):
        inner = {group: inner}
    return f"{groups[0]}: {_flow(inner)}" if groups else f"{last}: {_flow(value)}"


def _of_methods(name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each value that methods and spaces bring along instead of the default, with their names."""
    from raynas.methods.build import methods

    found: dict[str, list[str]] = {}
    for method in methods().values():
        if name in method.defaults:
            found.setdefault(_share(name, method.defaults[name]), []).append(method.name)
        for place, changes in method.on.items():
            if name in (there := changes.get("defaults", {})):
                found.setdefault(_share(name, there[name]), []).append(f"{method.name} on {place}")
    for space in _readable("search_spaces", library.load_space):
        if name in (there := dict(space.defaults)):
            found.setdefault(_share(name, there[name]), []).append(f"the space {space.name}")
    yield from found.items()


def _share(name: str, value: object) -> str:
    """Write a value that a method brings along; a warm-up below 1 is a share of the epochs."""
    if name == "warmup" and isinstance(value, float) and value < 1:
        return f"{value:.0%} of the epochs"
    return _flow(value)


def _of_recipes(name: str) -> Iterator[tuple[str, list[str]]]:
    from raynas.train.recipe import load_recipe

    found: dict[str, list[str]] = {}
    for recipe in _readable("recipes", load_recipe):
        values: Any = recipe.values
        for part in name.split("."):
            values = values.get(part) if isinstance(values, Mapping) else None
        if values is not None and not isinstance(values, Mapping):
            found.setdefault(_flow(values), []).append(recipe.name)
    yield from found.items()


def _readable(shelf: "library.Shelf", load: Callable[[str], T]) -> Iterator[T]:
    """Yield what is on a shelf; a broken file of the user's is the business of `raynas check`."""
    for path in library.names(shelf).values():
        with suppress(RaynasError):
            yield load(str(path))
