"""Lanes: several searches of one shape side by side in every tensor.

A parameter of the supernet has shape [lanes, ...]; a feature map has shape [images, lanes·channels, height,
width] with channels ordered (lane, channel). Grouped convolutions and batch normalisation keep lanes apart,
so a search computes the same whether it is alone (one lane, the ordinary case) or in a pack.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from raynas.data.batch import Carried
from raynas.nets.ops.convolution import Sides, convolve_twice
from raynas.nets.ops.normalisation import EPSILON, MOMENTUM, normalise_twice


class Statistics(Enum):
    """Which mean and variance batch normalisation uses, and whether it remembers them."""

    UPDATE = "this batch's, and move the running ones towards them"
    BATCH = "this batch's, and leave the running ones alone"
    RUNNING = "the running ones"


class WordDrops(NamedTuple):
    """Chances of a language model's dropouts, as `raynas.train.config.TextTraining` has them."""

    words: float
    embedding: float
    input: float
    hidden: float
    output: float


@dataclass(frozen=True)
class Pass:
    """How one forward pass runs: its statistics, a noise generator per lane, how often it is differentiated.

    ``twice`` says that its gradient will itself be differentiated in α, as second order and curvature do;
    that second differentiation reaches no convolution's weight.
    ``active`` says which weights may be other than 0: a mask [lanes, edges, operations] on the CPU for each
    kind of cell. The rest is not computed: it needs no gradient and its running statistics stay as they are.
    None computes everything.

    What a method adds to its edges, by kind of cell or as one number; all of it costs nothing where it is
    left out or 0:
    ``offsets`` [lanes, edges] are numbers added to every entry of what an edge's operations give.
    ``carry`` [lanes, edges] weighs the channels that by-pass an edge's operations (None: 1); a supernet
    without partial channels has none and ignores it.
    ``drop_path`` is the chance of an edge to give 0 for an image, ``skip_dropout`` that of each entry of a
    skip at stride 1; what stays is scaled up to the same mean. ``drops`` holds a generator per lane for both.
    ``auxiliary`` scales the additional skip of a supernet that was built with it.
    ``carried`` is the hidden state of a text's streams; None starts from zeros and forgets.
    ``word_drops`` are the chances of a language model's dropouts, drawn from ``drops`` too. ``slowness`` and
    ``activation`` weigh the terms of a recurrent cell's outputs that passes which move the weights leave in
    ``carried``.
    """

    statistics: Statistics
    noise: Sequence[torch.Generator]
    twice: bool = False
    active: Mapping[str, Tensor] | None = None
    offsets: Mapping[str, Tensor] | None = None
    carry: Mapping[str, Tensor] | None = None
    drop_path: float = 0.0
    skip_dropout: float = 0.0
    auxiliary: float = 0.0
    drops: Sequence[torch.Generator] = ()
    carried: Carried | None = None
    word_drops: WordDrops | None = None
    slowness: float = 0.0
    activation: float = 0.0

    def convolve(
        self,
        x: Tensor,
        weight: Tensor,
        stride: Sides = 1,
        padding: Sides = 0,
        dilation: Sides = 1,
        groups: int = 1,
    ) -> Tensor:
        """Convolve ``x`` [N, inputs, H, W] with ``weight`` [outputs, inputs/groups, k, k]."""
        if self.twice:
            return convolve_twice(x, weight, stride, padding, dilation, groups, weight_twice=False)
        return F.conv2d(x, weight, None, stride, padding, dilation, groups)

    def survivors(self, chance: float, size: Sequence[int], like: Tensor) -> Tensor:
        """Draw which entries are not dropped: 0 with ``chance``, else 1/(1 − chance).

        ``size`` is that of one lane, (N, H, W, targets, channels), of which any may be 1; the result is
        [N, H, W, lanes, targets, channels]. Each lane draws from its own of ``drops``, so it draws what it
        would alone.
        """
        drawn = [
            # Drawn in float32 whatever is computed in, so that precision: bfloat16 drops the same entries.
            torch.rand(*size, generator=g, device=g.device, dtype=torch.float32) >= chance
            for g in self.drops
        ]
        return torch.stack(drawn, 3).to(like).div(1 - chance)

    def word_mask(self, name: str, size: Sequence[int], like: Tensor) -> Tensor | None:
        """Draw a language model's mask [lanes, *size], by its name in `WordDrops`; None for no dropout."""
        chance = getattr(self.word_drops, name, 0.0)
        if not chance:
            return None
        each = self.survivors(chance, (1, 1, 1, 1, math.prod(size)), like)
        return each.view(-1, *size)


