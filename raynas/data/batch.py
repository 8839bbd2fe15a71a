"""A batch: what the data hand to a network."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass
class Carried:
    """The hidden state [lanes, N, channels] of streams of text, from one segment to the next; no gradient.

    A pass starts from ``now`` (None: zeros) and leaves what it ended with in ``ahead``; of several passes
    over one segment the last one counts.
    """

    now: Tensor | None = None
    ahead: Tensor | None = None

    def advance(self) -> None:
        """Let the next segment start where this one ended; one that no pass has read changes nothing."""
        self.now, self.ahead = self.now if self.ahead is None else self.ahead, None

    def reset(self) -> None:
        """Let the next segment start from zeros."""
        self.now = self.ahead = None


class Batch(NamedTuple):
    """Images [lanes, N, channels, height, width] with their classes [lanes, N].

    Or a text's tokens int64 [lanes, N, T] with those that follow them [lanes, N, T], and the hidden state of
    its streams.
    """

    images: Tensor
    labels: Tensor
    carried: Carried | None = None
