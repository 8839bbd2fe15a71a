"""The contract of an operation: its form in the supernet computes what its plain form computes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.autograd import grad

from raynas.errors import unknown
from raynas.nets.ops.fused import FusedOperation, Source, fused
from raynas.nets.ops.inverted import SuperInverted
from raynas.nets.ops.lanes import Lanes, Pass, Statistics
from raynas.nets.ops.paths import Path, chosen_places, to_paths
from raynas.nets.ops.plain import plain
from raynas.nets.supernets.dense import DenseLayer
from raynas.spaces.operations import OPERATIONS, Operation
from raynas.testing.broken import BrokenContract, claim

LANES, EDGES, CHANNELS, IMAGES = 2, 2, 4, 3
SIZES = ((8, 8), (7, 6))
TOLERANCE = 1e-9

Pair = tuple[int, int]
"""A lane and an edge."""

COMPARED = (
    "output",
    "gradient in its input",
    "gradient in its weight",
    "second derivative in its input",
    "second derivative in its weight",
)


class Form(Protocol):
    """Maps states [N, lanes·channels, H, W] and weights [pairs] to [N, pairs·channels, H', W']."""

    def __call__(self, x: Tensor, w: Tensor, run: Pass, pairs: Sequence[Pair]) -> Tensor: ...


def check_operation(name: str) -> None:
    """Compare an operation's form in the supernet with its plain form, number by number, in float64.

    At strides 1 and 2, on maps of even and odd sides, for several lanes and edges together and every (lane,
    edge) alone, with its gradients, and as a pass that is differentiated twice. Noise is fresh at every call,
    so only its shape counts; activations of recurrent cells have one form. Raises `BrokenContract`.
    """
    if name not in OPERATIONS:
        raise unknown("operation", name, OPERATIONS)
    operation = OPERATIONS[name]
    if operation.family == "activation":
        return
    strides = (1,) if operation.family.startswith("normed_") else (1, 2)
    for stride in strides:
        for size in SIZES:
            _check(operation, stride, size)


def _check(operation: Operation, stride: int, size: tuple[int, int]) -> None:
    where = f"{operation.name} at stride {stride} on {size[0]}×{size[1]} pixels"
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(IMAGES, LANES * CHANNELS, *size, generator=generator, dtype=torch.float64)
    if operation.family == "none":
        zeros = plain(operation.name, CHANNELS, stride, affine=False)(x)
        claim(not bool(zeros.any()), f"{where}: the plain form of `none` gives more than zeros")
        return
    module, form, pairs = _form(operation, stride)
    scale = torch.randn(LANES * EDGES, generator=generator, dtype=torch.float64)
    everything = [(lane, edge) for lane in range(LANES) for edge in range(EDGES)]
    chosen = [pair for pair in everything if pair in pairs]
    run = Pass(Statistics.BATCH, [torch.Generator().manual_seed(lane) for lane in range(LANES)])
    if operation.family == "noise":
        given = form(x, scale, run, chosen)
        _, *shape = plain(operation.name, CHANNELS, stride, False)(x[:, :CHANNELS]).shape
        wanted = (IMAGES, len(chosen) * shape[0], *shape[1:])
        claim(tuple(given.shape) == wanted, f"{where}: it has another shape", tuple(given.shape), wanted)
        return
    references = {pair: _reference(operation, stride, module, *pair) for pair in chosen}
    ways = {"all at once": chosen}
    if size == SIZES[0]:
        ways["on an uneven path"] = [pair for pair in chosen if pair[0] == 0 or pair == chosen[-1]]
        ways |= {f"on lane {lane}, edge {edge} alone": [(lane, edge)] for lane, edge in chosen}
    for way, some in ways.items():
        weights = scale[[lane * EDGES + edge for lane, edge in some]]
        for each in (run, replace(run, twice=True)) if way == "all at once" else (run,):
            text = f"{where}, {way}{', differentiated twice' if each.twice else ''}"
            _compare(
                text,
                partial(form, run=each, pairs=some),
                {pair: references[pair] for pair in some},
                x,
                weights,
                each.twice,
            )


def _compare(
    where: str,
    form: Callable[[Tensor, Tensor], Tensor],
    references: dict[Pair, nn.Module],
    x: Tensor,
    weights: Tensor,
    twice: bool,
) -> None:
    """Compare outputs, gradients in input and weights, and where asked for second derivatives."""

    def reference(y: Tensor, w: Tensor) -> Tensor:
        maps = torch.unflatten(y, 1, (LANES, CHANNELS))
        each = [plainly(maps[:, pair[0]]) for pair, plainly in references.items()]
        return torch.cat([number * z for number, z in zip(w, each, strict=True)], 1)

    found = []
    for each in (form, reference):
        y, w = x.clone().requires_grad_(), weights.clone().requires_grad_()
        try:
            out = each(y, w)
        except (RuntimeError, ValueError, IndexError) as error:
            raise BrokenContract(f"{where}: a form cannot compute it", got=error) from error
        slopes = grad((out * out.detach().cos()).sum(), [y, w], create_graph=twice)
        second = grad(slopes[1].sum() + slopes[0].square().sum(), [y, w], allow_unused=True) if twice else ()
        found.append([out, *slopes, *second])
    for name, a, b in zip(COMPARED, *found, strict=False):
        if a is None or b is None:
            claim(a is b, f"{where}: the {name} is missing in one of both forms")
            continue
        shapes = tuple(a.shape), tuple(b.shape)
        claim(a.shape == b.shape, f"{where}: the {name} has another shape than in the plain form", *shapes)
        off = float((a - b).detach().abs().max())
        claim(
            off <= TOLERANCE * (1 + float(b.detach().abs().max())),
            f"{where}: the {name} is not what the plain form gives",
            f"off by {off:.3g}",
            "at most rounding",
        )


def _form(operation: Operation, stride: int) -> tuple[nn.Module, Form, set[Pair]]:
    """Build the supernet's form; return it, how it is run on some pairs, and the pairs it has."""
    lanes = Lanes([torch.Generator().manual_seed(lane) for lane in range(LANES)], torch.float64)
    if operation.family == "inverted":
        block = SuperInverted(lanes, CHANNELS, CHANNELS, operation.kernel, stride, operation.ratio)

        def bottleneck(x: Tensor, w: Tensor, run: Pass, pairs: Sequence[Pair]) -> Tensor:
            out: Tensor = block(x, run, _path(pairs, 1, False), _wide(w))
            return out

        return block, bottleneck, _pairs(1)
    if operation.family.startswith("normed_"):
        layer = DenseLayer(lanes, [operation.name], CHANNELS)

        def dense(x: Tensor, w: Tensor, run: Pass, pairs: Sequence[Pair]) -> Tensor:
            every = torch.unflatten(layer([x], run), 1, (LANES, CHANNELS))
            some = [number * every[:, lane] for (lane, _), number in zip(pairs, w, strict=True)]
            return torch.cat(some, 1)

        return layer, dense, _pairs(1)
    wide: FusedOperation = fused(lanes, operation.name, EDGES, CHANNELS, stride, norm_pools=False)

    def several(x: Tensor, w: Tensor, run: Pass, pairs: Sequence[Pair]) -> Tensor:
        path = _path(pairs, EDGES, wide.shared)
        out: Tensor = wide(Source(x, run, LANES), _wide(w), path)
        return out

    return wide, several, _pairs(EDGES)


