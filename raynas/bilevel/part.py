"""What all parts of a method say of themselves, and how they see the method that they are in."""

from abc import ABC
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from raynas.spaces.space import Space

if TYPE_CHECKING:  # every slot stands above what all of them share
    from raynas.bilevel.slots import (
        Annealing,
        Derivation,
        Estimator,
        Modifier,
        Objective,
        Penalty,
        Relaxation,
        Sampler,
        Stages,
        StopRule,
        Store,
        UpdateRule,
    )


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


class Composition(Protocol):
    """A method as its parts see it: what fills every slot, and how steps alternate."""

    @property
    def store(self) -> "Store": ...
    @property
    def relaxation(self) -> "Relaxation": ...
    @property
    def sampler(self) -> "Sampler": ...
    @property
    def weight_sampler(self) -> "Sampler | None": ...
    @property
    def objective(self) -> "Objective": ...
    @property
    def penalties(self) -> "tuple[Penalty, ...]": ...
    @property
    def estimator(self) -> "Estimator | None": ...
    @property
    def updater(self) -> "UpdateRule": ...
    @property
    def order(self) -> Literal["alphas-first", "weights-first", "joint"]: ...
    @property
    def nesterov(self) -> bool: ...
    @property
    def without(self) -> tuple[str, ...]: ...
    @property
    def modifiers(self) -> "tuple[Modifier, ...]": ...
    @property
    def annealing(self) -> "Annealing": ...
    @property
    def stages(self) -> "Stages | None": ...
    @property
    def stop(self) -> "StopRule | None": ...
    @property
    def derivation(self) -> "Derivation": ...
