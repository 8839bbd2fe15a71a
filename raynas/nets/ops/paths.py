"""Paths: which of an operation's edges a pass computes, all of them or those that each lane has chosen.

A pass over sampled or derived architectures gives most operations the weight 0. What is left of one operation
is a list of (lane, edge) pairs, and everything it does works on such a list as on all its edges: kernels and
running statistics are gathered for the pairs, the pairs take the place of groups, and the results are added
to the sums they lead to.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from raynas.nets.ops.lanes import Norm, Pass, Statistics, nchw, nhwc


class Path(NamedTuple):
    """The pairs of one operation, as places in what it reads, owns and adds to.

    ``maps`` are the lanes whose feature maps it reads, ``groups`` many, each for as many pairs as any other;
    ``own`` are the places of its results among the operation's kernels and statistics, ``spread`` the result
    each pair takes where several share one, ``targets`` the place of each pair among the lanes·targets sums.
    None means all, in order.
    """

    groups: int
    maps: Tensor | None = None
    own: Tensor | None = None
    spread: Tensor | None = None
    targets: Tensor | None = None


class Places(NamedTuple):
    """A path still as numbers: see `Path`, whose places it holds."""

    groups: int
    maps: list[int] | None
    own: list[int] | None
    spread: list[int] | None
    targets: list[int] | None


def chosen_places(
    pairs: Sequence[tuple[int, int]], lanes: int, positions: Sequence[int], targets: int, shared: bool
) -> Places:
    """Return where an operation works that is on some (lane, edge) ``pairs``, ordered by lane.

    ``positions`` are the targets of its edges, out of ``targets``. Results of a ``shared`` operation do not
    depend on the edge.
    """
    counts = Counter(lane for lane, _ in pairs)
    used = None if len(counts) == lanes else list(counts)
    sums = [lane * targets + positions[edge] for lane, edge in pairs]
    if shared:
        # Pooling or identity is computed once per lane that has it anywhere, and handed to each of its edges.
        rank = {lane: place for place, lane in enumerate(counts)}
        return Places(len(counts), used, used, [rank[lane] for lane, _ in pairs], sums)
    if len(set(counts.values())) == 1:
        groups, maps = len(counts), used
    else:
        # Groups of a convolution are of one size. Where lanes have chosen unequally many edges, each pair is
        # a group of its own and reads a copy of its lane's map.
        groups, maps = len(pairs), [lane for lane, _ in pairs]
    edges = len(positions)
    everything = len(pairs) == lanes * edges
    own = None if everything else [lane * edges + edge for lane, edge in pairs]
    return Places(groups, maps, own, None, None if everything and edges == targets else sums)


def to_paths(places: Sequence[Places | None], device: torch.device) -> list[Path | None]:
    """Turn numbers into indices on a device, in one transfer."""
    fields = [field for each in places if each for field in each[1:] if field is not None]
    numbers = torch.tensor([number for field in fields for number in field], dtype=torch.long)
    moved = iter(torch.split(numbers.to(device), [len(field) for field in fields]))
    return [
        each and Path(each.groups, *(None if field is None else next(moved) for field in each[1:]))
        for each in places
    ]


def pick(x: Tensor, groups: int, which: Tensor | None) -> Tensor:
    """Return some groups of the channels of ``x`` [N, groups·channels, H, W], in the order of ``which``."""
    if which is None:
        return x
    return nchw(torch.unflatten(nhwc(x), 3, (groups, -1)).index_select(3, which).flatten(3))


def chosen(parameter: Tensor, path: Path) -> Tensor:
    """Return a parameter [lanes, edges, ...], or of a path with places of its own those rows [pairs, ...]."""
    return parameter if path.own is None else parameter.flatten(0, 1).index_select(0, path.own)


def normalise(
    norm: Norm, x: Tensor, run: Pass, path: Path, channels: int, scale: Tensor | None = None
) -> Tensor:
    """Apply ``norm`` to ``x`` [N, pairs·channels, H, W], the path's part of its channels.

    ``scale`` holds pairs·channels numbers. Running statistics of the other edges stay.
    """
    if path.own is None or run.statistics is Statistics.BATCH:
        return norm(x, run, scale)  # type: ignore[no-any-return]
    everyone = {name: buffer.view(-1, channels) for name, buffer in norm.named_buffers()}
    # Indexing copies, so what the pass moves in these rows is put back below, and only by passes that move.
    mine = {name: rows[path.own] for name, rows in everyone.items()}
    out: Tensor = functional_call(norm, mine, (x, run, scale))
    if run.statistics is Statistics.UPDATE:
        for name, rows in everyone.items():
            rows[path.own] = mine[name]
    return out
