"""Batches of a text: parallel streams that are read on segment after segment.

Nothing is random here. What a batch says of one stream goes on where the batch before it ended, so that a
hidden state can be carried over.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from raynas.errors import RaynasError

TextBatch = tuple[Tensor, Tensor]
"""Tokens int64 [streams, steps] and, for each, the one that follows it."""


class TextFeed:
    """The segments, ``bptt`` tokens long, of a text int64 [n] that is cut into ``batch`` equal streams.

    Stream k holds the tokens from k·length on; each token's label is the next one of the text. At most
    ``batch`` tokens at the end, which do not fill all streams, are left out. Raises `RaynasError` when the
    text is too short for one batch.
    """

    def __init__(self, tokens: Tensor, batch: int, bptt: int) -> None:
        # The last token has no label, as none follows it.
        length = (len(tokens) - 1) // batch
        if batch < 2:
            raise RaynasError(
                "a text needs several streams, to normalise over",
                got=f"batch: {batch}",
                next_step="set batch to 2 or more",
            )
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
