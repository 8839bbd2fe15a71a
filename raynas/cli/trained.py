"""The argument TRAINED, the same for every verb that takes a trained network: finding it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from raynas.disk import expanded
from raynas.errors import RaynasError, nearest, plural, quoted

if TYPE_CHECKING:
    from raynas.sweep.folder import SweepFolder

TrainedArgument = Annotated[
    str,
    typer.Argument(
        metavar="TRAINED",
        help="A trained network: its folder, the folder of its trial, SWEEP/TRIAL, or a sweep "
        "(its first network; never the best by test).",
    ),
]


class FoundNetwork(NamedTuple):
    """The folder of a trained network, and which of several it is where the argument left that open."""

    folder: Path
    said: str = ""


def find_trained(trained: str, runs: Path) -> FoundNetwork:
    """Return the network that a `TrainedArgument` means.

    In order: its folder or its card, the folder of its trial, a sweep, a sweep and a trial. Raises
    `RaynasError` with the nearest name.
    """
    from raynas.sweep.folder import SweepFolder
    from raynas.sweep.trial_folder import NETWORK
    from raynas.train.records import CARD

    path = expanded(trained)
    path = path.parent if path.name == CARD else path
    for folder in (path, path / NETWORK):
        if _holds(folder):
            return FoundNetwork(folder)
    sweeps = [SweepFolder(place.absolute()) for place in (runs / trained, path)]
    if found := next((sweep for sweep in sweeps if sweep.exists), None):
        return _first(found)
    above, _, trial = trained.rstrip("/").rpartition("/")
    for place in (runs / above, expanded(above)) if above else ():
        if (sweep := SweepFolder(place.absolute())).exists:
            return _of_trial(sweep, trial)
    raise _unknown(trained, runs)


def _holds(folder: Path) -> bool:
    from raynas.train.records import CARD

    return (folder / CARD).is_file()


def _trained(sweep: "SweepFolder") -> list[str]:
    """Return the trials that have a trained network, in plan order."""
    return [trial.id for trial in sweep.sweep().trials if _holds(sweep.trial(trial.id).network)]


def _first(sweep: "SweepFolder") -> FoundNetwork:
    from raynas.sweep.folder import TRAINED

    ready = _trained(sweep)
    if not ready and (trained := sweep.trained()):
        raise RaynasError(
            f"the sweep {sweep.called!r} searches for cells; its winners' networks lie below it",
            expected=" or ".join(f"{sweep.called}/{TRAINED}/{name}" for name in trained),
            next_step=f"give {sweep.called}/{TRAINED}/{trained[0]} instead",
        )
    if not ready:
        raise RaynasError(
            f"the sweep {sweep.called!r} has no trained network",
            got=f"{plural(len(sweep.sweep().trials), 'trial')}, none with a network",
            expected="a sweep that trains networks, one of which has ended",
            next_step=_network_step(sweep),
        )
    others = f"of {len(ready)} trained networks the first, {ready[0]}; another: {sweep.called}/{ready[-1]}"
    return FoundNetwork(sweep.trial(ready[0]).network, others if len(ready) > 1 else "")


def _network_step(sweep: "SweepFolder") -> str:
    """Return what brings a sweep's networks about: a resume, also of those that went missing."""
    from raynas.sweep.folder import trains

    if not trains(sweep):
        return f"raynas retrain {sweep.typed}"
    return f"raynas {'status' if sweep.driver else 'resume'} {sweep.typed}"


def _of_trial(sweep: "SweepFolder", trial: str) -> FoundNetwork:
    if _holds(folder := sweep.trial(trial).network):
        return FoundNetwork(folder)
    planned, ready = [each.id for each in sweep.sweep().trials], _trained(sweep)
    if trial in planned:
        raise RaynasError(
            f"the trial {trial} has no trained network",
            got=f"{len(ready)} of {plural(len(planned), 'trial')} of {sweep.called} have one",
            near=nearest(trial, ready),
            next_step=_network_step(sweep),
        )
    raise RaynasError(
        f"no trial {quoted(trial)} in the sweep {sweep.called}",
        expected=f"one of {', '.join(ready)}" if ready else None,
        near=nearest(trial, ready or planned),
        next_step=f"raynas status {sweep.typed}",
    )


def _unknown(trained: str, runs: Path) -> RaynasError:
    from raynas.train.records import CARD

    known = sorted(path.parent.name for path in runs.glob("*/sweep.json"))
    return RaynasError(
        f"no trained network {quoted(trained)}",
        got=f"a folder without {CARD}" if expanded(trained).is_dir() else None,
        expected=f"a folder with {CARD}, that of its trial, or a sweep in {runs}",
        near=nearest(trained, known),
        next_step="raynas ls sweeps",
    )
