"""Answers to Ray Tune as it runs: which trial comes next (`TunePlan`), what follows an event (`Watch`)."""

import logging
import re
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.search import Searcher

from raynas.errors import RaynasError
from raynas.launch.driver import Retries, give_up
from raynas.launch.observer import Observer
from raynas.launch.packs import Packs
from raynas.launch.stop import asked
from raynas.launch.tune.cluster import Ask, too_small
from raynas.launch.tune.trainable import UNFIT
from raynas.sweep.folder import AnySweep
from raynas.sweep.propose import Proposer
from raynas.sweep.status import ENDED, OVER

log = logging.getLogger(__name__)


class TunePlan(Searcher):  # type: ignore[misc]
    """The packs still to run, in the order in which they are handed out; one that crashed is next again.

    It outlives a Tuner: when Ray ends one early, the next Tuner goes on with the same plan.
    """

    def __init__(self, folder: AnySweep, proposer: Proposer, retries: int, packs: Packs) -> None:
        super().__init__()
        self._folder = folder
        self._proposer = proposer
        self._retries = Retries(retries)
        self._packs = packs
        self._again: deque[list[str]] = deque()
        self.live: list[list[str]] = []

    @property
    def left(self) -> int:
        """How many trials have not ended."""
        return self._proposer.pending()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the next pack as Tune's configuration; None to be asked again, FINISHED for no more."""
        if self._again:
            pack = self._again.popleft()
        elif trials := self._proposer.next(self._packs.size):
            pack = [trial.id for trial in trials]
        else:
            # A crashed trial may come back, and a sampler may wait for results: ask again while any runs.
            return None if self.live else Searcher.FINISHED
        self.live.append(pack)
        return {"searches": pack, "forms": self._packs.forms(self._folder.trial(pack[0]).config())}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: Tune calls this before its callbacks, and `Watch` has to close a dead trial first."""

    def ended(self, pack: list[str]) -> None:
        """Take in that the process of a pack is done with it."""
        self.live.remove(pack)
        for trial_id in pack:
            trial = self._folder.trial(trial_id)
            if trial.record().status not in ENDED:
                give_up(trial)
            self._proposer.tell(trial_id)

    def died(self, pack: list[str], words: str, kind: str = "crash") -> None:
        """Take in that a pack's process died: what had not ended is next again, until it died too often."""
        self.live.remove(pack)
        again = self._retries.after_death([self._folder.trial(each) for each in pack], words, kind)
        self._again.extend([trial.id for trial in part] for part in again)
        for trial_id in set(pack) - {trial.id for part in again for trial in part}:
            self._proposer.tell(trial_id)

    def stopped(self, pack: list[str]) -> None:
        """Take in that a pack was stopped by no fault of its own: it is next again."""
        self.live.remove(pack)
        left = [each for each in pack if self._folder.trial(each).record().status not in OVER]
        if left:
            self._again.append(left)

    def broken_off(self, error: BaseException) -> None:
        """Take in that Ray ended the Tuner because its memory monitor killed workers; all trials stopped.

        The killed ones are those whose processes Ray's message names, or all if it names none.
        """
        # Ray tells of a kill by its monitor in words only; without a process' number every pack may be the
        # one.
        named = {int(pid) for pid in re.findall(r"Selected to kill: .*?\bpid=(\d+)", str(error))}
        killed = [pack for pack in self.live if self._process(pack) in named] or list(self.live)
        for pack in list(self.live):
            if pack in killed:
                self.died(pack, "its process was killed by Ray's memory monitor", "oom")
            else:
                self.stopped(pack)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing: a sweep is resumed from its folder, never from Tune's snapshots."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; see `save`."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into snapshots that nobody reads; observers and studies do not pickle.
        return {}

    def _process(self, pack: list[str]) -> int | None:
        starts = [start for each in pack if (start := self._folder.trial(each).record().start)]
        return starts[0]["pid"] if starts else None


class Watch(Callback):  # type: ignore[misc]
    """Keeps plan and observers up to date, and says when nothing starts.

    ``unfit`` is set, and the Tuner ended, once a node says that no trial can run on it.
    """

    def __init__(self, folder: AnySweep, plan: TunePlan, observer: Observer[Any, Any], ask: Ask) -> None:
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
        self._look(_pack(trial))

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """Close the trials."""
        self._plan.ended(_pack(trial))
        self._look(_pack(trial))

    def on_trial_error(self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any) -> None:
        """Plan the trials again, or let them have failed."""
        if trial.num_failures and not asked():
            self._plan.died(_pack(trial), _last_words(trial))
        else:
            # Ray does not count the loss of a node that announced its end, as spot nodes do; and a SIGTERM to
            # all processes reaches the workers too.
            self._plan.stopped(_pack(trial))
        self._look(_pack(trial))

    def on_step_end(self, iteration: int, trials: list[TuneTrial], **info: Any) -> None:
        """Once a second: show what the trials have spooled meanwhile."""
        now = time.monotonic()
        if now - self._ticked < 1.0:
            return
        self._ticked = now
        for pack in self._plan.live:
            self._look(pack)
        self._observer.on_tick()
        self._mind_the_wait(trials, now)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as for `TunePlan`

    def _look(self, pack: list[str]) -> None:
        for trial in map(self._folder.trial, pack):
            with suppress(OSError):  # no spool yet, or shared storage that hiccups: the next tick looks again
                size = trial.spool.path.stat().st_size
                if size != self._sizes.get(trial.id, 0):
                    self._sizes[trial.id] = size
                    record = trial.record()
                    self._observer.on_trial(record)
                    if record.status in ENDED:
                        trial.let_go()

    def _mind_the_wait(self, trials: list[TuneTrial], now: float) -> None:
        waiting = sum(trial.status == TuneTrial.PENDING for trial in trials)
        if not waiting or any(trial.status == TuneTrial.RUNNING for trial in trials):
            self._idle_since = now
        elif now - self._idle_since > self._patience:
            seconds = now - self._idle_since
            log.warning(
                "no trial started for %.0f s: %d wait for %s each. %s",
                seconds,
                waiting,
                self._ask,
                _why(self._ask),
            )
            self._patience *= 2


def _why(ask: Ask) -> str:
    """Say what the nodes have, and what to change unless one that has more is on its way."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(map(ask.fit, nodes)):
        return "There are nodes that could hold one: others use them, or they are about to leave"
    error = too_small(ask, nodes)
    return (
        f"It may be {error.expected}. Unless a node that has more is on its way (`ray status`), none will "
        f"ever start: Ctrl-C, and start the sweep again with {error.next_step}"
    )


def _pack(trial: TuneTrial) -> list[str]:
    return list(trial.config["searches"])


def _last_words(trial: TuneTrial) -> str:
    """Return the last line of what Ray wrote about a trial's death."""
    file = Path(trial.error_file) if trial.error_file else None
    lines = file.read_text(errors="replace").split("\n") if file and file.exists() else []
    words = [line.strip() for line in lines if line.strip()]
    return words[-1][:300] if words else "the trial's process died"
