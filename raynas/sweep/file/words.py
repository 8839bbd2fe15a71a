"""The keys of trial files in words, as they are declared: what each means, takes, and is called elsewhere.

Everything said of a key stands with its field (`raynas.config.Hint` and the field's description). Messages,
`raynas show KEY`, docs/keys.md, the comments of `raynas cp` and the schema for editors are made of it.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from pydantic.fields import FieldInfo

from raynas.config import Frozen, Hint, SearchConfig
from raynas.errors import Problem, nearest
from raynas.sweep.file.shell import SweepConfig
from raynas.train.config import TrainConfig


@dataclass(frozen=True)
class Word:
    """A key of a trial file, dotted where it stands in a group (``data.valid``), with its declaration.

    ``inside`` is the model of the keys in it, where it is a group.
    """

    name: str
    field: FieldInfo
    inside: type[Frozen] | None

    @property
    def about(self) -> str:
        """What it means, in a few words."""
        return self.field.description or ""

    @property
    def defaults(self) -> dict[str, Any]:
        """What stands where a file says nothing, under ``default``; empty for groups and required keys."""
        if self.inside is not None or self.field.is_required():
            return {}
        value = self.field.get_default(call_default_factory=True)
        return {"default": list(value) if isinstance(value, tuple) else value}

    @cached_property
    def key(self) -> Hint:
        """What else is said of it."""
        return next((each for each in self.field.metadata if isinstance(each, Hint)), Hint())

    @property
    def also(self) -> tuple[str, ...]:
        """Under which names people look for it."""
        return tuple(self.key.also.split())

    @property
    def group(self) -> str:
        """The key it stands in; empty at the top level."""
        return self.name.rpartition(".")[0]

    @property
    def last(self) -> str:
        """Its own name, without the group."""
        return self.name.rpartition(".")[2]


class Vocabulary(dict[str, Word]):
    """The keys of one kind of file, by name."""

    def meant(self, word: object, group: str = "") -> Word | None:
        """Return the key that a word stands for which is no key of a group: one of another name or place."""
        text = re.sub(r"[^a-z0-9.]+", "_", str(word).lower())
        by_name = [each for each in self.values() if text in (each.name, each.last)]
        by_other = [each for each in self.values() if text in each.also]
        found = [each for each in (*by_name, *by_other) if each.name != f"{group}.{text}".lstrip(".")]
        return min(found, key=lambda each: self._distance(each, group), default=None)

    def _distance(self, word: Word, group: str) -> int:
        """Return how far a key is from where it was looked for: beside it, above, in the search's groups."""
        return [word.group == group, word.group == "", word.group in ("data", "hessian"), True].index(True)

    def strange(self, path: str) -> str | None:
        """Say what the unknown key at a path (``resources.seed``) stands for; None where that is unclear."""
        group, _, word = path.rpartition(".")
        found = self.meant(word, group)
        return None if found is None else f"unknown key{_instead(found, group)}"


def _instead(word: Word, group: str) -> str:
    where = "; here it is" if word.group == group else " at this place: it is"
    return f"{where} {word.name} ({word.about})"


def words_of(model: type[Frozen], group: str = "", without: Collection[str] = ()) -> Iterator[Word]:
    """Yield the keys that a model declares, groups before what is in them."""
    for name, field in model.model_fields.items():
        if name in without:
            continue
        kinds = (field.annotation, *get_args(field.annotation))
        inside = next((each for each in kinds if isinstance(each, type) and issubclass(each, Frozen)), None)
        yield Word(f"{group}{name}", field, inside)
        if inside is not None:
            yield from words_of(inside, f"{group}{name}.")


def _vocabulary(*models: type[Frozen], without: Collection[str] = ("base", "recipe")) -> Vocabulary:
    """Return the keys that several models declare, of those at the top ``without`` some."""
    return Vocabulary({each.name: each for model in models for each in words_of(model, without=without)})


SEARCHES = _vocabulary(SearchConfig, SweepConfig)
"""The keys of a file of searches."""

_SHARED = ("name", "grid", "resources", "track")

TRAININGS = Vocabulary(
    _vocabulary(TrainConfig)
    | {name: word for name, word in SEARCHES.items() if name.partition(".")[0] in _SHARED}
)
"""The keys of a training, and what its file shares with one of searches."""


def unknown_key(key: object, known: Collection[str], path: str, value: Any = None) -> Problem:
    """Return the problem of a key that is none of the ``known`` ones: the one that is meant, or the nearest.

    ``value`` is what the file says there.
    """
    words, others = _vocabularies(known)
    group, _, word = str(key).rpartition(".")
    if str(key) in words:
        return Problem(path, f"unknown key here: {key} ({words[str(key)].about}) stands elsewhere, or whole")
    if found := words.meant(word, group):
        fits = found.name in known or found.group in known
        said = _instead(found, group) if fits else f"; {found.name} ({found.about}) does not vary"
        several = isinstance(value, list) and found.name in known and found.inside is None
        said += f"; several values go under `grid: {{{found.name}: [...]}}`" if several else ""
        return Problem(path, f"unknown key{said}")
    if other := others.get(str(key)) or others.meant(word, group):
        kind = "trainings" if others is TRAININGS else "searches"
        return Problem(path, f"unknown key: {other.name} ({other.about}) is one of {kind}")
    if words and (slot := _slot(key)):
        return Problem(path, f"unknown key: {slot} is a part, as in `method: {{base: darts, {slot}: …}}`")
    if near := nearest(key, known):
        return Problem(path, f"unknown key; nearest: {near}")
    if words:
        return Problem(path, "unknown key; `raynas ls keys` lists all that there are")
    return Problem(path, f"unknown key; known: {', '.join(known)}")


def _vocabularies(known: Collection[str]) -> tuple[Vocabulary, Vocabulary]:
    """Return the vocabulary that the known keys belong to, and that of the other kind of file."""
    if "space" in known:
        return SEARCHES, TRAININGS
    return (TRAININGS, SEARCHES) if "cell" in known else (Vocabulary(), Vocabulary())


def _slot(key: object) -> str | None:
    from raynas.parts import METHOD_SLOTS  # brings torch

    return str(key) if key in METHOD_SLOTS else None
