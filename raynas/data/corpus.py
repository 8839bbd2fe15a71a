"""Texts as numbers: one token per word, numbered by a vocabulary of the part that trains the weights.

A language model predicts each token from those before it, so a text is never shuffled: the part that trains
α is what follows the part that trains the weights.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from raynas.config import DataConfig
from raynas.data.catalogue import AS_THEY_ARE, ImageRecipe, data_path
from raynas.data.text import PTB_FILES, UNKNOWN, python_docs, read_text, tokenise, treebank, vocabulary
from raynas.errors import RaynasError


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as numbers: ``tokens`` int64 [n], of which the first ``train`` train the weights, the rest α.

    ``words`` is the vocabulary by number, `UNKNOWN` first. ``test`` holds the tokens of a test part, if there
    is one. Arrays may be read-only and shared between processes: never write to them.
    """

    name: str
    words: tuple[str, ...]
    tokens: NDArray[np.int64]
    train: int
    test: NDArray[np.int64] | None = None

    @property
    def classes(self) -> int:
        """How many words the next one is chosen from."""
        return len(self.words)

    @property
    def recipe(self) -> ImageRecipe:
        """How it is augmented, which is not at all."""
        return AS_THEY_ARE

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, which is a number."""
        return ()

    def fingerprint(self) -> str:
        """Return a short hash of the content: vocabulary and tokens."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256("\n".join(self.words).encode())
        for array in (self.tokens, self.test):
            if array is not None:
                digest.update(f"{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:12]


def load_text(config: DataConfig) -> Corpus:
    """Read the text that ``config`` names, at most ``config.limit`` tokens of each part that is searched on.

    Raises `RaynasError` for files that are missing, empty or no UTF-8 text, and for a split that leaves
    nothing for one of the two parts.
    """
    test = None
    if config.name == "ptb":
        train, valid, test = (treebank(data_path(config) / file) for file in PTB_FILES)
        train, valid = train[: config.limit], valid[: config.limit]
    else:
        text = python_docs() if config.name == "python-docs" else read_text(data_path(config))
        found = tokenise(text)
        if not found:
            raise RaynasError(
                f"{config.path or config.name} holds no words",
                got=f"{len(text)} characters of white space",
                next_step="set data.path to a file of running text",
            )
        found = _limited(found, config)
        cut = len(found) - round(len(found) * config.valid)
        train, valid = found[:cut], found[cut:]
    if not train or not valid:
        raise RaynasError(
            f"data.valid={config.valid} of {len(train) + len(valid)} tokens leaves one part empty",
            got=f"{len(train)} for the weights and {len(valid)} for α",
            expected="1 or more each",
        )
    words = vocabulary(train, config.words, config.min_count)
    number = {word: index for index, word in enumerate(words)}
    return Corpus(
        config.name,
        words,
        _numbered([*train, *valid], number),
        len(train),
        None if test is None else _numbered(test, number),
    )


def _limited(words: list[str], config: DataConfig) -> list[str]:
    if config.limit is not None and config.limit > len(words):
        raise RaynasError(
            f"data.limit is larger than {config.name}",
            got=config.limit,
            expected=f"at most its {len(words)} tokens",
        )
    return words[: config.limit]


def _numbered(words: Sequence[str], number: dict[str, int]) -> NDArray[np.int64]:
    unknown = number[UNKNOWN]
    return np.array([number.get(word, unknown) for word in words], dtype=np.int64)
