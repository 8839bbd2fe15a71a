"""What the loop and its parts tell each other of one step: draws go in, one loss a lane comes out."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from torch import Tensor

from raynas.bilevel.policy import Draw, Policy
from raynas.nets.supernets.recurrent import AnySupernet
from raynas.spaces.space import Space


class Outcome(NamedTuple):
    """Losses [lanes] to be differentiated, and logits [lanes, N, (T,) classes] accuracy is taken from."""

    losses: Tensor
    logits: Tensor


Score = Callable[[Draw], Outcome]
"""Runs the supernet once: each lane's mean cross entropy under a draw, and the logits."""


class Objective(Protocol):
    """Turns draws into one loss a lane.

    ``draw`` makes a fresh draw at flat logits ``flat``, ``score`` runs the supernet with it. A class that
    weighs whole architectures, and so gives α its gradient itself, says ``weighs_draws = True``. An objective
    of several draws that says ``apart = True`` gets losses that hold no graph: each draw's gradient in the
    weights is computed as it is scored, and none in an α-step, unless something in the draw itself (an edge's
    weight) is learned. So the memory is that of one draw, whatever their number, and of a gradient for each.
    """

    def __call__(self, policy: Policy, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome: ...


Costs = Mapping[str, Tensor]
"""What every option costs, [rows, options] by group of α."""


class Penalty(Protocol):
    """Returns the losses [lanes] with its term in.

    ``flat`` are the logits, ``draw`` what the step multiplied in, ``costs`` what the penalty has said of the
    supernet (`costs`), if it has anything to say.
    """

    def costs(self, space: Space, supernet: AnySupernet) -> Costs | None:
        """Return what the options of a supernet cost; asked once for each supernet."""

    def __call__(
        self, losses: Tensor, policy: Policy, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor: ...
