"""The proposer: the one place that decides what runs next, whatever launches the trials."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, cast

from raynas.config import shape_of
from raynas.errors import RaynasError
from raynas.sweep.budget import counting_recipe
from raynas.sweep.file.resolve import filled
from raynas.sweep.folder import AnySweep, Slot
from raynas.sweep.identity import check_unchanged, different
from raynas.sweep.plan import Distribution, Sweep, Trial
from raynas.sweep.record import Record, TrialRecord
from raynas.sweep.sections import Criterion, Select
from raynas.sweep.select import judge_of, value_of
from raynas.sweep.sizes import size_of_search
from raynas.sweep.status import ENDED
from raynas.sweep.where import COSTS
from raynas.tables.table import Yardstick

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Suggestion:
    """One point that was suggested in a stratum, and what it came to.

    ``values`` has for each objective the mean over its finished seeds, None when none finished; they count
    once ``ended``.
    """

    point: dict[str, Any]
    ended: bool
    values: tuple[float, ...] | None


class Proposer:
    """Hands out the trials of a sweep that have not ended, in plan order, each once, in packs.

    A pack holds trials of one shape (see `shape_of`). Trials that were started together before are handed
    out together again, so that what was interrupted goes on in the same company, to the same bits.

    Under the strategy ``optuna`` a sample's values are suggested when its first trial comes up, and are
    written to the folder for all its seeds before that trial is handed out. A suggestion depends only on
    its index and on what the earlier samples of its stratum came to, all of which the folder holds; so a
    new Proposer on the same folder goes on exactly where the last one was.

    With ``retry_failed`` trials that ended ``failed`` are handed out again. Raises `RaynasError` when a
    method of the trials to come is not what the sweep was begun with.
    """

    def __init__(self, folder: AnySweep, *, retry_failed: bool = False) -> None:
        self._folder = folder
        self._sweep: Sweep[Any] = folder.sweep()
        self._objectives = self._sweep.objectives or (self._sweep.select.rule,)
        rule = Select(by="table") if "table" in self._objectives else self._sweep.select
        self._judge = judge_of(rule, folder.lookups)
        self._slots: dict[Slot, list[Trial[Any]]] = {}
        for trial in self._sweep.trials:
            if trial.slot is not None:
                self._slots.setdefault(trial.slot, []).append(trial)
        self._ended: dict[str, tuple[float, ...] | None] = {}
        self._points: dict[Slot, dict[str, Any]] = {}
        self._companies: dict[str, list[str]] = {}
        self._shapes: dict[str, str] = {}
        for record in folder.records():
            # Records of another version are not judged, so their trials are never run anew by this one.
            if record.foreign or not (retry_failed and record.status == "failed"):
                self._note(record)
            self._companies[record.id] = list((record.start or {}).get("pack", []))
        for slot in self._slots:
            if (point := folder.suggested(slot)) is not None:
                self._points[slot] = point
        self._queue = {
            trial.id: self._filled(trial) if trial.slot in self._points else trial
            for trial in self._sweep.trials
            if trial.id not in self._ended
        }
        if self._sweep.kind == "search":  # a training names no method
            self._check_searches()

    def _check_searches(self) -> None:
        """Check that what is still to run is what the sweep was begun with: its methods, what judges them."""
        from raynas.methods import proposes  # brings torch

        queue = self._queue.values()
        given = [(each.config.method, each.config.space) for each in queue if each.config is not None]
        bases = [self._sweep.base[each.slot[0]] for each in queue if each.slot is not None]
        searches = different([*given, *((base["method"], base["space"]) for base in bases)])
        check_unchanged(self._sweep, self._folder.typed, str(self._folder.path / "sweep.yaml"), searches)
        if not searches or self._folder.lookups is None:
            return
        if self._judge is not None or any(proposes(method) for method, _ in searches):
            self._folder.lookups.check()

    def pending(self) -> int:
        """Return how many trials have not ended, handed out or not."""
        return len(self._sweep.trials) - len(self._ended)

    def next(self, size: Callable[[Any], int] = lambda config: 1) -> list[Trial[Any]]:
        """Return the next trials to run as one pack, with their configurations; empty when all are out.

        ``size`` says how many searches of a configuration's shape advance together at most. Where there are
        more, they are dealt out evenly.
        """
        first = next(iter(self._queue.values()), None)
        if first is None:
            return []
        if first.slot is not None:
            self._settle(first.slot)
            first = self._queue[first.id]
        if company := self._companies.get(first.id):
            pack = [trial for trial_id in company if (trial := self._queue.get(trial_id)) is not None]
        else:
            pack = self._alike(first, size)
        for trial in pack:
            if trial.slot is not None:
                self._settle(trial.slot)
            del self._queue[trial.id]
        return pack

    def _alike(self, first: Trial[Any], size: Callable[[Any], int]) -> list[Trial[Any]]:
        """Return the first of the trials of one shape that have not been started in other company."""
        if first.config is None or (most := size(first.config)) <= 1:
            return [first]
        shape = self._shape(first)
        alike = [
            trial
            for trial in self._queue.values()
            if not self._companies.get(trial.id) and self._shape(trial) == shape
        ]
        return alike[: dealt(len(alike), most)[0]]

    def _shape(self, trial: Trial[Any]) -> str | None:
        """Return the trial's shape, None while its values were not suggested."""
        if trial.id not in self._shapes and trial.config is not None:
            self._shapes[trial.id] = shape_of(trial.config)
        return self._shapes.get(trial.id)

    def _settle(self, slot: Slot) -> None:
        """Have a slot's values suggested, and written for all its seeds; a kill may have come between."""
        if slot not in self._points:
            self._points[slot] = self._suggest(slot)
            self._folder.suggest(slot, self._points[slot])
        for sibling in map(self._filled, self._slots[slot]):
            # The sweep's file has the point before any trial has: a kill in between leaves trials to be
            # written here.
            if (folder := self._folder.trial(sibling.id)).own() is None:
                space = self._sweep.spaces.get(self._sweep.base[slot[0]]["space"])
                folder.write(sibling, space, control=self._sweep.control.random)
            if sibling.id in self._queue:
                self._queue[sibling.id] = sibling

    def tell(self, trial_id: str) -> None:
        """Take note of a trial that was handed out and has ended, by reading its record."""
        self._note(self._folder.trial(trial_id).record())
        self._folder.trial(trial_id).let_go()

    def _note(self, record: Record[Any, Any]) -> None:
        if record.status in ENDED:
            self._ended[record.id] = None
        if record.status in ENDED and isinstance(record, TrialRecord):
            self._ended[record.id] = self._values(record)

    def _values(self, record: TrialRecord) -> tuple[float, ...] | None:
        """Return what a search came to in each objective; None where one of them is not known."""
        found = [objective_of(record, name, self._sweep, self._judge) for name in self._objectives]
        known = [value for value in found if value is not None]
        return tuple(known) if len(known) == len(found) else None

    def _filled(self, trial: Trial[Any]) -> Trial[Any]:
        """Return a slot's trial with the values suggested for it."""
        return trial if trial.slot is None else filled(self._sweep, trial, self._points[trial.slot])

    def _suggest(self, slot: Slot) -> dict[str, Any]:
        stratum, index = slot
        history = [self._sample(earlier) for earlier in sorted(self._points) if earlier[0] == stratum]
        return suggest(self._sweep.sample, history, index, len(self._objectives))

    def _sample(self, slot: Slot) -> Suggestion:
        ids = [trial.id for trial in self._slots[slot]]
        values = [value for trial_id in ids if (value := self._ended.get(trial_id)) is not None]
        ended = all(trial_id in self._ended for trial_id in ids)
        means = tuple(map(fmean, zip(*values, strict=True)))
        return Suggestion(self._points[slot], ended, means or None)


