"""Contracts that everything registered keeps, as functions that another package can call in its own tests.

Each takes one thing, runs in about a second, and raises `BrokenContract` (an `AssertionError` with raynas'
words) where it does not do what all of its kind do::

    from raynas.testing import check_method, check_part

    def test_my_relaxation():
        check_part(MySoftmax)
        check_method(DARTS.with_("mine", "DARTS with a sharper softmax", relaxation=MySoftmax()))
"""

from raynas.testing.broken import BrokenContract
from raynas.testing.methods import check_method
from raynas.testing.operations import check_operation
from raynas.testing.parts import check_part
from raynas.testing.spaces import check_skeleton, check_space

__all__ = [
    "BrokenContract",
    "check_method",
    "check_operation",
    "check_part",
    "check_skeleton",
    "check_space",
]
