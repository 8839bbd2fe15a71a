"""The record of a sweep's packs: how many searches of a shape advance together, as it was measured."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, PositiveFloat, PositiveInt

from raynas.disk import read_json, write_atomic

PACKS_VERSION = 1
"""Of the record."""


class PackEntry(BaseModel):
    """What the record of packs says of one shape."""

    shape: str
    pack: PositiveInt
    device: str
    seconds: dict[PositiveInt, PositiveFloat]
    forms: dict[str, str]


def read_packs(file: Path) -> list[PackEntry]:
    """Read the record of packs; raises `ValueError` for one that is damaged."""
    try:
        data = read_json(file)
        if not isinstance(data, dict) or data.get("version") != PACKS_VERSION:
            raise ValueError(f"expected a mapping of version {PACKS_VERSION}")
        return [PackEntry.model_validate(entry) for entry in data["shapes"]]
    except FileNotFoundError:
        return []
    except (OSError, LookupError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def damage(file: Path) -> str:
    """Say what is wrong with the record of a sweep's packs; empty where nothing is."""
    try:
        read_packs(file)
    except ValueError as error:
        return f"{file.name} cannot be read: {' '.join(str(error).split())[:200]}"
    return ""


def write_packs(file: Path, entries: Iterable[PackEntry]) -> None:
    shapes = [entry.model_dump(mode="json") for entry in entries]
    write_atomic(file, (json.dumps({"version": PACKS_VERSION, "shapes": shapes}, indent=1) + "\n").encode())
