"""Every operation and every space on the device against the CPU: outputs and gradients, in both forms."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.gpu.near import apart, gradients, short
from benchmarks.gpu.where import Where
from benchmarks.lines import Line, at_most
from raynas.nets.network import Network
from raynas.nets.networks.recurrent import RecurrentNetwork
from raynas.nets.ops.lanes import Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import AnySupernet, RecurrentSupernet
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.library import load_space, names
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.space import Space
from raynas.spaces.space_file import SpaceFile

EXACT = {torch.float64: 1e-9, torch.float32: 1e-3}
"""How far outputs and gradients may be apart. In float32 a ReLU whose input is nearly 0 may switch."""
WORDS = 12


def run(where: Where) -> Iterator[Line]:
    """Yield a line for each operation and each space; TF32 is off, or float32 would not be float32."""
    torch.backends.cudnn.allow_tf32 = False
    for name, operation in OPERATIONS.items():
        if operation.family not in {"none", "noise"} and not operation.skeleton:
            yield from _lines(f"operation {name}", _of_one(name), where.device)
    for name in names("search_spaces"):
        space = load_space(name)
        if not any("noise" in edge.ops for cell in space.cells for edge in cell.edges):  # fresh at every call
            yield from _lines(f"space {name}", space, where.device)


def _of_one(operation: str) -> Space:
    """Return a space whose every edge has one operation, at stride 1 and 2."""
    kinds = {"normal": {"ops": [operation]}, "reduce": {"ops": [operation]}}
    return SpaceFile.model_validate({"name": "one", "title": operation, "nodes": 2, "cells": kinds}).resolve()


def _lines(what: str, space: Space, device: str) -> Iterator[Line]:
    for dtype, limit in EXACT.items():
        title = f"{what}, {str(dtype).removeprefix('torch.')}"
        try:
            pairs = [_supernet(space, device, dtype), _discrete(space, device, dtype)]
            yield Line(title, max(apart(*pair) for pair in pairs), "error", at_most(limit))
        except Exception as problem:  # a line that says so is worth more than a section that ends here
            yield Line(title, float("nan"), "error", at_most(limit), short(problem))


Pair = tuple[list[Tensor], list[Tensor]]
"""The same tensors by the device and by the CPU."""


def _supernet(space: Space, device: str, dtype: torch.dtype) -> Pair:
    """Return logits and all gradients of one supernet, with random weights of α."""
    rng = torch.Generator().manual_seed(0)
    net = _build(space, dtype)
    weights = {
        group.name: torch.rand(1, len(group.rows), group.width, generator=rng, dtype=dtype)
        for group in skeletons.groups(space)
    }
    inputs = _inputs(space, dtype, rng)[None]

    def outcome(place: str) -> list[Tensor]:
        moved = {name: rows.to(place, copy=True).requires_grad_() for name, rows in weights.items()}
        net.to(place)
        noise = [torch.Generator(place).manual_seed(0)]
        logits = net(inputs.to(place), moved, Pass(Statistics.BATCH, noise))
        return [logits, *gradients(logits.square().sum(), net, moved.values())]

    return outcome(device), outcome("cpu")


def _build(space: Space, dtype: torch.dtype) -> AnySupernet:
    seeds = [torch.Generator().manual_seed(0)]
    if skeletons.of(space).texts:
        return RecurrentSupernet(space, (), WORDS, 8, 1, seeds, dtype)
    return Supernet(space, (3, 8, 8), 3, 4, _depth(space), seeds, dtype)


def _depth(space: Space) -> int:
    """Return how many cells a small net of a space has: few, but as many as its skeleton needs."""
    cells = 3 if "normal" in space.kinds else 1  # each of the others halves the resolution
    return skeletons.of(space).most_cells or (space.nodes if space.trunk else cells)


def _inputs(space: Space, dtype: torch.dtype, rng: torch.Generator) -> Tensor:
    if skeletons.of(space).texts:
        return torch.randint(WORDS, (4, 5), generator=rng)
    return torch.randn(4, 3, 8, 8, generator=rng, dtype=dtype)


def _discrete(space: Space, device: str, dtype: torch.dtype) -> Pair:
    """Return logits and all gradients of the network of one random genotype."""
    rng = torch.Generator().manual_seed(1)
    tables = {
        group.name: torch.rand(len(group.rows), group.width, generator=rng, dtype=torch.float64)
        for group in skeletons.groups(space)
    }
    genotype = derive(space, tables)
    torch.manual_seed(0)
    net: nn.Module = (
        RecurrentNetwork(genotype, WORDS, 8)
        if skeletons.of(space).texts
        else Network(genotype, (3, 8, 8), 3, 8, _depth(space))
    ).to(dtype)
    inputs = _inputs(space, dtype, rng)

    def outcome(place: str) -> list[Tensor]:
        found = net.to(place)(inputs.to(place))
        logits = found[0] if skeletons.of(space).texts else found
        return [logits, *gradients(logits.square().sum(), net)]

    return outcome(device), outcome("cpu")
