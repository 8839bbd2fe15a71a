"""A method as a record of parts: plain frozen data, so that methods differ in a line and can be printed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Literal, Self

from raynas.bilevel.exchange import Validated
from raynas.bilevel.slots import (
    Annealing,
    Derivation,
    Estimator,
    Modifier,
    Objective,
    Penalty,
    Proposals,
    Relaxation,
    Sampler,
    Stages,
    StopRule,
    Store,
    UpdateRule,
    WeightPenalty,
)
from raynas.methods.identity import fingerprint_of, record_of
from raynas.parts.derivations import Strongest
from raynas.parts.estimators import FirstOrder
from raynas.parts.objectives import OneDraw
from raynas.parts.relaxations import Softmax
from raynas.parts.rules import AdamRule
from raynas.parts.samplers import Mean
from raynas.parts.schedules import Cosine
from raynas.parts.stores import Table
from raynas.spaces.space import Space

Order = Literal["alphas-first", "weights-first", "joint"]


@dataclass(frozen=True)
class Method:
    """One way to search.

    ``store`` is what is learned and gives logits; ``relaxation`` makes them mean weights; ``sampler`` says
    what an α-step multiplies in and ``weight_sampler`` what a weight step does (None: the same);
    ``objective`` makes one loss of several draws; ``penalties`` are added to the α-step's and
    ``weight_penalties`` to the weight step's; ``estimator`` says how the weights' dependence on α is regarded
    (None: α rests); ``updater`` moves α; ``without`` names operations that this method never considers.

    In each step of the loop α moves before the weights, after them or, ``joint``, with them on the same
    training batch, and only in every ``every``-th step. ``modifiers`` change what an edge computes,
    ``annealing`` the weights' learning rate over epochs, ``stages`` what is alive between epochs; ``stop``
    may end the search; ``derivation`` reads the cell from the mean weights. With ``nesterov`` the weights'
    momentum looks ahead. With ``proposals`` nothing is trained: cells are proposed and a table judges them,
    and all other slots stay as they are. ``defaults`` are values of a search's configuration that the
    method's source uses: a share of the epochs where ``warmup`` is below 1. ``version`` is raised
    when any of this changes, so that no search goes on as another than it began; a part class has one of its
    own for what it computes.

    ``on`` holds what the source does differently elsewhere, by the name of a space or of its skeleton (the
    space's overrides): other parts, and ``defaults`` that are added to the method's own. `suited` puts
    it in.
    """

    prose: ClassVar[frozenset[str]] = frozenset({"name", "title", "source"})
    """What decides no number."""
    later: ClassVar[frozenset[str]] = frozenset({"weight_penalties", "proposals"})
    """Slots that are younger than the records of methods: they are in one where they are filled."""

    name: str
    title: str
    source: str
    version: int = 1
    store: Store = field(default_factory=Table)
    relaxation: Relaxation = field(default_factory=Softmax)
    sampler: Sampler = field(default_factory=Mean)
    weight_sampler: Sampler | None = None
    objective: Objective = field(default_factory=OneDraw)
    penalties: tuple[Penalty, ...] = ()
    weight_penalties: tuple[WeightPenalty, ...] = ()
    estimator: Estimator | None = field(default_factory=FirstOrder)
    updater: UpdateRule = field(default_factory=AdamRule)
    order: Order = "alphas-first"
    every: int = 1
    nesterov: bool = False
    without: tuple[str, ...] = ()
    modifiers: tuple[Modifier, ...] = ()
    annealing: Annealing = field(default_factory=Cosine)
    stages: Stages | None = None
    stop: StopRule | None = None
    derivation: Derivation = field(default_factory=Strongest)
    proposals: Proposals | None = None
    defaults: Mapping[str, object] = field(default_factory=dict, hash=False)
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, hash=False)

    def with_(self, name: str, title: str, source: str | None = None, **parts: Any) -> Self:
        """Return a new method that differs in the given parts; ``defaults`` are added to this one's.

        A part that is given holds everywhere: what ``on`` had for it is gone, unless ``on`` is given too.
        """
        defaults = {**self.defaults, **parts.pop("defaults", {})}
        on = {
            place: {slot: part for slot, part in changes.items() if slot not in parts}
            for place, changes in self.on.items()
        }
        changed = {"on": on, "defaults": defaults, **parts}
        return replace(self, name=name, title=title, source=source or self.source, **changed)

    def suited(self, space: Space) -> Self:
        """Return the method as its source has it on this space; what is suited already stays as it is."""
        parts = {**self.on.get(space.skeleton, {}), **self.on.get(space.name, {})}
        places = (self.on.get(place, {}).get("defaults", {}) for place in (space.skeleton, space.name))
        defaults = {key: value for each in (self.defaults, *places) for key, value in each.items()}
        return replace(self, **{**parts, "defaults": defaults, "on": {}})

    def parts(self) -> Iterator[tuple[str, Any]]:
        """Yield every part with the slot it fills, those of lists one by one."""
        for each in fields(self):
            value = getattr(self, each.name)
            for part in value if isinstance(value, tuple) else (value,):
                if is_dataclass(part):
                    yield each.name, part

    @property
    def fingerprint(self) -> str:
        """A short hash of every part with its settings and version; names and words do not count."""
        return fingerprint_of(record_of(self))

    @property
    def validated(self) -> Validated:
        """What its validation loss is of, or what it has instead of one."""
        return "table" if self.proposals else self.sampler.validated

    @property
    def learns_from(self) -> str:
        """What a joint step sees of the data, which its sources train on as a whole; empty for other orders.

        The rest stays held out: no validation loss is that of images which have trained anything.
        """
        if self.order != "joint":
            return ""
        return (
            "α and weights learn from the same images, those that `data.valid` does not hold out (half of "
            "all, by default); the source trains on everything: `data.valid: 0.1` comes closer"
        )

    @property
    def returning(self) -> tuple[StopRule, ...]:
        """The stop rules that may send a search back to an earlier epoch instead of ending it."""
        return () if self.stop is None else self.stop.returning

    @property
    def solo(self) -> bool:
        """Whether its searches cannot advance in one pack, because one of its parts cannot."""
        return any(part.solo for _, part in self.parts())

    @property
    def waits(self) -> tuple[str, ...]:
        """Why a step of it makes the host wait for a GPU, one reason per part that does; mostly empty."""
        return tuple(dict.fromkeys(why for _, part in self.parts() if (why := part.waits)))
