"""The discrete network of ENAS' macro search."""

from torch import Tensor, nn

from raynas.nets.ops.plain import FactorizedReduce, plain
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.macro import kept_states, pooled_after
from raynas.spaces.skeletons.plan import CellPlan


class MacroLayers(nn.Module):
    """All layers, each an operation on the state before plus its skips, normalised.

    Where the resolution halves, only the states that a later layer still reads are brought along.
    """

    def __init__(self, genotype: Genotype, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        choices = genotype.cell(plan.kind)
        ops = skeletons.of(genotype).node_operations(genotype, plan.kind)
        self.skips = [
            [c.source for c in choices if c.target == layer and c.source < layer - 1]
            for layer in skeletons.of(genotype).targets(genotype.nodes)
        ]
        self.operations, self.norms = nn.ModuleList(), nn.ModuleList()
        self.poolings = nn.ModuleDict()
        channels = plan.channels
        for layer in skeletons.of(genotype).targets(genotype.nodes):
            self.operations.append(plain(ops[layer], channels, 1, affine))
            self.norms.append(nn.BatchNorm2d(channels, affine=affine))
            if layer in pooled_after(genotype.nodes):
                kept = kept_states(layer, ((c.source, c.target) for c in choices))
                self.poolings[str(layer)] = nn.ModuleDict(
                    {str(state): FactorizedReduce(channels, 2 * channels, affine) for state in kept}
                )
                channels *= 2

    def forward(self, before: Tensor, previous: Tensor) -> Tensor:
        """Map the stem's output [N, channels, H, W] to the last layer's [N, features, H', W']."""
        states = {0: previous}
        layers = zip(self.operations, self.norms, self.skips, strict=True)
        for layer, (operation, norm, skips) in enumerate(layers, start=1):
            states[layer] = norm(sum((states[s] for s in skips), operation(states[layer - 1])))
            if str(layer) in self.poolings:
                pools: nn.ModuleDict = self.poolings[str(layer)]  # type: ignore[assignment]
                states = {int(state): pool(states[int(state)]) for state, pool in pools.items()}
        return states[layer]
