"""The error that a contract's check raises."""

from raynas.errors import RaynasError


class BrokenContract(RaynasError, AssertionError):
    """Something that is registered does not do what everything of its kind does."""


def claim(holds: bool, what: str, got: object = None, expected: object = None) -> None:
    """Raise `BrokenContract` unless something holds."""
    if not holds:
        raise BrokenContract(what, got=got, expected=expected)
