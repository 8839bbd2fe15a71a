"""Cells that are compared: each with the trainings of it that are on record, and under which protocol.

A protocol is every setting that decides the numbers of a training but its cell and its seed. Errors under two
protocols are never in one column.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError, quoted
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.sweep.folder import TRAINED, AnySweep, TrainSweep, trains
from raynas.sweep.record import TrainRecord
from raynas.train.config import TrainConfig
from raynas.train.deployed import Card
from raynas.train.records import TrainReport

_NO_SETTING = frozenset(
    {"cell", "recipe", "seed", "threads", "deterministic", "compile", "channels_last"}
    | {"data.path", "data.download", "data.storage"}
)
"""What a training is called, draws or where it runs: it moves no number beyond its rounding or its luck."""

MOST_TOLD = 6
"""Settings that a message names of those in which two protocols differ."""


@dataclass(frozen=True)
class Tested:
    """One training that has ended: its error on the test images in [0, 1], or of ``texts`` the perplexity.

    ``settings`` are those of its protocol by key, ``images`` what is known of its images as
    `raynas.sweep.sizes.network_for` takes it.
    """

    seed: int
    value: float
    texts: bool
    config: TrainConfig
    settings: Mapping[str, Any]
    parameters: int | None = None
    multiply_adds: int | None = None
    images: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def protocol(self) -> str:
        """A text that is the same for the same settings."""
        return json.dumps(self.settings, sort_keys=True, default=str)


@dataclass(frozen=True)
class Contender:
    """A cell as it was named, its trainings, and what is known of the images that it was searched on."""

    label: str
    genotype: Genotype
    trainings: tuple[Tested, ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)

    def under(self, protocol: str) -> list[Tested]:
        """Return its trainings under one protocol."""
        return [each for each in self.trainings if each.protocol == protocol]

    def errors(self, protocol: str) -> dict[int, float]:
        """Return its numbers under one protocol by seed: the mean where a seed was trained more than once."""
        by_seed: dict[int, list[float]] = {}
        for each in self.under(protocol):
            by_seed.setdefault(each.seed, []).append(each.value)
        return {seed: sum(values) / len(values) for seed, values in sorted(by_seed.items())}


def network_of(genotype: Genotype) -> tuple[str, str]:
    """Return a text that is the same for cells which compute the same network."""
    return genotype.skeleton, skeletons.canonical(genotype)


def trainings_in(runs: Path) -> dict[tuple[str, str], list[Tested]]:
    """Return every training under a folder of sweeps that has been tested, by its cell's network.

    Sweeps that cannot be read are passed over: their own report says what is wrong with them.
    """
    found: dict[tuple[str, str], list[Tested]] = {}
    for path in sorted([*runs.glob("*/sweep.json"), *runs.glob(f"*/{TRAINED}/*/sweep.json")]):
        if trains(AnySweep(path.parent)):
            with suppress(RaynasError, OSError):
                for genotype, training in trainings_of(TrainSweep(path.parent)):
                    found.setdefault(network_of(genotype), []).append(training)
    return found


def trainings_of(folder: TrainSweep) -> Iterator[tuple[Genotype, Tested]]:
    """Yield the trainings of a sweep that have been tested, each with its cell."""
    cells = folder.sweep().cells
    for record in folder.records():
        if (training := _of_record(record)) is not None:
            yield cells[record.config.cell], training


def training_of(card: Card) -> Tested | None:
    """Return what the card of a trained network tells of its training; None where it was not tested."""
    try:
        config = TrainConfig.model_validate(card.trained["config"])
        report = TrainReport.from_json(card.trained["report"])
    except (LookupError, TypeError, ValueError):
        return None
    told = {"classes": len(card.class_names), "hash": card.trained.get("data_hash")}
    return _training(config, report, told)


def _of_record(record: TrainRecord) -> Tested | None:
    if record.tested is None:
        return None
    told = (record.start or {}).get("data") or {}
    return _training(record.config, record.tested, told, record.parameters, record.multiply_adds)


def _training(
    config: TrainConfig,
    report: TrainReport,
    data: Mapping[str, Any],
    parameters: int | None = None,
    multiply_adds: int | None = None,
) -> Tested | None:
    from raynas.data.catalogue import image_shape

    texts = config.text is not None
    value = report.test_perplexity if texts else report.test_accuracy
    if value is None:
        return None
    classes = data.get("classes")
    images = {"classes": classes} if isinstance(classes, int) and classes > 0 else {}
    with suppress(RaynasError):
        if not texts and (shape := image_shape(config.data)) is not None:
            images |= {"colours": shape[0], "image": max(shape[1:])}
    settings = {key: value for key, value in _flat(config.plain()) if key not in _NO_SETTING}
    if isinstance(data.get("hash"), str):
        settings["hash of the data"] = data["hash"]
    number = value if texts else 1 - value
    return Tested(config.seed, number, texts, config, settings, parameters, multiply_adds, images)


def _flat(config: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and key in ("data", "text"):
            yield from _flat(value, f"{key}.")
        else:
            yield f"{group}{key}", value


def common_protocol(
    contenders: Sequence[Contender], recipe: str | None = None
) -> tuple[str | None, list[str]]:
    """Return the protocol that all contenders with trainings share, and what is to be said of the choice.

    None where nothing was trained. Of several the one with the most trainings; with ``recipe`` only those of
    that name count. Raises `RaynasError` where they share none: it names the settings that differ.
    """
    trained = {each.label: _by_protocol(each, recipe) for each in contenders}
    trained = {label: protocols for label, protocols in trained.items() if protocols}
    if not trained:
        return None, []
    shared = set.intersection(*(set(protocols) for protocols in trained.values()))
    if not shared:
        raise _no_common(trained, recipe)
    chosen = max(sorted(shared), key=lambda protocol: sum(len(each[protocol]) for each in trained.values()))
    if len(shared) == 1:
        return chosen, []
    others = sorted({each[key][0].config.recipe for each in trained.values() for key in shared - {chosen}})
    words = f"{len(shared)} protocols are common to all; this is the one with the most trainings"
    return chosen, [f"{words}; others are of {', '.join(others)} (--recipe)"]


def _by_protocol(contender: Contender, recipe: str | None) -> dict[str, list[Tested]]:
    found: dict[str, list[Tested]] = {}
    for each in contender.trainings:
        if recipe is None or recipe in (each.config.recipe, Path(each.config.recipe).stem):
            found.setdefault(each.protocol, []).append(each)
    return found


def _no_common(trained: Mapping[str, Mapping[str, list[Tested]]], recipe: str | None) -> RaynasError:
    """Say in what two protocols differ: of two contenders without a common one, the nearest pair."""
    labels = list(trained)
    pairs = [
        (one, other)
        for place, one in enumerate(labels)
        for other in labels[place + 1 :]
        if not set(trained[one]) & set(trained[other])
    ]
    if not pairs:
        return RaynasError(
            "no protocol is common to all of these trainings, though each two share one",
            got=", ".join(labels),
            expected="one column, one protocol",
            next_step="compare two at a time, or --recipe NAME",
        )
    one, other = pairs[0]
    different = min(
        (
            _different(first[0].settings, second[0].settings)
            for first in trained[one].values()
            for second in trained[other].values()
        ),
        key=len,
    )
    told = [f"{key} {quoted(a)} and {quoted(b)}" for key, (a, b) in list(different.items())[:MOST_TOLD]]
    more = f", and {len(different) - MOST_TOLD} more" if len(different) > MOST_TOLD else ""
    used = next(iter(trained[one].values()))[0].config.recipe
    return RaynasError(
        f"{one} and {other} were trained under different protocols",
        got="; ".join(told) + more,
        expected="one column, one protocol" + (f" (of the recipe {recipe})" if recipe else ""),
        next_step=f"raynas retrain {quoted(other)} --recipe {used}, with the settings of {one}",
    )


def _different(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys: Iterable[str] = dict.fromkeys((*one, *other))
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}
