"""The screen of a live display: a view that renews itself in a terminal, opened once and left as it was."""

from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live

STOPPING = "stopping"
"""How a phase begins that ends the run."""


class Screen:
    """A view that renews itself twice a second from `open` to `close`, with what the run is at.

    ``renews`` is false where a terminal asks for no colour (``NO_COLOR``) or cannot move its cursor, and
    where there is none: plain lines are printed there instead.
    """

    def __init__(self, console: Console, view: Callable[[], RenderableType]) -> None:
        self.renews = console.is_terminal and not (console.no_color or console.is_dumb_terminal)
        self.phase = ""
        self._console, self._view = console, view
        self._live: Live | None = None

    @property
    def stopping(self) -> bool:
        """Tell whether the run has been asked to end."""
        return self.phase.startswith(STOPPING)

    def enter(self, phase: str) -> None:
        """Note what the run is at now; what comes after being asked to end still says so."""
        self.phase = f"{STOPPING}: {phase}" if self.stopping and not phase.startswith(STOPPING) else phase

    def open(self) -> None:
        """Show the view where it can renew itself."""
        if self._live is None and self.renews:
            self._live = Live(
                console=self._console, get_renderable=self._view, refresh_per_second=2, transient=True
            )
            self._live.start(refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None