class Lanes:
    """Makes parameters with one leading entry per lane, each drawn from that lane's own generator.

    ``epsilon`` is what batch norms add to the variance.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype = torch.float32,
        epsilon: float = EPSILON,
    ) -> None:
        self.generators = generators
        self.dtype = dtype
        self.epsilon = epsilon

    def __len__(self) -> int:
        return len(self.generators)

    def uniform(self, *shape: int, fan_in: int) -> nn.Parameter:
        """Return a parameter [lanes, *shape] uniform in ±1/√fan_in, PyTorch's default for convolutions."""
        bound = 1 / math.sqrt(fan_in)
        # On the CPU and in float64, whatever the supernet is of: the same seed then starts the same weights
        # on every device, and in float32 those of float64, rounded.
        drawn = [torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators]
        return nn.Parameter((torch.stack(drawn) * 2 - 1).mul(bound).to(self.dtype))

    def constant(self, *shape: int, value: float) -> nn.Parameter:
        """Return a parameter [lanes, *shape] filled with one value."""
        return nn.Parameter(torch.full((len(self), *shape), value, dtype=self.dtype))


class Norm(nn.Module):
    """Batch normalisation of every channel of every lane, without a learned scale of its own.

    A scale may be passed in: that is how an operation's weight is multiplied in at no extra cost, since
    weight · batch_norm(x) is batch_norm(x) with the weight as its scale.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, lanes: Lanes, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(lanes), channels, dtype=lanes.dtype))
        self.register_buffer("variance", torch.ones(len(lanes), channels, dtype=lanes.dtype))
        self.epsilon = lanes.epsilon

    def forward(
        self, x: Tensor, run: Pass, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """Normalise ``x`` [N, lanes·channels, H, W]; ``scale`` and ``shift`` hold lanes·channels numbers."""
        mean: Tensor | None = None
        variance: Tensor | None = None
        if run.statistics is not Statistics.BATCH:
            # `.data`, so that several passes may move them before the first is differentiated.
            mean, variance = self.mean.data.view(-1), self.variance.data.view(-1)
        training = run.statistics is not Statistics.RUNNING
        # Under running statistics batch normalisation is linear, so its derivatives need no closed form of
        # ours.
        if run.twice and training:
            return normalise_twice(x, mean, variance, scale, shift, self.epsilon)
        return F.batch_norm(x, mean, variance, scale, shift, training, MOMENTUM, self.epsilon)


class _KeepFormat(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=torch.channels_last)


def keep_format(x: Tensor) -> Tensor:
    """Return ``x`` [N, C, H, W], whose gradient will be channels-last as ``x`` is.

    Sums over edges and slices of channels hand back gradients in another memory format, in which the
    backward pass of batch normalisation takes several times as long as the copy made here.
    """
    kept: Tensor = _KeepFormat.apply(x)
    return kept


def nhwc(x: Tensor) -> Tensor:
    """View [N, C, H, W] as [N, H, W, C], the order in which channels-last maps lie in memory."""
    return x.permute(0, 2, 3, 1)


def nchw(x: Tensor) -> Tensor:
    """View [N, H, W, C] as [N, C, H, W]."""
    return x.permute(0, 3, 1, 2)


def interleave(parts: Sequence[Tensor], groups: int) -> Tensor:
    """Concatenate maps [N, groups·channels, H, W] group by group, to [N, groups·parts·channels, H, W]."""
    if len(parts) == 1:
        return parts[0]
    if groups == 1:
        return torch.cat(list(parts), 1)
    # By identity: a map repeated for every edge comes here as so many times the same part.
    by_group = {id(part): torch.unflatten(nhwc(part), 3, (groups, -1)) for part in parts}
    return nchw(torch.cat([by_group[id(part)] for part in parts], 4).flatten(3))


def shifted(x: Tensor) -> Tensor:
    """Move images [N, C, H, W] one pixel up and left, so that a stride of 2 reads the pixels in between.

    Odd sides are padded by a zero, so that both halves have the same size.
    """
    return F.pad(x, (-1, x.shape[3] % 2, -1, x.shape[2] % 2))
