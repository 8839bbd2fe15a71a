"""Files: written so that a kill or a power cut leaves the old bytes or the new ones, read within bounds."""

import errno
import json
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

from raynas.errors import RaynasError

MOST_JSON = 64 * 2**20
"""Bytes of the largest JSON file that is read; a sweep of 10,000 trials has some 30 MB."""

DEEPEST_JSON = 64
"""How deep JSON may be nested; what raynas writes stays below 20, options of a user's function included."""

_JSON_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')


class DiskFull(RaynasError):
    """There is no space left; nothing about the search that met it is wrong."""


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content in one step, on disk when this returns.

    Raises `RaynasError` when the disk is full or may not be written; the old file then stands untouched
    and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise disk_error(error, path) from error


def read_json(path: Path, *, most: int = MOST_JSON, deepest: int = DEEPEST_JSON) -> Any:
    """Return what a JSON file of at most ``most`` bytes holds, nested at most ``deepest`` levels.

    Raises `OSError` as opening does, and `ValueError` for whatever else is amiss, in words fit for a user.
    """
    return parse_json(read_bounded(path, most), deepest=deepest)


def parse_json(data: bytes | str, *, deepest: int = DEEPEST_JSON) -> Any:
    """Return what a JSON text holds; bytes are UTF-8, with or without a byte order mark.

    Raises `ValueError` when it is not JSON or is nested deeper than ``deepest`` levels.
    """
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
    try:
        found = json.loads(text)
    except RecursionError:
        raise _too_deep(deepest) from None
    # Only what is valid JSON gets here, so that the pattern meets no open text: it takes linear time.
    brackets = _JSON_TEXT.sub("", text).replace("{", "[").replace("}", "]")
    for _ in range(deepest):
        if not brackets:
            break
        brackets = brackets.replace("[]", "")
    if brackets:
        raise _too_deep(deepest)
    return found


def _too_deep(deepest: int) -> ValueError:
    return ValueError(f"nested deeper than {deepest} levels")


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of an ordinary file that has at most ``most``.

    Raises `OSError` as opening does, and `ValueError` for more bytes and for what is no ordinary file: a
    pipe would never end, a device has no size.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is not an ordinary file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data


def replace(path: Path, other: Path) -> None:
    """Give a file the name of another one in its folder, on disk when this returns; the other is gone."""
    path.replace(other)
    sync_folder(other.parent)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; one `os.write` may take only some of them."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Put a folder's list of names on disk, so that a new file survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> RaynasError:
    """Turn an `OSError` met while writing into what happened and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("disk full", got=path, next_step="free some space, then `raynas resume SWEEP`")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what, step = "no permission to write", "choose another folder with `--runs`"
    else:
        what, step = f"cannot write: {error.strerror or error}", None
    return RaynasError(what, got=path, next_step=step)
