"""The skeletons by name: the only place that lists them. Each is one module, without torch.

The layers of a skeleton are in `raynas.nets.supernets` and `raynas.nets.networks`, by the same names.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

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

SKELETONS: Mapping[str, Skeleton] = MappingProxyType({skeleton.name: skeleton for skeleton in _ALL})
DEFAULT = _ALL[0].name
"""The skeleton of spaces and genotypes that name none."""

KINDS = tuple(dict.fromkeys(kind for skeleton in _ALL for kind in skeleton.kinds))
"""Every kind of cell, in the order in which a space has them."""


def found_in(text: str) -> list[tuple[Snippet, Skeleton]]:
    """Return every text of a cell that a longer text holds, and the skeleton in whose form it is.

    ENAS' bare numbers count only where nothing else is found, and a text that is in some form as a whole is
    taken as a whole.
    """
    for skeletons in ([form for form in _ALL if not form.bare], [form for form in _ALL if form.bare]):
        finders = {type(skeleton).spans: skeleton for skeleton in skeletons}  # several share one
        spans = {span for skeleton in finders.values() for span in skeleton.spans(text)}
        if snippets := list(cut(text, spans)):
            return [(snippet, _written_in(snippet.text, skeletons)) for snippet in snippets]
    whole = text.strip()
    if not any(skeleton.reads(whole) for skeleton in _ALL if skeleton.name != DEFAULT):
        return []
    before = text[: len(text) - len(text.lstrip())]
    snippet = Snippet(whole, before.count("\n") + 1, len(before) - before.rfind("\n"))
    return [(snippet, _written_in(whole, _ALL))]


def _written_in(text: str, skeletons: Iterable[Skeleton]) -> Skeleton:
    return next((skeleton for skeleton in skeletons if skeleton.reads(text)), SKELETONS[DEFAULT])
