"""What a sweep's choice is worth, in sentences: for the report's verdict and the terminal."""

from raynas.sweep.ranking import Selection
from raynas.sweep.reasons import FEWEST_RANKED
from raynas.trust.agreement import Agreement
from raynas.trust.control import RandomCells
from raynas.trust.judged import Truth
from raynas.trust.trust import Trust

UNKNOWN = (
    "No cell of this sweep has been trained and no table knows it, so nothing says how good this rule is "
    "here: retrain: {top: 4, seeds: [0, 1, 2]} in the file trains the best ones."
)
UNJUDGED = (
    "No random cell was judged beside it, so nothing says whether one would have done "
    "(control: {random: 20})."
)


def worth(trust: Trust, selection: Selection) -> list[str]:
    """Return the verdict's sentences: place among random cells, what the rule is worth, what would settle it.

    Where there is no control or no truth they say so: a number that nothing supports is worse than none.
    """
    if selection.winner is None:
        return []
    judged = selection.winner.trial.control
    unjudged = f"No random cell was judged: {judged.why}." if judged and judged.why else UNJUDGED
    ruled = [_rule(truth, found) for truth, found in trust.of_choice(selection)]
    chose = trust.random is trust.short and selection.by == "short_training"
    favoured = (
        " The same number chose the winner, the best of several by it, which favours it." if chose else ""
    )
    return [
        random_words(trust.random) + favoured if trust.random else unjudged,
        *ruled,
        *([] if trust.benches else [UNKNOWN]),
    ]


def random_words(random: RandomCells) -> str:
    """Say how the chosen cell stands among random ones, and what that number favours."""
    low, high = (100 * end for end in random.interval)
    words = (
        f"{100 * random.as_good:.1f} % of {len(random.values):,} random cells are as good or better "
        f"(95 %: {low:.1f} to {high:.1f} %), {random.how}."
    )
    if not random.errors:
        return f"{words} That favours the chosen cell: its supernet was trained towards it."
    spread = "" if random.sd is None else f" ± {100 * random.sd:.2f}"
    words += f" A random cell has {100 * random.mean:.2f}{spread} % error on average"
    words += f", this one {100 * random.chosen:.2f} %"
    if random.improvement is not None:
        words += f": {100 * random.improvement:+.1f} % of their accuracy (Yang et al. 2020)"
    words += f"; it is number {random.place} of all {len(random.values) + 1:,}."
    if random.search is not None:
        better = "better" if random.chosen < random.search else "no better"
        words += (
            f" Random search, the best of {random.budget} random cells by validation, has "
            f"{100 * random.search:.2f} %: the search did {better} than that."
        )
    return words


def _rule(truth: Truth, found: Agreement) -> str:
    """Say how well the rule that selects follows one truth, and what choosing by it costs."""
    if found.count < FEWEST_RANKED:
        known = f"Only {found.count} of the searches’ cells {'is' if found.count == 1 else 'are'} known"
        return f"{known} ({truth.source}): too few to say how good this rule is here."
    words = (
        f"By {truth.source}, choosing by this rule among {found.count} searches costs "
        f"{100 * found.regret:.2f} points of error against the best of them, "
        f"choosing at random {100 * found.blind:.2f}"
    )
    if found.tau is not None and found.tau_interval is not None:
        low, high = found.tau_interval
        sure = "" if low > 0 or high < 0 else ", which cannot be told from no relation at all"
        words += f"; Kendall’s τ {found.tau:+.2f} (95 %: {low:+.2f} to {high:+.2f}){sure}"
    return f"{words}."
