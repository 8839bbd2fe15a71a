"""Checkpoints: nested dicts of tensors and plain values, written whole or not at all, never unpickled."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from raynas.errors import RaynasError


def dump(state: dict[str, Any]) -> bytes:
    """Return a state as the bytes of a checkpoint file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; raises `RaynasError` when a single bit of it is wrong.

    Only tensors and plain values are read (``weights_only``), and every part's checksum is verified first,
    since a flipped bit in a tensor would otherwise pass unseen.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise TypeError("is not a file")
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"checksum of {broken} does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"holds a {type(state).__name__}, not a mapping")
    except Exception as error:  # torch, zipfile and pickle raise many kinds for damaged bytes
        raise RaynasError(
            "the checkpoint is corrupt",
            got=f"{path} ({type(error).__name__})",
            expected="a checkpoint written by raynas",
            next_step="raynas resume SWEEP: it is set aside, and the search repeated",
        ) from None
    return state
