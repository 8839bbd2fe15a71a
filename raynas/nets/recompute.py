"""Activations of a cell computed again in the backward pass instead of kept (Chen et al. 2016).

Memory then grows with the number of cells only by what passes between them, and a step computes every cell
twice. The second time must give the same numbers and leave no trace: it sees the parameters of the first
time, draws the same noise, drops the same entries, and moves no running statistics.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from raynas.nets.ops.lanes import Norm, Pass


def recomputed(cell: nn.Module, before: Tensor, previous: Tensor, weights: Any, run: Pass) -> Tensor:
    """Return ``cell(before, previous, weights, run)``, [N, lanes·channels, H, W], keeping no activations.

    The result can be differentiated once or twice, and more than once.
    """
    # Those of this pass: second order hands others in by functional_call, and they are gone when the backward
    # pass computes again.
    parameters = dict(cell.named_parameters())
    statistics = {
        f"{name}.{key}": buffer
        for name, module in cell.named_modules()
        if isinstance(module, Norm)
        for key, buffer in module.named_buffers()
    }
    streams = (run.noise, run.drops)
    states = [[generator.get_state() for generator in stream] for stream in streams]
    again = False

    def compute(before: Tensor, previous: Tensor) -> Tensor:
        nonlocal again
        if not again:
            again = True
            return cell(before, previous, weights, run)  # type: ignore[no-any-return]
        copies = {name: buffer.clone() for name, buffer in statistics.items()}
        noise, drops = (
            [
                torch.Generator(generator.device).set_state(state)
                for generator, state in zip(stream, kept, strict=True)
            ]
            for stream, kept in zip(streams, states, strict=True)
        )
        arguments = (before, previous, weights, replace(run, noise=noise, drops=drops))
        return functional_call(cell, {**parameters, **copies}, arguments)  # type: ignore[no-any-return]

    # torch's global generators are not used here, so that there is no state of theirs to keep.
    out: Tensor = checkpoint(compute, before, previous, use_reentrant=False, preserve_rng_state=False)
    return out
