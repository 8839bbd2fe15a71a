"""What every option of a supernet costs: the weights of its convolutions, or their multiply-adds.

A weight is applied once at every place of an operation's result. Poolings, normalisations and the fixed parts
of the network are left out: they cost little, or do not depend on α.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raynas.core.ops.lanes import Pass, Statistics
from raynas.core.recurrent import AnySupernet, RecurrentSupernet
from raynas.core.space import Space
from raynas.core.supernet import Supernet
from raynas.core.supernets.base import Priced

Measure = Literal["flops", "parameters"]


def option_costs(space: Space, supernet: AnySupernet, measure: Measure) -> dict[str, Tensor]:
    """Return [rows, options] for each group of α, summed over the cells that share it, in float64.

    ``flops`` are the multiply-adds for one image of the supernet's shape. Options that are not operations
    cost nothing, nor do a recurrent cell's: its kernels are there whatever activation follows.
    """
    tables = {
        group.name: torch.zeros(len(group.rows), group.width, dtype=torch.float64) for group in space.groups
    }
    if isinstance(supernet, RecurrentSupernet):
        return tables
    priced = [each for layer in supernet.cells for each in layer.priced()]  # type: ignore[operator]
    places = _places(space, supernet, priced) if measure == "flops" else {}
    for each in priced:
        flat = tables[each.group].view(-1)
        first = each.first * tables[each.group].shape[1]
        for entry in each.entries:
            flat[first + entry] += each.applied * places[each.result] if places else each.weights
    return tables


@torch.no_grad()
def _places(space: Space, supernet: Supernet, priced: Sequence[Priced]) -> dict[nn.Module, int]:
    """Run the supernet once and return the number of places in what each module gives."""
    found: dict[nn.Module, int] = {}

    def note(module: nn.Module, _: Any, out: Tensor) -> None:
        found[module] = out.shape[2] * out.shape[3]

    hooks = [module.register_forward_hook(note) for module in {each.result for each in priced}]
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
