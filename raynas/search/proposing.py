"""Searches that train nothing: cells are proposed one after another, and what is known of them judges them.

One epoch is a share of the budget. `Proposing` runs K such searches side by side, as `Pack` runs K that
train: an epoch at a time, each with a state from which it goes on to the same cells.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import torch

from raynas.bilevel.records import End, EpochReport
from raynas.bilevel.slots import Proposals
from raynas.config import SearchConfig, check_alike
from raynas.errors import RaynasError
from raynas.methods import check_search, resolve, with_defaults
from raynas.methods.identity import another_search, check_identity, identity_of
from raynas.search.memory import peak_memory, reset_peak_memory
from raynas.search.searches import Tell, nobody
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.reading import genotype_from_json
from raynas.spaces.space import Space
from raynas.tables.table import Yardstick, without_times

VERSION = 1


class Judgement(NamedTuple):
    """What is known of a cell: its validation accuracy in [0, 1], how many seconds its training takes.

    None where it is not known.
    """

    accuracy: float | None
    seconds: float | None


class Judge(Protocol):
    """What judges cells; ``name`` is for people, ``identity`` the same just where all judgements are."""

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...
    def __call__(self, cell: Genotype) -> Judgement: ...


class Hunt:
    """One search: what proposes, what its best cell is, and what it has spent.

    ``accuracy`` is that of ``best``, of equals the one proposed first. A cell of which the judge knows
    nothing counts as 0 right, and as an evaluation: it is ``lacking``. ``clock`` is the sum of the trainings'
    seconds, as far as they are known.
    """

    def __init__(self, rule: Proposals, space: Space, seed: int) -> None:
        self.rule = rule
        self.proposer = rule.start(space, f"proposals/{seed}")
        self.best: Genotype | None = None
        self.accuracy, self.clock = -1.0, 0.0
        self.evaluations = self.lacking = 0

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        late = self.rule.seconds is not None and self.clock >= self.rule.seconds
        return late or self.evaluations >= self.rule.evaluations

    def step(self, judge: Judge) -> float:
        """Have one more cell judged; return its accuracy."""
        cell = self.proposer.propose()
        known, seconds = judge(cell)
        accuracy = 0.0 if known is None else known
        if self.rule.seconds is not None and seconds is None:
            raise without_times(judge.name)
        self.proposer.tell(cell, accuracy)
        self.evaluations += 1
        self.lacking += known is None
        self.clock += seconds or 0.0
        if accuracy > self.accuracy:
            self.best, self.accuracy = cell, accuracy
        return accuracy

    def state(self) -> dict[str, Any]:
        """Return everything it needs to go on from here, as plain values."""
        return {
            "proposer": dict(self.proposer.state()),
            "best": self.best and self.best.to_json(),
            "accuracy": self.accuracy,
            "clock": self.clock,
            "evaluations": self.evaluations,
            "lacking": self.lacking,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.proposer.restore(state["proposer"])
        self.best = genotype_from_json(state["best"]) if state["best"] else None
        self.accuracy, self.clock = state["accuracy"], state["clock"]
        self.evaluations, self.lacking = state["evaluations"], state["lacking"]


@dataclass
class TableJudge:
    """A column of a table as a judge; ``table`` is a hash of what the table holds.

    What a table says of a cell is asked once.
    """

    yardstick: Yardstick
    table: str

    def __post_init__(self) -> None:
        self._known: dict[Genotype, Judgement] = {}

    @property
    def name(self) -> str:
        """The column, and whose it is."""
        return f"{self.yardstick.column} of {self.yardstick.table.name}"

    @property
    def identity(self) -> str:
        """The column, and the table's hash."""
        return f"{self.yardstick.column} of {self.table}"

    def __call__(self, cell: Genotype) -> Judgement:
        """Look a cell up."""
        if cell not in self._known:
            entry = self.yardstick.table.look_up(cell)
            accuracy = None if entry is None else entry.accuracies.get(self.yardstick.column)
            self._known[cell] = Judgement(accuracy, None if entry is None else entry.seconds)
        return self._known[cell]


