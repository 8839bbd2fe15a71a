"""The policy of a pack: everything between flat α and the architecture weights, without a supernet.

What is learned (a store) gives logits; a relaxation makes them weights; a sampler draws what one step
multiplies in; modifiers may weigh whole edges. All of these are frozen parts. What must be remembered
between two steps is here, with one leading entry per lane: α, which options are alive, and a memory of named
tensors.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from raynas.bilevel.dice import Dice
from raynas.bilevel.exchange import AttackedLoss, Draw, Tables
from raynas.bilevel.layout import Layout
from raynas.bilevel.progress import Progress
from raynas.bilevel.settings import now
from raynas.bilevel.slots import Modifier, Relaxation, Sampler, Store
from raynas.nets.fan import active
from raynas.spaces.derive import selected
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


class Policy:
    """α of K lanes and what it stands for.

    ``generators`` start α and ``dice`` serve the samplers, one per lane; ``like`` gives dtype and device. The
    parts are given as the method has them; `begin` turns their schedules into the numbers of an epoch.
    """

    def __init__(
        self,
        space: Space,
        store: Store,
        relaxation: Relaxation,
        sampler: Sampler,
        modifiers: Sequence[Modifier] = (),
        *,
        generators: Sequence[torch.Generator],
        dice: Sequence[torch.Generator],
        like: Tensor,
        without: Sequence[str] = (),
    ) -> None:
        self.space, self.store = space, store
        self._parts = (relaxation, sampler, tuple(modifiers))
        extras = [*sampler.extras, *(name for modifier in modifiers for name in modifier.extras)]
        self.layout = Layout(space, extras, without)
        self.dice = Dice(dice)
        self.alphas = like
        self.memory: dict[str, Tensor] = {}
        self.start(generators)
        lanes = len(self.alphas)
        self.alive: Tables = {
            name: mask.expand(lanes, *mask.shape).clone() for name, mask in self.layout.alive.items()
        }
        self.prune(self.alive)
        self.begin(Progress(0, 1))

    def start(self, generators: Sequence[torch.Generator]) -> None:
        """Draw α; what is alive stays as it is."""
        memory: dict[str, Tensor] = {}
        like = self.alphas
        self.alphas = self.store.start(self.layout, generators, memory).to(like)
        self.memory |= {name: tensor.to(like) for name, tensor in memory.items()}

    def begin(self, progress: Progress) -> None:
        """Start an epoch: every schedule takes its value of this epoch."""
        self.progress = progress
        relaxation, sampler, modifiers = self._parts
        self.relaxation, self.sampler = now(relaxation, progress), now(sampler, progress)
        self.modifiers = tuple(now(modifier, progress) for modifier in modifiers)

    @property
    def lanes(self) -> int:
        """How many searches advance together."""
        return len(self.alphas)

    def prune(self, alive: Tables) -> None:
        """Let only these options [lanes, rows, options] live from now on; padding never does."""
        self.alive = {name: alive[name].cpu() & self.layout.masks[name] for name in self.layout.shapes}
        self._masks = {name: mask.to(self.alphas.device) for name, mask in self.alive.items()}
        # Asked once, for masks on the CPU: to ask at every step would make the host wait for a GPU each time.
        self._whole = all(bool((mask == self.layout.masks[name]).all()) for name, mask in self.alive.items())
        self._live = None if self._whole or not self.store.entrywise else self._movable()

    def whole(self, lane: int) -> bool:
        """Tell whether everything that a lane began with is still alive."""
        return all(bool((mask[lane] == self.layout.masks[name]).all()) for name, mask in self.alive.items())

    @contextmanager
    def pruned(self, alive: Tables) -> Iterator[None]:
        """Let only these options live for as long as the context lasts."""
        before = self.alive
        self.prune(alive)
        try:
            yield
        finally:
            self.prune(before)

    def _movable(self) -> Tensor:
        tables = []
        for mask in self._masks.values():
            several = mask.sum(-1, keepdim=True) > 1
            # The one option left of a row has weight 1 whatever its logit, where shifts change nothing:
            # moving it would let weight decay and momentum work on a decision that has been taken.
            tables.append((mask & several if self._parts[0].shift_free else mask).flatten(1))
        rows = torch.cat([mask.any(-1) for mask in self._masks.values()], 1)
        return torch.cat([*tables, *[rows] * len(self.layout.extras)], 1)

    @property
    def masks(self) -> Tables:
        """What is alive, bool [lanes, rows, options] on α's device."""
        return self._masks

    @property
    def live(self) -> Tensor | None:
        """Which numbers of α may move, bool [lanes, numbers]; None when all may.

        Options that are not alive never move. Where a shift changes nothing, the only option left of a row
        does not either, so weight decay cannot touch what has been decided.
        """
        return self._live

    def logits(self, alphas: Tensor) -> Tensor:
        """Return flat logits [lanes, numbers]: what curvature is measured in."""
        return self.store.logits(alphas, self.layout, self.memory)

    def relax(self, flat: Tensor) -> Tables:
        """Return each group's relaxed weights [lanes, rows, options] at flat logits [lanes, numbers].

        Modifiers are left out.
        """
        tables = self.layout.tables(flat)
        return {name: self.relaxation(logits, self._masks[name]) for name, logits in tables.items()}

    def mean(self, flat: Tensor) -> Draw:
        """Return what the policy stands for without chance, at flat logits [lanes, numbers].

        For validation, derivation and curvature.
        """
        # A sampler without chance is asked itself: NASP's projection stands for other weights than its
        # relaxation.
        draw = Draw(self.relax(flat)) if self.sampler.random else self.sampler(self, flat)
        return self.finish(draw, flat)

    def draw(self, alphas: Tensor, sampler: Sampler | None = None, loss: AttackedLoss | None = None) -> Draw:
        """Return what a step multiplies in at flat α [lanes, numbers], by its own sampler or the policy's."""
        flat = self.logits(alphas)
        return self.finish((sampler or self.sampler)(self, flat, loss), flat)

    def one_hot(self, genotypes: Sequence[Genotype | None]) -> Draw:
        """Return weights that leave on just what each lane's genotype has chosen, each with weight 1."""
        like = self.layout.tables(self.logits(self.alphas).detach())
        weights = {name: torch.zeros_like(rows) for name, rows in like.items()}
        for lane, genotype in enumerate(genotypes):
            if genotype is None:
                continue
            for group, entries in selected(self.space, genotype).items():
                for row, option in entries:
                    weights[group][lane, row, option] = 1
        return Draw(weights, active(weights), alone=True)

    def finish(self, draw: Draw, flat: Tensor) -> Draw:
        """Let the modifiers weigh edges, and leave out of the computation what is not alive.

        ``flat`` are the logits [lanes, numbers] the draw was made at.
        """
        for modifier in self.modifiers:
            draw = modifier.weigh(draw, self, flat)
        if draw.active is not None:
            # Which operations run is decided on the host, before anything is launched.
            return draw._replace(active={name: mask.cpu() for name, mask in draw.active.items()})
        return draw if self._whole else draw._replace(active=self.alive)

    def state(self, lane: int) -> dict[str, Any]:
        """Return one lane's part of the state, as tensors."""
        return {
            "alphas": self.alphas[lane].clone(),
            "alive": {name: mask[lane].clone() for name, mask in self.alive.items()},
            "memory": {name: tensor[lane].clone() for name, tensor in self.memory.items()},
            "dice": self.dice.generators[lane].get_state(),
        }

    def restore(self, lane: int, state: Mapping[str, Any]) -> None:
        """Put one lane's state back."""
        self.alphas[lane] = state["alphas"]
        for name, mask in state["alive"].items():
            self.alive[name][lane] = mask
        self.prune(self.alive)
        for name, tensor in state["memory"].items():
            # A search that is restored before its first step has no memory yet of what steps leave in it.
            known = self.memory.setdefault(name, torch.zeros(self.lanes, *tensor.shape).to(self.alphas))
            known[lane] = tensor
        self.dice.generators[lane].set_state(state["dice"])
