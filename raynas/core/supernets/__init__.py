"""How the supernet of each skeleton is built, by the names of `raynas.core.skeletons`."""

from collections.abc import Mapping
from types import MappingProxyType

from raynas.core.supernets.base import Builder
from raynas.core.supernets.blocks import BlocksBuilder
from raynas.core.supernets.edges import EdgeBuilder, LastBuilder

BUILDERS: Mapping[str, type[Builder]] = MappingProxyType(
    {"darts": EdgeBuilder, "residual": LastBuilder, "blocks": BlocksBuilder}
)
