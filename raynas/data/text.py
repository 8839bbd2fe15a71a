"""Reading texts, cutting them into words, and checking what a trial file says of them; without torch."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from raynas.config import DataConfig
from raynas.disk import expanded
from raynas.errors import Problem, RaynasError, nearest

UNKNOWN, END = "<unk>", "<eos>"
"""What stands for words outside the vocabulary, and for the end of a line of a text in parts."""

PLAIN_FILES = ("train.txt", "valid.txt", "test.txt")
"""What language models' own code calls the three parts, whatever the text."""

PTB_FILES = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
WIKITEXT_FILES = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
IN_PARTS = {"ptb": PTB_FILES, "wikitext-2": WIKITEXT_FILES}
"""Texts that come as three files, to train, to validate and to test on, by the names of their release."""

DOCS = "pydoc_data.topics"

_TOKEN = re.compile(r"\w+|([^\w\s])\1*")


def tokenise(text: str) -> list[str]:
    """Return a text's words in lower case and its punctuation; a run of one sign is one token."""
    return [match.group() for match in _TOKEN.finditer(text.lower())]


def vocabulary(words: Sequence[str], most: int, min_count: int) -> tuple[str, ...]:
    """Return `UNKNOWN` and the ``most`` most frequent words that occur at least ``min_count`` times.

    In order of frequency; words as frequent as each other are in the order of their first occurrence.
    """
    counts = Counter(word for word in words if word != UNKNOWN)
    return (UNKNOWN, *(word for word, count in counts.most_common(most) if count >= min_count))


def part_files(name: str, folder: Path) -> tuple[Path, ...]:
    """Return the files of a text in parts: those called as in its release, else `PLAIN_FILES`.

    Where there are neither, those of the release.
    """
    release, plain = (tuple(folder / file for file in files) for files in (IN_PARTS[name], PLAIN_FILES))
    return plain if plain[0].is_file() and not release[0].is_file() else release


def line_by_line(path: Path, *, empty: bool) -> list[str]:
    """Return the words of a file, as white space divides them; `END` ends a line, an ``empty`` one too."""
    lines = io.StringIO(read_text(path), newline=None)
    words = [word for line in lines if empty or line.strip() for word in (*line.split(), END)]
    if not words:
        raise RaynasError(f"{path} holds no words", next_step="fetch the file again")
    return words


def read_text(path: Path) -> str:
    """Return a file's text; raises `RaynasError` when it is missing, empty, or no UTF-8 text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RaynasError(
            f"cannot read the text: {error.strerror}", got=path, next_step="check data.path"
        ) from None
    if not data:
        raise RaynasError("the text is empty", got=path, next_step="check data.path")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RaynasError(
            "the file is not UTF-8 text",
            got=f"{path}: byte {error.start} is 0x{data[error.start]:02x}",
            next_step="name a text file; others become UTF-8 with `iconv -t utf-8`",
        ) from None
    if "\0" in text:
        raise RaynasError(
            "the file is not a text: it holds zero bytes", got=path, next_step="name a text file in data.path"
        )
    return text


def python_docs(module: str = DOCS) -> str:
    """Return the texts of Python's own `help()`, topic after topic, as they ship with this interpreter.

    They differ between versions of Python. Raises `RaynasError` where the interpreter came without them.
    """
    next_step = "take another text: data.name=text data.path=FILE"
    try:
        topics = import_module(module).topics
    except (ImportError, AttributeError):
        raise RaynasError(
            "this Python has no documentation of its own", got=f"no {module}", next_step=next_step
        ) from None
    if not isinstance(topics, dict) or not all(isinstance(text, str) for text in topics.values()):
        raise RaynasError(
            "this Python keeps its documentation in another form",
            got=f"{module}.topics: {type(topics).__name__}",
            expected="a mapping of topics to texts",
            next_step=next_step,
        )
    return "\n".join(topics[topic] for topic in sorted(topics))


def text_problems(config: DataConfig) -> Iterator[Problem]:
    """Find the mistakes in the settings of a text that can be found without reading it."""
    for key in ("options", "download", "cutout", "size"):
        if getattr(config, key):
            yield Problem(f"data.{key}", f"{config.name} is a text: it has no {key}")
    if config.storage != "auto":
        yield Problem("data.storage", f"{config.name} is a text: it is kept in memory")
    if config.name == "python-docs":
        if config.path is not None:
            yield Problem("data.path", "python-docs comes with Python: it has no path")
        return
    if config.name in IN_PARTS and config.test:
        yield Problem("data.test", f"{config.name} has a test part of its own")
    if config.path is None:
        wanted = "the file" if config.name == "text" else f"the folder that holds {IN_PARTS[config.name][0]}"
        yield Problem("data.path", f"{config.name} needs `path`, {wanted}")
        return
    path = expanded(config.path)
    wanted_files = (path,) if config.name == "text" else part_files(config.name, path)
    for file in wanted_files:
        if not file.is_file():
            yield Problem("data.path", _missing(file))
            return


def _missing(file: Path) -> str:
    if file.is_dir():
        return f"{file} is a folder; a text is one file"
    if not file.parent.is_dir():
        return f"{file.parent} {'is not a folder' if file.parent.exists() else 'does not exist'}"
    near = nearest(file.name, [path.name for path in file.parent.iterdir() if path.is_file()])
    return f"{file} does not exist" + (f"; nearest: {near}" if near else "")
