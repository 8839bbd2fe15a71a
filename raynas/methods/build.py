"""From a trial file's words to a method: parts by name, their settings checked, schedules nested.

Other distributions add to both: a `Method` under the entry points ``raynas.methods``, a part's class under
``raynas.parts`` (``relaxation.my-softmax``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from raynas.errors import RaynasError, quoted, unknown
from raynas.methods.recipes import ALL
from raynas.methods.record import Method, Order
from raynas.parts import (
    derivations,
    modifiers,
    objectives,
    penalties,
    perturbations,
    relaxations,
    rules,
    samplers,
    schedules,
    stops,
    stores,
)
from raynas.parts.cost import Cost, Resources
from raynas.parts.estimators import FirstOrder, SecondOrder
from raynas.parts.stages.base import DropWeak, DropZeros, FixEarly
from raynas.parts.stages.deepen_widen import Deepen, Widen
from raynas.parts.stages.greedy import Greedy
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stages.sample_and_rank import SampleAndRank
from raynas.parts.stages.sparsify import Relevance, Sparsify
from raynas.parts.stages.training_free import TrainingFree
from raynas.spaces.space import Space

Kinds = Mapping[str, type[Any]]

_SAMPLERS: Kinds = {
    "mean": samplers.Mean,
    "gaussian": samplers.Gaussian,
    "gumbel": samplers.Gumbel,
    "dirichlet": samplers.Dirichlet,
    "categorical": samplers.Categorical,
    "pair": samplers.Pair,
    "projection": samplers.Projection,
    "uniform-noise": perturbations.UniformNoise,
    "attack": perturbations.Attack,
}
PARTS: Mapping[str, Kinds] = {
    "store": {"table": stores.Table, "generator": stores.Generator},
    "relaxation": {
        "softmax": relaxations.Softmax,
        "max-weight": relaxations.MaxWeight,
        "sigmoid": relaxations.Sigmoid,
        "scales": relaxations.Scales,
        "relu-share": relaxations.ReluShare,
        "dirichlet-mean": relaxations.DirichletMean,
    },
    "sampler": _SAMPLERS,
    "weight_sampler": _SAMPLERS,
    "objective": {
        "one-draw": objectives.OneDraw,
        "importance": objectives.Importance,
        "reinforce": objectives.Reinforce,
        "natural": objectives.Natural,
    },
    "penalties": {
        "zero-one": penalties.ZeroOne,
        "anchor": penalties.Anchor,
        "sample-distance": penalties.SampleDistance,
        "cost": Cost,
        "resources": Resources,
        "relevance": Relevance,
    },
    "estimator": {"first-order": FirstOrder, "second-order": SecondOrder},
    "updater": {
        "adam": rules.AdamRule,
        "sgd": rules.SgdRule,
        "proximal": rules.Proximal,
        "adaptive": rules.Adaptive,
    },
    "annealing": {
        "cosine": schedules.Cosine,
        "power-cosine": schedules.PowerCosine,
        "bold-driver": schedules.BoldDriver,
        "two-phases": schedules.TwoPhases,
        "steady": schedules.Steady,
    },
    "modifiers": {
        "edge-normalisation": modifiers.EdgeNormalisation,
        "partial-channels": modifiers.PartialChannels,
        "drop-path": modifiers.DropPath,
        "cutout-chance": modifiers.CutoutChance,
        "skip-dropout": modifiers.SkipDropout,
        "auxiliary-skip": modifiers.AuxiliarySkip,
    },
    "stages": {
        "drop-weak": DropWeak,
        "drop-zeros": DropZeros,
        "fix-early": FixEarly,
        "greedy": Greedy,
        "deepen": Deepen,
        "widen": Widen,
        "sparsify": Sparsify,
        "training-free": TrainingFree,
        "perturb-and-project": PerturbAndProject,
        "sample-and-rank": SampleAndRank,
    },
    "stop": {
        "eigenvalue-growth": stops.EigenvalueGrowth,
        "skip-count": stops.SkipCount,
        "rank-stable": stops.RankStable,
        "converged": stops.Converged,
        "all-decided": stops.AllDecided,
        "any-of": stops.AnyOf,
    },
    "derivation": {
        "strongest": derivations.Strongest,
        "every-edge": derivations.EveryEdge,
        "threshold": derivations.Threshold,
        "few-skips": derivations.FewSkips,
    },
}
"""The parts a trial file may name, by slot."""

_SCHEDULES: Kinds = {
    "linear": schedules.Linear,
    "exponential": schedules.Exponential,
    "phased-dropout": schedules.PhasedDropout,
}
_WITHIN: Mapping[str, Kinds] = {
    "then": {"regularise": stops.Regularise},
    "rules": {use: kind for use, kind in PARTS["stop"].items() if use != "any-of"},
    "before": {"clip-norm": rules.ClipNorm, "clip-each": rules.ClipEach},
    "after": {"clamp": rules.Clamp, "keep-mass": rules.KeepMass},
}
"""Settings of parts that are parts themselves; wherever a number is wanted, a schedule may stand."""

_SEVERAL = ("penalties", "modifiers")
_OPTIONAL = ("weight_sampler", "estimator", "stages", "stop")
_PLAIN: Mapping[str, Any] = {
    "order": Order,
    "every": Annotated[int, Field(ge=1)],
    "nesterov": bool,
    "without": tuple[str, ...],
}
_NEXT = "raynas show darts"


def resolve(method: str | Mapping[str, Any], space: Space | None = None) -> Method:
    """Return the method a trial file asks for, suited to a space where one is given.

    Raises `RaynasError` with the nearest name.
    """
    if space is not None:
        return resolve(method).suited(space)
    if isinstance(method, str):
        if method not in (known := methods()):
            raise unknown("method", method, known, next_step="raynas ls methods")
        return known[method]
    base = resolve(method["base"])
    changes = {key: value for key, value in method.items() if key not in {"base", "name", "add"}}
    found = {slot: _fill(slot, value) for slot, value in changes.items()}
    for slot, value in _additions(method.get("add", {})).items():
        found[slot] = (*found.get(slot, getattr(base, slot)), *_fill(slot, value))
    name = str(method.get("name", base.name))
    return base.with_(name, f"{base.title}, changed: {', '.join(found) or 'nothing'}", **found)


def _additions(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RaynasError("add must be a mapping", got=quoted(value), expected=f"keys {', '.join(_SEVERAL)}")
    for slot in value:
        if slot not in _SEVERAL:
            raise unknown("list of a method", slot, _SEVERAL, next_step=_NEXT)
    return value


_registered: dict[str, Method] = {}


def register_method(method: Method) -> Method:
    """Make a method of yours known by its name, in this process alone, and return it.

    Registered again, as when a cell of a notebook runs twice, the later one counts. A sweep on Ray runs in
    other processes: there a method comes from a package, by the entry point ``raynas.methods``. Raises
    `RaynasError` for a name that raynas or a package has given already.
    """
    if method.name in _installed():
        raise RaynasError(
            f"there is already a method {quoted(method.name)}",
            next_step='give yours another name: .with_("my-method", ...)',
        )
    _registered[method.name] = method
    return method


def methods() -> Mapping[str, Method]:
    """Return every method by name: raynas' own, those of other distributions, those registered here."""
    return {**_installed(), **_registered}


