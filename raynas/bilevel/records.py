"""What a search says after every epoch, as frozen plain data with an exact JSON round trip."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from pydantic import TypeAdapter

from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json


@dataclass(frozen=True)
class Curvature:
    """The Hessian of the validation loss in α on the probe set (α as logits).

    ``eig_max`` and ``eig_min`` are the algebraic ends of the spectrum, ``eig_gap`` is ``eig_max`` minus
    the second largest eigenvalue, ``trace`` is exact when ``trace_error`` is 0 and otherwise an estimate
    with that standard error. ``spectrum`` holds every eigenvalue, ascending, when it was asked for.
    """

    eig_max: float
    eig_min: float
    eig_gap: float
    trace: float
    trace_error: float = 0.0
    products: int = 0
    seconds: float = field(default=0.0, compare=False)
    spectrum: tuple[float, ...] | None = None


@dataclass(frozen=True)
class End:
    """A search is over before its last epoch: why, and the epoch whose cell counts."""

    epoch: int
    reason: str


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one search.

    Losses are mean cross entropies in nats, accuracies fractions in [0, 1]. ``valid_loss`` is that of the
    method's mixture on the validation half or, where its sampler draws single cells, the mean over such cells
    (see `Evaluator.validate`); the two kinds do not compare. ``discrete_loss`` is that of the supernet with
    only the genotype's edges and operations left on, under each batch's own statistics. ``weights`` maps a
    cell kind to its [edges, operations] rows; ``entropy`` is the mean entropy of those rows in nats;
    ``skips`` counts skip connections in the genotype. ``extra`` holds what only this method has: its
    schedules' values by name, and how many options are ``alive`` once some are not. ``ended`` says that this
    is the search's last report. ``restart`` counts how often the search has gone back: the report of a later
    one replaces those of its epoch and after.
    ``seconds`` and ``peak_memory`` (MiB) are measurements and do not take part in equality.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float
    discrete_loss: float
    discrete_accuracy: float
    learning_rate: float
    genotype: Genotype
    weights: dict[str, list[list[float]]]
    entropy: dict[str, float]
    skips: dict[str, int]
    curvature: Curvature | None = None
    extra: dict[str, float] = field(default_factory=dict)
    ended: End | None = None
    restart: int = 0
    seconds: float = field(default=0.0, compare=False)
    peak_memory: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; floats keep every bit."""
        return {**asdict(self), "genotype": self.genotype.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any], genotype: Genotype | None = None) -> Self:
        """Rebuild a report, with its ``genotype`` if that has been read; keys of later versions are ignored.

        Raises `LookupError`, `TypeError`, `ValueError` or `RaynasError` for what is no report.
        """
        known = {key: data[key] for key in (f.name for f in fields(cls)) if key in data}
        for key, value in known.items():
            if not isinstance(value, _KINDS.get(key, object)):
                raise TypeError(f"{key} is {value!r:.40}")
            if key in _WITHIN:
                _WITHIN[key].validate_python(value, strict=True)
        known["genotype"] = genotype or genotype_from_json(data["genotype"])
        if (curvature := data.get("curvature")) is not None:
            values = {f.name: curvature[f.name] for f in fields(Curvature) if f.name in curvature}
            if values.get("spectrum") is not None:
                values["spectrum"] = tuple(values["spectrum"])
            known["curvature"] = Curvature(**values)
        if (ended := data.get("ended")) is not None:
            known["ended"] = End(ended["epoch"], ended["reason"])
        return cls(**known)


_KINDS: dict[str, Any] = {
    **{f.name: int | float for f in fields(EpochReport) if f.type is float},
    **dict.fromkeys(("epoch", "restart"), int),
    **dict.fromkeys(("weights", "entropy", "skips", "extra"), dict),
}
"""What the values of a report must be, so that a damaged one is found where it is read."""

_WITHIN: dict[str, TypeAdapter[Any]] = {
    "weights": TypeAdapter(dict[str, list[list[float]]]),
    "entropy": TypeAdapter(dict[str, float]),
    "skips": TypeAdapter(dict[str, int]),
}
"""What stands within them."""
