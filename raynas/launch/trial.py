"""Running trials from wherever their folders stand to their ends: the same code in every launcher.

Like-shaped trials advance together, as one pack; each keeps its own records, checkpoint and end, as if it
were alone. A checkpoint is written for all of a pack or for none: first beside the old ones, and only when
all are on disk do they take their places.
"""

import os
import platform
import socket
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

import raynas
from raynas.data.split import Data
from raynas.disk import DiskFull, append_text, replace, write_atomic
from raynas.errors import RaynasError
from raynas.launch.device import make_deterministic
from raynas.launch.driver import next_attempt, this_attempt
from raynas.launch.recover import Member, Team, teams
from raynas.launch.runner import Runner, judge_random, keep_result, runner_of, told
from raynas.search.checkpoint import dump
from raynas.sweep.folder import TrialFolder
from raynas.sweep.pulse import Heart
from raynas.sweep.status import End


def run_trials(
    trials: Sequence[TrialFolder[Any, Any]],
    *,
    dataset: Data,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None = None,
) -> None:
    """Run like-shaped searches or trainings to their ends; `heartbeat` is called after each epoch.

    After every epoch the reports are spooled first and the checkpoints replaced second, so a kill at any
    moment loses at most an epoch that will be computed again to the same bits. What is damaged is set aside
    and repeated (see `raynas.launch.recover`). Mistakes a user can fix and divergence end a trial and leave
    the others alone. A full disk is raised and ends nothing: it would fail every trial in turn, and with
    space again all go on. Any other exception is recorded with every trial that has not ended, and raised,
    for the launcher to try again.
    """
    live = list(trials)
    try:
        waiting = deque(teams(_members(live), _same(live, device, forms)))
        while waiting:
            team = waiting.popleft()
            try:
                _run_team(team, live, dataset, device, heartbeat, forms)
            except _Unfit as unfit:
                if unfit.refused:
                    _fail(unfit.member.trial, unfit.refused, live)
                rest = [member for member in team[1] if member.trial in live]
                # In front and in order: they are next in the plan.
                waiting.extendleft(reversed(_again(rest, device, forms)))
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


class _Unfit(Exception):
    """One member's state cannot be taken up: it is damaged, or with ``refused`` that of another search."""

    def __init__(self, member: Member, refused: RaynasError | None) -> None:
        super().__init__(member.trial.id)
        self.member, self.refused = member, refused


def _members(live: list[TrialFolder[Any, Any]]) -> list[Member]:
    """Read how far trials have come; what another version has written is left as it is."""
    for trial in list(live):
        if trial.record().foreign:
            live.remove(trial)
    return [Member.of(trial) for trial in live]


def _run_team(
    team: Team,
    live: list[TrialFolder[Any, Any]],
    dataset: Data,
    device: torch.device,
    heartbeat: Callable[[int], None],
    forms: Mapping[str, str] | None,
) -> None:
    trials = [member.trial for member in team[1]]
    heart: Heart | None = None
    try:
        pack: Runner | None = _pack(team, dataset, device, forms)
        heart = Heart(trials, compiling=bool(pack and pack.configs[0].compile))
        while pack is not None and pack.epoch < pack.epochs:
            pack.tell = partial(heart.beat, pack.epoch)
            pack, trials = _advance(pack, trials, live)
            heartbeat(pack.epoch if pack else 0)
    except DiskFull:
        raise
    except RaynasError as error:
        for trial in trials:
            _fail(trial, error, live)
        return
    finally:
        if heart is not None:
            heart.stop()
    if pack is not None:
        judge_random(pack, dict(enumerate(trials)))
        for lane, trial in enumerate(trials):
            _finish(trial, "", live, pack, lane)


def _pack(team: Team, dataset: Data, device: torch.device, forms: Mapping[str, str] | None) -> Runner:
    epoch, members = team
    configs = [member.trial.config() for member in members]
    make_deterministic(configs[0])
    pack = runner_of([member.trial for member in members], dataset, device, forms)
    for lane, member in enumerate(members):
        # None at epoch 0: a search begins from its seed.
        if (state := member.at(epoch)) is not None:
            _take_up(pack, state, lane, member)
    for member in members:
        _start(member, pack, [each.trial.id for each in members], forms)
    return pack


def _again(rest: list[Member], device: torch.device, forms: Mapping[str, str] | None) -> list[Team]:
    """Return the teams of those that are left of one, which remember what was done."""
    trials = [member.trial for member in rest]
    members = _members(trials)
    for member, before in zip(members, rest, strict=True):
        # Members are read anew, and do not know what was set aside at the first try; their start events say
        # so.
        member.done[:0] = before.done
    return teams(members, _same(trials, device, forms))


def _same(
    trials: Sequence[TrialFolder[Any, Any]], device: torch.device, forms: Mapping[str, str] | None
) -> Callable[[Member], bool]:
    """Return what tells whether a trial has always run as it will now, so that its numbers come again."""
    now = _circumstances(device, [trial.id for trial in trials], forms)

    def same(member: Member) -> bool:
        threads = {"threads": member.trial.config().threads}
        starts = (event for event in member.trial.spool.events()[0] if event["kind"] == "start")
        return all(_deciding(start) == _deciding(now | threads) for start in starts)

    return same


