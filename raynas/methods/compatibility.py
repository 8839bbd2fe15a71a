"""Methods that make no sense, each with the reason: told before a sweep starts.

A part says itself what it is and what it does not fit (`raynas.bilevel.part.Part.misfits`); here is what is
about pairs of slots, and about a method as a whole.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raynas.errors import RaynasError
from raynas.methods.layout import lay_out
from raynas.methods.record import Method
from raynas.parts import BASES, METHOD_SLOTS
from raynas.parts.derivations import no_skips
from raynas.spaces import skeletons
from raynas.spaces.space import Space


def reasons(method: Method, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield why this method cannot search this space with these values (``epochs``, ``hessian.every``, …)."""
    if space is not None:
        method = method.suited(space)
    if strangers := list(_strangers(method)):
        yield from strangers
        return
    yield from dict.fromkeys(_reasons(method, space, values))


def _reasons(method: Method, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
    if method.proposals is not None:
        # Nothing else of the method is ever asked.
        yield from _idle(method)
        yield from method.proposals.misfits(method, space, values)
        return
    for wrong, reason in _PAIRS:
        if wrong(method):
            yield reason
    for _, part in method.parts():
        yield from part.misfits(method, space, values)
    if space is None:
        return
    for unsuited, reason in _ON_SPACE:
        if unsuited(method, space):
            yield f"{reason} ({space.name})"
    if "epochs" in values:
        try:
            lay_out(method, space, values)
        except RaynasError as error:
            yield str(error)


def _idle(method: Method) -> Iterator[str]:
    """Yield which slots were filled in a method that proposes cells, where they mean nothing."""
    plain = Method(method.name, method.title, method.source)
    names = [slot for slot in METHOD_SLOTS if slot != "proposals"] + ["order", "every", "nesterov", "without"]
    for name in names:
        if getattr(method, name) != getattr(plain, name):
            yield f"a method with proposals trains nothing, so that `{name}` means nothing: leave it out"


def _strangers(method: Method) -> Iterator[str]:
    """Yield what fills a slot without being a part of its kind."""
    for slot in METHOD_SLOTS:
        value = getattr(method, slot)
        for part in value if isinstance(value, tuple) else (value,):
            if part is not None and not isinstance(part, BASES[slot]):
                base = BASES[slot]
                yield (
                    f"{type(part).__name__} cannot fill the slot {slot}: its class has to derive from "
                    f"{base.__module__}.{base.__name__}"
                )


_PAIRS: tuple[tuple[Callable[[Method], bool], str], ...] = (
    (
        lambda m: m.order == "joint" and m.estimator is None,
        "a joint step moves α; an α that rests needs another order",
    ),
    (
        lambda m: m.order == "joint" and m.weight_sampler is not None,
        "a joint step multiplies in one draw: leave weight_sampler out",
    ),
    (
        lambda m: m.sampler.off_the_mean,
        "noise on the mixture belongs in weight_sampler: α would learn nothing through it",
    ),
    (
        lambda m: (
            m.weight_sampler is not None
            and m.weight_sampler.off_the_mean
            and (m.sampler.random or not m.relaxation.sums_to_one)
        ),
        "noise on the mixture is projected back on the simplex: it needs rows that sum to 1, and no sampling",
    ),
    (
        lambda m: m.relaxation.dirichlet != m.sampler.dirichlet,
        "dirichlet-mean and the dirichlet sampler go together: one is the mean of the other",
    ),
    (
        lambda m: (
            m.validated == "cells"
            and m.sampler.random
            and not m.relaxation.sums_to_one
            and not (m.relaxation.identity and m.updater.natural)
        ),
        "a choice is drawn from probabilities: take a relaxation whose rows sum to 1",
    ),
    (
        lambda m: m.objective.weighs_draws and not m.sampler.leaves_alpha,
        "this objective weighs single architectures: it needs the sampler {use: categorical, gradient: none}",
    ),
    (
        lambda m: m.sampler.leaves_alpha and not m.objective.weighs_draws,
        "categorical with gradient none leaves α to an objective: importance, reinforce or natural",
    ),
    (
        lambda m: (
            m.objective.weighs_draws and m.weight_sampler is not None and not m.weight_sampler.leaves_alpha
        ),
        "this objective weighs single architectures: leave weight_sampler out",
    ),
    (
        lambda m: m.objective.natural != m.updater.natural,
        "the natural objective and the adaptive updater go together",
    ),
    (
        lambda m: m.updater.entrywise and not m.store.entrywise,
        "a generator's parameters are not logits: they cannot be clamped, thresholded or shifted",
    ),
    (
        lambda m: m.stages is not None and m.stages.compares and not m.relaxation.sums_to_one,
        "this stage compares probabilities: take a relaxation whose rows sum to 1",
    ),
)

_ON_SPACE: tuple[tuple[Callable[[Method, Space], bool], str], ...] = (
    (
        lambda m, s: any(each.needs_skips for each in m.modifiers) and no_skips(s),
        "a modifier is about skip connections, but the space has none",
    ),
    (
        lambda m, s: skeletons.of(s).texts and any(each.for_images for each in m.modifiers),
        "modifiers of channels, paths, skips and edges are made for images, not for a recurrent cell",
    ),
    (
        lambda m, s: m.sampler.leaves_out and not any(group.operations for group in skeletons.groups(s)),
        "execute: chosen leaves operations out, but here rows of α choose none: `execute: all`",
    ),
    (
        lambda m, s: any(
            not set(row.options) - set(m.without) for group in skeletons.groups(s) for row in group.rows
        ),
        "without leaves rows that have no option",
    ),
)
