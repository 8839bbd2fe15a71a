"""Widening: a supernet whose operations see more channels takes over the weights of one that saw fewer.

The first channels of an operation stay what they were, and every further one repeats a random one of them,
in its kernels' inputs as in their outputs (DrNAS' stages, Chen et al. 2021, section 3.4). As in the authors'
code, kernels are not divided by how often they repeat a channel, as Net2Net's are (Chen et al. 2016): what an
operation gives is not kept, for its new inputs are other channels of the state and no repeats. Unlike there,
where every kernel draws repeats of its own, all kernels of a cell share one draw.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from raynas.errors import RaynasError
from raynas.nets.ops.flat import flatten, unflatten
from raynas.nets.ops.fused import Reduce
from raynas.nets.ops.lanes import Norm
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.edges import SuperEdgeCell

Flat = Callable[[Tensor], Tensor]
"""Maps numbers [lanes, numbers] of one supernet's parameters to those of another."""


class Growth(NamedTuple):
    """Which old channel each new one of a cell's operations repeats, and the same within half of them."""

    channels: Tensor
    halves: Tensor


def growths(old: Supernet, new: Supernet, generators: Sequence[torch.Generator]) -> list[dict[int, Growth]]:
    """Draw, for each lane from its own generator, how each cell grows."""
    pairs = [
        (index, before.channels, after.channels)
        for index, (before, after) in enumerate(zip(old.cells, new.cells, strict=True))
        if isinstance(before, SuperEdgeCell) and isinstance(after, SuperEdgeCell)
    ]
    return [
        {
            index: Growth(_repeats(few, many, generator), _repeats(few // 2, many // 2, generator))
            for index, few, many in pairs
        }
        for generator in generators
    ]


@torch.no_grad()
def widen(old: Supernet, new: Supernet, generators: Sequence[torch.Generator]) -> Flat:
    """Give ``new`` the weights and running statistics of ``old``, and return the map that does it.

    Both are supernets of one space, alike but for ``partial``, which must not be larger in ``new``. The map
    takes flat numbers [lanes, numbers] that belong to the weights, such as an optimiser's velocities.
    ``generators`` choose the repeated channels, one per lane, on the CPU. Raises `RaynasError` otherwise.
    """
    _check(old, new)
    grown = growths(old, new, generators)
    before, after = list(old.parameters()), list(new.named_parameters())
    index = []
    for lane in grown:
        places, first = [], 0
        for (name, wide), narrow in zip(after, before, strict=True):
            own = torch.arange(first, first + narrow[0].numel()).view(narrow.shape[1:])
            places.append(_weights(own, wide.shape[1:], lane, name).flatten())
            first += own.numel()
        index.append(torch.cat(places))
    # A place for every weight, 8 bytes each: 15 MB per lane for the 1.93 million of DARTS' supernet. One
    # gather then serves weights and velocities alike, however many tensors they are cut into.
    where = torch.stack(index).to(before[0].device)

    def mapped(flat: Tensor) -> Tensor:
        return flat.gather(1, where)

    targets = [parameter for _, parameter in after]
    for parameter, values in zip(targets, unflatten(mapped(flatten(before)), targets), strict=True):
        parameter.copy_(values)
    for name, module in new.named_modules():
        if isinstance(module, Norm):
            _statistics(name, old, new, grown)
    return mapped


def _check(old: Supernet, new: Supernet) -> None:
    names = [[name for name, _ in net.named_parameters()] for net in (old, new)]
    if names[0] != names[1] or new.partial > old.partial:
        raise RaynasError(
            "only a supernet alike but for more channels in its operations takes over weights",
            got=f"partial: {old.partial} and then {new.partial}, {len(names[0])} and {len(names[1])} tensors",
            expected="the same space, channels and cells, and partial no larger",
        )


def _repeats(few: int, many: int, generator: torch.Generator) -> Tensor:
    """Return the old channel of each of ``many`` new ones: all ``few`` in order, then random ones."""
    if few == 0:  # half of a single channel
        return torch.zeros(0, dtype=torch.long)
    return torch.cat([torch.arange(few), torch.randint(few, (many - few,), generator=generator)])


def _cell(name: str) -> int:
    """Return the number of the cell from a name such as ``cells.3.fans...``."""
    return int(name.split(".")[1])


def _weights(own: Tensor, shape: torch.Size, lane: dict[int, Growth], name: str) -> Tensor:
    """Return where each new number of a kernel comes from; ``own`` are the places of the old ones.

    Kernels are [edges, outputs, inputs, k, k]; depthwise ones have a single output for each input.
    """
    if own.shape == shape:
        return own
    growth = lane[_cell(name)]
    if own.shape[-4] != shape[-4]:
        outputs = growth.channels if shape[-4] == len(growth.channels) else growth.halves
        own = own.index_select(-4, outputs)
    return own.index_select(-3, growth.channels)


def _statistics(name: str, old: Supernet, new: Supernet, grown: Sequence[dict[int, Growth]]) -> None:
    """Copy the running statistics of one normalisation, repeated where its channels are."""
    before, after = old.get_submodule(name), new.get_submodule(name)
    halved = isinstance(new.get_submodule(name.rpartition(".")[0]), Reduce)
    for wide, narrow in zip(after.buffers(), before.buffers(), strict=True):
        if wide.shape == narrow.shape:
            wide.copy_(narrow)
            continue
        for lane, cells in enumerate(grown):
            wide[lane] = _repeated(narrow[lane], cells[_cell(name)], halved)


def _repeated(numbers: Tensor, growth: Growth, halved: bool) -> Tensor:
    """Repeat channels of ``numbers`` [edges·channels] as they have grown; a reduction's halves grow alike."""
    few = int(growth.channels.max()) + 1
    index = growth.channels
    if halved:
        # Two convolutions give half of the channels each: grown from 16, the first half of the new ones
        # repeats 0 to 7, the second 8 to 15.
        index = torch.cat([growth.halves, growth.halves + few // 2])
    return numbers.view(-1, few).index_select(1, index.to(numbers.device)).flatten()
