"""The supernet's cells with operations on edges: those of DARTS and of NAS-Bench-201."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from raynas.nets.fan import Fan, FanWeights, Mixture, Weights
from raynas.nets.fixed import Preprocess
from raynas.nets.ops.lanes import Lanes, Pass, interleave, nchw, nhwc
from raynas.nets.partial import Partial
from raynas.nets.supernets.base import Builder, Layer, Priced, priced_fan
from raynas.spaces import skeletons
from raynas.spaces.skeletons.plan import CellPlan
from raynas.spaces.space import Space


class SuperEdgeCell(Layer):
    """One cell of the supernet.

    The ``last`` node alone may be its output; then it reads the state before it as it is, and normalises no
    pooling (NAS-Bench-201). With ``skips`` every edge that has any weight has an auxiliary skip too.
    """

    def __init__(
        self,
        lanes: Lanes,
        mixture: Mixture,
        cell: CellPlan,
        last: bool = False,
        partial: int = 1,
        skips: bool = False,
    ) -> None:
        super().__init__()
        self.kind, self.channels, self.lanes = cell.kind, cell.channels // partial, len(lanes)
        self.mixture, self.last, self.skips = mixture, last, skips
        self.partial = Partial(len(lanes), cell.channels, partial) if partial > 1 else None
        self.inputs = nn.ModuleList(
            Preprocess(lanes, width, cell.channels, 2 if cell.previous_reduced and not index else 1)
            for index, width in enumerate(cell.inputs)
            if not last
        )
        self.fans = nn.ModuleList(
            Fan(lanes, plan, self.channels, norm_pools=not last) for plan in mixture.plans
        )

    def mix(self, weights: Weights, run: Pass, shared: dict[Any, Any]) -> list[FanWeights]:
        """Cut the kind's weights, and what else a pass has for its edges, into those of the fans."""
        key = (self.kind, self.channels)
        if key not in shared:
            carry = None
            if self.partial is not None:
                # What by-passes needs a weight for each edge even where nothing weighs edges (PC-DARTS
                # without edge normalisation): 1.
                ones = torch.ones_like(weights[self.kind][..., 0])
                carry = ones if run.carry is None else run.carry[self.kind]
            active = run.active and run.active[self.kind]
            offsets = run.offsets and run.offsets[self.kind]
            rows = weights[self.kind]
            # An edge that is switched off altogether, as in a derived cell, takes its own skip with it.
            skips = (rows.detach() != 0).any(2).to(rows.dtype) if self.skips else None
            shared[key] = self.mixture(rows, self.channels, active, offsets, carry, skips)
        return shared[key]  # type: ignore[no-any-return]

    def forward(self, before: Tensor, previous: Tensor, mix: Sequence[FanWeights], run: Pass) -> Tensor:
        """Return the concatenated nodes, [N, lanes·nodes·channels, H', W'], or just the ``last`` node."""
        inputs = [preprocess(x, run) for preprocess, x in zip(self.inputs, (before, previous), strict=False)]
        inputs = inputs or [previous]
        nodes: list[Tensor] = []
        sums = self._send(0, inputs[0], run, mix[0], [None, None])
        for index, each in enumerate(mix[1:], start=1):
            if index >= len(inputs):
                waiting = len(mix) - index + 1
                pairs = [_split_first(total, self.lanes, waiting) for total in sums]
                nodes.append(self._node([first for first, _ in pairs]))
                sums = [others for _, others in pairs]
            sums = self._send(index, (inputs + nodes)[index], run, each, sums)
        return self._node(sums) if self.last else interleave([*nodes, self._node(sums)], self.lanes)

    def priced(self) -> Iterator[Priced]:
        """Yield the operations of all edges."""
        for fan in self.fans:
            yield from priced_fan(self.kind, 0, fan)  # type: ignore[arg-type]

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
    # A slice of the channels is not channels-last; the node is read by many kernels, so it is copied once.
    first, others = by_lane.split_with_sizes([size, by_lane.shape[4] - size], 4)
    return nchw(first.flatten(3)).contiguous(memory_format=torch.channels_last), nchw(others.flatten(3))


class EdgeBuilder(Builder):
    """Makes cells that concatenate their nodes; those of a kind share what cuts their weights."""

    last: ClassVar[bool] = False

    def __init__(self, lanes: Lanes, space: Space, partial: int = 1) -> None:
        super().__init__(lanes, space, partial)
        self.mixtures = {cell.kind: Mixture(len(lanes), cell, space.targets) for cell in space.cells}

    def cell(self, plan: CellPlan) -> SuperEdgeCell:
        """Return a cell with a fan for each state."""
        skips = skeletons.of(self.space).skips
        return SuperEdgeCell(self.lanes, self.mixtures[plan.kind], plan, self.last, self.partial, skips)


class LastBuilder(EdgeBuilder):
    """Makes cells whose output is their last node."""

    last = True
