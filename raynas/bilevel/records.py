"""Reports of a search after every epoch: frozen plain data with an exact JSON round trip."""

import math
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import InstanceOf, PlainSerializer, Strict, TypeAdapter, ValidationError

from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json

# Strict: text that looks like a number is damage. A union: what was written as 3 is not 3.0 the next time.
_Count = Annotated[int, Strict()]
_Number = Annotated[float, Strict()] | _Count


@dataclass(frozen=True)
class Curvature:
    """The Hessian of the validation loss in α on the probe set (α as logits).

    ``eig_max`` and ``eig_min`` are the algebraic ends of the spectrum, ``eig_gap`` is ``eig_max`` minus
    the second largest eigenvalue, ``trace`` is exact when ``trace_error`` is 0 and otherwise an estimate
    with that standard error. ``spectrum`` holds every eigenvalue, ascending, when it was asked for.
    """

    eig_max: _Number
    eig_min: _Number
    eig_gap: _Number
    trace: _Number
    trace_error: _Number = 0.0
    products: _Count = 0
    seconds: _Number = field(default=0.0, compare=False)
    spectrum: tuple[_Number, ...] | None = None


@dataclass(frozen=True)
class End:
    """A search is over before its last epoch: why, and the epoch whose cell counts."""

    epoch: _Count
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one search.

    Losses are mean cross entropies in nats, accuracies fractions in [0, 1]. ``valid_loss`` is that of the
    method's mixture on the validation half or, where its sampler draws single cells, the mean over such cells
    (see `Evaluator.validate`); the two kinds do not compare. ``discrete_loss`` is that of the supernet with
    only the genotype's edges and operations left on, under each batch's own statistics. A method that only
    proposes cells trains nothing: its losses, the accuracies of training and of the derived cell and the
    learning rate are None, ``valid_accuracy`` is the best cell's by what judges, and ``genotype`` that cell.
    ``weights`` maps a cell kind to its [edges, operations] rows; ``entropy`` is the mean entropy of those
    rows in nats; ``skips`` counts skip connections in the genotype. ``extra`` holds what only this method
    has: its schedules' values by name, and how many options are ``alive`` once some are not. ``ended`` says
    that this is the search's last report. ``restart`` counts how often the search has gone back: the report
    of a later one replaces those of its epoch and after.
    ``seconds`` and ``peak_memory`` (MiB) are measurements and do not take part in equality.
    """

    epoch: _Count
    train_loss: _Number | None
    train_accuracy: _Number | None
    valid_loss: _Number | None
    valid_accuracy: _Number
    discrete_loss: _Number | None
    discrete_accuracy: _Number | None
    learning_rate: _Number | None
    genotype: Annotated[InstanceOf[Genotype], PlainSerializer(Genotype.to_json)]
    weights: dict[str, list[list[_Number]]]
    entropy: dict[str, _Number]
    skips: dict[str, _Count]
    curvature: Curvature | None = None
    extra: dict[str, _Number] = field(default_factory=dict)
    ended: End | None = None
    restart: _Count = 0
    seconds: _Number = field(default=0.0, compare=False)
    peak_memory: _Number = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; floats keep every bit."""
        data: dict[str, Any] = _AS_JSON.dump_python(self, warnings=False)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any], genotype: Genotype | None = None) -> "EpochReport":
        """Rebuild a report, with its ``genotype`` if that has been read; keys of later versions are ignored.

        Raises `LookupError`, `TypeError`, `ValueError` or `RaynasError` for what is not a report.
        """
        known = {**data, "genotype": genotype or genotype_from_json(data["genotype"])}
        try:
            found = _AS_JSON.validate_python(known)
        except ValidationError as error:
            key = error.errors(include_url=False)[0]["loc"][0]
            raise TypeError(f"{key} is {data[key]!r:.40}" if key in data else f"{key} is missing") from None
        return found


_AS_JSON = TypeAdapter(EpochReport)
"""Reads a report in half the time of plain Python, and writes one in a twentieth (17 µs instead of 358)."""


def perplexity(loss: float) -> float:
    """Return e^loss, or the largest number there is."""
    return math.exp(min(loss, math.log(sys.float_info.max)))
