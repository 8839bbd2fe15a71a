"""Combinations of parts that make no sense, each with the reason: told before a sweep starts."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from raynas.errors import RaynasError
from raynas.methods.layout import lay_out
from raynas.methods.record import Method
from raynas.parts.cost import Cost, Resources, read_costs
from raynas.parts.derivations import EveryEdge, FewSkips, Threshold, is_skip
from raynas.parts.estimators import SecondOrder
from raynas.parts.modifiers import (
    AuxiliarySkip,
    CutoutChance,
    DropPath,
    EdgeNormalisation,
    PartialChannels,
    SkipDropout,
)
from raynas.parts.objectives import Natural
from raynas.parts.penalties import Anchor
from raynas.parts.relaxations import DirichletMean, MaxWeight, Scales, Softmax
from raynas.parts.rules import AdamRule, Adaptive, Proximal
from raynas.parts.samplers import Categorical, Dirichlet, Pair, Projection
from raynas.parts.schedules import PowerCosine
from raynas.parts.stages.base import DropWeak, DropZeros, FixEarly
from raynas.parts.stages.deepen_widen import Deepen, Widen
from raynas.parts.stages.greedy import Greedy
from raynas.parts.stages.perturb_and_project import PerturbAndProject
from raynas.parts.stages.sparsify import Relevance, Sparsify
from raynas.parts.stages.training_free import TrainingFree
from raynas.parts.stops import AnyOf, EigenvalueGrowth, SkipCount
from raynas.parts.stores import Generator, Table
from raynas.spaces import skeletons
from raynas.spaces.space import Space


def reasons(method: Method, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield why this method cannot search this space with these values (``epochs``, ``hessian.every``, …)."""
    if space is not None:
        method = method.suited(space)
    for wrong, reason in _PARTS:
        if wrong(method):
            yield reason
    for unfit, reason in _VALUES:
        if unfit(method, values):
            yield reason
    for rule in _rules(method):
        if isinstance(rule, EigenvalueGrowth) and values.get("epochs") and values.get("hessian.every"):
            yield from rule.too_late(values["epochs"], values["hessian.every"])
    if space is not None:
        for unsuited, reason in _SPACE:
            if unsuited(method, space):
                yield f"{reason} ({space.name})"
    for rule in _rules(method):
        if (vain := getattr(rule, "vain", None)) and (reason := vain(space, values.get("epochs"))):
            yield reason if space is None else f"{reason} ({space.name})"
    if space is not None:
        yield from _unfit(method, space, values)


