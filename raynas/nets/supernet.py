"""The supernet: every candidate operation of a space on every edge, mixed by weights that are arguments.

The architecture's weights are never attributes of the network. They are a mapping from cell kind to a tensor
[lanes, edges, operations], so second-order gradients, Hessians and sampled paths need no tricks, and the
network's own parameters can never be mixed up with them.

What makes it fast: all edges that leave a state share its ReLU, poolings and identity and run their
convolutions as one (`raynas.nets.fan`, `raynas.nets.ops.fused`), each shape in the faster of two forms
(`raynas.nets.ops.forms`); the weights ride in the batch normalisations; a state's contributions to all later
nodes stay one tensor; what has weight 0 need not be computed (`raynas.nets.ops.paths`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raynas.errors import RaynasError
from raynas.nets.fan import Fan, Weights
from raynas.nets.ops.forms import NO_FORMS, Forms
from raynas.nets.ops.fused import SeparablePair
from raynas.nets.ops.lanes import Lanes, Pass
from raynas.nets.recompute import recomputed
from raynas.nets.supernets.base import Builder, Layer
from raynas.spaces import skeletons
from raynas.spaces.outside import load_dotted
from raynas.spaces.skeletons.plan import Plan
from raynas.spaces.space import Space


class Supernet(nn.Module):
    """A supernet of one space for images of one shape, for one or several lanes.

    ``generators`` seed the initial weights, one per lane. ``shape`` is (channels, height, width). ``forms``
    says how each shape of convolution is computed, see `raynas.nets.ops.forms`; ``recompute`` keeps no
    activations of cells, see `raynas.nets.recompute`. ``partial`` k lets operations see 1/k of the channels,
    see `raynas.nets.partial`; ``auxiliary`` gives every edge one more skip, which `Pass.auxiliary` scales.
    A ``plan`` stacks cells of the space otherwise than its skeleton does ``cells`` of them with ``channels``.
    Raises `RaynasError` when the space cannot be stacked this way.
    """

    def __init__(
        self,
        space: Space,
        shape: Sequence[int],
        classes: int,
        channels: int,
        cells: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype = torch.float32,
        forms: Forms | None = None,
        recompute: bool = False,
        partial: int = 1,
        auxiliary: bool = False,
        plan: Plan | None = None,
    ) -> None:
        super().__init__()
        _check_build(skeletons.checked(space), partial, auxiliary)
        lanes = Lanes(generators, dtype, skeletons.of(space).epsilon)
        plan = plan or skeletons.of(space).plan(shape, space.nodes, cells, channels, trunk=space.trunk)
        builder: type[Builder] = load_dotted(skeletons.of(space).builder, f"the skeleton {space.skeleton}")
        build = builder(lanes, space, partial)
        self.space, self.shape, self.recompute, self.partial = space, shape, recompute, partial
        self.auxiliary = auxiliary or skeletons.of(space).skips
        self.stem = build.stem(plan, shape[0])
        self.cells = nn.ModuleList(build.layer(layer) for layer in plan.cells)
        self.tail = build.tail(plan)
        self.head = lanes.uniform(classes, plan.features, fan_in=plan.features)
        self.bias = lanes.uniform(classes, fan_in=plan.features)
        # Last: a form says how a convolution is computed, not which weights there are.
        for module in self.modules():
            if isinstance(module, SeparablePair):
                module.forms = forms or NO_FORMS
        if self.auxiliary:  # last, so that all other parameters are those of a supernet without
            for fan in [module for module in self.modules() if isinstance(module, Fan)]:
                fan.add_auxiliary(lanes)

    def forward(self, images: Tensor, weights: Weights, run: Pass) -> Tensor:
        """Return logits [lanes, N, classes] of images [lanes, N, channels, height, width]."""
        self._check_pass(run, len(images))
        if skeletons.of(self.space).skips:
            run = replace(run, auxiliary=1.0)
        # Lanes side by side in the channels: grouped convolutions then keep them apart in one call. Depthwise
        # ones of few channels read memory in order in channels-last only.
        x = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        # Cells of one kind and width weigh alike: in DARTS' 8 cells the weights are cut 5 times instead of 8.
        shared: dict[Any, Any] = {}
        before, previous = self.stem(x, run)
        layer: Layer
        for layer in self.cells:  # type: ignore[assignment]
            mix = layer.mix(weights, run, shared)
            if self.recompute and torch.is_grad_enabled() and layer.searched:
                before, previous = previous, recomputed(layer, before, previous, mix, run)
            else:
                before, previous = previous, layer(before, previous, mix, run)
        previous = self.tail(previous, run)
        features = previous.mean((2, 3)).unflatten(1, (len(images), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), features, self.head.transpose(1, 2))

    def _check_pass(self, run: Pass, lanes: int) -> None:
        edges = [name for name in ("drop_path", "skip_dropout") if getattr(run, name)]
        if edges and not skeletons.of(self.space).edgewise:
            raise RaynasError(
                f"{' and '.join(edges)} need operations on edges", got=f"space: {self.space.name}"
            )
        if run.offsets and run.drop_path:
            raise RaynasError("drop_path and offsets exclude each other", got="a pass with both")
        if (run.drop_path or run.skip_dropout) and len(run.drops) != lanes:
            raise RaynasError("drops need a generator for every lane", got=len(run.drops), expected=lanes)
        if run.auxiliary and not self.auxiliary:
            raise RaynasError(
                "this supernet has no auxiliary skips", expected="Supernet(..., auxiliary=True)"
            )


def _check_build(space: Space, partial: int, auxiliary: bool) -> None:
    """Refuse what the space's skeleton does not have."""
    if partial < 1:
        raise RaynasError("no such share of the channels", got=f"partial: {partial}", expected="1 or more")
    if auxiliary and skeletons.of(space).skips:
        raise RaynasError("every edge has a skip already", got=f"space: {space.name}, auxiliary skips")
    wanted = ["partial channels"] * (partial > 1) + ["auxiliary skips"] * auxiliary
    if wanted and not skeletons.of(space).extras:
        raise RaynasError(
            f"this space has no {' and '.join(wanted)}",
            got=f"space: {space.name} (skeleton {space.skeleton})",
            expected="a space whose cells are of operations on edges",
        )
