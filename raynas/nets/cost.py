"""Costs of the options of a supernet: weights, multiply-adds, what pooling looks at, memory access.

All of it is counted on the operation as an ordinary module, for one image at the resolution that it reads in
the supernet; convolutions, pooling and identities count. Normalisations, activations and the fixed parts of
the network are left out: they cost little, or do not depend on α.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.ops.plain import plain
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.base import Priced
from raynas.nets.supernets.recurrent import AnySupernet, RecurrentSupernet
from raynas.spaces import skeletons
from raynas.spaces.space import Space

Measure = Literal["flops", "parameters"]


class Counts(NamedTuple):
    """What one operation takes for one image.

    ``parameters`` are the weights of its convolutions and ``flops`` their multiply-adds; ``pooled`` is how
    many numbers its pooling looks at, window by window; ``memory`` counts the numbers that convolutions,
    pooling and identities read and write, weights included.
    """

    parameters: int = 0
    flops: int = 0
    pooled: int = 0
    memory: int = 0


def option_costs(space: Space, supernet: AnySupernet, measure: Measure) -> dict[str, Tensor]:
    """Return [rows, options] for each group of α, summed over the cells that share it, in float64.

    ``flops`` are the multiply-adds for one image of the supernet's shape; what pooling does is left out.
    Options that are not operations cost nothing, nor do a recurrent cell's: its kernels are there whatever
    activation follows.
    """
    place = Counts._fields.index(measure)
    return {name: table[place].sum(0) for name, table in costs_by_cell(space, supernet).items()}


def costs_by_cell(space: Space, supernet: AnySupernet) -> dict[str, Tensor]:
    """Return [fields of `Counts`, layers, rows, options] for each group of α, in float64.

    It is 0 in the layers that do not use a row.
    """
    recurrent = isinstance(supernet, RecurrentSupernet)
    layers: Sequence[Any] = () if recurrent else list(supernet.cells)  # type: ignore[arg-type]
    tables = {
        group.name: torch.zeros(
            len(Counts._fields), max(len(layers), 1), len(group.rows), group.width, dtype=torch.float64
        )
        for group in skeletons.groups(space)
    }
    priced = [(number, each) for number, layer in enumerate(layers) for each in layer.priced()]
    sides = {} if recurrent else _sides(space, supernet, [each for _, each in priced])  # type: ignore[arg-type]
    for number, each in priced:
        flat = tables[each.group][:, number].flatten(1)
        first = each.first * tables[each.group].shape[-1]
        counts = torch.tensor(count(each.name, each.inputs, each.outputs, each.stride, *sides[each.module]))
        for entry in each.entries:
            flat[:, first + entry] += counts
    return tables


@lru_cache(maxsize=4096)
@torch.no_grad()
def count(name: str, inputs: int, outputs: int, stride: int, height: int, width: int) -> Counts:
    """Count what an operation takes for one image [inputs, height, width]; nothing is computed."""
    found = Counts()

    def note(module: nn.Module, arguments: Any, out: Tensor) -> None:
        nonlocal found
        channels, places = arguments[0].shape[1], out.shape[2] * out.shape[3]
        # A window that strides over pixels passes them all, whether or not it looks at them.
        step = getattr(module, "stride", 1)
        passed = step[0] * step[1] if isinstance(step, tuple) else step**2
        moved = channels * places * passed + out.numel()
        if isinstance(module, nn.Conv2d):
            weights = module.weight.numel()
            found = _added(found, Counts(weights, weights * places, 0, moved + weights))
        elif isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
            window = int(module.kernel_size) ** 2  # type: ignore[arg-type]
            found = _added(found, Counts(0, 0, window * out.numel(), moved))
        elif isinstance(module, nn.Identity):
            found = _added(found, Counts(memory=moved))

    # Shapes without numbers: nothing is allocated or computed, however large the images.
    with torch.device("meta"):
        operation = plain(name, inputs, stride, affine=False, outputs=outputs)
        for module in operation.modules():
            module.register_forward_hook(note)
        operation(torch.empty(1, inputs, height, width))
    return found


def _added(one: Counts, other: Counts) -> Counts:
    return Counts(*(a + b for a, b in zip(one, other, strict=True)))


@torch.no_grad()
def _sides(space: Space, supernet: Supernet, priced: Sequence[Priced]) -> dict[nn.Module, tuple[int, int]]:
    """Run the supernet once and return the height and width of what each module reads."""
    found: dict[nn.Module, tuple[int, int]] = {}

    def note(module: nn.Module, arguments: Any) -> None:
        found[module] = (arguments[0].shape[2], arguments[0].shape[3])

    hooks = [module.register_forward_pre_hook(note) for module in {each.module for each in priced}]
    like = next(supernet.parameters())
    lanes = len(like)
    weights = {
        group.name: like.new_ones(lanes, len(group.rows), group.width) for group in skeletons.groups(space)
    }
    noise = [torch.Generator(like.device).manual_seed(0) for _ in range(lanes)]
    try:
        supernet(like.new_zeros(lanes, 2, *supernet.shape), weights, Pass(Statistics.BATCH, noise))
    finally:
        for hook in hooks:
            hook.remove()
    return found
