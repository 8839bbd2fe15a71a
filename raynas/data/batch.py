"""A batch: what the data hand to a network."""

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor


@dataclass
class Carried:
    """The hidden state [lanes, N, channels] of streams of text, from one segment to the next; no gradient.

    A pass starts from ``now`` (None: zeros) and leaves what it ended with in ``ahead``; of several passes
    over one segment the last one counts. Passes that move the weights leave each lane's terms on what the
    cell outputs, [lanes], in ``terms``; these have gradients, and go with the segment.
    """

    now: Tensor | None = None
    ahead: Tensor | None = None
    terms: list[Tensor] = field(default_factory=list)

    def advance(self) -> None:
        """Let the next segment start where this one ended; one that no pass has read changes nothing."""
        self.now, self.ahead = self.now if self.ahead is None else self.ahead, None
        self.terms.clear()

    def reset(self) -> None:
        """Let the next segment start from zeros."""
        self.now = self.ahead = None
        self.terms.clear()


class Batch(NamedTuple):
    """Images [lanes, N, channels, height, width] with their classes [lanes, N].

    Or a text's tokens int64 [lanes, N, T] with those that follow them [lanes, N, T], the hidden state of its
    streams, and ``share``: how long its segment is, of a full one.
    """

    images: Tensor
    labels: Tensor
    carried: Carried | None = None
    share: float = 1.0
