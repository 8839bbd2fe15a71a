"""What a layer of each skeleton's discrete network is, by the names of `raynas.spaces.skeletons`.

A module here takes the genotype, the layer's plan, and whether batch norms learn scales; it maps what the two
layers before put out to the next state.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from raynas.nets.networks.blocks import BlocksCell
from raynas.nets.networks.chain import chain_layer
from raynas.nets.networks.dense import dense_layer
from raynas.nets.networks.edges import EdgeCell, LastCell, SkippingCell
from raynas.nets.networks.macro import MacroLayers
from raynas.nets.networks.pairs import PairsCell
from raynas.spaces.genotype import Genotype

LAYERS: Mapping[str, Callable[[Genotype, Any, bool], nn.Module]] = MappingProxyType(
    {
        "darts": EdgeCell,
        "darts-reducing": EdgeCell,
        "darts-skipping": SkippingCell,
        "darts-reducing-skipping": SkippingCell,
        "residual": LastCell,
        "blocks": BlocksCell,
        "pairs": PairsCell,
        "macro": MacroLayers,
        "chain": chain_layer,
        "dense": dense_layer,
    }
)
