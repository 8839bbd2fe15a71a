"""The slots of a method: what a part has to be to fill each of them, and what the parts hand to each other.

One step, from what is learned to what moves it::

    store ── logits ──> relaxation ── weights ──> sampler ── draw ──> modifiers ── draw ──┐
      ^                                                                                   v
      │                                                                  objective (draws, scores them)
      │                                                                                   │ losses
    updater <── gradient in α ── estimator <── losses ── penalties <── losses ────────────┘
    (limits before a step, holds after it)

An α-step takes the losses on the validation half, a weight step those on the training half with the draw of
``weight_sampler``. Between epochs: ``annealing`` gives the weights' learning rate, schedules give their
numbers, ``stages`` take options away, ``stop`` may end the search, ``derivation`` reads the cell.

A part is a frozen dataclass below the class of its slot: its fields are its settings, what it *is* are class
variables or properties, with the defaults found here or (what other parts ask) in `raynas.bilevel.part`.
Letters of shapes: lanes (searches that advance together), numbers (of flat logits, `Layout`), rows (edges or
other decisions of a group of α), options (of a row), N (images, or texts read side by side), T (words).
Losses are in nats.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

from pydantic import Field
from torch import Tensor

from raynas.bilevel.exchange import (
    AttackedLoss,
    Costs,
    Draw,
    Generators,
    Histories,
    Outcome,
    PassFields,
    Score,
    Stage,
    Tables,
)
from raynas.bilevel.layout import Layout
from raynas.bilevel.part import (
    Composition,
    ModifierTraits,
    Part,
    RelaxationTraits,
    SamplerTraits,
    StoreTraits,
)
from raynas.bilevel.progress import Progress
from raynas.bilevel.records import EpochReport
from raynas.bilevel.views import Looks, PolicyView, ProblemView
from raynas.data.batch import Batch
from raynas.nets.supernets.recurrent import AnySupernet
from raynas.spaces.derive import Rows
from raynas.spaces.genotype import Genotype
from raynas.spaces.space import Space


class Store(StoreTraits):
    """What is learned: the numbers of α, and the logits they give."""

    slots = ("store",)

    @abstractmethod
    def start(self, layout: Layout, generators: Generators, memory: dict[str, Tensor]) -> Tensor:
        """Flat α [lanes, numbers] in float64; what stays constant goes to ``memory``."""

    @abstractmethod
    def logits(self, alphas: Tensor, layout: Layout, memory: Mapping[str, Tensor]) -> Tensor:
        """Flat logits [lanes, numbers] of flat α."""


class Relaxation(RelaxationTraits):
    """From logits to mean weights: deterministic, differentiable, 0 wherever the mask is false."""

    slots = ("relaxation",)

    @abstractmethod
    def __call__(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Weights [lanes, rows, options] of logits of that shape; ``mask`` has it too, or no lanes."""


class Sampler(SamplerTraits):
    """What a step multiplies in, as a function of flat logits that can be differentiated."""

    slots = ("sampler", "weight_sampler")

    @abstractmethod
    def __call__(self, policy: PolicyView, flat: Tensor, loss: AttackedLoss | None = None) -> Draw:
        """A draw at flat logits [lanes, numbers]; ``loss`` is there in weight steps alone."""


class Modifier(ModifierTraits):
    """What else an edge does: its weight, how the supernet is built, what its passes run with."""

    slots = ("modifiers",)

    def weigh(self, draw: Draw, policy: PolicyView, flat: Tensor) -> Draw:
        """The draw with its edges weighed, at flat logits [lanes, numbers]."""
        return draw

    def run(self) -> PassFields:
        """What passes run with, with the numbers of this epoch."""
        return PassFields()

    def cutout(self) -> float:
        """The chance, in [0, 1], with which a training image gets the data's cutout."""
        return 1.0

    def halved(self) -> float:
        """The chance, in [0, 1), with which a segment of a text that trains the weights is half as long."""
        return 0.0


