"""Repair of a damaged folder before it is run: what is on record elsewhere is put back, the rest repeated.

Nothing is deleted: what cannot be used any more is renamed, and the driver, the trial's log and its next
start event say so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raynas.bilevel.records import EpochReport
from raynas.config import shape_of
from raynas.data.load import load_data
from raynas.data.split import Data
from raynas.disk import replace, set_aside
from raynas.errors import RaynasError
from raynas.launch.driver import data_key, only_writer
from raynas.launch.runner import deployed_again
from raynas.search.checkpoint import load
from raynas.sweep.folder import AnySweep, TrialFolder
from raynas.sweep.packs import PackEntry, damage, write_packs
from raynas.sweep.plan import Trial
from raynas.sweep.record import differs
from raynas.sweep.status import OVER
from raynas.train.deployed import Deployed
from raynas.train.records import TrainReport


def repair(folder: AnySweep) -> list[str]:
    """Set right what no process runs now, as a sweep's only driver; return what was done, one line each."""
    done = []
    # Not among `folder.trials()`, which are those whose configuration is known.
    for trial in folder.lost():
        names = ", ".join(trial.set_aside(trial.spool.path, trial.checkpoint, trial.following))
        done.append(f"{trial.id}: the values suggested for it are lost: {names}; it starts again with others")
    for trial in folder.trials():
        done += [f"{trial.id}: {what}" for what in _repaired(trial, folder)]
    done += restore_packs(folder)
    return done + restore_networks(folder)


def _repaired(trial: TrialFolder[Any, Any], folder: AnySweep) -> list[str]:
    done = []
    if damage := trial.known.damage:
        aside = "".join(f", set aside as {name}" for name in trial.set_aside(trial.path / "trial.json"))
        slots = {each.id: each.slot for each in folder.sweep().trials}
        plan = Trial(trial.id, trial.config(), trial.known.axes, slots[trial.id])
        trial.write(plan, trial.subject(), control=trial.known.control)
        done.append(f"{damage}{aside}; written again as sweep.json has it")
    record = trial.record()
    if trial.feed.damaged and not record.foreign and record.status in OVER:
        with only_writer([trial]):
            done.append(trial.feed.repair())
    return done


def restore_networks(folder: AnySweep) -> list[str]:
    """Make the networks of finished trainings again that are missing or damaged; return what was done."""
    if folder.sweep().kind != "train":
        return []
    done, loaded = [], dict[str, Data]()
    for trial in folder.trials():
        if trial.record().status != "finished" or not (wrong := _unusable(trial)):
            continue
        key = data_key(trial.config().data)
        try:
            state = load(trial.checkpoint)
            _check_own(state, trial)
            loaded[key] = loaded.get(key) or load_data(folder.places.of(trial.config().data))
            deployed_again(trial, state, loaded[key]).save(trial.network)
        except (RaynasError, LookupError, TypeError, ValueError, RuntimeError) as error:
            why = error.what if isinstance(error, RaynasError) else f"{type(error).__name__}: {error}"[:200]
            step = f"delete {trial.path} and resume to train it again"
            done.append(f"{trial.id}: {wrong}, and it cannot be made from its checkpoint: {why}; {step}")
        else:
            done.append(f"{trial.id}: {wrong}; made again from its checkpoint")
    return done


def _unusable(trial: TrialFolder[Any, Any]) -> str:
    """Say why a network's folder is of no use; empty where it is."""
    if not trial.kept:
        return "its network is missing"
    try:
        Deployed.load(trial.network)
    except RaynasError as error:
        return f"its network cannot be read ({error.what})"
    return ""


def restore_packs(folder: AnySweep) -> list[str]:
    """Put a damaged record of packs right, as far as trials have started with it; return what was done.

    Their starts say in which company and with which forms of convolution they run. Shapes of which none has
    started are measured again.
    """
    if not (wrong := damage(folder.packs)):
        return []
    name = set_aside(folder.packs).name
    found: dict[str, PackEntry] = {}
    for record in folder.records():
        if record.start and "pack" in record.start:
            shape, size = shape_of(record.config), max(len(record.start["pack"]), 1)
            known = found.get(shape)
            # "cuda (NVIDIA H200)" of a start event, and "cuda" of what was measured.
            device = str(record.start.get("device", "")).partition(" ")[0]
            forms = record.start.get("forms") or {}
            pack = max(size, known.pack if known else 1)
            found[shape] = PackEntry(shape=shape, pack=pack, device=device, seconds={}, forms=forms)
    write_packs(folder.packs, found.values())
    return [f"{wrong}; set aside as {name}, and made again from how the trials have started"]


