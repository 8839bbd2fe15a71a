"""Running trials from wherever their folders stand to their ends: the same code in every launcher.

Like-shaped trials advance together, as one pack; each keeps its own records, checkpoint and end, as if it
were alone. A checkpoint is written for all of a pack or for none: first beside the old ones, and only when
all are on disk do they take their places.
"""

import os
import platform
import socket
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

import raynas
from raynas.core.checkpoint import dump, load
from raynas.core.config import SearchConfig
from raynas.data.split import Data, split
from raynas.disk import DiskFull, replace, write_atomic
from raynas.errors import RaynasError
from raynas.launch.driver import next_attempt, this_attempt
from raynas.search import Diverged, Pack
from raynas.sweep.folder import TrialFolder

Ended = Literal["finished", "diverged", "failed"]


def run_trials(
    trials: Sequence[TrialFolder],
    *,
    dataset: Data,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None = None,
) -> None:
    """Run the searches of like-shaped trials to their ends; `heartbeat` is called after each epoch.

    After every epoch the reports are spooled first and the checkpoints replaced second, so a kill at any
    moment loses at most an epoch that will be computed again to the same bits. Mistakes a user can mend and
    divergence end a trial and leave the others alone. A full disk is raised and ends nothing: it would fail
    every trial in turn, and with space again all go on. Any other exception is recorded with every trial
    that has not ended, and raised, for the launcher to try again.
    """
    live = list(trials)
    try:
        for team in _teams(live):
            _run_team(team, live, dataset, device, heartbeat, forms)
    except RaynasError:
        raise
    except Exception as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        for trial in live:
            _log(trial.log, traceback.format_exc())
            trial.spool.append(
                "error",
                message=f"{type(error).__name__}: {error}",
                kind_of_error="oom" if out_of_memory else "crash",
                attempt=this_attempt(trial.record()),
            )
        raise


@dataclass
class _Member:
    """A trial that waits to go on, with the states it can go on from, by epoch, and where they lie."""

    trial: TrialFolder
    states: dict[int, tuple[Path, dict[str, Any]]] = field(default_factory=dict)

    def at(self, epoch: int) -> dict[str, Any] | None:
        """Settle for one of the states; the other is of no use any more."""
        for other, (path, _) in self.states.items():
            if other != epoch:
                path.unlink()
        if epoch not in self.states:
            return None
        path, state = self.states[epoch]
        replace(path, self.trial.checkpoint)
        return state


def _teams(live: list[TrialFolder]) -> list[tuple[int, list[_Member]]]:
    """Sort trials by the epoch from which they can go on together, which is mostly one for all of them."""
    members = []
    for trial in list(live):
        try:
            members.append(_Member(trial, _states(trial)))
        except RaynasError as error:
            _fail(trial, error, live)
    reachable = [set(member.states) or {0} for member in members]
    if common := set.intersection(*reachable) if reachable else set():
        return [(max(common), members)]
    teams: dict[int, list[_Member]] = {}
    for member, epochs in zip(members, reachable, strict=True):
        teams.setdefault(max(epochs), []).append(member)
    return sorted(teams.items())


def _states(trial: TrialFolder) -> dict[int, tuple[Path, dict[str, Any]]]:
    """Read a trial's checkpoint and the one that was about to take its place."""
    states = {}
    for path in (trial.checkpoint, trial.following):
        if path.exists():
            state = load(path)
            states[int(state["epoch"])] = path, state
    return states


def _run_team(
    team: tuple[int, list[_Member]],
    live: list[TrialFolder],
    dataset: Data,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None,
) -> None:
    trials = [member.trial for member in team[1]]
    try:
        pack: Pack | None = _pack(team, dataset, device, forms)
        while pack is not None and pack.epoch < pack.epochs:
            pack, trials = _advance(pack, trials, live)
            heartbeat(pack.epoch if pack else 0)
    except DiskFull:
        raise
    except RaynasError as error:
        for trial in trials:
            _fail(trial, error, live)
        return
    for trial in trials:
        _finish(trial, "", live)


