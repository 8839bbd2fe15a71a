"""Update rules: how α moves along its gradient, and what it is held to afterwards.

A rule is configuration; `start` gives it a pack's α. Numbers of α that may not move (pruned operations,
decided edges) are put back after every step, so that neither momentum nor weight decay reaches them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

import torch
from pydantic import Field, InstanceOf
from torch import Tensor

from raynas.bilevel.layout import Layout
from raynas.bilevel.part import Composition
from raynas.bilevel.slots import Hold, Limit, UpdateRule
from raynas.bilevel.views import PolicyView
from raynas.nets.ops.flat import column
from raynas.parts.updaters import Adam, Sgd, clip_norm
from raynas.spaces.space import Space

Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class ClipNorm(Limit):
    """Scales each lane's gradient to a norm of at most ``largest`` (P-DARTS: 5)."""

    use: ClassVar[str] = "clip-norm"
    largest: Annotated[float, Field(gt=0)] = 5.0

    def __call__(self, gradient: Tensor) -> Tensor:
        """Clip each lane of [lanes, numbers] by its norm, as PyTorch does."""
        return clip_norm(gradient, column([self.largest] * len(gradient), gradient))


@dataclass(frozen=True)
class ClipEach(Limit):
    """Cuts every number of the gradient to at most ``largest`` in size (DSO-NAS: 2)."""

    use: ClassVar[str] = "clip-each"
    largest: Annotated[float, Field(gt=0)] = 2.0

    def __call__(self, gradient: Tensor) -> Tensor:
        """Cut each number of [lanes, numbers] to ±``largest``."""
        return gradient.clamp(-self.largest, self.largest)


@dataclass(frozen=True)
class Clamp(Hold):
    """Holds every number in a box (NASP: [0, 1]), which may be open above (``high`` null)."""

    use: ClassVar[str] = "clamp"
    low: float = 0.0
    high: float | None = 1.0

    def __call__(self, values: Tensor, before: Tensor, layout: Layout) -> None:
        """Clamp α [lanes, numbers] in place."""
        values.clamp_(self.low, self.high)


@dataclass(frozen=True)
class KeepMass(Hold):
    """Shifts the logits that moved, so that all other probabilities of their row stay what they were.

    ProxylessNAS does so after a step on two sampled paths: their logits change by a common
    −log(Σ exp(new)/Σ exp(old)) (Cai et al. 2019, section 3.2.1). A row that moved as a whole keeps its sum.
    """

    use: ClassVar[str] = "keep-mass"

    def __call__(self, values: Tensor, before: Tensor, layout: Layout) -> None:
        """Shift the rows of α [lanes, numbers] that moved, in place."""
        old = layout.tables(before)
        for name, table in layout.tables(values).items():
            moved = table != old[name]
            # In logarithms, as the sums themselves overflow for logits of 89 and more in float32.
            change = _log_mass(table, moved) - _log_mass(old[name], moved)
            table.sub_(torch.where(moved, change, 0.0))


def _log_mass(table: Tensor, chosen: Tensor) -> Tensor:
    none = ~chosen.any(-1, keepdim=True)
    return table.masked_fill(~chosen & ~none, -float("inf")).logsumexp(-1, keepdim=True)


class Moves(Protocol):
    """An optimiser on [lanes, numbers] whose state can be taken apart by lane."""

    def step(self, values: Tensor, gradient: Tensor) -> None: ...

    def state(self, lane: int) -> dict[str, Tensor]: ...

    def restore(self, lane: int, state: dict[str, Tensor]) -> None: ...


class Mover:
    """Moves a policy's α: limits the gradient, steps, puts back what may not move, applies the holds."""

    def __init__(
        self, policy: PolicyView, moves: Moves, limits: Sequence[Limit] = (), holds: Sequence[Hold] = ()
    ) -> None:
        self._policy, self._moves = policy, moves
        self._limits, self._holds = tuple(limits), tuple(holds)

    def step(self, gradient: Tensor) -> None:
        """Move α [lanes, numbers] in place."""
        values, live = self._policy.alphas, self._policy.live
        for limit in self._limits:
            gradient = limit(gradient)
        # A copy only where something is put back or compared: most methods let all of α move, and hold it to
        # nothing.
        before = values if live is None and not self._holds else values.clone()
        self._moves.step(values, gradient)
        if live is not None:
            values.copy_(torch.where(live, values, before))
        for hold in self._holds:
            hold(values, before, self._policy.layout)

    def state(self, lane: int) -> dict[str, Tensor]:
        """Return one lane's part of the state."""
        return self._moves.state(lane)

    def restore(self, lane: int, state: dict[str, Tensor]) -> None:
        """Put one lane's state back."""
        self._moves.restore(lane, state)


