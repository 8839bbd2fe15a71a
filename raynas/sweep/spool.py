"""The spool: a trial's own append-only record, one JSON line an event, safe against kills at any byte."""

import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from raynas.disk import (
    disk_error,
    open_own,
    parse_json,
    set_aside,
    sync_folder,
    write_all,
    write_atomic,
)
from raynas.errors import RaynasError

SPOOL_VERSION = 1
"""Of the line format; readers leave lines of a later one alone."""

_EPOCH = re.compile(rb'\{"v":1,"kind":"epoch","time":[^,]+,"report":\{"epoch":(\d{1,9}),.*\}\}$')
"""A line of an epoch, and its number."""

MOST_SPOOL = 2**30
"""Bytes that are read at once; a search of 600 epochs writes some 10 MB."""


class Spool:
    """An append-only file of events with one writer (its trial) and any number of readers.

    A line counts once its newline is there: what a kill cut short is left unread, and cut off by the
    next `append`. A line that is not an event is passed on as one of kind ``damage``, and hides no other.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **fields: Any) -> None:
        """Add one event, on disk when this returns; a full disk raises `RaynasError` and adds nothing."""
        event = {"v": SPOOL_VERSION, "kind": kind, "time": time.time(), **fields}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        try:
            new = not self.path.exists()
            descriptor = open_own(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            try:
                _append_line(descriptor, line)
            finally:
                os.close(descriptor)
            # Bytes on disk are lost with a power cut as long as their file's name is not on disk, too.
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise disk_error(error, self.path) from error
        except ValueError as error:
            raise RaynasError(f"cannot write: {error}", got=self.path) from None

    def events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the complete events from byte ``offset`` on, and the offset to go on from.

        What cannot be read is an event of kind ``damage``, whose ``why`` says what it is; with ``foreign`` it
        was written by another version of raynas.
        """
        try:
            data = self._read(offset)
        except FileNotFoundError:
            return [], offset
        except (OSError, ValueError) as error:
            return [_damage(self.path.name, getattr(error, "strerror", None) or str(error))], offset
        complete = data[: data.rfind(b"\n") + 1]
        found, place = [], offset
        for line in complete.split(b"\n")[:-1]:
            found.append(self._event(line, place))
            place += len(line) + 1
        return found, place

    def outline(self) -> tuple[list[dict[str, Any]], int] | None:
        """Return all events but the epochs, of those the last alone, and how many there are.

        None where that would not do: for what is damaged, and for a search that has gone back or lacks one.
        """
        try:
            lines = self._read(0).split(b"\n")[:-1]
        except (OSError, ValueError):
            return None
        epochs = {int(found[1]): line for line in lines if (found := _EPOCH.match(line))}
        # An epoch once taken back, or missing, needs all reports to tell which of them count.
        if set(epochs) != set(range(len(epochs))) or any(b'"restart":0' not in epochs[one] for one in epochs):
            return None
        kept = [line for line in lines if not _EPOCH.match(line)] + [epochs[one] for one in list(epochs)[-1:]]
        events = [self._event(line, 0) for line in kept]
        return None if any(event["kind"] == "damage" for event in events) else (events, len(epochs))

    def changed(self, state: os.stat_result | None) -> os.stat_result | None:
        """Return the file's state now if it may hold something else than at ``state``, else None."""
        try:
            now = self.path.lstat()
        except OSError:
            return None
        # Nothing but `append` writes here, so other bytes mean another size; a file that was put in its place
        # has another number.
        same = state is not None and (now.st_ino, now.st_size) == (state.st_ino, state.st_size)
        return None if same else now

    def before(self, offset: int) -> bytes:
        """Return the last bytes before an offset, which tell whether the file is still the one it was."""
        try:
            with os.fdopen(open_own(self.path, os.O_RDONLY), "rb") as file:
                return os.pread(file.fileno(), min(offset, 256), max(offset - 256, 0))
        except (OSError, ValueError):
            return b""

    def rewrite(self, events: Iterable[Mapping[str, Any]]) -> Path:
        """Hold these events and nothing else; return where the file is that there was before."""
        aside = set_aside(self.path, keep=True)
        lines = (json.dumps(event, separators=(",", ":")) for event in events)
        write_atomic(self.path, "".join(f"{line}\n" for line in lines).encode())
        return aside

    def _read(self, offset: int) -> bytes:
        with os.fdopen(open_own(self.path, os.O_RDONLY), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size - offset > MOST_SPOOL:
                raise ValueError(f"it is larger than {MOST_SPOOL:,} bytes")
            file.seek(offset)
            return file.read(size - offset)

    def _event(self, line: bytes, place: int) -> dict[str, Any]:
        where = f"{self.path.name} at byte {place:,}"
        try:
            event = _parse(line)
            version, kind = event["v"], event["kind"]
        except (ValueError, LookupError, TypeError):
            return _damage(where, f"not an event: {line[:60]!r}")
        if version != SPOOL_VERSION:
            return _damage(
                where, f"written by another version of raynas (format {version!r:.20})", foreign=True
            )
        return dict(event) if isinstance(kind, str) else _damage(where, f"not an event: {line[:60]!r}")


def _damage(where: str, why: str, *, foreign: bool = False) -> dict[str, Any]:
    return {"v": SPOOL_VERSION, "kind": "damage", "time": 0.0, "why": f"{where}: {why}", "foreign": foreign}


def _parse(line: bytes) -> Any:
    """Read a line with pydantic's parser, four times as fast as `json`'s on an epoch's 6 kB.

    It bounds depth itself, and refuses lone surrogates, which an error's text may hold: so the second try.
    """
    try:
        return from_json(line)
    except ValueError:
        return parse_json(line)


def _append_line(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    whole = _whole_lines(descriptor, size)
    # What a kill cut short has no newline; appended to, it would spoil the new line as well.
    if whole < size:
        os.ftruncate(descriptor, whole)
    try:
        write_all(descriptor, line)
        os.fsync(descriptor)
    except OSError:
        # A full disk may have taken half the line; shrinking needs no space, so this still works.
        os.ftruncate(descriptor, whole)
        raise


def _whole_lines(descriptor: int, size: int, block: int = 65536) -> int:
    """Return the length of the file up to and with its last newline."""
    end = size
    while end > 0:
        start = max(0, end - block)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
