"""Things under a file's name that are no such file."""

import os
from pathlib import Path

ODD = ("link", "loose link", "folder", "pipe")


def make_odd(path: Path, kind: str, target: Path) -> None:
    """Put a link to ``target``, a link to nothing, a folder or a pipe where a file is expected."""
    path.unlink(missing_ok=True)
    match kind:
        case "link":
            path.symlink_to(target)
        case "loose link":
            path.symlink_to(target.with_name("nothing"))
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
