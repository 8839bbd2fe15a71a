"""The supernet of ENAS' macro search: a whole network of layers that skip to all later ones."""

from collections.abc import Iterator

from torch import Tensor, nn

from raynas.nets.fan import Weights
from raynas.nets.fixed import Preprocess
from raynas.nets.ops.lanes import Lanes, Norm, Pass, keep_format
from raynas.nets.supernets.base import Builder, Layer, Priced, priced_fan
from raynas.nets.supernets.choice import ChoiceBlock, weigh
from raynas.spaces.skeletons.macro import kept_states, pooled_after
from raynas.spaces.skeletons.plan import CellPlan
from raynas.spaces.space import Space


class SuperMacroLayers(Layer):
    """All layers: a batch norm of the mixed operations on the state before plus the weighted skips.

    After a third and two thirds of the layers, every state that is read later is halved and widened by a
    convolution of its own. Operations stand alone here, where ENAS puts a 1×1 convolution before each; and
    channels double in the supernet as they do in ENAS' final networks.
    """

    def __init__(self, lanes: Lanes, space: Space, plan: CellPlan) -> None:
        super().__init__()
        cell = space.cell(plan.kind)
        self.skips: list[list[int]] = []
        self.operations, self.norms = nn.ModuleList(), nn.ModuleList()
        self.poolings = nn.ModuleDict()
        channels = plan.channels
        for layer in space.targets:
            edges = cell.into(layer)
            self.skips.append([edge.source for edge in edges if edge.source < layer - 1])
            self.operations.append(ChoiceBlock(lanes, edges[-1].ops, channels))
            self.norms.append(Norm(lanes, channels))
            if layer in pooled_after(space.nodes):
                pools = {
                    str(state): Preprocess(lanes, channels, 2 * channels, 2)
                    for state in kept_states(layer, ((edge.source, edge.target) for edge in cell.edges))
                }
                self.poolings[str(layer)] = nn.ModuleDict(pools)
                channels *= 2

    def forward(self, before: Tensor, previous: Tensor, mix: Weights, run: Pass) -> Tensor:
        """Return the last layer's output [N, lanes·channels, H', W']; ``mix`` has a tensor per group of α."""
        states, bit = {0: previous}, 0
        layers = zip(self.operations, self.norms, self.skips, strict=True)
        for layer, (operation, norm, skips) in enumerate(layers, start=1):
            total = operation(states[layer - 1], run, mix, "operations", layer - 1)
            if skips:
                yes = mix["skips"][:, bit : bit + len(skips), 1]
                total = sum(weigh([states[source] for source in skips], yes), total)
                bit += len(skips)
            states[layer] = norm(keep_format(total), run)
            if str(layer) in self.poolings:
                pools: nn.ModuleDict = self.poolings[str(layer)]  # type: ignore[assignment]
                states = {int(state): pool(states[int(state)], run) for state, pool in pools.items()}
        return states[layer]

    def priced(self) -> Iterator[Priced]:
        """Yield the operations of all layers."""
        for row, operation in enumerate(self.operations):
            yield from priced_fan("operations", row, operation.fan)  # type: ignore[arg-type]


class MacroBuilder(Builder):
    """Makes the one cell."""

    def cell(self, plan: CellPlan) -> SuperMacroLayers:
        """Return all layers."""
        return SuperMacroLayers(self.lanes, self.space, plan)
