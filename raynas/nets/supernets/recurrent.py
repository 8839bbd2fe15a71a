"""The supernet of a recurrent cell for language models: every activation on every pair of its nodes.

The cell reads a word x and its own output h of the word before. Its first state is
s₀ = h + σ(c)·(tanh(z) − h) with [c; z] = [x; h]·W₀; node i adds up, over the states before it and over the
activations f, weight·(s + σ(c)·(f(z) − s)) with [c; z] = s·Wᵢ. W₁ to W₈ are one for all of a node's
predecessors and activations, and the cell's output is the mean of its nodes (Liu et al. 2019, A.1.2).

All that leaves a state goes to all later nodes at once, by one product; only time is a loop.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import RaynasError
from raynas.nets.ops.forms import Forms
from raynas.nets.ops.lanes import Lanes, Norm, Pass, Statistics
from raynas.nets.supernet import Supernet
from raynas.spaces import skeletons
from raynas.spaces.graph import Cell
from raynas.spaces.space import Space

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
FAN_IN = 625
"""Weights start uniform in ±1/√625 = ±0.04, as in the code of Liu et al. 2019, whatever their number."""


class EdgePlaces(nn.Module):
    """Brings a cell's weights [lanes, edges, operations] into the order in which states send.

    That is [lanes, pairs, activations] with the pairs of states sorted by source, then target; what a space
    leaves out has weight 0, and so has `none`.
    """

    index: Tensor
    nodes: Tensor

    def __init__(self, cell: Cell, nodes: int) -> None:
        super().__init__()
        entries = {
            (edge.source, edge.target, op): row * cell.width + column
            for row, edge in enumerate(cell.edges)
            for column, op in enumerate(edge.ops)
        }
        pairs = [(source, target) for source in range(nodes) for target in range(source + 1, nodes + 1)]
        nothing = len(cell.edges) * cell.width
        index = [entries.get((*pair, op), nothing) for pair in pairs for op in ACTIVATIONS]
        self.register_buffer("index", torch.tensor(index), persistent=False)
        self.register_buffer("nodes", torch.tensor([e.target - 1 for e in cell.edges]), persistent=False)
        self.sizes = [nodes - source for source in range(nodes)]

    def forward(self, weights: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Return each state's weights [activations, lanes, 1, later nodes, 1]; ``mask`` as `Pass.active`."""
        if mask is not None:
            weights = weights.masked_fill(~mask.to(weights.device), 0.0)
        flat = F.pad(weights.flatten(1), (0, 1)).index_select(1, self.index)
        wide = flat.view(len(flat), 1, -1, len(ACTIVATIONS), 1).movedim(3, 0)
        return torch.split(wide, self.sizes, 3)

    def added(self, offsets: Tensor) -> Tensor:
        """Return what offsets [lanes, edges] add to the nodes, [lanes, 1, nodes, 1]."""
        sums = offsets.new_zeros(len(offsets), len(self.sizes)).index_add(1, self.nodes, offsets)
        return sums.view(len(offsets), 1, -1, 1)