@dataclass(frozen=True)
class AdamRule(UpdateRule):
    """Adam with L2 in the gradient, as DARTS moves α; ``before`` limits a gradient, ``after`` holds α."""

    use: ClassVar[str] = "adam"
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    before: tuple[InstanceOf[Limit], ...] = ()
    after: tuple[InstanceOf[Hold], ...] = ()

    @property
    def entrywise(self) -> bool:
        """Whether it needs numbers of α that are the logits."""
        return bool(self.after)

    def start(self, policy: PolicyView, rate: Tensor, decay: Tensor) -> Mover:
        """Start Adam from moments [lanes, numbers] of zero."""
        return Mover(policy, Adam(policy.alphas, rate, decay, self.betas), self.before, self.after)


@dataclass(frozen=True)
class SgdRule(UpdateRule):
    """SGD with momentum and L2 in the gradient, at a constant rate (VIM-NAS' generator); ``after`` holds."""

    use: ClassVar[str] = "sgd"
    momentum: Beta = 0.9
    after: tuple[InstanceOf[Hold], ...] = ()

    @property
    def entrywise(self) -> bool:
        """Whether it needs numbers of α that are the logits."""
        return bool(self.after)

    def start(self, policy: PolicyView, rate: Tensor, decay: Tensor) -> Mover:
        """Start SGD from a velocity [lanes, numbers] of zero."""
        momentum = torch.full_like(rate, self.momentum)
        return Mover(policy, _Descent(Sgd(policy.alphas, momentum, decay), rate), holds=self.after)


class _Descent:
    """SGD at a rate of its own."""

    def __init__(self, sgd: Sgd, rate: Tensor) -> None:
        self._sgd, self._rate = sgd, rate
        self.state, self.restore = sgd.state, sgd.restore

    def step(self, values: Tensor, gradient: Tensor) -> None:
        self._sgd.step(values, gradient, self._rate)


@dataclass(frozen=True)
class Proximal(UpdateRule):
    """DSO-NAS' APG-NAG: a gradient step, a soft threshold that makes exact zeros, Nesterov momentum.

    z = S(λ − r·g), the threshold being r·``strength``; m ← z − λ + μ·m; λ ← max(z + μ·m, 0) (Zhang et al.
    2020). ``before`` limits the gradient. A 0 stays 0 only while its gradient is below ``strength``: what is
    to be gone for good is the business of a stage (`DropZeros`).
    """

    use: ClassVar[str] = "proximal"
    strength: Annotated[float, Field(ge=0)] = 0.001
    momentum: Beta = 0.9
    before: tuple[InstanceOf[Limit], ...] = ()

    @property
    def entrywise(self) -> bool:
        """Whether it needs numbers of α that are the logits."""
        return True

    def start(self, policy: PolicyView, rate: Tensor, decay: Tensor) -> Mover:
        """Start the proximal steps on α [lanes, numbers], without momentum."""
        moves = _Proximal(policy.alphas, rate, decay, self.strength, self.momentum)
        return Mover(policy, moves, self.before)


class _Lanewise:
    """Keeps named tensors [lanes, ...] that make up the state."""

    def __init__(self, **tensors: Tensor) -> None:
        self.tensors = tensors

    def state(self, lane: int) -> dict[str, Tensor]:
        return {name: tensor[lane].clone() for name, tensor in self.tensors.items()}

    def restore(self, lane: int, state: Mapping[str, Tensor]) -> None:
        for name, value in state.items():
            self.tensors[name][lane] = value


class _Proximal(_Lanewise):
    def __init__(self, like: Tensor, rate: Tensor, decay: Tensor, strength: float, momentum: float) -> None:
        super().__init__(velocity=torch.zeros_like(like))
        self._rate, self._decay, self._strength, self._momentum = rate, decay, strength, momentum

    def step(self, values: Tensor, gradient: Tensor) -> None:
        # Weight decay belongs to the smooth part of the loss, so it is in the step that the threshold
        # follows.
        ahead = values - self._rate * (gradient + self._decay * values)
        shrunk = ahead.sign() * (ahead.abs() - self._rate * self._strength).clamp_min(0)
        velocity = self.tensors["velocity"]
        velocity.copy_(shrunk - values + self._momentum * velocity)
        values.copy_((shrunk + self._momentum * velocity).clamp_min(0))


