"""Batches of a text: parallel streams that are read on segment after segment.

What a batch says of one stream goes on where the batch before it ended, so that a hidden state can be carried
over. Nothing is random but the `segment_lengths`.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from raynas.errors import RaynasError

TextBatch = tuple[Tensor, Tensor]
"""Tokens int64 [streams, steps] and, for each, the one that follows it."""

DEVIATION, HALVED, SHORTEST, BEYOND = 5.0, 0.05, 5, 20
"""Of random lengths: their standard deviation, the share with half the mean, the least, and what the longest
has beyond the mean (quark0/darts f276dd3, rnn/train.py; from AWD-LSTM)."""


def segment_lengths(count: int, bptt: int, generator: torch.Generator) -> list[int]:
    """Draw the lengths of the segments of a stream of ``count`` tokens, the last one reaching beyond its end.

    A length is from N(bptt, 5), one in 20 from N(bptt/2, 5), without its fraction, at least 5 and at most
    bptt + 20. A single token that is left at the end is no segment: its output has none to be compared with.
    """
    lengths: list[int] = []
    start = 0
    while start < count - 1:
        halved = torch.rand((), generator=generator, dtype=torch.float64).item() < HALVED
        drawn = torch.randn((), generator=generator, dtype=torch.float64).item()
        length = int((bptt / 2 if halved else bptt) + DEVIATION * drawn)
        lengths.append(min(max(length, SHORTEST), bptt + BEYOND))
        start += lengths[-1]
    return lengths


def halved_lengths(steps: int, bptt: int, chance: float, generator: torch.Generator) -> list[int]:
    """Draw the lengths of segments that fit into ``steps`` full ones, each half as long with a ``chance``."""
    lengths: list[int] = []
    left = steps * bptt
    while left > 0:
        halved = torch.rand((), generator=generator, dtype=torch.float64).item() < chance
        lengths.append(min(max(bptt // 2, 1) if halved else bptt, left))
        left -= lengths[-1]
    return lengths


class TextFeed:
    """The segments, ``bptt`` tokens long, of a text int64 [n] that is cut into ``batch`` equal streams.

    Stream k holds the tokens from k·length on; each token's label is the next one of the text. At most
    ``batch`` tokens at the end, which do not fill all streams, are left out. Raises `RaynasError` when the
    text is too short for one batch.
    """

    def __init__(self, tokens: Tensor, batch: int, bptt: int) -> None:
        # The last token has no label, as none follows it.
        length = (len(tokens) - 1) // batch
        if length < bptt:
            raise RaynasError(
                "the text is too short for one batch",
                got=f"{len(tokens)} tokens",
                expected=f"{batch * bptt + 1} or more: {batch} streams (batch) of {bptt} tokens (data.bptt)",
                next_step="lower batch or data.bptt, or take more text (data.limit, data.path)",
            )
        self.batch, self.bptt, self._all = batch, bptt, tokens
        self.tokens = tokens[: batch * length].view(batch, length)
        self.labels = tokens[1 : batch * length + 1].view(batch, length)

    @property
    def steps_per_epoch(self) -> int:
        """Full segments in one pass."""
        return self.tokens.shape[1] // self.bptt

    def epoch(self, steps: int | None = None) -> Iterator[TextBatch]:
        """Yield full segments in order: one pass, or ``steps`` > 0 of them, beginning again at the end."""
        for step in range(self.steps_per_epoch if steps is None else steps):
            yield self._segment(step % self.steps_per_epoch * self.bptt)

    @property
    def count(self) -> int:
        """How many tokens one pass reads."""
        return self.tokens.numel()

    def cut(self, lengths: Iterable[int]) -> Iterator[TextBatch]:
        """Yield segments of these lengths, one after the other; one that reaches beyond the end is cut."""
        start = 0
        for length in lengths:
            steps = slice(start, start + length)
            yield self.tokens[:, steps], self.labels[:, steps]
            start += length

    def plain(self, batch: int | None = None) -> Iterator[TextBatch]:
        """Yield one pass, the last segment being what is left; ``batch`` is that of the feed."""
        for start in range(0, self.tokens.shape[1], self.bptt):
            yield self._segment(start)

    def probe(self, count: int, batch: int, generator: torch.Generator) -> list[TextBatch]:
        """Return ``count`` batches of segments from random places, which depend on ``generator`` alone."""
        starts = torch.randint(len(self._all) - self.bptt, (count, batch), generator=generator)
        places = (starts.unsqueeze(2) + torch.arange(self.bptt)).to(self._all.device)
        return list(zip(self._all[places], self._all[places + 1], strict=True))

    def _segment(self, start: int) -> TextBatch:
        steps = slice(start, start + self.bptt)
        return self.tokens[:, steps], self.labels[:, steps]


def reading(tokens: Tensor, streams: int, bptt: int) -> TextFeed:
    """Return a feed of a text int64 [n] to evaluate on; of a short one with fewer streams and steps."""
    streams = max(min(streams, len(tokens) - 1), 1)
    return TextFeed(tokens, streams, max(min(bptt, (len(tokens) - 1) // streams), 1))


Answer = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Gives logits [N, T, words] and the last state [N, channels] of tokens [N, T] and the state before them."""


def read_through(answer: Answer, feed: TextFeed, hidden: Tensor) -> tuple[float, float]:
    """Return mean loss and accuracy over a feed's words; the state goes on from segment to segment."""
    seen = torch.zeros(2, dtype=torch.float64, device=hidden.device)
    for tokens, labels in feed.plain():
        logits, hidden = answer(tokens, hidden)
        losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
        seen += torch.stack([losses, (logits.argmax(2) == labels).sum()])
    loss, accuracy = (seen / feed.count).tolist()
    return loss, accuracy
