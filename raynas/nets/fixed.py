"""The supernet's fixed layers before, between and after the cells: nothing in them is searched."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.ops.lanes import Lanes, Norm, Pass, interleave, shifted
from raynas.spaces.skeletons.plan import Plan


class Stem(nn.Module):
    """The layers before the first cell; returns the two states it reads."""

    def __init__(self, lanes: Lanes, plan: Plan, image_channels: int) -> None:
        super().__init__()
        self.lanes = len(lanes)
        width = plan.stem_channels
        widths = (
            [image_channels, width] if plan.stem == "small" else [image_channels, width // 2, width, width]
        )
        self.stride, self.rectified = (1 if plan.stem == "small" else 2), plan.rectified
        pairs = list(pairwise(widths))
        self.convolutions = nn.ParameterList(
            lanes.uniform(after, before, 3, 3, fan_in=9 * before) for before, after in pairs
        )
        self.norms = nn.ModuleList(Norm(lanes, after) for _, after in pairs)
        self.scales = nn.ParameterList(lanes.constant(after, value=1.0) for _, after in pairs)
        self.shifts = nn.ParameterList(lanes.constant(after, value=0.0) for _, after in pairs)

    def forward(self, x: Tensor, run: Pass) -> tuple[Tensor, Tensor]:
        """Map images [N, lanes·colours, H, W] to states 0 and 1 of the first cell."""
        states = [x]
        layers = zip(self.convolutions, self.norms, self.scales, self.shifts, strict=True)
        for index, (weight, norm, scale, shift) in enumerate(layers):
            x = F.relu(x) if index else x
            x = run.convolve(x, weight.flatten(0, 1), self.stride, 1, groups=self.lanes)
            x = norm(x, run, scale.flatten(), shift.flatten())
            states.append(x)
        x = F.relu(x) if self.rectified else x
        return (x, x) if self.stride == 1 else (states[-2], x)


class NoStem(nn.Module):
    """Hands the images to the first layer."""

    def forward(self, x: Tensor, run: Pass) -> tuple[Tensor, Tensor]:
        """Return the images [N, lanes·colours, H, W] twice, as the two states that the first layer reads."""
        return x, x


class Preprocess(nn.Module):
    """Bring a state to a cell's width and resolution: ReLU, 1×1 convolution, batch norm.

    With a ``stride`` above 1 the channels are from two convolutions, on pixels that are one apart.
    """

    def __init__(self, lanes: Lanes, inputs: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.lanes = len(lanes)
        # An odd number of channels is not divided evenly; DARTS' code refuses it.
        sizes = [channels // 2, channels - channels // 2] if stride > 1 else [channels]
        self.weights = nn.ParameterList(lanes.uniform(size, inputs, 1, 1, fan_in=inputs) for size in sizes)
        self.stride = stride
        self.norm = Norm(lanes, channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·channels, H', W']."""
        x = F.relu(x)
        views = [x, shifted(x)] if self.stride > 1 else [x]
        parts = [
            run.convolve(view, weight.flatten(0, 1), stride=self.stride, groups=self.lanes)
            for view, weight in zip(views, self.weights, strict=True)
        ]
        return self.norm(interleave(parts, self.lanes), run)  # type: ignore[no-any-return]


class ScaledNorm(nn.Module):
    """Batch normalisation with a scale and a shift that are learned, as fixed layers have."""

    def __init__(self, lanes: Lanes, channels: int) -> None:
        super().__init__()
        self.norm = Norm(lanes, channels)
        self.scale = lanes.constant(channels, value=1.0)
        self.shift = lanes.constant(channels, value=0.0)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Normalise ``x`` [N, lanes·channels, H, W]."""
        return self.norm(x, run, self.scale.flatten(), self.shift.flatten())  # type: ignore[no-any-return]


class SuperResidualBlock(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, beside average pooling and a 1×1 convolution.

    Each of the two is ReLU, convolution, batch norm (Dong & Yang 2020, section 2.1).
    """

    def __init__(self, lanes: Lanes, inputs: int, outputs: int) -> None:
        super().__init__()
        self.lanes = len(lanes)
        self.first = lanes.uniform(outputs, inputs, 3, 3, fan_in=9 * inputs)
        self.second = lanes.uniform(outputs, outputs, 3, 3, fan_in=9 * outputs)
        self.shortcut = lanes.uniform(outputs, inputs, 1, 1, fan_in=inputs)
        self.norm_first = ScaledNorm(lanes, outputs)
        self.norm_second = ScaledNorm(lanes, outputs)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·outputs, H/2, W/2], rounded up."""
        z = run.convolve(F.relu(x), self.first.flatten(0, 1), stride=2, padding=1, groups=self.lanes)
        z = F.relu(self.norm_first(z, run))
        z = run.convolve(z, self.second.flatten(0, 1), padding=1, groups=self.lanes)
        # Odd sides are rounded up, as the convolution of stride 2 beside it does.
        pooled = F.avg_pool2d(x, 2, ceil_mode=True)
        shortcut = run.convolve(pooled, self.shortcut.flatten(0, 1), groups=self.lanes)
        out: Tensor = self.norm_second(z, run) + shortcut
        return out


class Tail(nn.Module):
    """What follows the last cell: nothing, a batch norm and a ReLU, or a ReLU, a projection, a batch norm."""

    def __init__(self, lanes: Lanes, plan: Plan) -> None:
        super().__init__()
        self.lanes, self.kind = len(lanes), plan.tail
        if plan.tail == "norm":
            self.norm: nn.Module = ScaledNorm(lanes, plan.features)
        elif plan.tail == "projection":
            self.weight = lanes.uniform(plan.features, plan.last, 1, 1, fan_in=plan.last)
            self.norm = Norm(lanes, plan.features)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map the last state to the features that are averaged, [N, lanes·features, H, W]."""
        if self.kind == "norm":
            return F.relu(self.norm(x, run))
        if self.kind == "projection":
            z = run.convolve(F.relu(x), self.weight.flatten(0, 1), groups=self.lanes)
            return self.norm(z, run)  # type: ignore[no-any-return]
        return x
