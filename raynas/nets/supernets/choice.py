"""Operations chosen for a whole map, and states weighed: what skeletons without operations on edges share."""

from collections.abc import Sequence

from torch import Tensor, nn

from raynas.nets.fan import Fan, Mixture, Weights
from raynas.nets.ops.lanes import Lanes, Pass
from raynas.spaces.graph import Cell, Edge


class ChoiceBlock(nn.Module):
    """The operations of one block, slot or layer on one map: a fan with a single edge."""

    def __init__(self, lanes: Lanes, ops: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.channels = channels
        edge = Cell(kind="normal", edges=(Edge(source=0, target=1, ops=ops),))
        self.mixture = Mixture(len(lanes), edge, range(1, 2))
        self.fan = Fan(lanes, self.mixture.plans[0], channels, norm_pools=False)

    def forward(self, x: Tensor, run: Pass, mix: Weights, group: str, row: int) -> Tensor:
        """Mix the operations on ``x`` by a row of a group of α's weights, each [lanes, rows, options]."""
        own = slice(row, row + 1)
        active = None if run.active is None else run.active[group][:, own]
        offsets = None if run.offsets is None else run.offsets[group][:, own]
        [weights] = self.mixture(mix[group][:, own], self.channels, active, offsets)
        return self.fan(x, run, weights)  # type: ignore[no-any-return]


def weigh(states: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Multiply states [N, lanes·channels, H, W] by ``weights`` [lanes, states or more]."""
    channels = states[0].shape[1] // len(weights)
    wide = weights.repeat_interleave(channels, 0)
    return [x * w.view(1, -1, 1, 1) for x, w in zip(states, wide.unbind(1), strict=False)]
