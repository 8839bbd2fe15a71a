"""How large the discrete network of a genotype is, without its weights or a single image."""

from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from raynas.core.genotype import Genotype
from raynas.core.network import Network


class Size(NamedTuple):
    """Learned numbers of a network, and the multiplications (each with its addition) of one image."""

    parameters: int
    multiply_adds: int


def size_of(genotype: Genotype, shape: tuple[int, int, int], classes: int, channels: int, cells: int) -> Size:
    """Count the network of a genotype for images of ``shape`` (channels, height, width).

    Convolutions and the linear layer are counted, without biases; batch norms, pooling and sums are not. An
    auxiliary head is no part of it. So NAS-Bench-201's own numbers come out, less one a class for the
    linear layer's bias. Raises `RaynasError` as `Network`.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        network = Network(genotype, shape, classes, channels, cells).eval()
        network(torch.empty(1, *shape))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Size(parameters, counter.get_total_flops() // 2)
