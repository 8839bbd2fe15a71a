"""What to be careful about before a verdict is believed: a sentence each, for the terminal and the report.

A remark is a function from `Evidence` to its sentence, "" where there is nothing to say; `REMARKS` has them
in the order in which they are told.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from raynas.data.catalogue import is_text
from raynas.errors import plural
from raynas.report.stats import alike
from raynas.report.text import ranked_number
from raynas.spaces import skeletons
from raynas.spaces.space import Space
from raynas.sweep.ranking import Ranked, Selection
from raynas.sweep.record import TrialRecord
from raynas.trust.margin import margin_of, settings_of

DEVIATIONS = 2.0
"""Standard deviations within which a number is told from chance by nothing: 1 in 44 lies above by luck."""

EVEN = 1.1
"""α is nearly uniform while no operation has more than this many times an equal share: its logit is then 0.1
above the others, where 300 steps of Adam in one direction bring it at DARTS' rate of 3e-4."""

FEW_STEPS = 500
"""Steps of the weights below which they are the likely cause: the published search takes 19,500."""

FEWEST_PAIRS = 3
"""Pairs of cells below which their likeness says nothing: two seeds make one, three make three."""


@dataclass(frozen=True)
class Evidence:
    """A ranking with a first, and the space of all trials; None where they have several."""

    selection: Selection
    space: Space | None

    @property
    def winner(self) -> TrialRecord:
        """The first of the ranking."""
        return self.selection.ranking[0].trial

    @property
    def learned_from(self) -> dict[str, int]:
        """How many images or tokens trained the winner's weights and α, and of how many classes or words.

        Empty where its records do not say.
        """
        told = (self.winner.start or {}).get("data") or {}
        counts = {key: told.get(key) for key in ("train", "valid", "classes")}
        return {key: n for key, n in counts.items() if isinstance(n, int) and n > 0} if all(counts) else {}

    @property
    def class_shares(self) -> list[float]:
        """The shares of the classes in the images that validate, the largest first; alike where unknown."""
        told = (self.winner.start or {}).get("data") or {}
        counts, classes = told.get("valid_counts"), self.learned_from["classes"]
        if isinstance(counts, list) and all(isinstance(n, int) and n >= 0 for n in counts) and sum(counts):
            return sorted((n / sum(counts) for n in counts), reverse=True)
        return [1 / classes] * classes

    @property
    def steps(self) -> int | None:
        """Steps of the winner's weights, about; None for a text, and where its records do not say."""
        config = self.winner.config
        if is_text(config.data.name) or "train" not in self.learned_from:
            return None
        return max(self.learned_from["train"] // config.batch, 1) * len(self.winner.reports)

    def told(self, value: float) -> str:
        """Write a value that ranks, or a difference of two."""
        return ranked_number(value, self.selection.by)

    @cached_property
    def settings(self) -> list[list[Ranked]]:
        """The ranked trials that compare with the winner, by setting."""
        return settings_of(self.selection)


UNEVEN = 1.5
"""From how many times its equal share on the commonest class is said to be the best guess."""

LEARNED = 0.95
"""Below this share of the entropy of uneven classes a loss has learned more than their shares."""


def nothing_learned(evidence: Evidence) -> str:
    """Say when the winner is right no more often than a guess, and the likely causes.

    The best guess names the commonest class always. Of n images, a share p of them of that class, it has p
    right, with a deviation of √(p(1 - p)/n), and where it knows all shares it loses their entropy; of a text
    of C words it loses ln C nats a word. Where classes are unlike, a loss that is well below is learning too.
    """
    report, told, config = evidence.winner.deciding, evidence.learned_from, evidence.winner.config
    if report is None or report.valid_loss is None or len(told) < 3 or told["classes"] < 2:
        return ""
    classes, text, shares = told["classes"], is_text(config.data.name), evidence.class_shares
    uneven, entropy = shares[0] > UNEVEN / classes, -sum(share * math.log(share) for share in shares if share)
    chance = shares[0] if uneven else 1 / classes
    limit = chance + DEVIATIONS * math.sqrt(chance * (1 - chance) / told["valid"])
    if (report.valid_loss < math.log(classes)) if text else (report.valid_accuracy > limit):
        return ""
    if uneven and report.valid_loss < LEARNED * entropy:
        return ""
    causes, steps = [], evidence.steps
    if steps is not None and steps < FEW_STEPS:
        causes.append(f"too few steps ({steps} of batch {config.batch}): more epochs, or a smaller batch")
    causes.append(f"a learning rate that does not fit (learning_rate {config.learning_rate:g})")
    causes.append("a text that repeats nothing" if text else "labels that do not fit the images")
    things = "words" if text else "classes"
    guess = f"is what guessing gets (loss {report.valid_loss:.3f}; ln {classes} = {math.log(classes):.3f})"
    if uneven:
        guess = (
            f"is no more than always naming the commonest gets, {100 * chance:.0f} % of the images (loss "
            f"{report.valid_loss:.3f}; by the shares of the classes alone {entropy:.3f})"
        )
    return (
        f"Nothing was learned: {100 * report.valid_accuracy:.0f} % right of {classes:,} {things} "
        f"{guess}. Likely: {'; or '.join(causes)}."
    )


def alphas_uniform(evidence: Evidence) -> str:
    """Say when the winner's α has hardly moved, so that small differences chose its cell."""
    report, config = evidence.winner.deciding, evidence.winner.config
    if evidence.winner.proposed:
        return ""  # no α chose the cell: it is the best of all that were looked up
    rows = [row for group in (report.weights.values() if report else ()) for row in group if len(row) > 1]
    # Rows of sigmoids do not sum to 1.
    rows = [row for row in rows if math.isclose(sum(row), 1, abs_tol=1e-3)]
    if not rows or (most := max(max(row) * len(row) for row in rows)) > EVEN:
        return ""
    steps = evidence.steps
    after = f" after {plural(steps, 'step')}" if steps else ""
    return (
        f"α is nearly uniform{after}: no operation has more than {most:.2f} times an equal share, so that "
        "next to nothing chose this cell. More epochs or a larger arch_learning_rate "
        f"({config.arch_learning_rate:g}) let it move."
    )


def margin_is_noise(evidence: Evidence) -> str:
    """Say when the winner is ahead of other settings by less than seeds of one setting lie apart."""
    if (margin := margin_of(evidence.settings)) is None:
        return ""
    if margin.spread is None:
        return (
            f"The margin of {evidence.told(margin.value)} stands on one seed of each setting: what another "
            "seed would change is not known. `grid: {seed: [0, 1, 2]}` tells."
        )
    if not margin.noise:
        return ""
    return (
        f"The margin to the next setting, {evidence.told(margin.value)}, is below the spread over seeds of "
        f"one ({evidence.told(margin.spread)}): other seeds may have another winner."
    )


def cells_as_random(evidence: Evidence) -> str:
    """Say when searches that differ in their seed alone find cells no more alike than random ones are."""
    groups = [[each.trial for each in group] for group in evidence.settings]
    pairs = [
        (record.deciding.genotype, str(place))
        for place, group in enumerate(groups)
        for record in group
        if record.deciding
    ]
    if evidence.space is None or len(pairs) < 2:
        return ""
    within = alike([cell for cell, _ in pairs], [group for _, group in pairs]).within
    chance = skeletons.of(evidence.space).chance(evidence.space)
    if within is None or within.count < FEWEST_PAIRS or within.sd is None:
        return ""
    if within.mean > chance + DEVIATIONS * within.sd / math.sqrt(within.count):
        return ""
    return (
        f"Cells of one setting have {within.mean:.0%} of their choices in common, two drawn at random "
        f"{chance:.0%}: what was found depends on the seed, not on the search."
    )


Remark = Callable[[Evidence], str]

REMARKS: Sequence[Remark] = (nothing_learned, alphas_uniform, margin_is_noise, cells_as_random)


def remarks(selection: Selection, space: Space | None) -> list[str]:
    """Return what to be careful about, most serious first; nothing where no trial was ranked."""
    if not selection.ranking:
        return []
    evidence = Evidence(selection, space)
    return [sentence for remark in REMARKS if (sentence := remark(evidence))]
