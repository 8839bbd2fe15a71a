"""The size of a genotype's discrete network, counted without its weights or a single image."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from raynas.errors import RaynasError
from raynas.nets.network import Network
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.skeletons.plan import CellPlan, Usual

MOST = Usual(image=16_384, classes=10_000_000, channels=65_536, cells=1_000)
"""Largest networks that are counted: beyond them numbers of weights leave what 64 bits hold."""

MOST_OPERATIONS = 20_000
"""Most operations of a network that is counted: some 20 seconds on one core."""


class Size(NamedTuple):
    """Learned numbers of a network, and the multiplications (each with its addition) of one image or word."""

    parameters: int
    multiply_adds: int


def size_of(genotype: Genotype, shape: tuple[int, ...], classes: int, channels: int, cells: int) -> Size:
    """Count the network of a genotype for images of ``shape`` (channels, height, width).

    Convolutions and the linear layer are counted, without biases; batch norms, pooling and sums are not. An
    auxiliary head is not part of it. So NAS-Bench-201's own numbers come out, less one per class for the
    linear layer's bias. A recurrent cell reads words (``shape`` is empty, ``classes`` of them), ``channels``
    are its units; its matrix products for one word are counted, the embedding as an output included. Raises
    `RaynasError` as `Network`, and for networks beyond `MOST` and `MOST_OPERATIONS`.
    """
    _check(genotype, shape, Usual(max(shape[1:], default=0), classes, channels, cells))
    network: torch.nn.Module
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        if skeletons.of(genotype).texts:
            network = RecurrentNetwork(genotype, classes, channels).eval()
            network(torch.zeros(1, 1, dtype=torch.long))
        else:
            network = Network(genotype, shape, classes, channels, cells).eval()
            network(torch.empty(1, *shape))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Size(parameters, counter.get_total_flops() // 2)


def _check(genotype: Genotype, shape: tuple[int, ...], asked: Usual) -> None:
    for name, number, most in zip(Usual._fields, asked, MOST, strict=True):
        if number > most:
            raise RaynasError(
                f"a network is counted up to {name}: {most}", got=f"{name}: {number}", expected=f"1 to {most}"
            )
    if skeletons.of(genotype).texts:
        skeletons.of(genotype).check_depth(asked.cells)
        return
    plan = skeletons.of(genotype).plan(
        shape, genotype.nodes, asked.cells, asked.channels, genotype, genotype.trunk
    )
    edges = {kind: len(choices) for kind, choices in genotype.cells}
    operations = sum(
        edges[layer.kind] if isinstance(layer, CellPlan) else max(edges.values()) for layer in plan.cells
    )
    if operations > MOST_OPERATIONS and not skeletons.of(genotype).has_trunk:
        raise RaynasError(
            "the network has too many operations to count",
            got=f"{operations:,} in {asked.cells} {skeletons.of(genotype).counts}",
            expected=f"{MOST_OPERATIONS:,} or fewer",
            next_step="ask for fewer with `--cells`",
        )
