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
from raynas.data.catalogue import AS_THEY_ARE, ImageRecipe, data_path, has_parts
from raynas.data.text import (
    UNKNOWN,
    line_by_line,
    part_files,
    python_docs,
    read_text,
    tokenise,
    vocabulary,
)
from raynas.errors import RaynasError


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as numbers: ``tokens`` int64 [n], of which the first ``train`` train the weights.

    The rest trains α in a search, but for the last ``select``, to choose searches by; in a training from
    scratch all of it is held out, and may be nothing.

    ``words`` is the vocabulary by number, `UNKNOWN` first. ``test`` holds the tokens of a test part, if there
    is one. Arrays may be read-only and shared between processes: never write to them.
    """

    name: str
    words: tuple[str, ...]
    tokens: NDArray[np.int64]
    train: int
    test: NDArray[np.int64] | None = None
    select: int = 0

    @property
    def cuts(self) -> tuple[int, int]:
        """Where what trains the weights ends, and where what trains α does."""
        return self.train, len(self.tokens) - self.select

    @property
    def classes(self) -> int:
        """How many words the next one is chosen from."""
        return len(self.words)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The words that the next one is chosen from."""
        return self.words

    @property
    def tests(self) -> int:
        """How many tokens there are to test on."""
        return 0 if self.test is None else len(self.test)

    @property
    def mean(self) -> tuple[float, ...]:
        """The means of its channels, of which it has none."""
        return ()

    @property
    def std(self) -> tuple[float, ...]:
        """The deviations of its channels, of which it has none."""
        return ()

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


def load_text(config: DataConfig, words: Sequence[str] = ()) -> Corpus:
    """Read the text that ``config`` names, at most ``config.limit`` tokens of each part that is learned from.

    ``words`` is the vocabulary, `UNKNOWN` in it; that of the part that trains the weights if left out. Raises
    `RaynasError` for files that are missing, empty or no UTF-8 text, and for a split that leaves nothing for
    one of the parts.
    """
    train, valid, select, test = _in_parts(config) if has_parts(config) else _in_one_piece(config)
    shares = ((True, train), (config.valid, valid), (config.select, select), (config.test, test))
    if any(share and not part for share, part in shares):
        more = {"select": config.select, "test": config.test}
        told = f"data.valid={config.valid}" + "".join(f", data.{k}={v}" for k, v in more.items() if v)
        raise RaynasError(
            f"{told} of {len(train) + len(valid) + len(select) + len(test)} tokens leaves one part empty",
            got=f"{len(train)} for the weights and {len(valid)} for α or to validate on",
            expected="1 or more each",
        )
    words = tuple(words) or vocabulary(train, config.words, config.min_count)
    number = {word: index for index, word in enumerate(words)}
    return Corpus(
        config.name,
        words,
        _numbered([*train, *valid, *select], number),
        len(train),
        _numbered(test, number) if test else None,
        len(select),
    )


_Parts = tuple[list[str], list[str], list[str], list[str]]
"""The words that train the weights, those that train α or validate, those to choose by, and the test's."""


def _in_parts(config: DataConfig) -> _Parts:
    """Read three files; an empty line counts in WikiText, as in what was published of its size."""
    files = part_files(config.name, data_path(config))
    train, valid, test = (line_by_line(file, empty=config.name != "ptb") for file in files)
    train, valid = train[: config.limit], valid[: config.limit]
    # The end of what trains the weights: the file to validate on is all that α and published numbers have.
    rest = len(train) - round(len(train) * config.select)
    return train[:rest], valid, train[rest:], test


def _in_one_piece(config: DataConfig) -> _Parts:
    """Read one text: what trains the weights, then what trains α, what to choose by, and the test."""
    text = python_docs() if config.name == "python-docs" else read_text(data_path(config))
    found = tokenise(text)
    if not found:
        raise RaynasError(
            f"{config.path or config.name} holds no words",
            got=f"{len(text)} characters of white space",
            next_step="set data.path to a file of running text",
        )
    found = _limited(found, config)
    end = len(found) - round(len(found) * config.test)
    third = round(len(found) * config.select)
    stop = max(end - third, 0)
    cut = max(stop - round((len(found) - third) * config.valid), 0)
    return found[:cut], found[cut:stop], found[stop:end], found[end:]


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
