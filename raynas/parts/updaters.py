"""Optimisers of weights and α: SGD and Adam on [lanes, numbers] matrices, each lane with its own numbers.

PyTorch's optimisers know one learning rate per tensor; here every tensor holds several searches, and each has
its own, given as a column [lanes, 1]. Both compute what `torch.optim.SGD` and `torch.optim.Adam` do.
"""

import torch
from torch import Tensor


def clip_norm(gradient: Tensor, largest: Tensor) -> Tensor:
    """Scale each lane's gradient [lanes, numbers] to a norm of at most ``largest``, as PyTorch clips."""
    norms = gradient.norm(dim=1, keepdim=True)
    scale: Tensor = (largest / (norms + 1e-6)).clamp(max=1.0)
    return gradient * scale


class Sgd:
    """Momentum SGD with L2 (Sutskever et al. 2013, in PyTorch's form: velocity = μ·velocity + g + wd·w).

    With ``nesterov`` a step goes along g + wd·w + μ·velocity, the velocity being the new one; MXNet's ``nag``
    does the same.
    """

    def __init__(self, like: Tensor, momentum: Tensor, weight_decay: Tensor, nesterov: bool = False) -> None:
        self.velocity = torch.zeros_like(like)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov

    def direction(self, values: Tensor, gradient: Tensor) -> Tensor:
        """Return what a step would go along, [lanes, numbers], without taking it (for second order)."""
        slope = gradient + self.weight_decay * values
        velocity = self.momentum * self.velocity + slope
        return slope + self.momentum * velocity if self.nesterov else velocity

    def step(self, values: Tensor, gradient: Tensor, learning_rate: Tensor) -> None:
        """Move ``values`` [lanes, numbers] in place."""
        slope = self.weight_decay * values
        self.velocity.mul_(self.momentum).add_(gradient).add_(slope)
        if self.nesterov:
            slope = slope.add_(gradient).add_(self.momentum * self.velocity)
        values.sub_(learning_rate * (slope if self.nesterov else self.velocity))

    def state(self, lane: int) -> dict[str, Tensor]:
        """Return one lane's part of the state."""
        return {"velocity": self.velocity[lane].clone()}

    def restore(self, lane: int, state: dict[str, Tensor]) -> None:
        """Put one lane's state back."""
        self.velocity[lane] = state["velocity"]


class Adam:
    """Adam with L2 added to the gradient (Kingma & Ba 2015, in the form of `torch.optim.Adam`)."""

    epsilon = 1e-8

    def __init__(
        self,
        like: Tensor,
        learning_rate: Tensor,
        weight_decay: Tensor,
        betas: tuple[float, float],
    ) -> None:
        self.mean = torch.zeros_like(like)
        self.square = torch.zeros_like(like)
        self.steps = torch.zeros(len(like), 1, dtype=like.dtype, device=like.device)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas

    def step(self, values: Tensor, gradient: Tensor) -> None:
        """Move ``values`` [lanes, numbers] in place."""
        first, second = self.betas
        gradient = gradient + self.weight_decay * values
        self.steps += 1
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = self.learning_rate / (1 - first**self.steps)
        spread = self.square.sqrt() / (1 - second**self.steps).sqrt() + self.epsilon
        values.sub_(size * self.mean / spread)

    def state(self, lane: int) -> dict[str, Tensor]:
        """Return one lane's part of the state."""
        return {name: getattr(self, name)[lane].clone() for name in ("mean", "square", "steps")}

    def restore(self, lane: int, state: dict[str, Tensor]) -> None:
        """Put one lane's state back."""
        for name, value in state.items():
            getattr(self, name)[lane] = value
