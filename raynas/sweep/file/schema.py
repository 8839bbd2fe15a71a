"""A JSON schema of trial files, so that editors complete and check them: made of the keys' declarations.

It comes with the package as ``trial.schema.json`` (`raynas show schema` prints it), with raynas' own names of
spaces, methods, parts, data sets and recipes to choose from; others are texts that it lets pass.
"""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic.json_schema import models_json_schema

from raynas.config import Frozen, SearchConfig
from raynas.spaces.library import names
from raynas.sweep.file.axes import DISTRIBUTIONS, may_be_sampled
from raynas.sweep.file.keys import SEARCH_KEYS
from raynas.sweep.file.shell import OBJECTIVES_KEY, SweepConfig
from raynas.sweep.file.training import TRAIN_KEYS, TrainFile
from raynas.sweep.file.words import SEARCHES, TRAININGS, Vocabulary
from raynas.sweep.sections import Criterion
from raynas.sweep.where import COSTS
from raynas.train.config import TrainConfig

_MODELS: tuple[type[Frozen], ...] = (SearchConfig, SweepConfig, TrainConfig, TrainFile)
_NO_SHELF = ("recipe", "base")


def schema() -> dict[str, Any]:
    """Return the schema as plain data: of a file of trainings where there is ``train``, else of searches."""
    _, made = models_json_schema([(model, "validation") for model in _MODELS])
    models = _without_titles(made["$defs"])
    searches, trainings = _trial(models, SearchConfig, SEARCHES), _trial(models, TrainConfig, TRAININGS)
    searches["space"] |= _choice(names("search_spaces"))
    searches["method"] = {"description": SEARCHES["method"].about, "default": "darts", **_method()}
    vary = {key: searches[key] for key in SEARCH_KEYS}
    searches |= _trial(models, SweepConfig, SEARCHES)
    searches["grid"] = _axes(searches["grid"], vary)
    searches["zip"] = _axes(searches["zip"], vary)
    drawn = {key: _distribution(vary[key]) for key in vary if may_be_sampled(key)}
    drawn[OBJECTIVES_KEY] = {
        "type": "array",
        "items": {"enum": [*get_args(Criterion), *COSTS]},
        "minItems": 2,
    }
    searches["sample"] = {**searches["sample"], **_mapping(drawn, ["object", "null"])}
    vary = {key: trainings[key] for key in TRAIN_KEYS}
    trainings |= _trial(models, TrainFile, TRAININGS)
    trainings["train"] |= _choice(names("recipes"))
    trainings["grid"] = _axes(trainings["grid"], vary)
    used = {model.__name__ for model in _MODELS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A trial file of raynas",
        "type": "object",
        "if": {"required": ["train"]},
        "then": _mapping(trainings),
        "else": _mapping(searches),
        "$defs": {name: model for name, model in models.items() if name not in used},
    }


def _trial(models: Mapping[str, Any], model: type[Frozen], words: Vocabulary) -> dict[str, Any]:
    """Return the schema of each key that a model declares; those in its groups by their dotted names too."""
    found = {}
    for name, each in models[model.__name__]["properties"].items():
        if name in _NO_SHELF:
            continue
        found[name] = each | _examples(words, name)
        inside = words[name].inside if name in words else None
        if inside is not None and model in (SearchConfig, TrainConfig):
            own = models[inside.__name__]["properties"]
            found |= {f"{name}.{sub}": own[sub] | _examples(words, f"{name}.{sub}") for sub in own}
            if name == "data":
                found[name] = _or_name(found[name])
    return found


def _examples(words: Vocabulary, name: str) -> dict[str, Any]:
    example = words[name].key.example if name in words else None
    if example is None or (isinstance(example, dict) and words[name].last in example):
        return {}
    return {"examples": [example]}


def _or_name(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a group of data, which may be a name alone."""
    from raynas.data.catalogue import DATA_SETS

    about = {key: value for key, value in data.items() if key != "$ref"}
    return {**about, "anyOf": [{"$ref": data["$ref"]}, *_choice(DATA_SETS)["anyOf"]]}


def _choice(known: Iterable[str]) -> dict[str, Any]:
    """Return the schema of a text of which some values are known."""
    return {"anyOf": [{"enum": sorted(known)}, {"type": "string"}]}


def _method() -> dict[str, Any]:
    """Return the schema of a method: its name, or a base with other parts."""
    from raynas.methods.kinds import PARTS  # brings torch
    from raynas.methods.recipes import ALL

    known = _choice(method.name for method in ALL)
    slots = {slot: _part(kinds) for slot, kinds in PARTS.items()}
    plain = {"order": {}, "every": {"type": "integer"}, "nesterov": {"type": "boolean"}, "without": {}}
    keys = {"base": known, "name": {"type": "string"}, "add": {"type": "object"}, **slots, **plain}
    return {"anyOf": [*known["anyOf"], {**_mapping(keys), "required": ["base"]}]}


def _part(kinds: Iterable[str]) -> dict[str, Any]:
    """Return the schema of what fills a slot: a name, a mapping with ``use``, several of them, or nothing."""
    name = _choice(kinds)
    used = {"type": "object", "properties": {"use": name}, "required": ["use"]}
    one = [*name["anyOf"], used]
    return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}}, {"type": "null"}]}


def _axes(about: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    lists = {name: {"type": "array", "items": each, "minItems": 1} for name, each in keys.items()}
    return {**about, **_mapping(lists, ["object", "null"])}


def _distribution(value: Mapping[str, Any]) -> dict[str, Any]:
    ends = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    kinds = {kind: {"type": "array", "items": value} if kind == "choice" else ends for kind in DISTRIBUTIONS}
    return {**_mapping(kinds), "minProperties": 1, "maxProperties": 1}


def _mapping(keys: Mapping[str, Any], kind: Any = "object") -> dict[str, Any]:
    return {"type": kind, "properties": dict(keys), "additionalProperties": False}


def _without_titles(made: Any) -> Any:
    """Leave out the titles that pydantic makes of names; a key may be called so."""
    if isinstance(made, list):
        return [_without_titles(each) for each in made]
    if not isinstance(made, dict):
        return made
    return {
        key: _without_titles(each)
        for key, each in made.items()
        if not (key == "title" and isinstance(each, str))
    }
