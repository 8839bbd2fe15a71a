"""What every option of a supernet costs: the weights of its convolutions, or their multiply-adds.

A weight is applied once at every place of an operation's result. Poolings, normalisations and the fixed parts
of the network are left out: they cost little, or do not depend on α.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from raynas.core.blocks import BlocksCell
from raynas.core.fan import Fan
from raynas.core.ops.lanes import Pass, Statistics
from raynas.core.space import Space
from raynas.core.supernet import Supernet, SupernetCell

Measure = Literal["flops", "parameters"]


def option_costs(space: Space, supernet: Supernet, measure: Measure) -> dict[str, Tensor]:
    """Return [rows, options] for each group of α, summed over the cells that share it, in float64.

    ``flops`` are the multiply-adds for one image of the supernet's shape. Options that are not operations
    cost nothing.
    """
    tables = {
        group.name: torch.zeros(len(group.rows), group.width, dtype=torch.float64) for group in space.groups
    }
    places = _places(space, supernet) if measure == "flops" else {}
    for group, first, fan in _fans(supernet):
        width = tables[group].shape[1]
        for row, operation in zip(fan.plan.rows, fan.operations, strict=True):
            weights = sum(each[0, 0].numel() for each in operation.parameters())
            for entry in row.entries:
                tables[group].view(-1)[first * width + entry] += weights * places.get(fan, 1)
    return tables


def _fans(supernet: Supernet) -> Iterator[tuple[str, int, Fan]]:
    """Yield every fan with its group of α and the row its entries count from."""
    for cell in supernet.cells:
        if isinstance(cell, SupernetCell):
            for fan in cell.fans:
                yield cell.kind, 0, fan  # type: ignore[misc]
        elif isinstance(cell, BlocksCell):
            for row, block in enumerate(cell.blocks):
                yield "operations", row, block.fan  # type: ignore[misc]


@torch.no_grad()
def _places(space: Space, supernet: Supernet) -> dict[Fan, int]:
    """Run the supernet once and return the number of places in what each fan gives."""
    found: dict[Fan, int] = {}

    def note(fan: Any, _: Any, out: Tensor) -> None:
        found[fan] = out.shape[2] * out.shape[3]

    hooks = [fan.register_forward_hook(note) for _, _, fan in _fans(supernet)]
    like = next(supernet.parameters())
    lanes = len(like)
    weights = {group.name: like.new_ones(lanes, len(group.rows), group.width) for group in space.groups}
    noise = [torch.Generator(like.device).manual_seed(0) for _ in range(lanes)]
    try:
        supernet(like.new_zeros(lanes, 2, *supernet.shape), weights, Pass(Statistics.BATCH, noise))
    finally:
        for hook in hooks:
            hook.remove()
    return found