def _pairs(edges: int) -> set[Pair]:
    return {(lane, edge) for lane in range(LANES) for edge in range(edges)}


def _path(pairs: Sequence[Pair], edges: int, shared: bool) -> Path:
    places = chosen_places(pairs, LANES, range(edges), edges, shared)
    return next(path for path in to_paths([places], torch.device("cpu")) if path is not None)


def _wide(weights: Tensor) -> Tensor:
    return weights.repeat_interleave(CHANNELS)


def _reference(operation: Operation, stride: int, module: nn.Module, lane: int, edge: int) -> nn.Module:
    """Build the plain form with the weights that the supernet's has on one edge of one lane."""
    network = plain(operation.name, CHANNELS, stride, affine=False).double()
    convolutions = [each for each in network.modules() if isinstance(each, nn.Conv2d)]
    parameters = [parameter[lane, edge] for parameter in module.parameters()]
    sizes = [tuple(each.shape) for each in parameters]
    wanted = [tuple(each.weight.shape) for each in convolutions]
    claim(
        [torch.Size(size).numel() for size in sizes] == [torch.Size(size).numel() for size in wanted],
        f"{operation.name}: its two forms have different kernels",
        sizes,
        wanted,
    )
    with torch.no_grad():
        for parameter, convolution in zip(parameters, convolutions, strict=True):
            convolution.weight.copy_(parameter.reshape(convolution.weight.shape))
    return network