def dealt(count: int, most: int) -> list[int]:
    """Return the sizes of the packs that ``count`` searches are dealt out to, as even as can be."""
    # 10 searches in packs of at most 8 go as 5 and 5, not as 8 and 2: a step of 8 takes as long as 2.0 of one
    # search (size micro of the benchmarks), of 4 as 1.4, so two slots end after some 1.6 instead of 2.0.
    sizes = []
    while count:
        packs = -(-count // most)
        sizes.append(-(-count // packs))
        count -= sizes[-1]
    return sizes


def objective_of(
    record: TrialRecord, name: str, sweep: Sweep[Any], judge: Yardstick | None = None
) -> float | None:
    """Return one objective of a search, lowest best: a rule's number, or the size of its cell's network.

    None where it did not finish, or has no such number.
    """
    if name not in COSTS:
        return value_of(record, cast("Criterion", name), judge)
    if record.status != "finished":
        return None
    try:
        size = size_of_search(record, counting_recipe(sweep))
    except RaynasError:
        return None  # of a recipe that has gone, or a network that none can be
    return None if size is None else float(getattr(size, name))


def suggest(
    sample: Mapping[str, Distribution], history: Sequence[Suggestion], index: int, objectives: int = 1
) -> dict[str, Any]:
    """Ask Optuna's TPE sampler for the point number ``index``, given the samples before it.

    With several ``objectives`` it is the multi-objective TPE, which lowers all of them.

    The same arguments give the same point. The seed is the index alone, so the first points, drawn before
    TPE has learnt anything, are the same in every stratum. Samples that still run keep TPE away from their
    points; samples of which no seed finished are told as failed.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it announces every study
    distributions = {key: _distribution(distribution) for key, distribution in sample.items()}
    # A study in memory, told everything anew: 100 samples take 11 ms, and a resume, which has nothing but the
    # folder, asks the very same question as the process that was killed.
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=index, constant_liar=True),
        directions=["minimize"] * objectives,
    )
    for earlier in history:
        state = TrialState.RUNNING
        if earlier.ended:
            state = TrialState.FAIL if earlier.values is None else TrialState.COMPLETE
        values = earlier.values if state == TrialState.COMPLETE else None
        params = {key: _encode(sample[key], earlier.point[key]) for key in sample}
        study.add_trial(create_trial(state=state, values=values, params=params, distributions=distributions))
    params = study.ask(fixed_distributions=distributions).params
    return {key: _decode(sample[key], params[key]) for key in sample}


def _distribution(distribution: Distribution) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = distribution.values
    if distribution.kind == "choice":
        return CategoricalDistribution(tuple(range(len(values))))
    if distribution.kind == "int":
        return IntDistribution(int(values[0]), int(values[1]))
    return FloatDistribution(values[0], values[1], log=distribution.kind == "log")


def _encode(distribution: Distribution, value: Any) -> Any:
    """Return what Optuna calls a value: a choice goes by its index, for choices may be lists."""
    return distribution.values.index(value) if distribution.kind == "choice" else value


def _decode(distribution: Distribution, value: Any) -> Any:
    return distribution.values[value] if distribution.kind == "choice" else value
