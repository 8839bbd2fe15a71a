"""What a training says after every epoch, as frozen plain data with an exact JSON round trip."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, Self

from raynas.bilevel.records import perplexity

CARD, WEIGHTS = "network.json", "weights.pt"
"""The two files of a trained network's folder; see `raynas.train.deployed`."""


@dataclass(frozen=True)
class TrainReport:
    """One epoch of one training.

    Losses are mean cross entropies in nats (the training's with its label smoothing, without the auxiliary
    head's), accuracies fractions in [0, 1]. ``valid_*`` are of the images held out, None where none are;
    ``test_*`` of the test images, at the last epoch only and None where there are none. Of a language model
    words stand for images. ``seconds`` and
    ``peak_memory`` (MiB) are measurements and do not take part in equality.
    """

    ended: ClassVar[None] = None
    restart: ClassVar[int] = 0
    """A training neither stops of its own accord nor goes back, as a search may."""

    epoch: int
    train_loss: float
    train_accuracy: float
    learning_rate: float
    drop_path: float
    valid_loss: float | None = None
    valid_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    seconds: float = field(default=0.0, compare=False)
    peak_memory: float = field(default=0.0, compare=False)

    @property
    def valid_perplexity(self) -> float | None:
        """The perplexity of the words held out."""
        return None if self.valid_loss is None else perplexity(self.valid_loss)

    @property
    def test_perplexity(self) -> float | None:
        """The perplexity of the test's words."""
        return None if self.test_loss is None else perplexity(self.test_loss)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON data; floats keep every bit."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Rebuild a report; keys of later versions are ignored.

        Raises `LookupError`, `TypeError` or `ValueError` for what is not a report.
        """
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        for name, value in known.items():
            missing = value is None and name.startswith(("valid_", "test_"))
            wanted = int if name == "epoch" else int | float
            if not missing and (not isinstance(value, wanted) or isinstance(value, bool)):
                raise TypeError(f"{name} is {value!r:.40}")
        return cls(**known)
