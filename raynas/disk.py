"""Writing so that a kill, a full disk or a power cut leaves either the old bytes or the new ones."""

import errno
import os
from contextlib import suppress
from pathlib import Path

from raynas.errors import RaynasError


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
