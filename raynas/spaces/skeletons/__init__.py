"""The skeletons by name: the only place that lists them. Each is one module, without torch.

A skeleton names its layers (``builder``, ``layer``), which are in `raynas.nets.supernets` and
`raynas.nets.networks`. Other distributions offer a subclass of `Skeleton` under the entry point group
``raynas.skeletons``.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from raynas.spaces.outside import Registry, misfit
from raynas.spaces.skeletons.base import Skeleton
from raynas.spaces.skeletons.blocks import Blocks
from raynas.spaces.skeletons.chain import Chain
from raynas.spaces.skeletons.darts import Darts, Reducing, ReducingSkipping, Skipping
from raynas.spaces.skeletons.dense import Dense
from raynas.spaces.skeletons.macro import Macro
from raynas.spaces.skeletons.pairs import Pairs
from raynas.spaces.skeletons.recurrent import Recurrent
from raynas.spaces.skeletons.residual import Residual
from raynas.spaces.texts.snippet import Snippet, cut

_ALL: tuple[Skeleton, ...] = (
    Darts(),
    Reducing(),
    Skipping(),
    ReducingSkipping(),
    Residual(),
    Blocks(),
    Pairs(),
    Macro(),
    Chain(),
    Dense(),
    Recurrent(),
)


def _skeleton(point: EntryPoint, found: Any) -> Skeleton:
    """Return the one instance of a skeleton from outside; kinds also stand in file names and MLflow keys."""
    if not isinstance(found, type) or not issubclass(found, Skeleton):
        raise misfit(point, found, "a subclass of raynas.spaces.skeletons.base.Skeleton")
    needed = ("name", "text_form", *(() if found.texts else ("builder", "layer")))
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
DEFAULT = _ALL[0].name
"""The skeleton of spaces and genotypes that name none."""


def kinds() -> tuple[str, ...]:
    """Return every kind of cell that some skeleton has."""
    return tuple(dict.fromkeys(kind for skeleton in SKELETONS.values() for kind in skeleton.kinds))


def found_in(text: str) -> list[tuple[Snippet, Skeleton]]:
    """Return every text of a cell that a longer text holds, and the skeleton in whose form it is.

    ENAS' bare numbers count only where nothing else is found, and a text that is in some form as a whole is
    taken as a whole.
    """
    known = list(SKELETONS.values())
    for skeletons in ([form for form in known if not form.bare], [form for form in known if form.bare]):
        finders = {type(skeleton).spans: skeleton for skeleton in skeletons}  # several share one
        spans = {span for skeleton in finders.values() for span in skeleton.spans(text)}
        if snippets := list(cut(text, spans)):
            return [(snippet, _written_in(snippet.text, skeletons)) for snippet in snippets]
    whole = text.strip()
    if not any(skeleton.reads(whole) for skeleton in known if skeleton.name != DEFAULT):
        return []
    before = text[: len(text) - len(text.lstrip())]
    snippet = Snippet(whole, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return [(snippet, _written_in(whole, known))]


def _written_in(text: str, skeletons: Iterable[Skeleton]) -> Skeleton:
    return next((skeleton for skeleton in skeletons if skeleton.reads(text)), SKELETONS[DEFAULT])
