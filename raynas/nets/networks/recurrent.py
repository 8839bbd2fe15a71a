"""The language model of a recurrent genotype, as it is trained from scratch."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype

SPREAD = 0.04
"""Weights start uniform in ±0.04, as in the code of Liu et al. 2019."""


class Masks(NamedTuple):
    """What a cell's products read of a word and of any state is multiplied with, [N, channels] each."""

    word: Tensor
    state: Tensor


class RecurrentNetwork(nn.Module):
    """The language model a recurrent genotype describes, for texts of ``classes`` words.

    Words are embedded in ``channels`` numbers, as many as the cell has units, and the embedding is the last
    layer's weight too. Without batch normalisation (Liu et al. 2019, A.1.2 and A.3). Raises `RaynasError` for
    genotypes of images.
    """

    depth = 1

    def __init__(self, genotype: Genotype, classes: int, channels: int) -> None:
        super().__init__()
        if not skeletons.of(skeletons.checked(genotype)).texts:
            raise RaynasError("this genotype reads images", got=f"a cell of the {genotype.skeleton} skeleton")
        self.choices = genotype.cell(genotype.kinds[0])
        self.outputs = skeletons.of(genotype).gathered(genotype, genotype.kinds[0])
        self.channels = channels
        self.embedding = nn.Parameter(torch.empty(classes, channels).uniform_(-SPREAD, SPREAD))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.first = nn.Parameter(torch.empty(2 * channels, 2 * channels).uniform_(-SPREAD, SPREAD))
        self.nodes = nn.Parameter(
            torch.empty(genotype.nodes, channels, 2 * channels).uniform_(-SPREAD, SPREAD)
        )

    def forward(self, tokens: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits [N, T, words] of what follows tokens int64 [N, T], and the last state [N, channels].

        ``hidden`` [N, channels] is the state to start from; zeros if left out.
        """
        words = F.embedding(tokens, self.embedding)
        hidden = words.new_zeros(len(tokens), self.channels) if hidden is None else hidden
        outputs = []
        for word in words.unbind(1):
            hidden = self.cell(word, hidden)
            outputs.append(hidden)
        return F.linear(torch.stack(outputs, 1), self.embedding, self.bias), hidden

    def cell(self, word: Tensor, hidden: Tensor, masks: Masks | None = None) -> Tensor:
        """Return the cell's output for a word and its own output before, all [N, channels].

        ``masks`` change what the matrices read, and not the states that the gates go on from.
        """
        read = [word, hidden] if masks is None else [word * masks.word, hidden * masks.state]
        gate, new = (torch.cat(read, 1) @ self.first).chunk(2, 1)
        states = [hidden + torch.sigmoid(gate) * (torch.tanh(new) - hidden)]
        reads = [states[0] if masks is None else states[0] * masks.state]
        for node, weights in enumerate(self.nodes, start=1):
            total = None
            for choice in self.choices:
                if choice.target == node and choice.op != "none":
                    state = states[choice.source]
                    gate, new = (reads[choice.source] @ weights).chunk(2, 1)
                    sent = state + torch.sigmoid(gate) * (_activate(choice.op, new) - state)
                    total = sent if total is None else total + sent
            states.append(torch.zeros_like(hidden) if total is None else total)
            reads.append(states[-1] if masks is None else states[-1] * masks.state)
        return torch.stack([states[state] for state in self.outputs]).mean(0)


def _activate(op: str, x: Tensor) -> Tensor:
    match op:
        case "tanh":
            return torch.tanh(x)
        case "relu":
            return torch.relu(x)
        case "sigmoid":
            return torch.sigmoid(x)
    return x