def _pack(
    team: tuple[int, list[_Member]],
    dataset: Data,
    device: torch.device,
    forms: Mapping[str, str] | None,
) -> Pack:
    epoch, members = team
    configs = [member.trial.config() for member in members]
    make_deterministic(configs[0])
    splits = split(dataset, configs[0].data)
    pack = Pack(configs, members[0].trial.space(), splits, device, forms=forms)
    for lane, member in enumerate(members):
        if (state := member.at(epoch)) is not None:
            pack.load_state_dict(state, lane)
    for member in members:
        _start(member.trial, pack, [each.trial.id for each in members], forms)
    return pack


def _advance(
    pack: Pack, trials: list[TrialFolder], live: list[TrialFolder]
) -> tuple[Pack | None, list[TrialFolder]]:
    """Run one epoch; return what is left of the pack once those that diverged or stopped have ended.

    They end last: the others must not be found at an epoch that they have yet to compute without them. One
    that its method has stopped keeps the checkpoint of the epoch before, from which it would stop again.
    """
    outcomes = pack.advance()
    left = []
    for lane, (trial, outcome) in enumerate(zip(trials, outcomes, strict=True)):
        if not isinstance(outcome, Diverged):
            trial.spool.append("epoch", report=outcome.to_json())
            if outcome.ended is None:
                left.append(lane)
    _save([trials[lane] for lane in left], [pack.state_dict(lane) for lane in left])
    for trial, outcome in zip(trials, outcomes, strict=True):
        if isinstance(outcome, Diverged):
            _end(trial, "diverged", str(outcome), live)
        elif outcome.ended is not None:
            _finish(trial, outcome.ended.reason, live)
    if not left:
        return None, []
    going = pack if len(left) == len(trials) else pack.keep(left)
    return going, [trials[lane] for lane in left]


def _save(trials: Sequence[TrialFolder], states: Sequence[dict[str, Any]]) -> None:
    """Replace the checkpoints of all members or of none, whenever a kill may come."""
    for trial, state in zip(trials, states, strict=True):
        write_atomic(trial.checkpoint if len(trials) == 1 else trial.following, dump(state))
    if len(trials) > 1:
        for trial in trials:
            replace(trial.following, trial.checkpoint)


def make_deterministic(config: SearchConfig) -> None:
    """Pin what would change a search's numbers from outside: CPU threads and the choice of kernels."""
    # cuBLAS reads this when it first makes a handle; without it torch refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic


def _start(trial: TrialFolder, pack: Pack, company: Sequence[str], forms: Mapping[str, str] | None) -> None:
    device = pack.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    trial.spool.append(
        "start",
        trial=trial.id,
        attempt=next_attempt(trial.record()),
        host=socket.gethostname(),
        pid=os.getpid(),
        device=f"{device.type} ({name})",
        threads=torch.get_num_threads(),
        versions={
            "raynas": raynas.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        data=pack.splits.record(),
        method=pack.method.fingerprint,
        validated=pack.method.validated,
        parameters=pack.parameters_count,
        epochs=pack.epochs,
        from_epoch=pack.epoch,
        pack=list(company),
        forms=dict(forms or {}),
    )


def _fail(trial: TrialFolder, error: RaynasError, live: list[TrialFolder]) -> None:
    attempt = this_attempt(trial.record())
    trial.spool.append("error", message=str(error), kind_of_error="user", attempt=attempt)
    _end(trial, "failed", str(error), live)


def _finish(trial: TrialFolder, reason: str, live: list[TrialFolder]) -> None:
    if (final := trial.record().deciding) is not None:
        final.genotype.save(trial.path / "genotype.json")
    _end(trial, "finished", reason, live)


def _end(trial: TrialFolder, status: Ended, reason: str, live: list[TrialFolder]) -> None:
    if reason:
        _log(trial.log, reason)
    trial.spool.append("end", status=status, reason=reason)
    live.remove(trial)


def _log(path: Path, text: str) -> None:
    """Append to the trial's log; a disk too full for it must not hide what was to be logged."""
    with suppress(OSError), path.open("a", encoding="utf-8") as file:
        file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text.rstrip()}\n\n")
