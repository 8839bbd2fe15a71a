"""All edges that leave one state of a cell, computed together, and the weights that mix them.

A fan's result is the state's contribution to all later nodes, kept as one tensor [N, lanes·targets·channels,
H, W] that is added to what earlier states have sent. Operations without kernels (pooling, identity) enter it
by one matrix product, whose matrix holds their weights; every other operation hands in its weighted results.
A pass on paths (`raynas.nets.ops.paths`) gathers just the results that count and adds them where they belong.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from raynas.nets.auxiliary import SuperAuxiliarySkip
from raynas.nets.ops.fused import Identity, Shared, Source, fused, operation_class
from raynas.nets.ops.lanes import Lanes, Pass, interleave, nchw, nhwc
from raynas.nets.ops.paths import Path, chosen_places, pick, to_paths
from raynas.spaces.graph import Cell

Weights = Mapping[str, Tensor]
"""Architecture weights by cell kind, each [lanes, edges, operations]; padded entries are ignored."""


def active(weights: Weights) -> dict[str, Tensor]:
    """Return the mask [lanes, edges, operations] of weights other than 0, on the CPU; waits for a GPU."""
    return {kind: (rows.detach() != 0).cpu() for kind, rows in weights.items()}


class FanRow(NamedTuple):
    """One operation of a fan.

    ``positions`` are the places among the fan's targets that its edges lead to, ``entries`` the places of
    their weights among a cell's edges·operations, ``shared`` says that its result is the same for all.
    """

    name: str
    positions: tuple[int, ...]
    entries: tuple[int, ...]
    shared: bool


class FanPlan(NamedTuple):
    """Which operations leave one state, and to which of the ``targets`` nodes that may read it.

    ``edges`` are the places of its edges among the cell's, target by target; None where there is no edge.
    """

    source: int
    targets: int
    stride: int
    rows: tuple[FanRow, ...]
    edges: tuple[int | None, ...]


def fan_plans(cell: Cell, targets: Sequence[int]) -> tuple[FanPlan, ...]:
    """Group a cell's edges by the state they leave; `none` needs no row.

    ``targets`` are the numbers of the nodes that edges lead to; in a reduction cell, edges from the states
    before the first of them halve the resolution.
    """
    plans = []
    for source in range(targets[-1]):
        reached = [target for target in targets if target > source]
        rows: dict[str, tuple[list[int], list[int]]] = {}
        for index, edge in enumerate(cell.edges):
            for column, name in enumerate(edge.ops if edge.source == source else ()):
                if name != "none":
                    positions, entries = rows.setdefault(name, ([], []))
                    positions.append(reached.index(edge.target))
                    entries.append(index * cell.width + column)
        stride = 2 if cell.kind == "reduce" and source < targets[0] else 1
        flat = tuple(
            FanRow(name, tuple(positions), tuple(entries), operation_class(name, stride).shared)
            for name, (positions, entries) in rows.items()
        )
        leaving = {edge.target: index for index, edge in enumerate(cell.edges) if edge.source == source}
        edges = tuple(leaving.get(target) for target in reached)
        plans.append(FanPlan(source, len(reached), stride, flat, edges))
    return tuple(plans)


class FanWeights(NamedTuple):
    """One fan's weights in one pass.

    ``shared`` [lanes, shared operations, 1, targets, 1] weights what is mixed by a matrix product. By row,
    ``paths`` says where the other operations are computed (None: nowhere), and ``scales`` holds their weights
    for each pair and channel. ``offset`` [1, lanes·targets·channels, 1, 1] is added to the sums, and
    ``carry`` [lanes, targets, 1] weighs what by-passes the operations, and ``skips``, as large, auxiliary
    skips.
    """

    shared: Tensor | None
    paths: Sequence[Path | None]
    scales: Sequence[Tensor | None]
    offset: Tensor | None = None
    carry: Tensor | None = None
    skips: Tensor | None = None


class Mixture(nn.Module):
    """Cuts the weights of one kind of cell, [lanes, edges, operations], into those of its fans."""

    index: Tensor
    sums: Tensor
    leaving: Tensor
    there: Tensor
    nodes: Tensor

    def __init__(self, lanes: int, cell: Cell, targets: Sequence[int]) -> None:
        super().__init__()
        self.plans = fan_plans(cell, targets)
        self.lanes, self.entries = lanes, len(cell.edges) * cell.width
        self._chosen: tuple[object, tuple[Tensor, list[int], list[Path | None]]] | None = None
        tables = [_shared_table(plan) for plan in self.plans]
        own = [row.entries for plan in self.plans for row in plan.rows if not row.shared]
        self.shared_sizes = [lanes * len(table) for table in tables]
        self.own_sizes = [lanes * len(entries) for entries in own]
        places = [
            lane * self.entries + entry
            for entries in chain(tables, own)
            for lane in range(lanes)
            for entry in entries
        ]
        self.register_buffer("index", torch.tensor(places, dtype=torch.long), persistent=False)
        sums = [
            lane * plan.targets + position
            for plan in self.plans
            for row in _partial(plan)
            for lane in range(lanes)
            for position in row.positions
        ]
        self.register_buffer("sums", torch.tensor(sums, dtype=torch.long), persistent=False)
        leaving = [edge for plan in self.plans for edge in plan.edges]
        into = [edge.target - targets[0] for edge in cell.edges]
        self.register_buffer("leaving", torch.tensor([edge or 0 for edge in leaving]), persistent=False)
        self.register_buffer("there", torch.tensor([edge is not None for edge in leaving]), persistent=False)
        self.register_buffer("nodes", torch.tensor(into), persistent=False)

    def forward(
        self,
        weights: Tensor,
        channels: int,
        mask: Tensor | None = None,
        offsets: Tensor | None = None,
        carry: Tensor | None = None,
        skips: Tensor | None = None,
    ) -> list[FanWeights]:
        """Return the fans' weights in a cell whose operations have ``channels``.

        ``mask``, ``offsets`` and ``carry`` are what `Pass` has for this kind of cell, ``skips`` [lanes,
        edges] scales auxiliary skips. All offsets of a node are added at once, to what the first state sends
        to it.
        """
        found = self._whole(weights, channels) if mask is None else self._paths(weights, channels, mask)
        if offsets is not None:
            sums = offsets.new_zeros(self.lanes, self.plans[0].targets).index_add(1, self.nodes, offsets)
            wide = _widen(sums.flatten(), channels).view(1, -1, 1, 1)
            found[0] = found[0]._replace(offset=wide)
        if carry is not None:
            found = [f._replace(carry=each) for f, each in zip(found, self._leaving(carry), strict=True)]
        if skips is not None:
            found = [f._replace(skips=each) for f, each in zip(found, self._leaving(skips), strict=True)]
        return found

    def _leaving(self, numbers: Tensor) -> Sequence[Tensor]:
        """Cut [lanes, edges] into the fans' [lanes, targets, 1], 0 where there is no edge."""
        cut = (numbers.index_select(1, self.leaving) * self.there).unsqueeze(2)
        return torch.split(cut, [plan.targets for plan in self.plans], 1)

    def _whole(self, weights: Tensor, channels: int) -> list[FanWeights]:
        # One gather and three splits for all 35 rows of a cell of DARTS (7 operations out of 5 states), where
        # a slice for each would be as many calls, forward and backward: small supernets are bound by calls.
        flat = weights.flatten().index_select(0, self.index)
        shared, own = torch.split(flat, [sum(self.shared_sizes), sum(self.own_sizes)])
        tables = iter(torch.split(shared, self.shared_sizes))
        scales = iter(torch.split(_widen(own, channels), [size * channels for size in self.own_sizes]))
        partial = [row for plan in self.plans for row in _partial(plan)]
        sums = iter(torch.split(self.sums, [self.lanes * len(row.positions) for row in partial]))
        found = []
        for plan in self.plans:
            table = next(tables)
            there = len(table) > 0
            incomplete = set(_partial(plan))
            found.append(
                FanWeights(
                    table.view(self.lanes, -1, 1, plan.targets, 1) if there else None,
                    [
                        None
                        if row.shared
                        else Path(self.lanes, targets=next(sums) if row in incomplete else None)
                        for row in plan.rows
                    ],
                    [None if row.shared else next(scales) for row in plan.rows],
                )
            )
        return found

    def _paths(self, weights: Tensor, channels: int, mask: Tensor) -> list[FanWeights]:
        # 112 bytes per lane in the space of DARTS (14 edges, 8 operations), where `_choose` walks 35 rows.
        key = (mask.numpy().tobytes(), weights.device)
        if self._chosen is None or self._chosen[0] != key:  # passes in a row often take the same paths
            self._chosen = (key, self._choose(mask, weights.device))
        entries, sizes, paths = self._chosen[1]
        own = weights.flatten().index_select(0, entries)
        scales = iter(torch.split(_widen(own, channels), [size * channels for size in sizes]))
        moved = iter(paths)
        return [
            FanWeights(None, [next(moved) for _ in plan.rows], [next(scales) for _ in plan.rows])
            for plan in self.plans
        ]

    def _choose(self, mask: Tensor, device: torch.device) -> tuple[Tensor, list[int], list[Path | None]]:
        """Return the places of the weights that count, how many each row has, and the rows' paths."""
        rows = mask.flatten(1).tolist()
        entries: list[int] = []
        sizes, places = [], []
        for plan in self.plans:
            for row in plan.rows:
                pairs = [
                    (lane, edge)
                    for lane, there in enumerate(rows)
                    for edge, entry in enumerate(row.entries)
                    if there[entry]
                ]
                entries += [lane * self.entries + row.entries[edge] for lane, edge in pairs]
                sizes.append(len(pairs))
                places.append(
                    chosen_places(pairs, self.lanes, row.positions, plan.targets, row.shared)
                    if pairs
                    else None
                )
        index = torch.tensor(entries, dtype=torch.long).to(device)
        return index, sizes, to_paths(places, device)


