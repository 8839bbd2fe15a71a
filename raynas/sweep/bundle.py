"""A sweep's folder as one .zip and back: what its pages are made of, and nothing of this machine alone."""

import os
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from raynas.config import folder_name
from raynas.disk import disk_error, holder, replace
from raynas.errors import RaynasError, plural, quoted, short
from raynas.sweep.folder import AnySweep
from raynas.sweep.places import FILE as PLACES
from raynas.sweep.status import ENDED

MOST_FILES = 200_000
"""Files of a bundle; a sweep of 10,000 trials has some 60,000."""

MOST_BYTES = 32 * 2**30
"""Bytes that a bundle may unfold to."""

_PRIVATE = ".mlflow"
_STAYS = {_PRIVATE, PLACES, "ray"}
"""What is nobody else's or means nothing elsewhere: the store's password, places, Ray's own files."""


def bundle(folder: AnySweep, to: Path, *, checkpoints: bool = False) -> list[str]:
    """Write a sweep's folder as ``to``; return what was left out, in words.

    Checkpoints are left out unless asked for: without one a search that has not ended begins anew. Raises
    `RaynasError` while the sweep is running, when there is a file at ``to``, and as `disk_error`.
    """
    if held := holder(folder.path / ".driver.lock"):
        raise RaynasError(
            f"the sweep {folder.name!r} is running",
            got=short(held),
            next_step=f"wait, or end it first: raynas stop {folder.typed}",
        )
    if to.exists():
        raise RaynasError("there is a file of that name already", got=to, next_step="--to FILE.zip")
    left, links = 0, 0
    temporary = to.with_name(f".{to.name}.{os.getpid()}.tmp")
    try:
        with zipfile.ZipFile(temporary, "x", zipfile.ZIP_DEFLATED, strict_timestamps=False) as file:
            for path in _files(folder.path):
                if path.is_symlink() or not path.is_file():
                    links += 1
                elif not checkpoints and path.suffix == ".pt" and path.name.startswith("checkpoint"):
                    left += 1
                else:
                    inside = PurePosixPath(folder.name, *path.relative_to(folder.path).parts)
                    file.write(path, str(inside))
        replace(temporary, to)
    except OSError as error:
        raise disk_error(error, to) from error
    finally:
        temporary.unlink(missing_ok=True)
    waiting = sum(record.status not in ENDED for record in folder.records())
    said = [plural(left, "checkpoint")] if left else []
    if left and waiting:
        said[0] += (
            f", so that {plural(waiting, 'trial')} not ended would begin anew: --checkpoints takes them"
        )
    return said + ([f"{plural(links, 'link')}, which may lead anywhere"] if links else [])


def _files(folder: Path) -> Iterator[Path]:
    """Yield what goes into a bundle, in order; locks and what is half written stay."""
    for path in sorted(folder.iterdir()):
        passing = path.name.startswith(".") and path.name.endswith((".lock", ".tmp"))
        if path.name in _STAYS or path.name == ".lock" or passing:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def unbundle(file: Path, runs: Path) -> AnySweep:
    """Unfold a bundle into a new folder below ``runs``, all of it or nothing.

    Raises `RaynasError` for a file that is damaged or no bundle, that holds a path outside of its one folder,
    a link, too many files or too many bytes, and where the folder is there already.
    """
    try:
        with zipfile.ZipFile(file) as opened:
            name, entries = _checked(opened, file)
            place = runs.absolute() / name
            if os.path.lexists(place):
                raise RaynasError(
                    f"there is a sweep or folder {name!r} already; nothing was written",
                    got=place,
                    next_step=f"raynas unbundle {file} --runs DIR, with another folder",
                )
            return _unfolded(opened, entries, place)
    except FileNotFoundError:
        raise RaynasError("no such file", got=file, expected="a .zip that `raynas bundle` wrote") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(file, f"{error}") from None


def _damaged(file: Path, why: str) -> RaynasError:
    return RaynasError(
        "not a whole bundle; nothing was written",
        got=f"{file}: {short(why, 200)}",
        expected="a .zip that `raynas bundle` wrote",
        next_step="copy the file once more: it may be there in part only",
    )


def _checked(opened: zipfile.ZipFile, file: Path) -> tuple[str, list[zipfile.ZipInfo]]:
    """Return the folder's name and the files; raises `RaynasError` for whatever a bundle does not hold."""
    entries = [each for each in opened.infolist() if not each.is_dir()]
    if len(entries) > MOST_FILES or sum(each.file_size for each in entries) > MOST_BYTES:
        raise RaynasError(
            "the bundle is larger than any sweep",
            got=f"{len(entries):,} files of {sum(each.file_size for each in entries):,} bytes",
            expected=f"at most {MOST_FILES:,} files and {MOST_BYTES:,} bytes",
        )
    tops, seen = set(), set()
    for each in entries:
        path = PurePosixPath(each.filename)
        kind = stat.S_IFMT(each.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise _unsafe(each, "a link or device")
        if path.is_absolute() or ".." in path.parts or "\\" in each.filename or ":" in path.parts[0]:
            raise _unsafe(each, "a path that may lead outside")
        if each.filename.casefold() in seen or path.name == _PRIVATE:
            raise _unsafe(each, "a file that no bundle holds, or holds once")
        seen.add(each.filename.casefold())
        tops.add(path.parts[0])
    if len(tops) != 1 or f"{min(tops)}/sweep.json".casefold() not in seen:
        raise _damaged(file, "it holds no sweep.json in one folder")
    return folder_name(min(tops)), entries


def _unsafe(entry: zipfile.ZipInfo, what: str) -> RaynasError:
    return RaynasError(
        f"the bundle holds {what}; nothing was written",
        got=quoted(entry.filename),
        expected="files inside of one folder, as `raynas bundle` writes them",
    )


def _unfolded(opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo], place: Path) -> AnySweep:
    """Write the files beside ``place``, read the sweep, and give the folder its name."""
    fresh = place.with_name(f".{place.name}.{os.getpid()}.unbundling")
    try:
        for each in entries:
            path = fresh.joinpath(*PurePosixPath(each.filename).parts[1:])
            path.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(each) as source, path.open("xb") as target:
                shutil.copyfileobj(source, target)  # ends with an error where the checksum is another one
            moment = time.mktime((*each.date_time, 0, 0, -1))
            os.utime(path, (moment, moment))
        AnySweep(fresh).sweep()
        fresh.rename(place)
    except OSError as error:
        raise disk_error(error, place) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return AnySweep(place)
