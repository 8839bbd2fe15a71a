"""Traits of parts: what each says of itself, and how it sees the method that it is in.

What a part *does* is told by the class of its slot (`raynas.bilevel.slots`); what it *is*, as far as other
parts may ask, by the class above that, here.
"""

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Protocol

from raynas.bilevel.exchange import SupernetBuild, Validated
from raynas.spaces.space import Space


class Part(ABC):
    """What all parts say of themselves; a part says in its own class what differs."""

    slots: ClassVar[tuple[str, ...]] = ()
    """Where a trial file may name it: slots of a method, or settings of parts."""
    use: ClassVar[str]
    """Its name in a trial file, unique in its slots."""
    version: ClassVar[int] = 1
    """Raised when what it computes changes, so that no search goes on as another."""

    @property
    def solo(self) -> bool:
        """Whether a search with it cannot advance in a pack."""
        return False

    @property
    def waits(self) -> str:
        """Why a step with it makes the host wait for a GPU; empty where it does not."""
        return ""

    def misfits(self, method: "Composition", space: Space | None, values: Mapping[str, Any]) -> Iterator[str]:
        """Reasons why it makes no sense in a method, on a space (None: on any), with a search's values.

        ``values`` are a search's configuration as far as it is known, keys dotted (``hessian.every``).
        """
        return iter(())


class StoreTraits(Part):
    """What a store is. ``entrywise``: α is the logits themselves, number by number."""

    entrywise: ClassVar[bool]

    @property
    def uniform(self) -> bool:
        """Whether α starts as uniform probabilities, every row summing to 1."""
        return False


class RelaxationTraits(Part):
    """What a relaxation is.

    ``shift_free``: a common shift of a row's logits changes nothing, so curvature leaves that direction out.
    ``sums_to_one``: rows are probabilities, which choices and comparisons of shares need. ``zeros``: weights
    can become exactly 0. A row may be the ``softmax`` of its logits (at some temperature), the logits
    themselves (``identity``), or the mean of a ``dirichlet`` of concentrations elu(logits) + 1.
    """

    shift_free: ClassVar[bool]
    sums_to_one: ClassVar[bool] = False
    zeros: ClassVar[bool] = False
    softmax: ClassVar[bool] = False
    identity: ClassVar[bool] = False
    dirichlet: ClassVar[bool] = False


class SamplerTraits(Part):
    """What a sampler is.

    ``random``: two draws differ; only then does the relaxation stand for it in derivation. ``validated``: its
    draws are single ``cells``, which are then validated, or mixtures. ``off_the_mean``: it puts noise on the
    mixture, through which α would learn nothing. ``keeps_edges``: its draws have just as many edges per node
    as the space keeps. ``dirichlet``: it draws from one of concentrations elu(logits) + 1.
    """

    random: ClassVar[bool]
    validated: ClassVar[Validated] = "mixture"
    off_the_mean: ClassVar[bool] = False
    keeps_edges: ClassVar[bool] = False
    dirichlet: ClassVar[bool] = False

    @property
    def extras(self) -> tuple[str, ...]:
        """Names of the numbers it learns, one per row of α."""
        return ()

    @property
    def trains_all(self) -> bool:
        """Whether every operation computes, and learns, in every step."""
        return True

    @property
    def leaves_out(self) -> bool:
        """Whether it was set to compute the chosen operations alone (``execute: chosen``)."""
        return False

    @property
    def leaves_alpha(self) -> bool:
        """Whether α learns nothing through a draw: that is left to an objective that weighs draws."""
        return False


class ModifierTraits(Part):
    """What a modifier is.

    ``every``: what it runs with is for every pass of the supernet, not for those of training alone.
    ``for_images``: it means nothing to a recurrent cell that reads texts. ``needs_skips``: it is about skip
    connections. ``extras`` names the numbers it learns, one per row of α.
    """

    every: ClassVar[bool] = False
    for_images: ClassVar[bool] = False
    needs_skips: ClassVar[bool] = False
    extras: ClassVar[tuple[str, ...]] = ()

    def build(self) -> SupernetBuild:
        """How the supernet is to be built."""
        return SupernetBuild()


class Composition(Protocol):
    """A method as its parts see it: what the part in every slot is, and how steps alternate."""

    @property
    def store(self) -> StoreTraits: ...
    @property
    def relaxation(self) -> RelaxationTraits: ...
    @property
    def sampler(self) -> SamplerTraits: ...
    @property
    def weight_sampler(self) -> SamplerTraits | None: ...
    @property
    def objective(self) -> Part: ...
    @property
    def penalties(self) -> tuple[Part, ...]: ...
    @property
    def estimator(self) -> Part | None: ...
    @property
    def updater(self) -> Part: ...
    @property
    def order(self) -> Literal["alphas-first", "weights-first", "joint"]: ...
    @property
    def nesterov(self) -> bool: ...
    @property
    def without(self) -> tuple[str, ...]: ...
    @property
    def modifiers(self) -> tuple[ModifierTraits, ...]: ...
    @property
    def annealing(self) -> Part: ...
    @property
    def stages(self) -> Part | None: ...
    @property
    def stop(self) -> Part | None: ...
    @property
    def derivation(self) -> Part: ...
