"""Supernets in which it is known which operation is best, and searches on them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from raynas.config import SearchConfig
from raynas.data.dataset import from_arrays
from raynas.data.split import split
from raynas.search.loop import Search
from raynas.spaces import skeletons
from raynas.spaces.library import load_space


class Planted(nn.Module):
    """A supernet in which one operation is best on every edge: the more of it, the better it classifies."""

    winner = "sep_conv_3x3"

    def __init__(self, space, shape, classes, channels, cells, generators, dtype=torch.float32, **more):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(len(generators), 1, dtype=dtype))
        self.cells, self.partial = nn.ModuleList(), more.get("partial", 1)
        self.values = {
            group.name: torch.tensor(
                [[1.0 if option == self.winner else -0.1 for option in row.options] for row in group.rows]
            )
            for group in skeletons.groups(space)
        }

    def worth(self, name, rows):
        """Return what a group's weights [lanes, rows, options] are worth, [lanes]."""
        return (rows * self.values[name].to(rows)).sum((1, 2))

    def forward(self, images, weights, run):
        worth = sum(self.worth(name, rows) for name, rows in weights.items())
        # Images differ in how hard they are, so accuracy tells mixtures apart as well.
        hard = images.mean((2, 3, 4))
        margin = self.scale.clamp(0.5, 2) * worth.unsqueeze(1) / 4 + 2 * (hard - hard.mean(1, keepdim=True))
        return torch.stack([margin, torch.zeros_like(margin)], 2)


class SkipDominates(Planted):
    """Alone, a convolution is worth twice a skip; in a mixture a little of it gives nearly all it can.

    So the mixture gains most by more skips, and α follows; but what it cannot do without is the convolution.
    """

    def worth(self, name, rows):
        none, pool, skip, convolution = rows.unbind(-1)
        return (skip + 2 * (12 * convolution).tanh() - 0.1 * (none + pool)).sum(1)


class PlantedFeatures(Planted):
    """A network that is the easier to train and divides its inputs the finer, the more of the best it has."""

    def __init__(self, space, shape, *arguments, **more):
        super().__init__(space, shape, *arguments, **more)
        generator = torch.Generator().manual_seed(7)
        inputs = shape[0] * shape[1] * shape[2]
        drawn = torch.randn(1, inputs, 32, generator=generator)
        self.features = nn.Parameter(drawn.to(self.scale))
        self.head = nn.Parameter(torch.ones(1, 1, 32).to(self.scale))

    def forward(self, images, weights, run):
        worth = sum(self.worth(name, rows) for name, rows in weights.items()) / 4
        seen = F.relu(worth * torch.einsum("lni,lif->lnf", images.flatten(2), self.features) - 1)
        margin = torch.einsum("lnf,lcf->ln", seen, self.head) + 3 * self.scale
        return torch.stack([margin, torch.zeros_like(margin)], 2)


def planted_search(monkeypatch, net, method, **changes):
    """Search the small space for the best operation of a planted supernet; return the last report."""
    for place in ("raynas.search.trainer", "raynas.bilevel.sketches"):
        monkeypatch.setattr(f"{place}.Supernet", net)
    images = np.random.default_rng(0).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)
    dataset = from_arrays("planted", images, np.zeros(64, dtype=np.int64), classes=2)
    fields = {"epochs": 20, "batch": 4, "channels": 4, "cells": 3, "arch_learning_rate": 0.1}
    config = SearchConfig(**{"space": "tiny", "method": method, **fields, "hessian": {"every": 0}, **changes})
    *_, last = Search(config, load_space("tiny"), split(dataset, config.data))
    return last


def operations(report):
    """Return which operations the cells of a report have."""
    return {choice.op for kind in ("normal", "reduce") for choice in report.genotype.cell(kind)}