class Objective(Part):
    """One loss per lane of one or several draws.

    ``weighs_draws``: it weighs whole architectures, and so gives α its gradient itself; ``natural``: the
    natural one on the simplex, of weights that are α itself. ``apart``: it gets losses that hold no graph.
    Each draw's gradient in the weights is then computed as it is scored, and none in an α-step, unless
    something in the draw itself (an edge's weight) is learned. So the memory is that of one draw, whatever
    their number, and of a gradient for each.
    """

    slots = ("objective",)
    weighs_draws: ClassVar[bool] = False
    natural: ClassVar[bool] = False
    apart: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, policy: PolicyView, flat: Tensor, draw: Callable[[], Draw], score: Score) -> Outcome:
        """Losses and logits; ``draw`` makes a fresh draw at ``flat`` [lanes, numbers], ``score`` runs it."""


class Penalty(Part):
    """A term of the α-step's loss."""

    slots = ("penalties",)

    def costs(self, space: Space, supernet: AnySupernet) -> Costs | None:
        """What the options of a supernet cost, if that matters; asked once for each supernet."""
        return None

    @abstractmethod
    def __call__(
        self, losses: Tensor, policy: PolicyView, flat: Tensor, draw: Draw, costs: Costs | None = None
    ) -> Tensor:
        """The losses [lanes] with its term in; ``flat`` are logits, ``draw`` what the step multiplied in."""


class WeightPenalty(Part):
    """A term of the weight step's loss that depends on the weights alone, beside `weight_decay`.

    Reported losses are without it, as they are without weight decay; its gradient is clipped with the loss'.
    A second-order estimator looks ahead along it.
    """

    slots = ("weight_penalties",)

    @abstractmethod
    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Each lane's term, [lanes], of the supernet's weights [lanes, ...] by name.

        A convolution's are [lanes, (edges,) out, in, height, width]; no lane's term depends on another's.
        """


class Foresight(Protocol):
    """The weights' optimiser as an estimator sees it: what a step would go along, [lanes, weights]."""

    def direction(self, values: Tensor, gradient: Tensor) -> Tensor: ...


class Estimator(Part):
    """How the validation loss changes with α, given how the weights depend on it."""

    slots = ("estimator",)

    @abstractmethod
    def __call__(
        self, problem: ProblemView, train: Batch, valid: Batch, sgd: Foresight, rates: Tensor
    ) -> Tensor:
        """The gradient [lanes, numbers] in flat α; ``rates`` [lanes, 1] are the weights' learning rates.

        Weights, α and running statistics are left as they were.
        """


class Limit(Part):
    """What becomes of α's gradient before a step."""

    slots = ("before",)

    @abstractmethod
    def __call__(self, gradient: Tensor) -> Tensor:
        """The gradient [lanes, numbers] that a step takes."""


class Hold(Part):
    """What α is held to after a step."""

    slots = ("after",)

    @abstractmethod
    def __call__(self, values: Tensor, before: Tensor, layout: Layout) -> None:
        """Change α [lanes, numbers] in place; ``before`` is α as it was before the step."""


class Updater(Protocol):
    """An update rule at work on one pack's α."""

    def step(self, gradient: Tensor) -> None:
        """Move α in place along a gradient [lanes, numbers]."""

    def state(self, lane: int) -> dict[str, Tensor]:
        """One lane's part of the state."""

    def restore(self, lane: int, state: dict[str, Tensor]) -> None:
        """Put one lane's state back."""


class UpdateRule(Part):
    """How α moves along its gradient; ``natural``: by natural gradient steps on the simplex."""

    slots = ("updater",)
    natural: ClassVar[bool] = False

    @property
    def entrywise(self) -> bool:
        """Whether it clamps, thresholds or shifts numbers of α, which then have to be the logits."""
        return False

    @abstractmethod
    def start(self, policy: PolicyView, rate: Tensor, decay: Tensor) -> Updater:
        """What moves a policy's α; learning ``rate`` and weight ``decay`` are columns [lanes, 1]."""


class Annealing(Part):
    """The weights' learning rate from epoch to epoch."""

    slots = ("annealing",)

    @abstractmethod
    def __call__(self, low: float, high: float, progress: Progress, reports: Sequence[EpochReport]) -> float:
        """The rate of this epoch, between ``low`` and ``high``; ``reports`` are of those before."""


