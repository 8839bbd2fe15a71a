"""What Ray Tune asks while it runs: which trial comes next (`Plan`), what follows from an event (`Watch`)."""

import logging
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from raynas.errors import RaynasError
from raynas.launch.driver import ENDED, Retries, give_up, note_death
from raynas.launch.observer import Observer
from raynas.launch.tune_cluster import Ask
from raynas.launch.tune_trainable import UNFIT
from raynas.sweep.folder import SweepFolder
from raynas.sweep.propose import Proposer

log = logging.getLogger(__name__)


class Plan(Searcher):  # type: ignore[misc]
    """The trials still to run, in the order in which they are handed out; one that crashed is next again.

    It outlives a Tuner: when Ray ends one early, the next Tuner goes on with the same plan.
    """

    def __init__(self, folder: SweepFolder, proposer: Proposer, retries: int) -> None:
        super().__init__()
        self._folder = folder
        self._proposer = proposer
        self._retries = Retries(retries)
        self._again: deque[str] = deque()
        self.live: set[str] = set()

    @property
    def left(self) -> int:
        """How many trials have not ended."""
        return self._proposer.pending()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next trial as Tune's configuration; None to be asked again, FINISHED for no more."""
        if self._again:
            search = self._again.popleft()
        elif (trial := self._proposer.next()) is not None:
            search = trial.id
        else:
            # A crashed trial may come back, and a sampler may wait for results: ask again while any runs.
            return None if self.live else Searcher.FINISHED
        self.live.add(search)
        return {"searches": [search]}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: Tune calls this before its callbacks, and `Watch` has to close a dead trial first."""

    def ended(self, search: str) -> None:
        """Take in that a trial's process is done with it."""
        self.live.discard(search)
        trial = self._folder.trial(search)
        if trial.record().status not in ENDED:
            give_up(trial)
        self._proposer.tell(search)

    def died(self, search: str, words: str, kind: str = "crash") -> None:
        """Take in that a trial's process died: it is next again, or has failed once it died too often."""
        trial = self._folder.trial(search)
        if trial.record().status in ("finished", "diverged"):
            self.ended(search)  # it died after its end
            return
        note_death(trial, words, kind)
        if self._retries.again(search):
            self.stopped(search)
        else:
            give_up(trial)
            self.ended(search)

    def stopped(self, search: str) -> None:
        """Take in that a trial was stopped by no fault of its own: it is next again."""
        self.live.discard(search)
        self._again.append(search)

    def broken_off(self, error: BaseException) -> None:
        """Take in that Ray ended the Tuner because its memory monitor killed workers; all trials stopped.

        The killed ones are those whose processes Ray's message names, or all if it names none.
        """
        named = {int(pid) for pid in re.findall(r"Selected to kill: .*?\bpid=(\d+)", str(error))}
        killed = {search for search in self.live if self._process(search) in named} or set(self.live)
        for search in sorted(self.live):
            if search in killed:
                self.died(search, "its process was killed by Ray's memory monitor", "oom")
            else:
                self.stopped(search)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: a sweep is resumed from its folder, never from Tune's snapshots."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into snapshots that nobody reads; observers and studies do not pickle.
        return {}

    def _process(self, search: str) -> int | None:
        start = self._folder.trial(search).record().start
        return start["pid"] if start else None


class Watch(Callback):  # type: ignore[misc]
    """Keeps plan and observers up to date, and says when nothing starts.

    ``unfit`` is set, and the Tuner ended, once a node says that no trial can run on it.
    """

    def __init__(self, folder: SweepFolder, plan: Plan, observer: Observer, ask: Ask) -> None:
        self._folder = folder
        self._plan = plan
        self._observer = observer
        self._ask = ask
        self._sizes: dict[str, int] = {}
        self._ticked = 0.0
        self._idle_since = time.monotonic()
        self._patience = 60.0
        self.unfit: str | None = None

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any], **info: Any
    ) -> None:
        """Show the epoch; a node that reports itself unfit ends the Tuner."""
        if (unfit := result.get(UNFIT)) is not None:
            self.unfit = unfit
            raise RaynasError(unfit)
        self._look(_search(trial))

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Close the trial."""
        self._plan.ended(_search(trial))
        self._look(_search(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Plan the trial again, or let it have failed."""
        if trial.num_failures:
            self._plan.died(_search(trial), _last_words(trial))
        else:
            # Ray does not count the loss of a node that announced its end, as spot nodes do.
            self._plan.stopped(_search(trial))
        self._look(_search(trial))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Once a second: show what the trials have spooled meanwhile."""
        now = time.monotonic()
        if now - self._ticked < 1.0:
            return
        self._ticked = now
        for search in sorted(self._plan.live):
            self._look(search)
        self._observer.on_tick()
        self._mind_the_wait(trials, now)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as for `Plan`

    def _look(self, search: str) -> None:
        trial = self._folder.trial(search)
        with suppress(OSError):  # no spool yet, or shared storage that hiccups: the next tick looks again
            size = trial.spool.path.stat().st_size
            if size != self._sizes.get(search, 0):
                self._sizes[search] = size
                self._observer.on_trial(trial.record())

    def _mind_the_wait(self, trials: list[TuneTrial], now: float) -> None:
        waiting = sum(trial.status == TuneTrial.PENDING for trial in trials)
        if not waiting or any(trial.status == TuneTrial.RUNNING for trial in trials):
            self._idle_since = now
        elif now - self._idle_since > self._patience:
            seconds = now - self._idle_since
            log.warning("no trial started for %.0f s: %d wait for %s each", seconds, waiting, self._ask)
            self._patience *= 2


def _search(trial: TuneTrial) -> str:
    [search] = trial.config["searches"]
    return str(search)


def _last_words(trial: TuneTrial) -> str:
    """Return the last line of what Ray wrote about a trial's death."""
    file = Path(trial.error_file) if trial.error_file else None
    lines = file.read_text(errors="replace").split("\n") if file and file.exists() else []
    words = [line.strip() for line in lines if line.strip()]
    return words[-1][:300] if words else "the trial's process died"
