"""Budgets: which cells become networks that are small enough to be chosen, and by how much others are not."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raynas.errors import RaynasError
from raynas.sweep.plan import Sweep
from raynas.sweep.record import TrialRecord
from raynas.sweep.sizes import size_of_search
from raynas.sweep.where import COSTS, Where


def counting_recipe(sweep: Sweep) -> str | None:
    """Return the recipe whose networks are counted: that of the budget, else the one that trains them."""
    where, retrain = sweep.select.where, sweep.retrain
    return (where.recipe if where else None) or (retrain.recipe if retrain else None)


@dataclass(frozen=True)
class Excess:
    """Why a trial's network may not be chosen, in words, and how far it is beyond its worst limit.

    ``ratio`` is the network's number over the limit, infinite where there is nothing to count.
    """

    trial: str
    why: str
    ratio: float


def in_words(where: Where) -> str:
    """Say what a budget allows, and which network it means."""
    limits = ((getattr(where, name), words) for name, words in COSTS.items())
    allowed = " and ".join(f"{limit.most:,.0f} {words}" for limit, words in limits if limit is not None)
    return f"at most {allowed}, of the network that {network_in_words(where.recipe)}"


def network_in_words(recipe: str | None) -> str:
    """Say which network is counted, to go on after "the network that"; a recipe's file by its name."""
    return f"the recipe {Path(recipe).stem} trains" if recipe else "is usual for such cells"


def excess(record: TrialRecord, where: Where) -> Excess | None:
    """Return what a search's network has too much of; None where it fits."""
    try:
        size = size_of_search(record, where.recipe)
    except RaynasError as error:
        return Excess(record.id, f"its network cannot be counted: {error.what}", float("inf"))
    if size is None:
        return None
    found, ratio = [], 0.0
    for name, words in COSTS.items():
        limit, count = getattr(where, name), getattr(size, name)
        if limit is not None and count > limit.most:
            beyond = count / limit.most
            over = f"{count - limit.most:,.0f} ({_percent(beyond - 1)}) over the {limit.most:,.0f} allowed"
            found.append(f"{count:,} {words}, {over}")
            ratio = max(ratio, beyond)
    return Excess(record.id, "; ".join(found), ratio) if found else None


def nothing_fits(left_out: Sequence[Excess]) -> str:
    """Say that no network is within the budget, and which is nearest to it; of equals the earlier one."""
    nearest = min(left_out, key=lambda each: each.ratio)
    if nearest.ratio == float("inf"):
        none = "No network could be counted, so none is known to be within the budget"
        return f"{none}: {nearest.trial}, {nearest.why}."
    return f"No network is within the budget; the nearest, of {nearest.trial}, has {nearest.why}."


def _percent(share: float) -> str:
    """Print a share above 0 in per cent: none is so small that it would read as nothing."""
    return f"{100 * share:.1f} %" if share >= 0.0005 else "under 0.1 %"
