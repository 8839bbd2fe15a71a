"""The spool: a trial's own append-only record, one JSON line an event, safe against kills at any byte."""

import json
import os
import time
from pathlib import Path
from typing import Any

from raynas.disk import disk_error, parse_json, sync_folder, write_all
from raynas.errors import RaynasError

VERSION = 1
"""Of the line format; readers refuse lines of a later one."""


class Spool:
    """An append-only file of events with one writer (its trial) and any number of readers.

    A line counts once its newline is there: what a kill cut short is left unread, and cut off by the
    next `append`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, kind: str, **fields: Any) -> None:
        """Add one event, on disk when this returns; a full disk raises `RaynasError` and adds nothing."""
        event = {"v": VERSION, "kind": kind, "time": time.time(), **fields}
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        try:
            new = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                _append_line(descriptor, line)
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self.path.parent)
        except OSError as error:
            raise disk_error(error, self.path) from error

    def events(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return the complete events from byte ``offset`` on, and the offset to go on from."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                data = file.read()
        except FileNotFoundError:
            return [], offset
        complete = data[: data.rfind(b"\n") + 1]
        return [self._event(line) for line in complete.splitlines()], offset + len(complete)

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = parse_json(line)
            version = event["v"]
        except (ValueError, KeyError, TypeError):
            raise damaged(f"{line[:60]!r} in {self.path}") from None
        if version != VERSION:
            raise RaynasError(
                "a trial's record was written by another version of raynas",
                got=f"format {version} in {self.path}",
                expected=f"format {VERSION}",
            )
        return dict(event)


def damaged(got: str) -> RaynasError:
    """Return the error of a line that is no event."""
    return RaynasError(
        "a trial's record is damaged",
        got=got,
        expected="one JSON event a line",
        next_step="delete that line; or, to run the trial again, its events.jsonl and checkpoint.pt, "
        "then `raynas resume`",
    )


def _append_line(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    whole = _whole_lines(descriptor, size)
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