def _circumstances(
    device: torch.device, company: Sequence[str], forms: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return what decides the rounding of a search's numbers, besides its configuration."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": f"{device.type} ({name})",
        "versions": {
            "raynas": raynas.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "pack": list(company),
        "forms": dict(forms or {}),
    }


def _deciding(start: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a start event decides the rounding; another raynas computes the same, or refuses."""
    torch_version = start.get("versions", {}).get("torch")
    return {key: start.get(key) for key in ("device", "pack", "forms", "threads")} | {"torch": torch_version}


def _take_up(pack: Runner, state: dict[str, Any], lane: int, member: Member) -> None:
    """Put a lane to where its checkpoint was taken, and its records to what the checkpoint has counted."""
    try:
        pack.load_state_dict(state, lane)
    except RaynasError as error:
        raise _Unfit(member, error) from None
    except torch.OutOfMemoryError:
        raise  # a RuntimeError, too, but the checkpoint is sound: set aside, all its epochs would be lost
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        member.put_aside(member.trial.checkpoint, error)
        raise _Unfit(member, None) from None
    member.complete(pack.history[lane])


def _advance(
    pack: Runner, trials: list[TrialFolder[Any, Any]], live: list[TrialFolder[Any, Any]]
) -> tuple[Runner | None, list[TrialFolder[Any, Any]]]:
    """Run one epoch; return what is left of the pack once those that diverged or stopped have ended.

    They end last: the others must not be found at an epoch that they have yet to compute without them. One
    that its method has stopped keeps the checkpoint of the epoch before, from which it would stop again.
    """
    outcomes = pack.advance()
    left = []
    for lane, (trial, outcome) in enumerate(zip(trials, outcomes, strict=True)):
        if not isinstance(outcome, RaynasError):
            trial.spool.append("epoch", report=outcome.to_json())
            if outcome.ended is None:
                left.append(lane)
    _save([trials[lane] for lane in left], [pack.state_dict(lane) for lane in left])
    over = (lane for lane, each in enumerate(outcomes) if not isinstance(each, RaynasError) and each.ended)
    judge_random(pack, {lane: trials[lane] for lane in over})
    for lane, (trial, outcome) in enumerate(zip(trials, outcomes, strict=True)):
        if isinstance(outcome, RaynasError):
            _end(trial, "diverged", str(outcome), live)
        elif outcome.ended is not None:
            _finish(trial, outcome.ended.reason, live, pack, lane)
    if not left:
        return None, []
    going = pack if len(left) == len(trials) else pack.keep(left)
    return going, [trials[lane] for lane in left]


def _save(trials: Sequence[TrialFolder[Any, Any]], states: Sequence[dict[str, Any]]) -> None:
    """Replace the checkpoints of all members or of none, whenever a kill may come."""
    # A trial alone needs one rename, which is all or nothing. K renames are not, so what comes next is first
    # whole on disk for all: a kill between them leaves each with its old or new state beside the other's new.
    for trial, state in zip(trials, states, strict=True):
        write_atomic(trial.checkpoint if len(trials) == 1 else trial.following, dump(state))
    if len(trials) > 1:
        for trial in trials:
            replace(trial.following, trial.checkpoint)


def _start(member: Member, pack: Runner, company: Sequence[str], forms: Mapping[str, str] | None) -> None:
    trial = member.trial
    for what in member.done:
        _log(trial.log, what)
    trial.spool.append(
        "start",
        trial=trial.id,
        attempt=next_attempt(trial.record()),
        config=trial.config().model_dump(mode="json"),
        host=socket.gethostname(),
        pid=os.getpid(),
        threads=torch.get_num_threads(),
        **told(pack),
        parameters=pack.parameters_count,
        epochs=pack.epochs,
        from_epoch=pack.epoch,
        **({"mended": member.done} if member.done else {}),
        **_circumstances(pack.device, company, forms),
    )


def _fail(trial: TrialFolder[Any, Any], error: RaynasError, live: list[TrialFolder[Any, Any]]) -> None:
    attempt = this_attempt(trial.record())
    trial.spool.append("error", message=str(error), kind_of_error="user", attempt=attempt)
    _end(trial, "failed", str(error), live)


def _finish(
    trial: TrialFolder[Any, Any], reason: str, live: list[TrialFolder[Any, Any]], pack: Runner, lane: int
) -> None:
    keep_result(trial, pack, lane)
    _end(trial, "finished", reason, live)


def _end(trial: TrialFolder[Any, Any], status: End, reason: str, live: list[TrialFolder[Any, Any]]) -> None:
    if reason:
        _log(trial.log, reason)
    trial.spool.append("end", status=status, reason=reason)
    live.remove(trial)


def _log(path: Path, text: str) -> None:
    append_text(path, f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text.rstrip()}\n\n")
