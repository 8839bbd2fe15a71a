"""The schema of trial files that came with the package; `raynas.sweep.file.schema` makes it."""

from importlib.resources import files


def shipped() -> str:
    """Return the schema as text."""
    return files("raynas.sweep.file").joinpath("trial.schema.json").read_text(encoding="utf-8")
