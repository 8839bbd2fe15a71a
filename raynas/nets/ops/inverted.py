"""ProxylessNAS' inverted bottleneck with lanes: between two widths, at any stride."""

import torch.nn.functional as F
from torch import Tensor, nn

from raynas.nets.ops.forms import cropped
from raynas.nets.ops.lanes import Lanes, Norm, Pass
from raynas.nets.ops.paths import Path, chosen, normalise, pick


class SuperInverted(nn.Module):
    """1×1 convolution to ``ratio`` times the inputs (none for ratio 1), depthwise k×k, linear 1×1.

    Each ends in a batch norm, the first two in a ReLU6 as well (Cai, Zhu, Han 2019, section 3.1, and its
    code; Sandler et al. 2018).
    """

    def __init__(self, lanes: Lanes, inputs: int, outputs: int, kernel: int, stride: int, ratio: int) -> None:
        super().__init__()
        self.lanes, self.stride = len(lanes), stride
        self.inputs, self.wide, self.outputs = inputs, ratio * inputs, outputs
        wide = self.wide
        # The second dimension is that of edges in `raynas.nets.ops.paths`; a block has one.
        self.expand = lanes.uniform(1, wide, inputs, 1, 1, fan_in=inputs) if ratio > 1 else None
        self.norm_expand = Norm(lanes, wide) if ratio > 1 else None
        self.depthwise = lanes.uniform(1, wide, 1, kernel, kernel, fan_in=kernel * kernel)
        self.norm_depthwise = Norm(lanes, wide)
        self.project = lanes.uniform(1, outputs, wide, 1, 1, fan_in=wide)
        self.norm_project = Norm(lanes, outputs)

    def forward(self, x: Tensor, run: Pass, path: Path, scale: Tensor | None = None) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, groups·outputs, H', W'] for the lanes of ``path``.

        ``scale`` holds groups·outputs numbers, which the result is multiplied by.
        """
        z = pick(x, self.lanes, path.maps)
        if self.expand is not None and self.norm_expand is not None:
            z = run.convolve(z, chosen(self.expand, path).flatten(0, -4), groups=path.groups)
            z = F.relu6(normalise(self.norm_expand, z, run, path, self.wide))
        kernel = cropped(chosen(self.depthwise, path), 1, z.shape[2:]).flatten(0, -4)
        z = run.convolve(z, kernel, self.stride, kernel.shape[-1] // 2, groups=len(kernel))
        z = F.relu6(normalise(self.norm_depthwise, z, run, path, self.wide))
        z = run.convolve(z, chosen(self.project, path).flatten(0, -4), groups=path.groups)
        return normalise(self.norm_project, z, run, path, self.outputs, scale)
