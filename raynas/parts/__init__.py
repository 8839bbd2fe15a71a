"""The parts a method is composed of: frozen configurations that act on a `raynas.bilevel.views.PolicyView`.

What is learned: stores. What it means: relaxations. What a step multiplies in: samplers, perturbations.
What a step minimises: objectives, penalties, cost, weight_penalties. How α's gradient regards the weights:
estimators. How α moves: rules. What an edge does besides: modifiers. Over epochs: schedules, stages, stops.
At the end: derivations. Instead of all that, where nothing is trained: proposals.
What each of them has to be is told in `raynas.bilevel.slots`.
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module

from raynas.bilevel import slots
from raynas.bilevel.part import Part

METHOD_SLOTS = (
    "store",
    "relaxation",
    "sampler",
    "weight_sampler",
    "objective",
    "penalties",
    "weight_penalties",
    "estimator",
    "updater",
    "annealing",
    "modifiers",
    "stages",
    "stop",
    "derivation",
    "proposals",
)
"""The slots of a method, in the order in which a search comes to them."""

INNER_SLOTS = ("schedule", "before", "after", "then", "rules", "proposals")
"""Settings of parts that are parts themselves; a schedule may be given wherever a number is wanted."""

BASES: Mapping[str, type[Part]] = {
    slot: base
    for base in vars(slots).values()
    if isinstance(base, type) and issubclass(base, Part) and base.__module__ == slots.__name__
    for slot in base.slots
}
"""What a part is a subclass of, by slot."""


@cache
def registered() -> tuple[type[Part], ...]:
    """Return every class of parts in the modules of this package that says by which name it is used."""
    found: list[type[Part]] = []
    for module in pkgutil.walk_packages(__path__, f"{__name__}."):
        found += [
            kind
            for kind in vars(import_module(module.name)).values()
            if isinstance(kind, type) and kind.__module__ == module.name and "use" in vars(kind)
        ]
    return tuple(found)
