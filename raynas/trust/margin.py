"""By how much the winner's setting leads the others, beside how far seeds of one setting lie apart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from raynas.sweep.ranking import Ranked, Selection, comparable


@dataclass(frozen=True)
class Margin:
    """How much lower the winner's value is than the best of other settings; ``spread`` is the pooled sample
    standard deviation over seeds of one setting, None where every setting has but one."""

    value: float
    spread: float | None

    @property
    def noise(self) -> bool:
        """Whether seeds lie further apart than the settings do."""
        return self.spread is not None and self.value < self.spread


def settings_of(selection: Selection) -> list[list[Ranked]]:
    """Return the ranked trials that compare with the winner, by setting: they differ in their seed alone."""
    groups: dict[str, list[Ranked]] = {}
    for ranked in comparable(selection.ranking, selection.by):
        groups.setdefault(ranked.trial.config.model_dump_json(exclude={"seed"}), []).append(ranked)
    return list(groups.values())


def margin_of(settings: Sequence[Sequence[Ranked]]) -> Margin | None:
    """Return the margin of the first setting over the others; None where there is no other."""
    own, *others = settings
    if not others:
        return None
    value = min(ranked.value for group in others for ranked in group) - own[0].value
    seeds = [[ranked.value for ranked in group] for group in settings if len(group) > 1]
    return Margin(value, math.sqrt(fmean(variance(values) for values in seeds)) if seeds else None)