@dataclass(frozen=True)
class Adaptive(UpdateRule):
    """ASNG-NAS: natural gradient steps on the simplex, as long as their direction can be trusted.

    The gradient is divided by its Fisher norm; the step ``first``/Δ shrinks while Δ grows, and Δ grows where
    the accumulated direction is no longer than chance makes it, with ``alpha`` as the wanted ratio of signal
    to noise. No probability falls below 1/(rows·(options − 1)), and every row sums to 1. α's own rate and
    weight decay are not used. The direction is accumulated in the coordinates of the code's root of the
    Fisher matrix, which leaves each row's last option out. Source: Akimoto et al. 2019 and its code,
    shirakawas/ASNG-NAS a13c482, classification/util/categorical_asng.py.
    """

    use: ClassVar[str] = "adaptive"
    natural: ClassVar[bool] = True
    version: ClassVar[int] = 2
    alpha: Annotated[float, Field(gt=1)] = 1.5
    first: Annotated[float, Field(gt=0)] = 1.0

    @property
    def entrywise(self) -> bool:
        """Whether it needs numbers of α that are the logits."""
        return True

    def start(self, policy: PolicyView, rate: Tensor, decay: Tensor) -> Mover:
        """Start with Δ [lanes, 1] of 1 and no direction."""
        return Mover(policy, _Adaptive(policy, self.alpha, self.first))

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """It moves α as probabilities."""
        if not (method.store.uniform and method.relaxation.identity):
            yield (
                "the adaptive updater moves probabilities: it needs {use: table, start_from: uniform} and "
                "scales"
            )


class _Adaptive(_Lanewise):
    def __init__(self, policy: PolicyView, alpha: float, first: float) -> None:
        like = policy.alphas
        ones = torch.ones(len(like), 1, dtype=like.dtype, device=like.device)
        super().__init__(path=torch.zeros_like(like), chance=torch.zeros_like(ones), delta=ones)
        self._layout, self._alpha, self._first = policy.layout, alpha, first
        masks = [mask.to(like.device) for mask in policy.layout.alive.values()]
        self._mask = torch.cat([mask.flatten() for mask in masks])
        counts = [mask.sum(-1, keepdim=True).expand_as(mask).flatten() for mask in masks]
        options = torch.cat(counts)
        places = torch.arange(len(self._mask), device=like.device)
        rows = torch.split(places, [mask.numel() for mask in masks])
        tables = [row.view_as(mask).masked_fill(~mask, -1) for row, mask in zip(rows, masks, strict=True)]
        self._last = torch.cat([each.amax(-1, keepdim=True).expand_as(each).flatten() for each in tables])
        self._inner = self._mask & (places != self._last)
        several = sum(int((mask.sum(-1) > 1).sum()) for mask in masks)
        self._free = sum(int((mask.sum(-1) - 1).clamp_min(0).sum()) for mask in masks)
        # The floor of the authors' code, 1/(rows·(options − 1)); a row of one option decides nothing and is
        # not counted.
        self._floor = 1 / (max(several, 1) * (options - 1).clamp_min(1)).to(like)

    def step(self, values: Tensor, gradient: Tensor) -> None:
        direction = -gradient * self._mask
        whitened = self._whitened(direction, values.clamp_min(torch.finfo(values.dtype).tiny))
        norm = whitened.norm(dim=1, keepdim=True)
        # A lane without a gradient has no direction: neither its α nor what it has accumulated changes.
        moves = norm > 0
        unit = torch.where(moves, 1 / norm, 0.0)
        path, chance, delta = (self.tensors[name] for name in ("path", "chance", "delta"))
        size = self._first / delta
        beta = (size / math.sqrt(max(self._free, 1))).clamp(max=1)
        values.add_(size * unit * direction)
        mixed = (1 - beta) * path + (beta * (2 - beta)).sqrt() * unit * whitened
        share = (1 - beta).square() * chance + beta * (2 - beta)
        grown = delta * (beta * (share - mixed.square().sum(1, keepdim=True) / self._alpha)).exp()
        for tensor, changed in ((path, mixed), (chance, share), (delta, grown)):
            tensor.copy_(torch.where(moves, changed, tensor))
        self._restrict(values)

    def _whitened(self, direction: Tensor, values: Tensor) -> Tensor:
        """Return √F·direction, whose norm is the Fisher norm where rows of ``direction`` sum to 0."""
        last = values[:, self._last]
        root = direction / values.sqrt() - values.sqrt() * direction[:, self._last] / (last + last.sqrt())
        return root * self._inner

    def _restrict(self, values: Tensor) -> None:
        """Lift what is below its floor and take the excess from what is above, in proportion."""
        floors = self._layout.tables(self._floor.expand_as(values))
        masks = self._layout.tables(self._mask.expand_as(values))
        for name, table in self._layout.tables(values).items():
            mask = masks[name] & (masks[name].sum(-1, keepdim=True) > 1)
            floor = floors[name].masked_fill(~mask, 0.0)
            lifted = torch.where(mask, torch.maximum(table, floor), table)
            above = (lifted - floor).masked_fill(~mask, 0.0)
            excess = (lifted.sum(-1, keepdim=True) - 1).masked_fill(~mask.any(-1, keepdim=True), 0.0)
            total = above.sum(-1, keepdim=True)
            # Taken in proportion to what lies above the floors, so that nothing falls below them in turn.
            table.copy_(lifted - excess * above / torch.where(total > 0, total, 1.0))
