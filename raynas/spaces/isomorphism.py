"""One text for all ways to number the nodes of a cell: two cells are one network when theirs are equal."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

MOST_ORDERS = 2_000
"""Orders that are tried at most; DARTS' cells need one or two, and seven nodes have fewer than three times
as many in all."""


class Arrow(NamedTuple):
    """One edge: what is on it, where it comes from and where it leads to."""

    label: str
    source: int
    target: int


Colours = Mapping[int, int]


def first_text(fixed: Sequence[int], free: Iterable[int], arrows: Iterable[Arrow]) -> str:
    """Return the first in order of the texts that the numberings of ``free`` nodes give.

    ``fixed`` nodes keep their places; arrows may be parallel. Nodes are told apart by what leads into and out
    of them, over and over (colour refinement, Weisfeiler & Leman 1968); where that leaves several alike, each
    is tried as the first. Beyond `MOST_ORDERS` orders the text is the one of the numbering given: equal
    numberings are then still equal, but others of the same network may count as different.
    """
    known = list(arrows)
    start = {node: place - len(fixed) for place, node in enumerate(fixed)}
    search = _Search(sorted(free), fixed, known)
    search.look(search.refined({**start, **dict.fromkeys(search.free, 0)}))
    if search.best is None or search.orders > MOST_ORDERS:
        return f"as numbered: {search.spelled({node: node for node in (*fixed, *search.free)})}"
    return search.best


class _Search:
    def __init__(self, free: Sequence[int], fixed: Sequence[int], arrows: Sequence[Arrow]) -> None:
        self.free, self.fixed, self.arrows = free, fixed, arrows
        self.before: dict[int, list[tuple[str, int]]] = {node: [] for node in (*fixed, *free)}
        self.after: dict[int, list[tuple[str, int]]] = {node: [] for node in (*fixed, *free)}
        for label, source, target in arrows:
            self.before[target].append((label, source))
            self.after[source].append((label, target))
        self.orders = 0
        self.best: str | None = None

    def refined(self, colours: Colours) -> Colours:
        """Split colours until the nodes of each see the same colours around them."""
        while True:
            seen = {node: self._surroundings(node, colours) for node in self.free}
            ranks = {key: rank for rank, key in enumerate(sorted(set(seen.values())), start=1)}
            finer = {**colours, **{node: ranks[key] for node, key in seen.items()}}
            if len(ranks) == len({colours[node] for node in self.free}):
                return finer
            colours = finer

    def _surroundings(self, node: int, colours: Colours) -> tuple[Hashable, ...]:
        into, out = (
            tuple(sorted((label, colours[other]) for label, other in side[node]))
            for side in (self.before, self.after)
        )
        return colours[node], into, out

    def look(self, colours: Colours) -> None:
        """Go through the orders that the colours leave open."""
        if self.orders > MOST_ORDERS:
            return
        groups: dict[int, list[int]] = {}
        for node in self.free:
            groups.setdefault(colours[node], []).append(node)
        alike = next((groups[colour] for colour in sorted(groups) if len(groups[colour]) > 1), None)
        if alike is None:
            self.orders += 1
            text = self.spelled(colours)
            self.best = text if self.best is None else min(self.best, text)
            return
        # Nodes that read the same states and are read alike give the same texts whichever comes first.
        apart = {(tuple(sorted(self.before[n])), tuple(sorted(self.after[n]))): n for n in reversed(alike)}
        for node in apart.values():
            split = {n: 2 * colours[n] - (n == node) for n in self.free}
            self.look(self.refined({**colours, **split}))

    def spelled(self, colours: Colours) -> str:
        """Write the arrows, nodes named by their colours."""
        return "; ".join(
            f"{target}<-{label}({source})"
            for target, source, label in sorted(
                (colours[a.target], colours[a.source], a.label) for a in self.arrows
            )
        )