class RecurrentSupernet(nn.Module):
    """A supernet of one recurrent space for texts of ``classes`` words, for one or several lanes.

    The arguments are those of `Supernet`; what a recurrent cell does not have raises `RaynasError`. Words are
    embedded in as many numbers as the cell has units, ``channels``, and the embedding serves as the last
    layer's weights too. Batch normalisation follows each state, with running statistics of its own (the
    original code shares one set); the mean and deviation of a time step are those of its batch alone.
    """

    def __init__(
        self,
        space: Space,
        shape: Sequence[int],
        classes: int,
        channels: int,
        cells: int,
        generators: Sequence[torch.Generator],
        dtype: torch.dtype = torch.float32,
        forms: Forms | None = None,
        recompute: bool = False,
        partial: int = 1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        _check_build(skeletons.checked(space), shape, cells, recompute, partial, auxiliary)
        lanes = Lanes(generators, dtype)
        [cell] = space.cells
        self.space, self.channels = space, channels
        self.places = EdgePlaces(cell, space.nodes)
        self.embedding = lanes.uniform(classes, channels, fan_in=FAN_IN)
        self.bias = lanes.constant(classes, value=0.0)
        self.first = lanes.uniform(2 * channels, 2 * channels, fan_in=FAN_IN)
        self.nodes = lanes.uniform(space.nodes, channels, 2 * channels, fan_in=FAN_IN)
        self.norms = nn.ModuleList(Norm(lanes, channels) for _ in range(space.nodes + 1))

    def forward(self, tokens: Tensor, weights: Mapping[str, Tensor], run: Pass) -> Tensor:
        """Return logits [lanes, N, T, words] of what follows each of the tokens int64 [lanes, N, T].

        The cell starts from `Pass.carried`, or from zeros, and leaves there what it ended with.
        """
        lanes, n, steps = tokens.shape
        # Each lane's words are looked up in its own part of one long table, in a single call.
        numbers = torch.arange(lanes, device=tokens.device).view(-1, 1, 1) * self.embedding.shape[1]
        words = F.embedding(tokens + numbers, self.embedding.flatten(0, 1))
        words, hidden_mask, output_mask = self._dropped(words, tokens, run)
        # Cut once for all time steps, of which a segment has 35 by default.
        mix, added = self._cut(weights, run)
        from_word, from_before = torch.split(self.first, self.channels, 1)
        read = _product(words.flatten(1, 2), from_word).view(lanes, n, steps, -1)
        matrices = self._matrices()
        state = None if run.carried is None else run.carried.now
        state = words.new_zeros(lanes, n, self.channels) if state is None else state.to(words.dtype)
        # The word's half of the first product does not depend on the state: one call for all time steps
        # above, so that the loop has the other half alone.
        outputs = []
        for step in read.unbind(2):
            gate, update = (step + _product(_masked(state, hidden_mask), from_before)).chunk(2, 2)
            state = _highway(state, torch.tanh(update), gate)
            state = self._nodes(self._norm(0, state, run), mix, added, matrices, run, hidden_mask)
            outputs.append(state)
        if run.carried is not None:
            # Truncated backpropagation: a gradient ends at its segment's first word.
            run.carried.ahead = state.detach()
        hidden = torch.stack(outputs, 2)
        dropped = _masked(hidden, output_mask)
        _note_terms(hidden, dropped, run)
        features = dropped.flatten(1, 2)
        logits = torch.baddbmm(self.bias.unsqueeze(1), features, self.embedding.transpose(1, 2))
        return logits.view(lanes, n, steps, -1)

    def _dropped(
        self, words: Tensor, tokens: Tensor, run: Pass
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return words [lanes, N, T, channels] as the cell reads them, and masks of states and of outputs.

        A mask holds for all words of a segment, and that of the states for all nodes; None is no dropout.
        """
        if run.word_drops is None:
            return words, None, None
        n = tokens.shape[1]
        whole = run.word_mask("words", (self.embedding.shape[1],), words)
        if whole is not None:
            words = words * whole.gather(1, tokens.flatten(1)).view(*tokens.shape, 1)
        shape = (n, 1, self.channels)
        for name in ("embedding", "input"):
            words = _masked(words, run.word_mask(name, shape, words))
        hidden = run.word_mask("hidden", (n, self.channels), words)
        return words, hidden, run.word_mask("output", shape, words)

    def _cut(self, weights: Mapping[str, Tensor], run: Pass) -> tuple[tuple[Tensor, ...], Tensor | None]:
        [kind] = self.space.kinds
        mix = self.places(weights[kind], None if run.active is None else run.active[kind])
        return mix, None if run.offsets is None else self.places.added(run.offsets[kind])

    def _matrices(self) -> list[Tensor]:
        """Return, for each state, the matrix [lanes, channels, 2·later nodes·channels] of what reads it."""
        later = (self.nodes[:, source:] for source in range(self.nodes.shape[1]))
        return [torch.unflatten(each, 3, (2, -1)).permute(0, 2, 3, 1, 4).flatten(2) for each in later]

    def _nodes(
        self,
        state: Tensor,
        mix: tuple[Tensor, ...],
        sums: Tensor | None,
        matrices: list[Tensor],
        run: Pass,
        mask: Tensor | None,
    ) -> Tensor:
        """Return the mean of the nodes that follow from the first state [lanes, N, channels]."""
        nodes = []
        for index, (weights, matrix) in enumerate(zip(mix, matrices, strict=True), start=1):
            sent = _send(state, weights, matrix, mask)
            sums = sent if sums is None else sums + sent
            state = self._norm(index, sums[:, :, 0], run)
            sums = sums[:, :, 1:]
            nodes.append(state)
        return torch.stack(nodes).mean(0)

    def _norm(self, index: int, state: Tensor, run: Pass) -> Tensor:
        lanes, n, channels = state.shape
        rows = state.transpose(0, 1).reshape(n, lanes * channels, 1, 1)
        normed: Tensor = self.norms[index](rows, run)
        return normed.view(n, lanes, channels).transpose(0, 1)


def _note_terms(outputs: Tensor, dropped: Tensor, run: Pass) -> None:
    """Leave what the loss of a step of the weights adds for outputs [lanes, N, T, channels], [lanes]."""
    if run.carried is None or run.statistics is not Statistics.UPDATE:
        return
    if run.slowness and outputs.shape[2] > 1:
        moved = outputs[:, :, 1:] - outputs[:, :, :-1]
        run.carried.terms.append(run.slowness * moved.pow(2).mean((1, 2, 3)))
    if run.activation:
        run.carried.terms.append(run.activation * dropped.pow(2).mean((1, 2, 3)))


def _masked(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _send(state: Tensor, weights: Tensor, matrix: Tensor, mask: Tensor | None) -> Tensor:
    """Return what a state [lanes, N, channels] adds to each later node, [lanes, N, later nodes, channels].

    ``mask`` multiplies what the matrix reads of the state, and not what the gate goes on from.
    """
    gate, z = torch.unflatten(_product(_masked(state, mask), matrix), 2, (2, -1, state.shape[2])).unbind(2)
    tanh, relu, sigmoid, identity = weights
    mixed = tanh * torch.tanh(z) + relu * torch.relu(z) + sigmoid * torch.sigmoid(z) + identity * z
    kept = weights.sum(0) * state.unsqueeze(2)
    return _highway(kept, mixed, gate)


def _highway(kept: Tensor, new: Tensor, gate: Tensor) -> Tensor:
    # torch.lerp is an order of magnitude slower on a CPU.
    return torch.addcmul(kept, torch.sigmoid(gate), new - kept)


def _product(state: Tensor, matrix: Tensor) -> Tensor:
    """Multiply lane by lane; under autocast the product alone is of lower precision."""
    return torch.bmm(state, matrix).to(state.dtype)


def _check_build(
    space: Space, shape: Sequence[int], cells: int, recompute: bool, partial: int, auxiliary: bool
) -> None:
    """Refuse what a recurrent cell does not have."""
    if shape:
        skeletons.of(space).plan(shape, space.nodes, cells, 1)
    wrong = {
        f"cells: {cells}": cells != 1,
        f"partial: {partial}": partial != 1,
        "auxiliary: true": auxiliary,
        "recompute: true": recompute,
    }
    if asked := [words for words, given in wrong.items() if given]:
        raise RaynasError(
            "a recurrent supernet is one cell, with all its channels and activations, and no other skips",
            got=", ".join(asked),
        )


AnySupernet = Supernet | RecurrentSupernet
"""Of images or of texts."""