def _unfit(method: Method, space: Space, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps the stages from being laid out, and what is wrong with tables of costs."""
    try:
        if "epochs" in values:
            lay_out(method, space, values)
        for penalty in method.penalties:
            if isinstance(penalty, Cost) and penalty.table is not None:
                read_costs(penalty.table, space)
    except RaynasError as error:
        yield str(error)


def _is(part: object, what: str) -> bool:
    """Tell what a part says of itself, wherever it comes from."""
    return bool(getattr(part, what, False))


def _has(method: Method, *kinds: type[object]) -> bool:
    return any(isinstance(each, kinds) for each in method.modifiers)


def _rules(method: Method) -> tuple[Any, ...]:
    return method.stop.rules if isinstance(method.stop, AnyOf) else (method.stop,)


def _draws_none(part: object) -> bool:
    return isinstance(part, Categorical) and part.gradient == "none"


def _executes_all(method: Method) -> bool:
    sampler = method.sampler
    if isinstance(sampler, Categorical):
        return sampler.gradient == "straight-through"
    return not isinstance(sampler, Pair | Projection) and getattr(sampler, "execute", "all") == "all"


def _distribution(method: Method) -> bool:
    """Tell whether the relaxed weights are probabilities."""
    return _is(method.relaxation, "shares") or (
        isinstance(method.relaxation, Scales) and isinstance(method.updater, Adaptive)
    )


_PARTS: tuple[tuple[Callable[[Method], bool], str], ...] = (
    (
        lambda m: _has(m, DropPath) and getattr(m.sampler, "execute", "all") == "chosen",
        "drop-path would drop the numbers that stand for what gumbel leaves out: `execute: all`",
    ),
    (
        lambda m: _has(m, AuxiliarySkip) and isinstance(m.stages, PerturbAndProject),
        "perturb-and-project measures what each operation is worth: auxiliary skips stand in for them",
    ),
    (
        lambda m: isinstance(m.estimator, SecondOrder) and m.sampler.random,
        "second order needs a sampler without chance: its passes would draw different weights",
    ),
    (
        lambda m: (
            any(isinstance(each, Resources) for each in m.penalties)
            and (_draws_none(m.sampler) or getattr(m.sampler, "execute", "all") == "chosen")
        ),
        "resources charges what was drawn, through which α has to learn: a sampler that computes everything",
    ),
    (
        lambda m: m.nesterov and isinstance(m.estimator, SecondOrder),
        "second order looks ahead by a step with plain momentum: `nesterov: false`",
    ),
    (
        lambda m: m.order == "joint" and isinstance(m.estimator, SecondOrder),
        "a joint step has no step of the weights to look ahead to: leave second order out",
    ),
    (
        lambda m: m.order == "joint" and m.estimator is None,
        "a joint step moves α; an α that rests needs another order",
    ),
    (
        lambda m: m.order == "joint" and m.weight_sampler is not None,
        "a joint step multiplies in one draw: leave weight_sampler out",
    ),
    (
        lambda m: _is(m.sampler, "off_the_mean"),
        "noise on the mixture belongs in weight_sampler: α would learn nothing through it",
    ),
    (
        lambda m: (
            _is(m.weight_sampler, "off_the_mean")
            and (m.sampler.random or not isinstance(m.relaxation, Softmax))
        ),
        "noise on the mixture needs a softmax without sampling: it is projected back on the simplex",
    ),
    (
        lambda m: isinstance(m.relaxation, DirichletMean) != isinstance(m.sampler, Dirichlet),
        "dirichlet-mean and the dirichlet sampler go together: one is the mean of the other",
    ),
    (
        lambda m: isinstance(m.relaxation, MaxWeight) and m.sampler.random,
        "max-weight gives weights and no probabilities: it needs the sampler mean",
    ),
    (
        lambda m: m.validated == "cells" and m.sampler.random and not _distribution(m),
        "a choice is drawn from probabilities: take a relaxation whose rows sum to 1",
    ),
    (
        lambda m: _is(m.objective, "weighs_draws") and not _draws_none(m.sampler),
        "this objective weighs single architectures: it needs the sampler {use: categorical, gradient: none}",
    ),
    (
        lambda m: _draws_none(m.sampler) and not _is(m.objective, "weighs_draws"),
        "categorical with gradient none leaves α to an objective: importance, reinforce or natural",
    ),
    (
        lambda m: (
            _is(m.objective, "weighs_draws")
            and m.weight_sampler is not None
            and not _draws_none(m.weight_sampler)
        ),
        "this objective weighs single architectures: leave weight_sampler out",
    ),
    (
        lambda m: isinstance(m.objective, Natural) != isinstance(m.updater, Adaptive),
        "the natural objective and the adaptive updater go together",
    ),
    (
        lambda m: (
            isinstance(m.updater, Adaptive)
            and not (
                isinstance(m.store, Table)
                and m.store.start_from == "uniform"
                and isinstance(m.relaxation, Scales)
            )
        ),
        "the adaptive updater moves probabilities: it needs {use: table, start_from: uniform} and scales",
    ),
    (
        lambda m: (
            isinstance(m.store, Generator)
            and (
                isinstance(m.updater, Adaptive | Proximal)
                or (isinstance(m.updater, AdamRule) and bool(m.updater.after))
            )
        ),
        "a generator's parameters are no logits: they cannot be clamped, thresholded or shifted",
    ),
    (
        lambda m: isinstance(m.stages, PerturbAndProject) and not _executes_all(m),
        "perturb-and-project switches single operations off: the search has to train all of them",
    ),
    (
        lambda m: isinstance(m.stages, Widen) and _has(m, PartialChannels),
        "widen says itself how many channels pass through operations: leave partial-channels out",
    ),
    (
        lambda m: isinstance(m.stages, TrainingFree) and m.estimator is not None,
        "training-free pruning trains nothing: `estimator: null`",
    ),
    (
        lambda m: isinstance(m.stages, Sparsify) != any(isinstance(each, Relevance) for each in m.penalties),
        "sparsify sets the prices that the penalty relevance charges: they go together",
    ),
    (
        lambda m: (
            isinstance(m.stages, Sparsify)
            and not (isinstance(m.relaxation, Scales) and isinstance(m.store, Table) and not m.sampler.random)
        ),
        "sparsify learns variances of scales: it needs a table, the relaxation scales and the sampler mean",
    ),
    (
        lambda m: (
            isinstance(m.stages, FixEarly | DropWeak | TrainingFree) and not _is(m.relaxation, "shares")
        ),
        "this stage compares probabilities: take a relaxation whose rows sum to 1",
    ),
    (
        lambda m: isinstance(m.stages, DropZeros) and not _is(m.relaxation, "zeros"),
        "drop-zeros waits for weights of exactly 0: take a relaxation that has some, scales or relu-share",
    ),
    (
        lambda m: isinstance(m.stages, Greedy) and not isinstance(m.relaxation, Softmax),
        "greedy decides by the softmax of the logits: it needs the relaxation softmax",
    ),
    (
        lambda m: (
            isinstance(m.derivation, Threshold) and m.derivation.above >= 0.5 and _is(m.relaxation, "shares")
        ),
        "at most one weight of a row that sums to 1 is above ½: take another derivation",
    ),
    (
        lambda m: isinstance(m.derivation, EveryEdge) and isinstance(m.sampler, Projection),
        "projection has already chosen the edges: derive by strongest",
    ),
    (
        lambda m: (
            any(isinstance(each, Anchor) for each in m.penalties)
            and not isinstance(m.relaxation, DirichletMean)
        ),
        "anchor measures Dirichlet distributions: it needs dirichlet-mean",
    ),
    (
        lambda m: m.estimator is None and any(isinstance(rule, EigenvalueGrowth) for rule in _rules(m)),
        "eigenvalue-growth watches the curvature that training α causes: here α rests",
    ),
)

_VALUES: tuple[tuple[Callable[[Method, Mapping[str, Any]], bool], str], ...] = (
    (
        lambda m, v: (
            v.get("hessian.every", 1) == 0 and any(isinstance(rule, EigenvalueGrowth) for rule in _rules(m))
        ),
        "eigenvalue-growth needs measured curvature: hessian.every is 0",
    ),
    (
        lambda m, v: (
            isinstance(m.annealing, PowerCosine) and 1 <= v.get("epochs", math.inf) <= m.annealing.warmup
        ),
        "power-cosine never leaves its warm-up: give it fewer epochs than the search has, or a share below 1",
    ),
)


def _no_skips(space: Space) -> bool:
    return not any(is_skip(op) for cell in space.cells for edge in cell.edges for op in edge.ops)


_SPACE: tuple[tuple[Callable[[Method, Space], bool], str], ...] = (
    (
        lambda m, s: (
            _no_skips(s)
            and (isinstance(m.derivation, FewSkips) or any(isinstance(rule, SkipCount) for rule in _rules(m)))
        ),
        "skips are counted, but the space has none",
    ),
    (
        lambda m, s: any(isinstance(rule, SkipCount) and rule.kind not in s.kinds for rule in _rules(m)),
        "skips are counted in a kind of cell that the space does not have",
    ),
    (
        lambda m, s: (
            isinstance(m.derivation, FewSkips) and not (skeletons.of(s).edgewise and "normal" in s.kinds)
        ),
        "few-skips takes skips off the edges of normal cells, but the space has no such edges",
    ),
    (
        lambda m, s: isinstance(m.stages, Greedy) and not skeletons.of(s).edgewise,
        "greedy decides one edge after the other, but here rows of α are no edges",
    ),
    (
        lambda m, s: (
            isinstance(m.stages, Deepen)
            and any(skeletons.of(s).wrong_cells(cells) for cells in m.stages.cells)
        ),
        "deepen stacks numbers of cells that the space's skeleton does not have",
    ),
    (
        lambda m, s: _no_skips(s) and _has(m, SkipDropout, AuxiliarySkip),
        "a modifier is about skip connections, but the space has none",
    ),
    (
        lambda m, s: (
            skeletons.of(s).texts
            and _has(
                m, PartialChannels, DropPath, CutoutChance, SkipDropout, AuxiliarySkip, EdgeNormalisation
            )
        ),
        "modifiers of channels, paths, skips and edges are made for images, not for a recurrent cell",
    ),
    (
        lambda m, s: _has(m, EdgeNormalisation) and s.keep == "all",
        "edge-normalisation compares edges, but the space keeps all of them",
    ),
    (
        lambda m, s: _has(m, EdgeNormalisation) and not skeletons.of(s).edgewise,
        "edge-normalisation compares edges, but here rows of α are no edges",
    ),
    (
        lambda m, s: _has(m, AuxiliarySkip) and skeletons.of(s).skips,
        "auxiliary-skip adds a skip to every edge, but in this space every edge has one",
    ),
    (
        lambda m, s: (
            (_has(m, PartialChannels, AuxiliarySkip) or isinstance(m.stages, Widen))
            and not skeletons.of(s).extras
        ),
        "partial-channels, widen and auxiliary-skip are built for cells of operations on edges",
    ),
    (
        lambda m, s: (
            getattr(m.sampler, "execute", "all") == "chosen"
            and not any(group.operations for group in skeletons.groups(s))
        ),
        "execute: chosen leaves operations out, but here rows of α choose none: `execute: all`",
    ),
    (
        lambda m, s: (
            any(isinstance(p, Resources) or (isinstance(p, Cost) and p.table is None) for p in m.penalties)
            and (skeletons.of(s).texts or not any(group.operations for group in skeletons.groups(s)))
        ),
        "cost counts the kernels of operations, but α chooses among none here: take cost with a `table:`, or "
        "write `penalties: []`",
    ),
    (
        lambda m, s: _has(m, DropPath) and skeletons.of(s).has_trunk,
        "drop-path would cut a chain where a block has no shortcut",
    ),
    (
        lambda m, s: _has(m, DropPath, SkipDropout) and not skeletons.of(s).edgewise,
        "drop-path and skip-dropout drop edges, but here rows of α are no edges",
    ),
    (
        lambda m, s: isinstance(m.stages, TrainingFree | Deepen) and not skeletons.of(s).edgewise,
        "this stage takes operations of edges away, but here rows of α are no edges",
    ),
    (
        lambda m, s: isinstance(m.stages, TrainingFree) and skeletons.of(s).texts,
        "training-free pruning counts the linear regions of images, and this space reads texts",
    ),
    (
        lambda m, s: (
            isinstance(m.sampler, Pair)
            and any(
                len(set(row.options) - set(m.without)) < 2
                for group in skeletons.groups(s)
                for row in group.rows
            )
        ),
        "pair needs two options everywhere",
    ),
    (
        lambda m, s: any(
            not set(row.options) - set(m.without) for group in skeletons.groups(s) for row in group.rows
        ),
        "without leaves rows that have no option",
    ),
)
