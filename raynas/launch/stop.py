"""Being asked to end: by Ctrl-C, or by SIGTERM, as schedulers send it, to the same effect."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import FrameType

SAME_WITHIN = 0.5
"""Seconds within which a second Ctrl-C counts as the first: `uv run` and its like hand on what the terminal
has sent to all of them."""

_ASKED, _TERMINATED = threading.Event(), threading.Event()


def asked() -> bool:
    """Tell whether this process has been asked to end: what dies from now on did not die of itself.

    SIGTERM often goes to a whole process group or container, Ray's processes included.
    """
    return _ASKED.is_set()


def terminated() -> bool:
    """Tell whether it was SIGTERM, after which nothing may be waited for that may have got it as well."""
    return _TERMINATED.is_set()


@dataclass
class Stop:
    """The ``first`` signal that asked a run to end, and whether an exception has been ``raised`` for it."""

    first: int | None = None
    raised: bool = False

    @property
    def code(self) -> int:
        """The exit code of what a signal has ended: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.first or signal.SIGINT)

    def heard(self, number: int) -> None:
        """Take in a signal."""
        self.first = self.first or number
        _ASKED.set()
        if number == signal.SIGTERM:
            _TERMINATED.set()


@contextmanager
def heeded(answer: Callable[[bool], None]) -> Iterator[Stop]:
    """Let SIGTERM do what Ctrl-C does, and answer both at once.

    ``answer`` is called in a thread as soon as a signal comes, whatever the main thread is at: with False for
    the first, and with True for a second Ctrl-C, after which the process ends on the spot. Outside of the
    main thread, which no signal reaches, nothing is changed.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    # The kernel's handler writes each signal's number here, also while the main thread computes.
    wake = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    before = signal.signal(signal.SIGTERM, partial(_as_ctrl_c, stop))
    listener = threading.Thread(target=_listen, args=(heard, stop, answer), daemon=True)
    listener.start()
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(wake)
        told.close()
        listener.join()
        heard.close()
        _ASKED.clear()
        _TERMINATED.clear()


def _as_ctrl_c(stop: Stop, number: int, frame: FrameType | None) -> None:
    # Not by the handler of SIGINT: Tune's own lets it end in order, which takes a Ray that is alive. And once
    # only: what is asked to end has a report to write.
    if not stop.raised and stop.first in (None, number):
        stop.heard(number)
        stop.raised = True
        raise KeyboardInterrupt


def _listen(signals: socket.socket, stop: Stop, answer: Callable[[bool], None]) -> None:
    began: float | None = None
    while number := signals.recv(1):
        if number[0] not in (signal.SIGINT, signal.SIGTERM):
            continue
        stop.heard(number[0])
        if began is None:
            began = time.monotonic()
            with suppress(Exception):  # a display that is gone must not keep the second from being heard
                answer(False)
        elif number[0] == signal.SIGINT and time.monotonic() - began > SAME_WITHIN:
            try:
                answer(True)
            finally:
                os._exit(stop.code)
