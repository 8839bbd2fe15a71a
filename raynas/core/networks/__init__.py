"""What a layer of each skeleton's discrete network is, by the names of `raynas.core.skeletons`.

A module here takes the genotype, the layer's plan, and whether batch norms learn scales; it maps what the two
layers before put out to the next state.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from raynas.core.genotype import Genotype
from raynas.core.networks.blocks import BlocksCell
from raynas.core.networks.edges import EdgeCell, LastCell

LAYERS: Mapping[str, Callable[[Genotype, Any, bool], nn.Module]] = MappingProxyType(
    {"darts": EdgeCell, "residual": LastCell, "blocks": BlocksCell}
)
