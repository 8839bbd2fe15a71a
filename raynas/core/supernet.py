"""The supernet: every candidate operation of a space on every edge, mixed by weights that are arguments.

The architecture's weights are never attributes of the network. They are a mapping from cell kind to a tensor
[lanes, edges, operations], so second-order gradients, Hessians and sampled paths need no tricks, and the
network's own parameters can never be mixed up with them.

What makes it fast (`raynas.core.ops.fused`): all edges that leave a state share its ReLU, poolings and
identity, and run their convolutions as one; the weights ride in the batch normalisations; a state's
contributions to all later nodes stay one tensor that is added to an accumulator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.core import skeleton
from raynas.core.ops.fused import Source, fused
from raynas.core.ops.lanes import Lanes, Norm, Pass, interleave, keep_format, shifted
from raynas.core.space import INPUTS, Cell, Space

Weights = Mapping[str, Tensor]
"""Architecture weights by cell kind, each [lanes, edges, operations]; padded entries are ignored."""


@dataclass(frozen=True)
class FanPlan:
    """Which operations leave one state, and on which edges.

    Each row is an operation's name, the positions (among ``targets``) its edges lead to, and the indices of
    those entries in the flattened [edges·operations] weights.
    """

    source: int
    targets: tuple[int, ...]
    rows: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]


def fan_plans(cell: Cell, nodes: int) -> tuple[FanPlan, ...]:
    """Group a cell's edges by the state they leave; `none` needs no row."""
    plans = []
    for source in range(INPUTS + nodes - 1):
        targets = tuple(range(max(source + 1, INPUTS), INPUTS + nodes))
        rows: dict[str, tuple[list[int], list[int]]] = {}
        for index, edge in enumerate(cell.edges):
            if edge.source != source:
                continue
            for column, name in enumerate(edge.ops):
                if name != "none":
                    positions, entries = rows.setdefault(name, ([], []))
                    positions.append(targets.index(edge.target))
                    entries.append(index * cell.width + column)
        flat = tuple((name, tuple(positions), tuple(entries)) for name, (positions, entries) in rows.items())
        plans.append(FanPlan(source, targets, flat))
    return tuple(plans)


