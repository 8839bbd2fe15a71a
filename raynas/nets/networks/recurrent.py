"""The language model of a recurrent genotype, as it is trained from scratch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raynas.errors import RaynasError
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype

SPREAD = 0.04
"""Weights start uniform in ±0.04, as in the code of Liu et al. 2019."""


class RecurrentNetwork(nn.Module):
    """The language model a recurrent genotype describes, for texts of ``classes`` words.

    Words are embedded in ``channels`` numbers, as many as the cell has units, and the embedding is the last
    layer's weight too. Without batch normalisation (Liu et al. 2019, A.1.2 and A.3). Raises `RaynasError` for
    genotypes of images.
    """

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

    def cell(self, word: Tensor, hidden: Tensor) -> Tensor:
        """Return the cell's output for a word and its own output before, all [N, channels]."""
        gate, new = (torch.cat([word, hidden], 1) @ self.first).chunk(2, 1)
        states = [hidden + torch.sigmoid(gate) * (torch.tanh(new) - hidden)]
        for node, weights in enumerate(self.nodes, start=1):
            total = torch.zeros_like(hidden)
            for choice in self.choices:
                if choice.target == node and choice.op != "none":
                    state = states[choice.source]
                    gate, new = (state @ weights).chunk(2, 1)
                    total = total + state + torch.sigmoid(gate) * (_activate(choice.op, new) - state)
            states.append(total)
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
