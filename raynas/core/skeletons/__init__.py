"""The skeletons by name: the only place that lists them. Each is one module, without torch.

The layers of a skeleton are in `raynas.core.supernets` and `raynas.core.networks`, by the same names.
"""

from collections.abc import Mapping
from types import MappingProxyType

from raynas.core.skeletons.base import Skeleton
from raynas.core.skeletons.blocks import Blocks
from raynas.core.skeletons.chain import Chain
from raynas.core.skeletons.darts import Darts, Reducing, ReducingSkipping, Skipping
from raynas.core.skeletons.dense import Dense
from raynas.core.skeletons.macro import Macro
from raynas.core.skeletons.pairs import Pairs
from raynas.core.skeletons.recurrent import Recurrent
from raynas.core.skeletons.residual import Residual

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


def written_in(text: str) -> Skeleton:
    """Return the skeleton whose text form a text is in; the default one if it looks like no other's."""
    return next((skeleton for skeleton in _ALL if skeleton.reads(text)), SKELETONS[DEFAULT])