class Proposing:
    """K searches that propose cells and advance together; lanes never influence each other.

    Raises `RaynasError` for a method without proposals, and where it cannot search the space.
    """

    def __init__(
        self,
        configs: Sequence[SearchConfig],
        space: Space,
        judge: Judge,
        device: torch.device | str = "cpu",
    ) -> None:
        self.configs = tuple(with_defaults(config) for config in configs)
        check_alike(self.configs)
        check_search(self.configs[0], space)
        self.method = resolve(self.configs[0].method, space)
        if self.method.proposals is None:
            raise RaynasError(
                f"{self.method.name} proposes no cells", next_step="a search of it is a raynas.Search"
            )
        self.space, self.judge, self.device = space, judge, torch.device(device)
        self.rule = self.method.proposals
        self.tell: Tell = nobody
        self.epoch = 0
        self.hunts = [Hunt(self.rule, space, config.seed) for config in self.configs]
        self.history: list[list[EpochReport]] = [[] for _ in self.configs]

    @property
    def epochs(self) -> int:
        """Into how many shares the budget is divided."""
        return self.configs[0].epochs

    @property
    def parameters_count(self) -> int:
        """How many weights one search trains: none."""
        return 0

    def __iter__(self) -> Iterator[list[EpochReport]]:
        while self.epoch < self.epochs:
            reports = self.advance()
            yield reports
            if all(each.ended for each in reports):
                return

    def advance(self) -> list[EpochReport]:
        """Spend one share of the budget; return what each search has come to."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        due = self.rule.evaluations * (self.epoch + 1) // self.epochs
        reports = []
        for lane, hunt in enumerate(self.hunts):
            self.tell("looking cells up", lane / len(self.hunts))
            before, total = hunt.evaluations, 0.0
            while hunt.evaluations < due and not hunt.over:
                total += hunt.step(self.judge)
            reports.append(self._report(hunt, total / max(hunt.evaluations - before, 1), started))
        for past, report in zip(self.history, reports, strict=True):
            past.append(report)
        self.epoch += 1
        return reports

    def _report(self, hunt: Hunt, mean: float, started: float) -> EpochReport:
        if hunt.best is None:
            raise RuntimeError("an epoch has at least one evaluation")
        weights = hunt.proposer.weights()
        extra: dict[str, float] = {"evaluations": float(hunt.evaluations), "mean_accuracy": mean}
        if hunt.clock:
            extra["simulated_seconds"] = hunt.clock
        if hunt.lacking:
            extra["not_in_table"] = float(hunt.lacking)
        early = hunt.over and hunt.evaluations < self.rule.evaluations
        spent = f"its {self.rule.seconds:,.0f} simulated seconds are spent" if early else ""
        return EpochReport(
            epoch=self.epoch,
            train_loss=None,
            train_accuracy=None,
            valid_loss=None,
            valid_accuracy=hunt.accuracy,
            discrete_loss=None,
            discrete_accuracy=None,
            learning_rate=None,
            genotype=hunt.best,
            weights=weights,
            entropy={name: _entropy(rows) for name, rows in weights.items()},
            skips=skeletons.of(hunt.best).count(hunt.best, "skip_connect"),
            extra=extra,
            ended=End(self.epoch, f"{spent} after {hunt.evaluations} evaluations") if early else None,
            seconds=time.perf_counter() - started,
            peak_memory=peak_memory(self.device),
        )

    def state_dict(self, lane: int = 0) -> dict[str, Any]:
        """Return everything one search needs to go on from here, as plain values."""
        return {
            "version": VERSION,
            "identity": identity_of(self.configs[lane], self.method, **self._shared()),
            "epoch": self.epoch,
            "hunt": self.hunts[lane].state(),
            "history": [report.to_json() for report in self.history[lane]],
        }

    def load_state_dict(self, state: Mapping[str, Any], lane: int = 0) -> None:
        """Put one search back to where ``state`` was taken; raises `RaynasError` if it is another's."""
        if state.get("version") != VERSION or "hunt" not in state:
            raise another_search(f"version: {state.get('version')}", f"version: {VERSION}, of proposals")
        check_identity(state.get("identity", {}), self.configs[lane], self.method, **self._shared())
        self.epoch = state["epoch"]
        self.hunts[lane].restore(state["hunt"])
        self.history[lane] = [EpochReport.from_json(report) for report in state["history"]]

    def _shared(self) -> dict[str, str]:
        return {"space_fingerprint": skeletons.fingerprint(self.space), "judge": self.judge.identity}

    def keep(self, lanes: Sequence[int]) -> Self:
        """Return some of these searches, each going on from where it stands."""
        kept = type(self)([self.configs[lane] for lane in lanes], self.space, self.judge, self.device)
        kept.tell = self.tell
        for place, lane in enumerate(lanes):
            kept.load_state_dict(self.state_dict(lane), place)
        return kept


def _entropy(rows: Sequence[Sequence[float]]) -> float:
    """Return the mean entropy of rows of probabilities, in nats."""
    return sum(-p * math.log(p) for row in rows for p in row if p > 0) / len(rows)
