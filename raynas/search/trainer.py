"""The trainer: the two sets of variables of K searches, what moves them, and the stages that rebuild them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from raynas.bilevel.bilevel import Bilevel
from raynas.bilevel.exchange import Stage
from raynas.bilevel.policy import Policy
from raynas.bilevel.slots import Foresight
from raynas.config import SearchConfig
from raynas.data.split import Data
from raynas.methods.record import Method
from raynas.nets.ops.flat import column, flatten
from raynas.nets.ops.forms import Forms
from raynas.nets.supernet import Supernet
from raynas.nets.supernets.recurrent import AnySupernet, RecurrentSupernet
from raynas.nets.widen import widen
from raynas.parts.updaters import Sgd
from raynas.search.streams import stream
from raynas.spaces import skeletons
from raynas.spaces.space import Space


class _Penalised:
    """SGD as an estimator sees it where the weights have penalties: these pull too."""

    def __init__(self, problem: Bilevel, sgd: Sgd) -> None:
        self.problem, self.sgd = problem, sgd

    def direction(self, values: Tensor, gradient: Tensor) -> Tensor:
        """Return what a step would go along, [lanes, weights], penalties included."""
        return self.sgd.direction(values, self.problem.penalised(gradient, values))


class Trainer:
    """The bilevel problem of K like-shaped searches with what moves its two sets of variables.

    ``sgd`` moves the weights, whose gradients ``clip`` [lanes, 1] bounds; ``updater`` moves α; ``stage`` is
    the number of the stage that the supernet was built for.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        method: Method,
        space: Space,
        dataset: Data,
        device: torch.device,
        dtype: torch.dtype,
        forms: Forms | None,
        stages: Sequence[Stage],
    ) -> None:
        self.configs, self.config, self.method, self.space = configs, configs[0], method, space
        self.dataset, self.device, self.dtype, self.forms = dataset, device, dtype, forms
        self.stages, self.stage = stages, 0
        self.problem = self._build_problem()
        self.sgd = self._start_sgd(self._column("weight_decay"))
        self.clip = self._column("clip")
        self._start_alphas()

    def _start_sgd(self, decay: Tensor) -> Sgd:
        return Sgd(self.problem.values, self._column("momentum"), decay, self.method.nesterov)

    def _start_alphas(self) -> None:
        """Let α move from where it is, without any past."""
        self.updater = self.method.updater.start(
            self.problem.policy, self._column("arch_learning_rate"), self._column("arch_weight_decay")
        )

    def _build_supernet(self) -> AnySupernet:
        """Build the supernet of the stage, its weights drawn for it."""
        config, method, name = self.config, self.method, f"/{self.stage}" if self.stage else ""
        wanted = {name: value for each in method.modifiers for name, value in each.build().given().items()}
        size = {
            "channels": config.channels or self.space.default_channels,
            "cells": config.cells or self.space.default_cells,
        }
        return (RecurrentSupernet if skeletons.of(self.space).texts else Supernet)(
            self.space,
            self.dataset.shape,
            self.dataset.classes,
            generators=self._generators_of(f"weights{name}"),
            dtype=self.dtype,
            forms=self.forms,
            recompute=config.recompute,
            **{**size, **wanted, **self.stages[self.stage].build.given()},
        ).to(self.device)

    def enter(self, number: int) -> None:
        """Begin a stage: what it builds anew takes over what it says of the stage before."""
        start, self.stage = self.stages[number].start, number
        if start == "keep":
            return
        supernet, velocity = self._build_supernet(), None
        if start == "widen":
            generators = self._generators_of(f"widen/{number}")
            widened = widen(self.problem.supernet, supernet, generators)  # type: ignore[arg-type]
            # What the optimiser remembers of a channel belongs to its repeats as well.
            velocity = widened(self.sgd.velocity)
        else:
            self.problem.policy.start(self._generators_of(f"alphas/{number}"))
            self._start_alphas()
        self._seat(supernet)
        if velocity is not None:
            self.sgd.velocity = velocity

    def take_shape_of(self, number: int) -> None:
        """Have the shapes of a stage, given by its number, so that a state of it can be restored."""
        different = self.stages[number].build != self.stages[self.stage].build
        self.stage = number
        if different:
            self._seat(self._build_supernet())

    def _seat(self, supernet: AnySupernet) -> None:
        """Put a supernet in the place of the one before, without momentum."""
        self.problem.use_supernet(supernet)
        self.sgd = self._start_sgd(self.sgd.weight_decay)

    def _build_problem(self) -> Bilevel:
        config, method = self.config, self.method
        supernet = self._build_supernet()
        policy = Policy(
            self.space,
            method.store,
            method.relaxation,
            method.sampler,
            method.modifiers,
            generators=self._generators_of("alphas"),
            dice=self._generators_of("dice"),
            like=next(supernet.parameters()),
            without=method.without,
        )
        problem = Bilevel(
            self.space,
            supernet,
            policy,
            torch.bfloat16 if config.precision == "bfloat16" else None,
            config.compile,
            weight_sampler=method.weight_sampler,
            objective=method.objective,
            penalties=method.penalties,
            weight_penalties=method.weight_penalties,
        )
        problem.noise = [stream(each.seed, "noise", self.device) for each in self.configs]
        problem.drops = [stream(each.seed, "drops", self.device) for each in self.configs]
        return problem

    def _generators_of(self, name: str) -> list[torch.Generator]:
        return [stream(config.seed, name) for config in self.configs]

    def _column(self, name: str) -> Tensor:
        return column([getattr(config, name) for config in self.configs], self.problem.values)

    @property
    def foresight(self) -> Foresight:
        """What tells estimators along what the weights will step."""
        return _Penalised(self.problem, self.sgd) if self.method.weight_penalties else self.sgd

    def forget_momentum(self) -> None:
        """Let the weights start anew without velocity."""
        self.sgd.velocity = torch.zeros_like(self.sgd.velocity)

    def regularise(self, lane: int, restarts: int) -> None:
        """Set a lane's weight decay to what it is after so many restarts."""
        factor = 1.0
        for rule in self.method.returning:
            if rule.then is not None:
                factor = rule.then.weight_decay**restarts
        self.sgd.weight_decay[lane] = self.configs[lane].weight_decay * factor

    def state(self, lane: int) -> dict[str, Any]:
        """Return one lane's part of all that steps change, as tensors."""
        return {
            "supernet": {n: t[lane].clone() for n, t in self.problem.supernet.state_dict().items()},
            "policy": self.problem.policy.state(lane),
            "sgd": self.sgd.state(lane),
            "updater": self.updater.state(lane),
            "noise": self.problem.noise[lane].get_state(),
            "drops": self.problem.drops[lane].get_state(),
        }

    def restore(self, lane: int, state: Mapping[str, Any]) -> None:
        """Put one lane's state back."""
        for name, tensor in self.problem.supernet.state_dict().items():
            tensor[lane] = state["supernet"][name]
        # Updaters move the flat values, and copy them over the parameters after each step.
        self.problem.values[lane] = flatten([p.detach() for p in self.problem.parameters])[lane]
        self.problem.policy.restore(lane, state["policy"])
        self.sgd.restore(lane, state["sgd"])
        self.updater.restore(lane, state["updater"])
        self.problem.noise[lane].set_state(state["noise"])
        self.problem.drops[lane].set_state(state["drops"])
