"""How the supernet of each skeleton is built, by the names of `raynas.core.skeletons`."""

from collections.abc import Mapping
from types import MappingProxyType

from raynas.core.supernets.base import Builder
from raynas.core.supernets.blocks import BlocksBuilder
from raynas.core.supernets.chain import ChainBuilder
from raynas.core.supernets.dense import DenseBuilder
from raynas.core.supernets.edges import EdgeBuilder, LastBuilder
from raynas.core.supernets.macro import MacroBuilder
from raynas.core.supernets.pairs import PairsBuilder

BUILDERS: Mapping[str, type[Builder]] = MappingProxyType(
    {
        "darts": EdgeBuilder,
        "darts-reducing": EdgeBuilder,
        "darts-skipping": EdgeBuilder,
        "darts-reducing-skipping": EdgeBuilder,
        "residual": LastBuilder,
        "blocks": BlocksBuilder,
        "pairs": PairsBuilder,
        "macro": MacroBuilder,
        "chain": ChainBuilder,
        "dense": DenseBuilder,
    }
)
