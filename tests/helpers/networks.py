"""A small network as a training leaves it: random weights, statistics that are not those of the start."""

import torch

from raynas.nets.network import Network
from raynas.spaces.literature import load_cell
from raynas.train.deployed import Card, Deployed


def network(
    seed: int = 0, shape: tuple[int, int, int] = (1, 8, 8), names: tuple[str, ...] = tuple("0123456789")
) -> Deployed:
    torch.manual_seed(seed)
    genotype = load_cell("darts-v2").genotype
    built = Network(genotype, shape, len(names), 2, 3)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    card = Card(
        genotype=genotype.to_json(),
        shape=shape,
        class_names=names,
        channels=2,
        cells=3,
        mean=(0.3,) * shape[0],
        std=(0.4,) * shape[0],
        data="digits",
        trained={"config": {"data": {"name": "digits", "limit": 50}}},
    )
    return Deployed(card, built)
