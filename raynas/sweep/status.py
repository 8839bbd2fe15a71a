"""The statuses of a trial, as its records and every output write them, and which of them are ends."""

from typing import Literal, get_args

Status = Literal["finished", "running", "waiting", "failed", "diverged"]

STATUSES: tuple[Status, ...] = get_args(Status)
"""Every status, in the order in which they are shown."""

End = Literal["finished", "diverged", "failed"]
"""A status that a trial's own record of its end may give."""

ENDED: frozenset[Status] = frozenset(get_args(End))
"""What no longer runs; one that failed may be started again."""

OVER: frozenset[Status] = ENDED - {"failed"}
"""Final: nothing that comes later changes it."""

BROKEN: frozenset[Status] = ENDED - {"finished"}
"""Ended without a result."""
