"""Estimators of the architecture gradient: how the validation loss changes with α.

The inner problem is never solved. First order takes the weights as they are; second order looks one weight
step ahead, w' = w − ξ·(μ·velocity + ∇_w L_train + wd·w), with the weights' current learning rate ξ, and
differentiates through it (Liu et al. 2019, eq. 5 to 8).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.autograd import grad

from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Estimator, Foresight
from raynas.bilevel.views import ProblemView
from raynas.data.batch import Batch
from raynas.nets.ops.flat import flatten
from raynas.spaces.space import Space


@dataclass(frozen=True)
class FirstOrder(Estimator):
    """∇_α L_valid(w, α): second order with ξ = 0."""

    use: ClassVar[str] = "first-order"

    def __call__(
        self, problem: ProblemView, train: Batch, valid: Batch, sgd: Foresight, rates: Tensor
    ) -> Tensor:
        """Differentiate in α [lanes, numbers] alone; no weight's gradient is computed."""
        alphas = problem.alphas.detach().requires_grad_()
        return grad(problem.losses(valid, alphas).sum(), alphas, materialize_grads=True)[0]


@dataclass(frozen=True)
class SecondOrder(Estimator):
    """∇_α L_valid(w', α) − ξ·∂²L_train/∂α∂w · ∇_w' L_valid, the mixed term by differences or exactly.

    ``difference`` evaluates ∇_α L_train at w ± R·v with R = ``radius``/‖v‖: the published term (Liu et al.
    2019, eq. 8). ``exact`` differentiates ⟨∇_w L_train, v⟩ with respect to α. These are two estimators, not
    one and its approximation: R crosses kinks of ReLU and max pooling, whose contribution the exact term
    lacks. At DARTS' size |difference − exact|/|exact| was 6.6 at the start (cosine 0.16) and 0.61 after 60
    steps (0.85). What a step of α by 3e-3 really does to the unrolled loss was foretold as well or better by
    the difference (docs/performance.md). ``exact`` costs an eighth more and finds other cells.

    ``clip`` limits the norms of both gradients, as the original code does for recurrent cells (0.25); the
    factor that shortens ∇_w L_train is then held constant.
    """

    use: ClassVar[str] = "second-order"
    version: ClassVar[int] = 2
    mixed: Literal["difference", "exact"] = "difference"
    radius: float = 0.01
    clip: Annotated[float, Field(gt=0)] | None = None

    def __call__(
        self, problem: ProblemView, train: Batch, valid: Batch, sgd: Foresight, rates: Tensor
    ) -> Tensor:
        """Return [lanes, numbers]; the unrolled step and the mixed term are of the same training batch."""
        before = [generator.get_state() for generator in problem.generators()]
        alphas = problem.alphas.detach().requires_grad_()
        exact = self.mixed == "exact"
        inner = problem.losses(train, alphas, twice=exact).sum()
        slope = flatten(grad(inner, problem.parameters, create_graph=exact, materialize_grads=True))
        shorter = self._shorter(slope.detach())
        step = rates * sgd.direction(problem.values, slope.detach() * shorter)
        ahead = (problem.values - step).requires_grad_()
        direct, direction = grad(problem.losses(valid, alphas, values=ahead).sum(), [alphas, ahead])
        direction = direction * self._shorter(direction)
        if exact:
            mixed = grad((slope * direction).sum(), alphas)[0]
        else:
            mixed = self._difference(problem, train, direction, before)
        return direct - rates * shorter * mixed

    def _shorter(self, gradient: Tensor) -> Tensor:
        """Return what brings each lane's gradient [lanes, numbers] down to the allowed norm, [lanes, 1]."""
        if self.clip is None:
            return torch.ones_like(gradient[:, :1])
        shorter: Tensor = self.clip / gradient.norm(dim=1, keepdim=True)
        return shorter.clamp_max(1)

    def _difference(
        self, problem: ProblemView, train: Batch, direction: Tensor, before: Sequence[Tensor]
    ) -> Tensor:
        """Evaluate both sides with the same chance, or the difference would measure it."""
        # Without a gradient there is no direction: the term is 0, and the radius must not be infinite.
        length = direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(direction.dtype).tiny)
        radius = self.radius / length
        slopes = []
        for sign in (1, -1):
            for generator, state in zip(problem.generators(), before, strict=True):
                generator.set_state(state)
            alphas = problem.alphas.detach().requires_grad_()
            values = problem.values + sign * radius * direction
            # Differences drown in bfloat16's rounding as second derivatives do.
            losses = problem.losses(train, alphas, values=values, twice=problem.precision is not None)
            slopes.append(grad(losses.sum(), alphas)[0])
        mixed: Tensor = (slopes[0] - slopes[1]) / (2 * radius)
        return mixed

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It looks ahead by one plain step of the weights, with the same draw on both sides."""
        if method.sampler.random:
            yield "second order needs a sampler without chance: its passes would draw different weights"
        if method.nesterov:
            yield "second order looks ahead by a step with plain momentum: `nesterov: false`"
        if method.order == "joint":
            yield "a joint step has no step of the weights to look ahead to: leave second order out"
