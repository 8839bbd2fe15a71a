"""Files: written so that a kill or a power cut leaves the old bytes or the new ones, read within bounds."""

import errno
import fcntl
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from raynas.errors import RaynasError

MOST_JSON = 64 * 2**20
"""Bytes of the largest JSON file that is read; a sweep of 10,000 trials has some 30 MB."""

DEEPEST_JSON = 64
"""How deep JSON may be nested; what raynas writes stays below 20, options of a user's function included."""

_JSON_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[^][{}"]+')


class DiskFull(RaynasError):
    """There is no space left; nothing about the search that met it is wrong."""


def write_atomic(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a file's content in one step, on disk when this returns; ``mode`` as `os.open` takes it.

    Raises `RaynasError` when the disk is full or may not be written; the old file is then untouched
    and no temporary file is left.
    """
    # In the same folder, as a rename across file systems would copy; by process, as two may write one report.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
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


def expanded(name: str | Path) -> Path:
    """Return a path that a user typed with ``~`` expanded; as typed where there is no such user."""
    path = Path(name)
    try:
        return path.expanduser()
    except RuntimeError:  # `~x`, and no user x
        return path


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

    Raises `OSError` as opening does, and `ValueError` for more bytes and for what is not an ordinary file: a
    pipe would never end, a device has no size.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        _check_ordinary(file.fileno())
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data


def open_own(path: Path, flags: int) -> int:
    """Open a file that raynas alone writes, making it where ``flags`` say so; return the descriptor.

    Raises `OSError` as opening does, for a link as well (what is written would end up in its target), and
    `ValueError` for what is not an ordinary file.
    """
    # O_NONBLOCK: to open a pipe that nobody writes to would wait for ever.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        _check_ordinary(descriptor)
    except ValueError:
        os.close(descriptor)
        raise
    return descriptor


def _check_ordinary(descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise ValueError("it is not an ordinary file")


def append_text(path: Path, text: str) -> None:
    """Add to a log; one that cannot be written, or that is a link, must not hide what was to be logged."""
    with suppress(OSError, ValueError):
        descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(text)


def set_aside(path: Path, *, keep: bool = False) -> Path:
    """Give what cannot be used any more a name beside its own, as ``events-damaged-1.jsonl``; return it.

    With ``keep`` a file has its own name as well until it is written anew, so that no kill leaves none.
    Raises `RaynasError` when it cannot be renamed.
    """
    for number in count(1):
        other = path.with_name(f"{path.stem}-damaged-{number}{path.suffix}")
        if not os.path.lexists(other):
            break
    if keep:
        with suppress(OSError):  # a folder, or storage that knows one name only
            os.link(path, other, follow_symlinks=False)
            sync_folder(other.parent)
            return other
    try:
        replace(path, other)
    except OSError as error:
        raise disk_error(error, path) from error
    return other


@contextmanager
def lock(path: Path, patience: float = 0.0) -> Iterator[IO[str]]:
    """Hold a lock file, yielded open at its start, as long as the kernel lets only one process.

    What is there and is not an ordinary file is set aside first, so that a link's target is never written.
    Raises `BlockingIOError` when another process holds it for more than ``patience`` seconds (infinity to
    wait for ever), and `RaynasError` when it cannot be opened. Where storage knows no locks (object stores
    mounted as folders) it is held without one.
    """
    until = time.monotonic() + patience
    with _open_lock(path) as file:
        while not _locked(file):
            if time.monotonic() > until:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process holds the lock", str(path))
            time.sleep(0.05)
        file.seek(0)
        yield file


def holder(path: Path) -> str | None:
    """Return what the process that holds a lock file has written there; None when no process holds it."""
    try:
        with os.fdopen(open_own(path, os.O_RDONLY), encoding="utf-8", errors="replace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read(200).strip() or "another process"
    except (OSError, ValueError):
        return None
    return None


def _open_lock(path: Path) -> IO[str]:
    flags = os.O_RDWR | os.O_CREAT
    try:
        try:
            descriptor = open_own(path, flags)
        except (OSError, ValueError):
            if not os.path.lexists(path) or (path.is_file() and not path.is_symlink()):
                raise
            set_aside(path)
            descriptor = open_own(path, flags)
    except OSError as error:
        raise disk_error(error, path) from error
    return os.fdopen(descriptor, "r+", encoding="utf-8", errors="replace")


def _locked(file: IO[str]) -> bool:
    """Take the lock, which the kernel drops with the process; True as well where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Any other error is storage that has no locks at all.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def replace(path: Path, other: Path) -> None:
    """Give a file the name of another one in its folder, on disk when this returns; the other is gone.

    A folder of that name is set aside.
    """
    try:
        path.replace(other)
    except IsADirectoryError:
        set_aside(other)
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
        return DiskFull("disk full", got=path, next_step="free some space, then do the same again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        what, step = "no permission to write", "choose another folder with `--runs`"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        there = Path(error.filename or path)
        path = next((each for each in (there, *there.parents) if os.path.lexists(each)), path)
        what = "cannot write: this is not a folder, where one is needed"
        step = f"move {path} away, or put the folder back; then do the same again"
    else:
        what, step = f"cannot write: {error.strerror or error}", None
    return RaynasError(what, got=path, next_step=step)
