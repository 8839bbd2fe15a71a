"""Measures of untrained networks: how well they could be trained, and how much they can express.

The condition number of the neural tangent kernel says how evenly gradient descent learns the images of a
batch (lower is better); the number of linear regions the images fall into says how finely the network can
divide its inputs (higher is better). Source: Chen, Gong, Wang 2021 (TE-NAS), section 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import grad
from torch.overrides import TorchFunctionMode

from raynas.nets.ops.flat import flatten


def condition_numbers(logits: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return each lane's ratio of the largest to the smallest eigenvalue of the kernel, [lanes] in float64.

    The kernel K_ij = ⟨∇f(x_i), ∇f(x_j)⟩ takes f as the sum of an image's logits; ``logits`` [lanes, N,
    classes] hang on ``parameters``, each [lanes, ...], and lanes do not depend on each other. A kernel that
    is singular to rounding gives infinity.
    """
    rows = [
        flatten(grad(logits[:, image].sum(), parameters, retain_graph=True, materialize_grads=True))
        for image in range(logits.shape[1])
    ]
    jacobian = torch.stack(rows, 1).double()
    values = torch.linalg.eigvalsh(jacobian @ jacobian.transpose(1, 2))
    smallest = values[:, 0].clamp_min(0)
    singular = smallest <= values[:, -1] * torch.finfo(logits.dtype).eps
    return torch.where(singular, float("inf"), values[:, -1] / torch.where(singular, 1.0, smallest))


def count_regions(run: Callable[[], object]) -> int:
    """Count the linear regions that the images of one pass, ``run``, fall into.

    Two images are in one region when every ReLU that is computed is on for both or off for both. The pass
    must be of a single lane, and of at least one ReLU.
    """
    with _Patterns() as patterns:
        run()
    return len(torch.unique(torch.cat(patterns.found, 1), dim=0))


class _Patterns(TorchFunctionMode):
    """Notes, for every image, which units of every ReLU are on."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (F.relu, torch.relu):
            self.found.append((out > 0).flatten(1))
        return out
