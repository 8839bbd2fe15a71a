"""Partial channels: operations work on the first 1/k of a state's channels, the rest by-passes them.

A node is what its edges have mixed beside what has by-passed them, with the channels shuffled so that the
next operations see both (Xu et al. 2020). Sums commute with the shuffle, so it is done once for each node.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from raynas.errors import RaynasError
from raynas.nets.ops.lanes import nchw, nhwc


class Partial:
    """Takes the states of a cell of ``channels`` apart and puts its nodes together, for one of k > 1.

    Raises `RaynasError` when k does not divide the channels.
    """

    def __init__(self, lanes: int, channels: int, k: int) -> None:
        if channels % k:
            raise RaynasError(
                "channels cannot be divided into partial channels",
                got=f"channels: {channels}, partial: {k}",
                expected=f"a multiple of {k} channels",
            )
        self.lanes, self.k = lanes, k
        self.sizes = [channels // k, channels - channels // k]

    def take_apart(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels that operations see, [N, lanes·channels/k, H, W], and the rest."""
        by_lane = torch.unflatten(nhwc(x), 3, (self.lanes, -1))
        first, rest = by_lane.split_with_sizes(self.sizes, 4)
        return (
            nchw(first.flatten(3)).contiguous(memory_format=torch.channels_last),
            nchw(rest.flatten(3)),
        )

    def pass_by(
        self, rest: Tensor, stride: int, carry: Tensor, kept: Tensor | None, arrived: Tensor | None
    ) -> Tensor:
        """Add a state's rest, weighed for each target, to what has arrived, [N, lanes·targets·rest, H', W'].

        At stride 2 it is max-pooled 2×2, with odd sides rounded up as convolutions do. ``carry`` is
        [lanes, targets, 1]; ``kept`` [N, 1, 1, lanes, targets, 1] says what is not dropped.
        """
        # Odd sides rounded down, as pooling does by default, would give the two parts of a node two sizes.
        rest = rest if stride == 1 else F.max_pool2d(rest, 2, ceil_mode=True)
        factors = carry.to(rest.dtype)
        if kept is not None:
            factors = kept * factors
        sent = torch.unflatten(nhwc(rest), 3, (self.lanes, 1, self.sizes[1])) * factors
        total = nchw(sent.flatten(3))
        return total if arrived is None else arrived + total

    def put_together(self, mixed: Tensor, passed: Tensor) -> Tensor:
        """Return a node [N, lanes·channels, H, W] from its two parts, shuffled in groups of k."""
        parts = [torch.unflatten(nhwc(part), 3, (self.lanes, -1)) for part in (mixed, passed)]
        by_group = torch.unflatten(torch.cat(parts, 4), 4, (self.k, -1))
        return nchw(by_group.transpose(4, 5).flatten(3))