def _shared_table(plan: FanPlan) -> list[int]:
    """Return the entry of each (shared operation, target), 0 where there is none; `Fan.pattern` hides it."""
    rows = [dict(zip(row.positions, row.entries, strict=True)) for row in plan.rows if row.shared]
    return [row.get(target, 0) for row in rows for target in range(plan.targets)]


def _partial(plan: FanPlan) -> Iterator[FanRow]:
    """Yield the rows with kernels that do not lead to every target."""
    return (row for row in plan.rows if not row.shared and len(row.positions) < plan.targets)


def _widen(numbers: Tensor, channels: int) -> Tensor:
    """Repeat each number for every channel, in memory of its own.

    A single number would stay a view of stride 0, past whose end the backward pass of batch norm reads.
    """
    return numbers.unsqueeze(1).expand(-1, channels).reshape(-1).contiguous()


class Fan(nn.Module):
    """All operations on all edges that leave one state of a cell."""

    pattern: Tensor

    def __init__(self, lanes: Lanes, plan: FanPlan, channels: int, norm_pools: bool = True) -> None:
        super().__init__()
        self.plan, self.lanes, self.channels = plan, len(lanes), channels
        self.targets, self.stride = plan.targets, plan.stride
        self.operations = nn.ModuleList(
            fused(lanes, row.name, len(row.positions), channels, plan.stride, norm_pools) for row in plan.rows
        )
        self.auxiliary: SuperAuxiliarySkip | None = None
        self.register_buffer("pattern", _pattern(plan, channels).to(lanes.dtype), persistent=False)

    def add_auxiliary(self, lanes: Lanes) -> None:
        """Give every edge one more skip; its parameters are drawn now."""
        if any(edge is not None for edge in self.plan.edges):
            self.auxiliary = SuperAuxiliarySkip(lanes, self.plan.edges, self.channels, self.stride)

    def forward(
        self,
        x: Tensor,
        run: Pass,
        weights: FanWeights,
        arrived: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Add the contribution of the state ``x`` [N, lanes·channels, H, W] to what has arrived.

        Both are [N, lanes·targets·channels, H', W']; ``kept`` [N, 1, 1, lanes, targets, 1] scales what each
        edge contributes to an image.
        """
        source = Source(x, run, self.lanes)
        # A dropped edge loses what it sends and nothing of what arrived before, so sums are joined after
        # dropping.
        total = arrived if kept is None else None
        skips = self._kept_skips(source) if run.skip_dropout else None
        if weights.shared is not None:
            total = self._mix(total, source, weights.shared, skips)
        some: list[tuple[Tensor, Tensor]] = []
        for operation, path, scale in zip(self.operations, weights.paths, weights.scales, strict=True):
            if path is None:
                continue
            z = operation(source, scale, path)
            if skips is not None and isinstance(operation, Identity):
                z = z * pick(nchw(skips.flatten(3)), self.lanes * self.targets, path.targets)
            total = self._add(total, z, path.targets, some)
        if self.auxiliary is not None and run.auxiliary:
            z, targets = self.auxiliary(source, weights.skips)
            total = self._add(total, z, targets, some)
        if total is None:
            total = self._nothing(x)
        if some:
            total = self._scatter(total, some)
        if kept is not None:
            total = _plus(arrived, self._each(total, kept))
        return total if weights.offset is None else total + weights.offset.to(total.dtype)

    def _add(
        self, total: Tensor | None, z: Tensor, targets: Tensor | None, some: list[tuple[Tensor, Tensor]]
    ) -> Tensor | None:
        """Add a result that leads to all targets to the total; put one that leads to ``some`` with those."""
        if targets is None:
            return _plus(total, z)
        some.append((targets, torch.unflatten(nhwc(z), 3, (-1, self.channels))))
        return total

    def _kept_skips(self, source: Source) -> Tensor | None:
        """Return which entries of skips are kept, [N, H, W, lanes, targets, channels], if there are any."""
        if not any(isinstance(operation, Identity) for operation in self.operations):
            return None
        n, _, height, width = source.x.shape
        size = (n, height, width, self.targets, self.channels)
        return source.run.survivors(source.run.skip_dropout, size, source.x)

    def _mix(self, total: Tensor | None, source: Source, weights: Tensor, skips: Tensor | None) -> Tensor:
        """Add the weighted sums of the shared operations' results, for every target."""
        matrix = weights * self.pattern
        shared = [operation for operation in self.operations if isinstance(operation, Shared)]
        whole = Path(self.lanes)
        if skips is not None:
            alone = [row for row, operation in enumerate(shared) if isinstance(operation, Identity)]
            x = torch.unflatten(nhwc(source.x), 3, (self.lanes, 1, self.channels))
            for row in alone:
                numbers = torch.diagonal(
                    matrix[:, row], dim1=1, dim2=3
                )  # a number for each target and channel
                total = _plus(total, nchw((x * (skips * numbers)).flatten(3)))
            others = [row for row in range(len(shared)) if row not in alone]
            if not others:
                return total  # type: ignore[return-value]
            matrix, shared = matrix[:, others], [shared[row] for row in others]
        return _plus(total, self._product([operation.once(source, whole) for operation in shared], matrix))

    def _product(self, results: Sequence[Tensor], matrix: Tensor) -> Tensor:
        """Multiply results [N, lanes·channels, H', W'] by a matrix as `pattern` is, for each lane."""
        wide = interleave(results, self.lanes)
        n, _, height, width = wide.shape
        if self.lanes == 1:
            # One entry in C of this matrix is not 0, and still one product takes .3 to .4 of the time of a
            # multiply-add for each operation and target (2 operations, 4 targets; sizes micro, tiny, paper16
            # of the benchmarks).
            mixed = torch.mm(nhwc(wide).flatten(0, 2), matrix.reshape(wide.shape[1], -1))
        else:
            by_lane = nhwc(wide).reshape(-1, self.lanes, len(results) * self.channels).transpose(0, 1)
            mixed = torch.bmm(by_lane, matrix.flatten(3, 4).flatten(1, 2)).transpose(0, 1)
        return nchw(mixed.reshape(n, height, width, -1))

    def _each(self, total: Tensor, factors: Tensor) -> Tensor:
        """Multiply every target's channels by their factors [N, 1, 1, lanes, targets, 1]."""
        cut = torch.unflatten(nhwc(total), 3, (self.lanes, self.targets, self.channels))
        return nchw((cut * factors).flatten(3))

    def _scatter(self, total: Tensor, some: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Add results [N, H', W', pairs, channels] to the sums they lead to."""
        sums = torch.cat([targets for targets, _ in some])
        results = torch.cat([z for _, z in some], 3).to(total.dtype)  # under autocast, skips stay float32
        summed = torch.unflatten(nhwc(total), 3, (-1, self.channels)).index_add(3, sums, results)
        return nchw(summed.flatten(3))

    def _nothing(self, x: Tensor) -> Tensor:
        """Return sums of nothing, for edges out of a state shaped as ``x``."""
        n, _, height, width = x.shape
        size = (-(-height // self.stride), -(-width // self.stride))
        return nchw(x.new_zeros(n, *size, self.lanes * self.targets * self.channels))


def _plus(total: Tensor | None, z: Tensor) -> Tensor:
    return z if total is None else total + z


def _pattern(plan: FanPlan, channels: int) -> Tensor:
    """Return the matrix of ones [shared operations, channels, targets, channels] that weights fill.

    A result reaches a target if its operation is on that edge, and only within its own channel.
    """
    rows = [row for row in plan.rows if row.shared]
    there = torch.tensor([[target in row.positions for target in range(plan.targets)] for row in rows])
    return there.view(len(rows), 1, plan.targets, 1) * torch.eye(channels).view(1, channels, 1, channels)