@dataclass
class Member:
    """A trial that waits to go on, with the states it can go on from, by epoch, and where they lie.

    ``done`` is what had to be done to its folder. It is ``lost`` when it had come further than any state that
    can be read.
    """

    trial: TrialFolder[Any, Any]
    states: dict[int, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, trial: TrialFolder[Any, Any]) -> "Member":
        """Read a trial's checkpoint and the one about to take its place; set aside what is damaged."""
        member = cls(trial)
        trial.record()
        if trial.feed.damaged:
            member.done.append(trial.feed.repair())
        for path in (trial.checkpoint, trial.following):
            if path.exists() or path.is_symlink():
                try:
                    state = load(path)
                    _check_own(state, trial)
                    member.states[int(state["epoch"])] = path, state
                except (RaynasError, LookupError, TypeError, ValueError) as error:
                    member.put_aside(path, error)
        return member

    def put_aside(self, path: Path, error: Exception) -> None:
        """Set a checkpoint aside that cannot be read."""
        why = error.what if isinstance(error, RaynasError) else f"{type(error).__name__}: {error}"[:200]
        self.done.append(f"{path.name}: {why}; set aside as {set_aside(path).name}")

    @property
    def lost(self) -> bool:
        """Whether the search has to be repeated from its first epoch.

        An epoch may be on record before the first checkpoint is written; two may not.
        """
        return not self.states and (bool(self.done) or len(self.trial.record().reports) > 1)

    @property
    def reachable(self) -> set[int]:
        """The epochs from which it can go on: every search can go on from its start."""
        return {0, *self.states}

    def at(self, epoch: int) -> dict[str, Any] | None:
        """Settle for one of the states; the other is of no use any more.

        A checkpoint that would still be good, but for the company that cannot come along, is set aside.
        """
        for other, (path, _) in self.states.items():
            if other != epoch and epoch == 0 and path == self.trial.checkpoint:
                name = set_aside(path).name
                self.done.append(f"goes back to the start with its pack; its checkpoint is {name}")
            # The checkpoint that `following` replaces, or a `following` that not all of the pack got to
            # write.
            elif other != epoch:
                path.unlink()
        if epoch not in self.states:
            return None
        path, state = self.states[epoch]
        replace(path, self.trial.checkpoint)
        return state

    def forget_reports(self) -> None:
        """Set the records aside, for what comes now will not be what they say."""
        if self.trial.record().reports:
            [name] = self.trial.set_aside(self.trial.spool.path)
            self.trial.forget()
            self.done.append(f"cannot be repeated to the bit, so it starts again; its reports are {name}")

    def complete(self, history: Sequence[EpochReport | TrainReport]) -> None:
        """Put the reports on record that the checkpoint has counted and the records lack."""
        there = {(report.restart, report.epoch) for report in self.trial.record().ran}
        lacking = [report for report in history if (report.restart, report.epoch) not in there]
        for report in lacking:
            self.trial.spool.append("epoch", report=report.to_json())
        if lacking:
            epochs = ", ".join(str(report.epoch + 1) for report in lacking)
            self.done.append(
                f"the reports of epochs {epochs} were lost, and are restored from the checkpoint"
            )


def _check_own(state: Mapping[str, Any], trial: TrialFolder[Any, Any]) -> None:
    """Raise `RaynasError` when a checkpoint's configuration is not the trial's, for then it is another's.

    Where the trial's own file was changed since the sweep was planned, and where data, space or method are
    not what they were, it may well be this trial's: then the search refuses it, and nothing is repeated.
    """
    if trial.as_planned and (told := differs(state.get("identity"), trial.config())):
        raise RaynasError(f"it is that of another search: {told}")


Team = tuple[int, list[Member]]


def teams(members: Sequence[Member], same: Callable[[Member], bool]) -> list[Team]:
    """Sort members by the epoch from which they go on together, which is mostly one for all of them.

    One that is ``lost`` takes its whole pack back to the start, where all of it repeats to the bit. Where it
    would not (``same`` says whether a member runs as it did before: in its company, on such a device), the
    lost ones start again, without what they had reported, and the others go on from where they are.
    """
    if not members:
        return []
    # Each has at most two states, one epoch apart (see `_save` of `raynas.launch.trial`): what all can reach
    # is the earlier one, or the later where all have it.
    latest = max(set.intersection(*(member.reachable for member in members)))
    furthest = max(max(member.reachable) for member in members)
    lost = [member for member in members if member.lost]
    if latest > 0 or (furthest == 0 and not lost):
        return [(latest, list(members))]
    # A kill in the first epoch finds some members with its state and some with none.
    if (lost or furthest == 1) and all(same(member) for member in members):
        return [(0, list(members))]
    # No common epoch, and not the same numbers again either: those with a state lose nothing by going on
    # apart.
    for member in lost:
        member.forget_reports()
    apart: dict[int, list[Member]] = {}
    for member in members:
        apart.setdefault(max(member.reachable), []).append(member)
    return sorted(apart.items(), key=lambda team: team[0])
