"""The skeletons by name: the only place that lists them. Each is one module, without torch.

Spaces and genotypes name their skeleton; `of` gives it, and with it whatever is not true of any graph:
``skeletons.of(space).edgewise``.

A skeleton names its layers (``builder``, ``layer``), which are in `raynas.nets.supernets` and
`raynas.nets.networks`. Other distributions offer a subclass of `Skeleton` under the entry point group
``raynas.skeletons``.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from raynas.errors import RaynasError, unknown
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import DEFAULT_SKELETON, Group, known_name
from raynas.spaces.outside import Registry, misfit
from raynas.spaces.skeletons.amoeba import Amoeba
from raynas.spaces.skeletons.base import Skeleton
from raynas.spaces.skeletons.blocks import Blocks
from raynas.spaces.skeletons.chain import Chain
from raynas.spaces.skeletons.darts import Darts, Reducing, ReducingSkipping, Skipping
from raynas.spaces.skeletons.dense import Dense
from raynas.spaces.skeletons.macro import Macro
from raynas.spaces.skeletons.pairs import Pairs
from raynas.spaces.skeletons.recurrent import Recurrent
from raynas.spaces.skeletons.residual import Residual
from raynas.spaces.space import Space
from raynas.spaces.texts.snippet import Snippet, cut

_ALL: tuple[Skeleton, ...] = (
    Darts(),
    Reducing(),
    Skipping(),
    ReducingSkipping(),
    Residual(),
    Blocks(),
    Pairs(),
    Amoeba(),
    Macro(),
    Chain(),
    Dense(),
    Recurrent(),
)


def _skeleton(point: EntryPoint, found: Any) -> Skeleton:
    """Return the one instance of a skeleton from outside; kinds are used in file names and MLflow keys."""
    if not isinstance(found, type) or not issubclass(found, Skeleton):
        raise misfit(point, found, "a subclass of raynas.spaces.skeletons.base.Skeleton")
    needed = ("name", "notation", *(() if found.texts else ("builder", "layer")))
    if missing := [name for name in needed if not getattr(found, name, "")]:
        raise misfit(point, f"a class without {', '.join(missing)}", "these class variables")
    if left := ", ".join(sorted(found.__abstractmethods__)):
        raise misfit(point, f"a class without {left}", "these methods")
    if found.name != point.name:
        raise misfit(point, f"name = {found.name!r}", f"name = {point.name!r}")
    if strange := [kind for kind in found.kinds if not kind.isidentifier()]:
        raise misfit(point, f"kinds {', '.join(strange)}", "kinds of letters, digits and _")
    return found()


SKELETONS: Mapping[str, Skeleton] = Registry(
    {skeleton.name: skeleton for skeleton in _ALL}, "raynas.skeletons", _skeleton
)


def kinds() -> tuple[str, ...]:
    """Return every kind of cell that some skeleton has."""
    return tuple(dict.fromkeys(kind for skeleton in SKELETONS.values() for kind in skeleton.kinds))


def of(graph: Space | Genotype) -> Skeleton:
    """Return the skeleton that a space or a genotype names; raises `RaynasError` with the nearest."""
    if graph.skeleton not in SKELETONS:
        raise unknown("skeleton", graph.skeleton, SKELETONS)
    return SKELETONS[graph.skeleton]


def groups(space: Space) -> tuple[Group, ...]:
    """Return what α decides in a space: for most, a tensor for each kind of cell."""
    return of(space).groups(space)


def fingerprint(space: Space) -> str:
    """Return a short hash of everything that defines the space.

    Titles, defaults and the derived network's usual size do not count.
    """
    data = space.model_dump(
        mode="json", exclude={"name", "title", "source", "defaults", "network"}, exclude_none=True
    )
    # Skeletons that have an ε of their own once had the usual one: other numbers, another fingerprint.
    epsilon = of(space).epsilon
    data |= {} if epsilon == Skeleton.epsilon else {"epsilon": epsilon}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


_Checked = TypeVar("_Checked", Space, Genotype)


def checked(graph: _Checked) -> _Checked:
    """Return a space or a genotype that is what its skeleton demands; raises `RaynasError`.

    Outputs of a genotype that are those of the skeleton's rule are left out of it: one cell, one genotype.
    """
    skeleton = of(graph)
    if isinstance(graph, Genotype):
        skeleton.check(graph)
        if not graph.outputs:
            return graph
        usual = replace(graph, outputs=())
        outputs = tuple(
            (kind, states) for kind, states in graph.outputs if states != skeleton.gathered(usual, kind)
        )
        return graph if outputs == graph.outputs else replace(graph, outputs=outputs)
    if wrong := "; ".join(skeleton.problems(graph)):
        raise RaynasError("the space is not what its skeleton demands", got=wrong)
    return graph


def problems(space: Space) -> Iterator[str]:
    """Yield everything that is wrong with a space, whose skeleton may not even exist."""
    known_name("skeleton", space.skeleton, SKELETONS)
    yield from of(space).problems(space)


def canonical(genotype: Genotype) -> str:
    """Return a text that is equal for two genotypes of a skeleton exactly when they are the same network.

    What that takes is the skeleton's: a NAS-Bench-201 cell names no nodes, skips or zeros; choice blocks
    give NAS-Bench-101's hash; cells of DARTS, pairs and dense blocks have no numbers of nodes, since what
    reads their outputs learns in whatever order they come. Cells of very many nodes that all look alike
    are compared as they are numbered (`raynas.spaces.isomorphism.first_text`).
    """
    return of(genotype).canonical(genotype)


def same_network(one: Genotype, other: Genotype) -> bool:
    """Tell whether both describe one network, though their cells may be written differently."""
    return one.skeleton == other.skeleton and canonical(one) == canonical(other)


def found_in(text: str) -> list[tuple[Snippet, Skeleton]]:
    """Return every text of a cell that a longer text holds, and the skeleton in whose text form it is.

    ENAS' bare numbers count only where nothing else is found, and a text that is in some text form as a whole
    is taken as a whole.
    """
    known = list(SKELETONS.values())
    for skeletons in ([each for each in known if not each.bare], [each for each in known if each.bare]):
        finders = {type(skeleton).spans: skeleton for skeleton in skeletons}  # several share one
        spans = {span for skeleton in finders.values() for span in skeleton.spans(text)}
        if snippets := list(cut(text, spans)):
            return [(snippet, _written_in(snippet.text, skeletons)) for snippet in snippets]
    whole = text.strip()
    if not any(skeleton.reads(whole) for skeleton in known if skeleton.name != DEFAULT_SKELETON):
        return []
    before = text[: len(text) - len(text.lstrip())]
    snippet = Snippet(whole, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return [(snippet, _written_in(whole, known))]


def _written_in(text: str, skeletons: Iterable[Skeleton]) -> Skeleton:
    return next((skeleton for skeleton in skeletons if skeleton.reads(text)), SKELETONS[DEFAULT_SKELETON])
