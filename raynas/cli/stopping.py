"""What is said when a run of trials is asked to end, at once and in the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from raynas.cli.screen import STOPPING
from raynas.launch.stop import Stop, heeded

ANSWER = f"{STOPPING}: every epoch that is over is on record; Ctrl-C again ends it on the spot"


class Shown(Protocol):
    """A display that says what goes on, and leaves the terminal as it was."""

    def on_phase(self, what: str) -> None: ...
    def close(self) -> None: ...


@contextmanager
def stoppable(display: Shown, again: str) -> Iterator[Stop]:
    """Answer Ctrl-C and SIGTERM on a display at once; ``again`` is the command that goes on."""

    def answer(second: bool) -> None:
        if not second:
            display.on_phase(ANSWER)
            return
        display.close()
        # Not by way of Python's buffers, which the main thread may hold.
        os.write(1, f"ended on the spot\nnext: raynas {again}\n".encode())

    with heeded(answer) as stop:
        try:
            yield stop
        finally:
            display.close()
