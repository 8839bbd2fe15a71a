"""Cells in files and texts as users have them: logs, genotypes.py, YAML, JSON; one of several by name."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from raynas.disk import expanded, read_bounded
from raynas.errors import RaynasError
from raynas.spaces.genotype import FORMAT, Genotype
from raynas.spaces.literature import load_cell
from raynas.spaces.reading import genotype_from_text, load_genotype
from raynas.spaces.skeletons import found_in
from raynas.spaces.texts.snippet import SeveralCells

MOST_FILE = 32 * 2**20
"""Bytes of the largest file that is looked through for cells; a log of 1,000 epochs has some 2 MB."""


class NamedFile(NamedTuple):
    """A file that may hold cells, and which of several is meant; None where none is named."""

    path: Path
    name: str | None = None


def cell_file(given: str) -> NamedFile | None:
    """Return the file that ``FILE`` or ``FILE:NAME`` means; None where there is none (texts are long)."""
    if path := _file(given):
        return NamedFile(path)
    head, colon, name = given.rpartition(":")
    if colon and (path := _file(head)):
        return NamedFile(path, name or None)
    return None


def cell_in_file(file: NamedFile) -> Genotype:
    """Read the cell of a file: its YAML, a genotype.json, or any text that holds it, in UTF-8 or UTF-16.

    Raises `RaynasError` for a file that cannot be read, that holds no cell, or several, none of them named.
    """
    path, name = file
    if name is None and path.suffix in {".yaml", ".yml"}:
        return load_cell(str(path)).genotype
    try:
        data = read_bounded(path, MOST_FILE)
    except OSError as error:
        raise RaynasError(f"cannot read the file: {error.strerror}", got=path) from None
    except ValueError as error:
        raise RaynasError(f"cannot look for cells in the file: {error}", got=path) from None
    text = decoded(data)
    if name is None and path.suffix == ".json" and (f'"{FORMAT}"' in text or "normal" not in text):
        return load_genotype(path)
    return cell_in_text(text, str(path), name)


def decoded(data: bytes) -> str:
    """Return a text, without a byte order mark; Windows writes UTF-16 with one."""
    utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def cell_in_text(text: str, file: str | None = None, name: str | None = None) -> Genotype:
    """Parse a cell; what is wrong with a ``file``'s is told with its name, and how to name one of several.

    ``-`` is standard input.
    """
    try:
        return genotype_from_text(text, name=name)
    except SeveralCells as error:
        step = f"name it, as {shlex.quote(f'{file}:{error.first}')}" if file else "give one of them alone"
        found: RaynasError = error
    except RaynasError as error:
        step, found = error.next_step or "", error
    raise RaynasError(
        f"{file}: {found.what}" if file and file != "-" else found.what,
        got=found.got,
        expected=found.expected,
        near=found.near,
        next_step=step or None,
    )


def is_cell_text(given: str) -> bool:
    """Tell whether an argument is the text of a cell rather than a name."""
    return len(given.split()) > 1 or any(mark in given for mark in "|({[\n") or bool(found_in(given))


def _file(name: str) -> Path | None:
    with suppress(OSError, ValueError, RuntimeError):
        path = expanded(name)
        if path.exists() and not path.is_dir():
            return path
    return None
