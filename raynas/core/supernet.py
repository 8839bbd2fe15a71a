"""The supernet: every candidate operation of a space on every edge, mixed by weights that are arguments.

The architecture's weights are never attributes of the network. They are a mapping from cell kind to a tensor
[lanes, edges, operations], so second-order gradients, Hessians and sampled paths need no tricks, and the
network's own parameters can never be mixed up with them.

What makes it fast: all edges that leave a state share its ReLU, poolings and identity and run their
convolutions as one (`raynas.core.fan`, `raynas.core.ops.fused`), each shape in the faster of two forms
(`raynas.core.ops.forms`); the weights ride in the batch normalisations; a state's contributions to all later
nodes stay one tensor; what has weight 0 need not be computed (`raynas.core.ops.paths`).
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.core import skeleton
from raynas.core.blocks import BlocksCell
from raynas.core.fan import Fan, FanPlan, FanWeights, Mixture, Weights
from raynas.core.fixed import Halve, Tail
from raynas.core.ops.forms import NO_FORMS, Forms
from raynas.core.ops.fused import SeparablePair
from raynas.core.ops.lanes import Lanes, Norm, Pass, interleave, nchw, nhwc, shifted
from raynas.core.partial import Partial
from raynas.core.recompute import recomputed
from raynas.core.space import Space
from raynas.errors import RaynasError


class Preprocess(nn.Module):
    """Bring an input state to the cell's width (and resolution): ReLU, 1×1 convolution, batch norm."""

    def __init__(self, lanes: Lanes, inputs: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.lanes = len(lanes)
        sizes = [channels // 2, channels - channels // 2] if halve else [channels]
        self.weights = nn.ParameterList(lanes.uniform(size, inputs, 1, 1, fan_in=inputs) for size in sizes)
        self.stride = 2 if halve else 1
        self.norm = Norm(lanes, channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·channels, H', W']."""
        x = F.relu(x)
        views = [x, shifted(x)] if self.stride == 2 else [x]
        parts = [
            run.convolve(view, weight.flatten(0, 1), stride=self.stride, groups=self.lanes)
            for view, weight in zip(views, self.weights, strict=True)
        ]
        return self.norm(interleave(parts, self.lanes), run)  # type: ignore[no-any-return]


class SupernetCell(nn.Module):
    """One cell of the supernet.

    The ``last`` node alone may be its output; then it reads the state before it as it is, and normalises no
    pooling (NAS-Bench-201).
    """

    def __init__(
        self,
        lanes: Lanes,
        plans: Sequence[FanPlan],
        cell: skeleton.CellPlan,
        last: bool = False,
        partial: int = 1,
    ) -> None:
        super().__init__()
        self.kind, self.channels, self.lanes = cell.kind, cell.channels // partial, len(lanes)
        self.last = last
        self.partial = Partial(len(lanes), cell.channels, partial) if partial > 1 else None
        self.inputs = nn.ModuleList(
            Preprocess(lanes, width, cell.channels, halve=index == 0 and cell.previous_reduced)
            for index, width in enumerate(cell.inputs)
            if not last
        )
        self.fans = nn.ModuleList(Fan(lanes, plan, self.channels, norm_pools=not last) for plan in plans)

    def forward(self, before: Tensor, previous: Tensor, weights: Sequence[FanWeights], run: Pass) -> Tensor:
        """Return the concatenated nodes, [N, lanes·nodes·channels, H', W'], or just the ``last`` node."""
        inputs = [preprocess(x, run) for preprocess, x in zip(self.inputs, (before, previous), strict=False)]
        inputs = inputs or [previous]
        nodes: list[Tensor] = []
        sums = self._send(0, inputs[0], run, weights[0], [None, None])
        for index, mix in enumerate(weights[1:], start=1):
            if index >= len(inputs):
                waiting = len(weights) - index + 1
                pairs = [_split_first(each, self.lanes, waiting) for each in sums]
                nodes.append(self._node([first for first, _ in pairs]))
                sums = [others for _, others in pairs]
            sums = self._send(index, (inputs + nodes)[index], run, mix, sums)
        return self._node(sums) if self.last else interleave([*nodes, self._node(sums)], self.lanes)

    def _send(
        self, index: int, x: Tensor, run: Pass, mix: FanWeights, arrived: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Add what a state sends to the sums of all nodes still waiting.

        With partial channels there are two: of what operations have mixed, and of what has by-passed them.
        """
        fan: Fan = self.fans[index]  # type: ignore[assignment]
        kept = run.survivors(run.drop_path, (len(x), 1, 1, fan.targets, 1), x) if run.drop_path else None
        if self.partial is None or mix.carry is None:
            return [fan(x, run, mix, arrived[0], kept)]
        first, rest = self.partial.take_apart(x)
        return [
            fan(first, run, mix, arrived[0], kept),
            self.partial.pass_by(rest, fan.stride, mix.carry, kept, arrived[1]),
        ]

    def _node(self, sums: Sequence[Tensor]) -> Tensor:
        return sums[0] if self.partial is None else self.partial.put_together(*sums)


def _split_first(arrived: Tensor, lanes: int, waiting: int) -> tuple[Tensor, Tensor]:
    """Take the first node, whose edges have all arrived, off the sums of all nodes still ``waiting``."""
    n, height, width, channels = nhwc(arrived).shape
    by_lane = nhwc(arrived).view(n, height, width, lanes, channels // lanes)
    size = channels // (lanes * waiting)
    first, others = by_lane.split_with_sizes([size, by_lane.shape[4] - size], 4)
    return nchw(first.flatten(3)).contiguous(memory_format=torch.channels_last), nchw(others.flatten(3))


class Stem(nn.Module):
    """The layers before the first cell; returns the two states it reads."""

    def __init__(self, lanes: Lanes, plan: skeleton.Plan, image_channels: int) -> None:
        super().__init__()
        self.lanes = len(lanes)
        width = plan.stem_channels
        widths = (
            [image_channels, width] if plan.stem == "small" else [image_channels, width // 2, width, width]
        )
        self.stride, self.rectified = (1 if plan.stem == "small" else 2), plan.rectified
        pairs = list(pairwise(widths))
        self.convolutions = nn.ParameterList(
            lanes.uniform(after, before, 3, 3, fan_in=9 * before) for before, after in pairs
        )
        self.norms = nn.ModuleList(Norm(lanes, after) for _, after in pairs)
        self.scales = nn.ParameterList(lanes.constant(after, value=1.0) for _, after in pairs)
        self.shifts = nn.ParameterList(lanes.constant(after, value=0.0) for _, after in pairs)

    def forward(self, x: Tensor, run: Pass) -> tuple[Tensor, Tensor]:
        """Map images [N, lanes·colours, H, W] to states 0 and 1 of the first cell."""
        states = [x]
        layers = zip(self.convolutions, self.norms, self.scales, self.shifts, strict=True)
        for index, (weight, norm, scale, shift) in enumerate(layers):
            x = F.relu(x) if index else x
            x = run.convolve(x, weight.flatten(0, 1), self.stride, 1, groups=self.lanes)
            x = norm(x, run, scale.flatten(), shift.flatten())
            states.append(x)
        x = F.relu(x) if self.rectified else x
        return (x, x) if self.stride == 1 else (states[-2], x)


class Supernet(nn.Module):
    """A supernet of one space for images of one shape, for one or several lanes.

    ``generators`` seed the initial weights, one per lane. ``shape`` is (channels, height, width). ``forms``
    says how each shape of convolution is computed, see `raynas.core.ops.forms`; ``recompute`` keeps no
    activations of cells, see `raynas.core.recompute`. ``partial`` k lets operations see 1/k of the channels,
    see `raynas.core.partial`; ``auxiliary`` gives every edge one more skip, which `Pass.auxiliary` scales.
    Raises `RaynasError` when the space cannot be stacked this way.
    """

    def __init__(
        self,
        space: Space,
        shape: tuple[int, int, int],
        classes: int,
        channels: int,
        cells: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype = torch.float32,
        forms: Forms | None = None,
        recompute: bool = False,
        partial: int = 1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        _check_build(space, partial, auxiliary)
        lanes = Lanes(generators, dtype)
        plan = skeleton.plan(space.skeleton, shape, space.nodes, cells, channels)
        self.space, self.shape, self.recompute = space, shape, recompute
        self.partial, self.auxiliary = partial, auxiliary
        self.mixtures = nn.ModuleDict(
            {
                cell.kind: Mixture(len(lanes), cell, space.targets)
                for cell in space.cells
                if space.form.chooses == "edge"
            }
        )
        self.stem = Stem(lanes, plan, shape[0])
        self.cells = nn.ModuleList(self._layer(lanes, layer) for layer in plan.cells)
        self.tail = Tail(lanes, plan)
        self.head = lanes.uniform(classes, plan.features, fan_in=plan.features)
        self.bias = lanes.uniform(classes, fan_in=plan.features)
        for module in self.modules():
            if isinstance(module, SeparablePair):
                module.forms = forms or NO_FORMS
        if auxiliary:  # last, so that all other parameters are those of a supernet without
            for fan in [module for module in self.modules() if isinstance(module, Fan)]:
                fan.add_auxiliary(lanes)

    def _layer(self, lanes: Lanes, layer: skeleton.Layer) -> nn.Module:
        if isinstance(layer, skeleton.HalfPlan):
            return Halve(lanes, layer)
        if self.space.form.chooses == "node":
            return BlocksCell(lanes, self.space, layer)
        plans: tuple[FanPlan, ...] = self.mixtures[layer.kind].plans  # type: ignore[assignment]
        last = self.space.form.output == "last"
        return SupernetCell(lanes, plans, layer, last, self.partial)

    def forward(self, images: Tensor, weights: Weights, run: Pass) -> Tensor:
        """Return logits [lanes, N, classes] of images [lanes, N, channels, height, width]."""
        self._check_pass(run, len(images))
        x = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        cut: dict[tuple[str, int], list[FanWeights]] = {}
        before, previous = self.stem(x, run)
        for cell in self.cells:
            mix: Weights | list[FanWeights] = weights
            if isinstance(cell, SupernetCell):
                key = (cell.kind, cell.channels)
                if key not in cut:
                    cut[key] = self._cut(cell, weights[cell.kind], run)
                mix = cut[key]
            if self.recompute and torch.is_grad_enabled() and not isinstance(cell, Halve):
                before, previous = previous, recomputed(cell, before, previous, mix, run)
            else:
                before, previous = previous, cell(before, previous, mix, run)
        previous = self.tail(previous, run)
        features = previous.mean((2, 3)).unflatten(1, (len(images), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), features, self.head.transpose(1, 2))

    def _cut(self, cell: SupernetCell, weights: Tensor, run: Pass) -> list[FanWeights]:
        """Cut one kind's weights, and what else a pass has for its edges, into those of the fans."""
        carry = None
        if self.partial > 1:
            carry = torch.ones_like(weights[..., 0]) if run.carry is None else run.carry[cell.kind]
        active = run.active and run.active[cell.kind]
        offsets = run.offsets and run.offsets[cell.kind]
        return self.mixtures[cell.kind](  # type: ignore[no-any-return]
            weights, cell.channels, active, offsets, carry
        )

    def _check_pass(self, run: Pass, lanes: int) -> None:
        edges = [name for name in ("offsets", "drop_path", "skip_dropout") if getattr(run, name)]
        if edges and self.space.form.chooses == "node":
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
    """Refuse what a skeleton whose operations stand in nodes does not have."""
    if partial < 1:
        raise RaynasError("no such share of the channels", got=f"partial: {partial}", expected="1 or more")
    wanted = ["partial channels"] * (partial > 1) + ["auxiliary skips"] * auxiliary
    if wanted and space.form.chooses == "node":
        raise RaynasError(
            f"this space has no {' and '.join(wanted)}",
            got=f"space: {space.name} (skeleton {space.skeleton})",
            expected="a space whose operations stand on edges",
        )
