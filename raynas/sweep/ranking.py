"""A ranking of trials: the order by one rule, who wins, and what other rules would choose."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raynas.sweep.record import TrialRecord
from raynas.sweep.sections import Criterion

OF_KINDS = ("valid_loss", "select_loss")
"""Rules whose numbers are of what a method validates, and compare within a kind of that only."""


@dataclass(frozen=True)
class Ranked:
    """One trial with the value it is ranked by at its last epoch: nats, or an error in [0, 1]."""

    trial: TrialRecord
    value: float


@dataclass(frozen=True)
class RuleChoice:
    """What one of several rules chooses, of how many that it can rank; None where that is none.

    ``place`` is where it has the trial that was selected, None where it cannot rank that.
    """

    rule: Criterion
    first: Ranked | None
    ranked: int
    place: int | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data."""
        trial, value = (self.first.trial.id, self.first.value) if self.first else (None, None)
        told = {"rule": self.rule, "trial": trial, "value": value}
        return {**told, "ranked": self.ranked, "place_of_selected": self.place}


@dataclass(frozen=True)
class Selection:
    """The ranking of a sweep, best first, and the reasons for its winner.

    ``top`` is the first `Select.top` of the ranking, ``left_out`` holds (trial id, why) of those that were
    not ranked, ``margin`` is the value of the best of the others that compare with the winner, minus
    the winner's (None where none does): validation losses of two kinds do not. ``choices`` has a line for
    each rule where several were asked for, ``over_budget`` says which network came nearest, where none is
    within the budget.
    """

    by: Criterion
    ranking: tuple[Ranked, ...]
    top: tuple[Ranked, ...]
    reasons: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    choices: tuple[RuleChoice, ...] = ()
    over_budget: str = ""

    @property
    def disagreement(self) -> str:
        """Who of several rules chooses what, in a sentence; empty where there is but one."""
        chosen: dict[str, list[str]] = {}
        for choice in self.choices:
            chosen.setdefault(choice.first.trial.id if choice.first else "", []).append(choice.rule)
        silent = chosen.pop("", [])
        said = f" {', '.join(silent)} can rank none." if silent else ""
        if not chosen:
            return said.strip()
        if len(chosen) == 1:
            [trial] = chosen
            return f"All rules that can rank choose {trial}.{said}"
        each = "; ".join(f"{trial} by {', '.join(rules)}" for trial, rules in chosen.items())
        return f"The rules disagree: {each}.{said}"

    @property
    def winner(self) -> Ranked | None:
        """The first of the ranking."""
        return self.ranking[0] if self.ranking else None

    @property
    def margin(self) -> float | None:
        """How much lower the winner's value is than the second's."""
        alike = comparable(self.ranking, self.by)
        return alike[1].value - alike[0].value if len(alike) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; trials by their id."""
        return {
            "by": self.by,
            "winner": self.winner.trial.id if self.winner else None,
            "margin": self.margin,
            "best_of_kinds": {kind: each.trial.id for kind, each in best_of_kinds(self.ranking).items()},
            "top": [ranked.trial.id for ranked in self.top],
            "reasons": list(self.reasons),
            "ranking": [{"trial": ranked.trial.id, "value": ranked.value} for ranked in self.ranking],
            "left_out": [{"trial": trial, "why": why} for trial, why in self.left_out],
            **({"rules": [choice.to_json() for choice in self.choices]} if self.choices else {}),
        }


def comparable(ranking: Sequence[Ranked], by: str) -> Sequence[Ranked]:
    """Return those whose values compare with the first's: of validation losses, those of its kind."""
    if by not in OF_KINDS:
        return ranking
    return [each for each in ranking if each.trial.validated == ranking[0].trial.validated]


def best_of_kinds(ranking: Sequence[Ranked]) -> dict[str, Ranked]:
    """Return the best trial of each kind of validation loss; only trials of one kind compare."""
    best: dict[str, Ranked] = {}
    for ranked in ranking:
        best.setdefault(ranked.trial.validated, ranked)
    return best