@cache
def _installed() -> Mapping[str, Method]:
    """Return every method but those registered in this process."""
    found = {method.name: method for method in ALL}
    for point in entry_points(group="raynas.methods"):
        method = _load(point)
        if not isinstance(method, Method):
            raise RaynasError(
                f"{_origin(point)} offers no method", got=type(method).__name__, expected="Method"
            )
        found.setdefault(point.name, method)
    return found


@cache
def parts(slot: str) -> Kinds:
    """Return the parts of a slot by the name they are used by."""
    found = dict(PARTS[slot])
    for point in entry_points(group="raynas.parts"):
        where, _, use = point.name.partition(".")
        if where == slot:
            found.setdefault(use, _load(point))
    return found


def _load(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise RaynasError(
            f"{_origin(point)} cannot be loaded",
            got=f"{type(error).__name__}: {error}",
            next_step=f"fix or uninstall {point.dist.name if point.dist else point.value}",
        ) from error


def _origin(point: EntryPoint) -> str:
    return f"{point.name} of {point.dist.name if point.dist else point.value} ({point.group})"


def _fill(slot: str, value: Any) -> Any:
    """Return what a slot gets for the value in a trial file."""
    if slot in _PLAIN:
        return _validated(_PLAIN[slot], value, slot)
    if slot not in PARTS:
        raise unknown("part of a method", slot, [*PARTS, *_PLAIN, "add"], next_step=_NEXT)
    if value is None and slot in _OPTIONAL:
        return None
    if slot in _SEVERAL:
        each = value if isinstance(value, list | tuple) else [value]
        return tuple(_part(slot, parts(slot), item) for item in each)
    return _part(slot, parts(slot), value)


def _part(where: str, kinds: Kinds, value: Any) -> Any:
    """Build the part a value asks for: a name, or `use:` with the part's settings."""
    if not isinstance(value, str | Mapping):
        raise RaynasError(
            f"{where} must be a name or a mapping", got=quoted(value), expected=f"one of {', '.join(kinds)}"
        )
    settings = {"use": value} if isinstance(value, str) else dict(value)
    use = settings.pop("use", None)
    if not isinstance(use, str) or use not in kinds:
        raise unknown(where, use, kinds, next_step=_NEXT)
    kind = kinds[use]
    known = [field.name for field in fields(kind)]
    for key in settings:
        if key not in known:
            raise unknown(f"setting of {use}", key, known)
    built = {key: _setting(f"{where}.{use}", key, item) for key, item in settings.items()}
    return _validated(kind, built, f"{where}.{use}")


def _setting(where: str, key: str, value: Any) -> Any:
    if key in _WITHIN and isinstance(value, str | Mapping | list | tuple):
        if isinstance(value, list | tuple):
            return tuple(_part(f"{where}.{key}", _WITHIN[key], item) for item in value)
        return _part(f"{where}.{key}", _WITHIN[key], value)
    if isinstance(value, Mapping):
        return _part(f"{where}.{key}", _SCHEDULES, value)
    return tuple(value) if isinstance(value, list) else value


def _validated(kind: Any, value: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in (where, *detail["loc"]))
        raise RaynasError(f"{place}: {detail['msg']}", got=quoted(detail["input"])) from None


def plain(part: Any) -> Any:
    """Return a part as a trial file would write it: `use` and its settings."""
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [plain(each) for each in part]
    if not is_dataclass(part) or isinstance(part, type):
        return part
    settings = {field.name: plain(getattr(part, field.name)) for field in fields(part)}
    return {"use": use_of(type(part)) or type(part).__name__, **settings}


@cache
def use_of(part: type) -> str | None:
    """Return the name by which a trial file uses a class of parts; None for one that none can name."""
    kinds = [*(parts(slot) for slot in PARTS), _SCHEDULES, *_WITHIN.values()]
    return next((name for each in kinds for name, kind in each.items() if kind is part), None)
