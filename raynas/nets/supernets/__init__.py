"""How the supernet of each skeleton is built, by the names of `raynas.spaces.skeletons`."""

from collections.abc import Mapping
from types import MappingProxyType

from raynas.nets.supernets.base import Builder
from raynas.nets.supernets.blocks import BlocksBuilder
from raynas.nets.supernets.chain import ChainBuilder
from raynas.nets.supernets.dense import DenseBuilder
from raynas.nets.supernets.edges import EdgeBuilder, LastBuilder
from raynas.nets.supernets.macro import MacroBuilder
from raynas.nets.supernets.pairs import PairsBuilder

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