class Schedule(Part):
    """A number that changes from epoch to epoch; it may be given wherever a part wants a number."""

    slots = ("schedule",)

    @abstractmethod
    def __call__(self, progress: Progress) -> float:
        """Its value in this epoch."""


class Stages(Part):
    """What a search is divided into, and what is taken away between epochs.

    Taking away is all that it does to a policy. So lanes may differ and remain in one pack. ``compares``: it
    compares weights as probabilities of one row.
    """

    slots = ("stages",)
    compares: ClassVar[bool] = False

    def plan(self, epochs: int, space: Space, cells: int) -> tuple[Stage, ...]:
        """The stages of a search of ``epochs`` epochs in ``cells`` cells; they may add fine tuning."""
        return (Stage(epochs),)

    def passes(self, space: Space) -> int:
        """How many passes over the validation half its decisions take in a whole search."""
        return 0

    @abstractmethod
    def __call__(self, policy: PolicyView, histories: Histories, looks: Looks) -> Tables | None:
        """What stays alive [lanes, rows, options] from this epoch on; None: everything that is."""


class Restart(Part):
    """What a search does instead of ending, at most ``times`` times: go back, with that much more decay."""

    slots = ("then",)
    weight_decay: float
    times: int


@dataclass(frozen=True)
class Ending:
    """A search is over: the cell of the report of ``epoch`` is the one that counts.

    With ``again`` it goes back to the end of that epoch and on from there, as long as that is allowed.
    """

    epoch: int
    reason: str
    again: Restart | None = None


class StopRule(Part):
    """When a search is over before its last epoch."""

    slots: ClassVar[tuple[str, ...]] = ("stop", "rules")

    @property
    def then(self) -> Restart | None:
        """What it does instead of ending, if anything."""
        return None

    @property
    def reach(self) -> int:
        """How many measured epochs it may go back, where it does not end the search."""
        return 0

    @property
    def returning(self) -> tuple["StopRule", ...]:
        """The rules that may send a search back instead of ending it: itself, none, or some of several."""
        return () if self.then is None else (self,)

    @abstractmethod
    def __call__(self, reports: Sequence[EpochReport], space: Space) -> Ending | None:
        """The end, by all reports of a search so far in order; None while it should go on."""


class Derivation(Part):
    """From mean weights to a discrete cell; it cannot fail."""

    slots = ("derivation",)

    def notes(self, space: Space, weights: Mapping[str, Rows]) -> Mapping[str, float]:
        """Numbers by name that each epoch's report carries."""
        return {}

    @abstractmethod
    def __call__(self, space: Space, weights: Mapping[str, Rows]) -> Genotype:
        """A genotype of the space by weights, a [rows, options] table for each group of α."""


class CellProposer(Protocol):
    """Proposals at work in one search.

    `propose` gives the next cell, `tell` takes in what it came to, in [0, 1]. `weights` are probabilities of
    operations by group of α, as reports have them; empty where there are none. Between two cells its `state`,
    of plain values, is all there is to it.
    """

    def propose(self) -> Genotype: ...
    def tell(self, cell: Genotype, accuracy: float) -> None: ...
    def weights(self) -> dict[str, list[list[float]]]: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Proposals(Part):
    """Which cells are judged, one after another, where nothing is trained; the best of them is the result.

    ``evaluations`` is the budget, spread evenly over a search's epochs; ``seconds`` ends it earlier, once the
    trainings that the table stands for would have taken so long.
    """

    slots = ("proposals",)
    evaluations: Annotated[int, Field(ge=1, le=1_000_000)] = 96
    seconds: Annotated[float, Field(gt=0)] | None = None

    @abstractmethod
    def start(self, space: Space, seed: str) -> CellProposer:
        """What proposes cells of a space; all chance comes from ``seed``."""

    def misfits(self, method: Composition, space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Every epoch has something to report."""
        epochs = values.get("epochs", 1)
        if self.evaluations < epochs:
            yield (
                f"{self.evaluations} evaluations cannot be spread over {epochs} epochs: lower `epochs`, or "
                "raise `evaluations`"
            )