class Fan(nn.Module):
    """All operations on all edges that leave one state of a cell."""

    def __init__(self, lanes: Lanes, plan: FanPlan, channels: int, stride: int) -> None:
        super().__init__()
        self.lanes, self.channels, self.stride = len(lanes), channels, stride
        self.targets = len(plan.targets)
        self.positions = [positions for _, positions, _ in plan.rows]
        self.operations = nn.ModuleList(
            fused(lanes, name, len(positions), channels, stride) for name, positions, _ in plan.rows
        )

    def forward(self, source: Source, rows: Sequence[Tensor], scales: Sequence[Tensor]) -> Tensor:
        """Return this state's contribution to every later node, [N, lanes·targets·channels, H', W'].

        ``rows`` holds each operation's weights [lanes, its edges], ``scales`` the same for every channel.
        """
        branches: dict[tuple[int, ...], Tensor] = {}
        shared: list[tuple[tuple[int, ...], Tensor, Tensor]] = []
        for operation, positions, row, scale in zip(
            self.operations, self.positions, rows, scales, strict=True
        ):
            z = operation(source, scale)
            if operation.shared:
                shared.append((positions, z.unflatten(1, (self.lanes, 1, self.channels)), row))
            else:
                z = z.unflatten(1, (self.lanes, len(positions), self.channels))
                branches[positions] = branches[positions] + z if positions in branches else z
        for positions, z, row in shared:
            weight = row.view(1, *row.shape, 1, 1, 1)
            known = branches.get(positions)
            branches[positions] = z * weight if known is None else torch.addcmul(known, z, weight)
        return self._spread(source, branches).flatten(1, 3)

    def _spread(self, source: Source, branches: dict[tuple[int, ...], Tensor]) -> Tensor:
        """Add up branches that lead to different subsets of the targets."""
        everywhere = branches.pop(tuple(range(self.targets)), None)
        if everywhere is None:
            n, _, height, width = source.x.shape
            size = (-(-height // self.stride), -(-width // self.stride))
            everywhere = source.x.new_zeros(n, self.lanes, self.targets, self.channels, *size)
        for positions, z in branches.items():
            everywhere = everywhere.index_add(2, torch.tensor(positions, device=z.device), z)
        return everywhere


class Preprocess(nn.Module):
    """Bring an input state to the cell's width (and resolution): ReLU, 1×1 convolution, batch norm."""

    def __init__(self, lanes: Lanes, inputs: int, channels: int, halve: bool) -> None:
        super().__init__()
        self.lanes = len(lanes)
        sizes = [channels // 2, channels - channels // 2] if halve else [channels]
        self.weights = nn.ParameterList(lanes.uniform(size, inputs, fan_in=inputs) for size in sizes)
        self.stride = 2 if halve else 1
        self.norm = Norm(lanes, channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Map [N, lanes·inputs, H, W] to [N, lanes·channels, H', W']."""
        x = F.relu(x)
        views = [x, shifted(x)] if self.stride == 2 else [x]
        parts = [
            run.convolve(view, weight.flatten(0, 1)[..., None, None], stride=self.stride, groups=self.lanes)
            for view, weight in zip(views, self.weights, strict=True)
        ]
        return self.norm(interleave(parts, self.lanes), run)  # type: ignore[no-any-return]


class SupernetCell(nn.Module):
    """One cell of the supernet."""

    def __init__(self, lanes: Lanes, space: Space, cell: skeleton.CellPlan) -> None:
        super().__init__()
        self.kind, self.channels, self.lanes = cell.kind, cell.channels, len(lanes)
        self.inputs = nn.ModuleList(
            Preprocess(lanes, width, cell.channels, halve=index == 0 and cell.previous_reduced)
            for index, width in enumerate(cell.inputs)
        )
        self.fans = nn.ModuleList(
            Fan(lanes, fan, cell.channels, stride=2 if cell.kind == "reduce" and fan.source < INPUTS else 1)
            for fan in fan_plans(space.cell(cell.kind), space.nodes)
        )

    def forward(
        self,
        before: Tensor,
        previous: Tensor,
        mixture: "Mixture",
        run: Pass,
    ) -> Tensor:
        """Return the concatenated nodes, [N, lanes·nodes·channels, H', W']."""
        rows, scales = mixture.of(self.kind, self.channels)
        states = [preprocess(x, run) for preprocess, x in zip(self.inputs, (before, previous), strict=True)]
        sent = [
            fan(Source(state, run), row, scale)
            for fan, state, row, scale in zip(self.fans, states, rows, scales, strict=False)
        ]
        waiting = sent[0] + sent[1]
        for fan, row, scale in zip(self.fans[INPUTS:], rows[INPUTS:], scales[INPUTS:], strict=True):
            node, waiting = self._split_first(waiting)
            states.append(node)
            waiting = waiting + fan(Source(node, run), row, scale)
        return interleave([*states[INPUTS:], keep_format(waiting)], self.lanes)

    def _split_first(self, waiting: Tensor) -> tuple[Tensor, Tensor]:
        """Take the first node, whose edges have all arrived, off the sums of all nodes still waiting.

        Splitting four-dimensional channels, rather than slicing a dimension of targets, keeps gradients
        channels-last (see `keep_format`).
        """
        rest = waiting.shape[1] // self.lanes - self.channels
        pieces = torch.split(waiting, [self.channels, rest] * self.lanes, 1)
        first, others = interleave(pieces[::2], 1), interleave(pieces[1::2], 1)
        return keep_format(first.contiguous(memory_format=torch.channels_last)), others


class Mixture:
    """The weights of one forward pass, cut into rows per state and operation, widened per channel once."""

    def __init__(self, space: Space, weights: Weights) -> None:
        self._weights = weights
        self._plans: dict[str, tuple[FanPlan, ...]] = {
            cell.kind: fan_plans(cell, space.nodes) for cell in space.cells
        }
        self._cache: dict[tuple[str, int], tuple[list[list[Tensor]], list[list[Tensor]]]] = {}

    def of(self, kind: str, channels: int) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """Return rows [state][operation] of [lanes, edges] and scales of lanes·edges·channels numbers."""
        if (kind, channels) not in self._cache:
            plans = self._plans[kind]
            order = [entry for fan in plans for _, _, entries in fan.rows for entry in entries]
            sizes = [len(entries) for fan in plans for _, _, entries in fan.rows]
            weights = self._weights[kind].flatten(1)
            flat = weights.index_select(1, torch.tensor(order, device=weights.device))
            rows = list(torch.split(flat, sizes, 1))
            wide = torch.split(flat.repeat_interleave(channels, 1), [size * channels for size in sizes], 1)
            scales = [scale.flatten() for scale in wide]
            per_fan = [len(fan.rows) for fan in plans]
            self._cache[kind, channels] = (_regroup(rows, per_fan), _regroup(scales, per_fan))
        return self._cache[kind, channels]


def _regroup(items: list[Tensor], sizes: Sequence[int]) -> list[list[Tensor]]:
    iterator = iter(items)
    return [[next(iterator) for _ in range(size)] for size in sizes]


class Stem(nn.Module):
    """The layers before the first cell; returns the two states it reads."""

    def __init__(self, lanes: Lanes, plan: skeleton.Plan, image_channels: int) -> None:
        super().__init__()
        self.lanes = len(lanes)
        width = plan.stem_channels
        widths = (
            [image_channels, width] if plan.stem == "small" else [image_channels, width // 2, width, width]
        )
        self.stride = 1 if plan.stem == "small" else 2
        pairs = list(pairwise(widths))
        self.convolutions = nn.ParameterList(
            lanes.uniform(after, before, 3, 3, fan_in=9 * before) for before, after in pairs
        )
        self.norms = nn.ModuleList(Norm(lanes, after) for _, after in pairs)
        self.scales = nn.ParameterList(lanes.constant(after, value=1.0) for _, after in pairs)
        self.shifts = nn.ParameterList(lanes.constant(after, value=0.0) for _, after in pairs)

    def forward(self, x: Tensor, run: Pass) -> tuple[Tensor, Tensor]:
        """Map images [N, lanes·colours, H, W] to states 0 and 1 of the first cell."""
        states = [x]
        layers = zip(self.convolutions, self.norms, self.scales, self.shifts, strict=True)
        for index, (weight, norm, scale, shift) in enumerate(layers):
            x = F.relu(x) if index else x
            x = run.convolve(x, weight.flatten(0, 1), self.stride, 1, groups=self.lanes)
            x = norm(x, run, scale.flatten(), shift.flatten())
            states.append(x)
        return (x, x) if self.stride == 1 else (states[-2], x)


class Supernet(nn.Module):
    """A supernet of one space for images of one shape, for one or several lanes.

    ``generators`` seed the initial weights, one per lane. ``shape`` is (channels, height, width).
    Raises `RaynasError` when the space cannot be stacked this way.
    """

    def __init__(
        self,
        space: Space,
        shape: tuple[int, int, int],
        classes: int,
        channels: int,
        cells: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        lanes = Lanes(generators, dtype)
        plan = skeleton.plan(shape, space.nodes, cells, channels)
        self.space = space
        self.stem = Stem(lanes, plan, shape[0])
        self.cells = nn.ModuleList(SupernetCell(lanes, space, cell) for cell in plan.cells)
        self.head = lanes.uniform(classes, plan.features, fan_in=plan.features)
        self.bias = lanes.uniform(classes, fan_in=plan.features)

    def forward(
        self,
        images: Tensor,
        weights: Weights,
        run: Pass,
    ) -> Tensor:
        """Return logits [lanes, N, classes] of images [lanes, N, channels, height, width]."""
        x = images.transpose(0, 1).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        mixture = Mixture(self.space, weights)
        before, previous = self.stem(x, run)
        for cell in self.cells:
            before, previous = previous, cell(before, previous, mixture, run)
        features = previous.mean((2, 3)).unflatten(1, (len(images), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), features, self.head.transpose(1, 2))
