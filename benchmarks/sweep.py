"""How much of the time of a sweep's slots is training, what starting and writing cost, what tracking adds.

With ``--folder`` it reads a sweep that has been run. Otherwise it runs a small one twice, without a tracker
and with one, in a temporary folder, with Ray on this machine's loopback. Those trials are short, so that
their slots are less busy than the target, which is about trials of a minute or more, asks for.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.lines import Line, at_least
from benchmarks.setting import Setting
from benchmarks.slots import Slot, slots
from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder

ROOT = Path(__file__).resolve().parents[1]
BUSY = 95.0
LONG = 60.0
"""Seconds of a trial from which on the target holds."""
TRIALS = """\
name: small
space: tiny
data: digits
epochs: 4
batch: 32
channels: 8
cells: 3
grid:
  weight_decay: [3.0e-4, 3.0e-2]
  seed: [0, 1]
resources: {cpu: 1}
"""


def run(setting: Setting) -> Iterator[Line]:
    """Yield the busy share and where the rest went."""
    if setting.folder is not None:
        yield from read(setting.folder)
        return
    with TemporaryDirectory(prefix="raynas-benchmark-") as name:
        folder = Path(name)
        _sweep(folder / "alone", "null")
        _sweep(folder / "tracked", f"sqlite:///{folder}/mlflow.db")
        yield from read(folder / "alone" / "small")
        alone, tracked = (_span(_slots(folder / name / "small")) for name in ("alone", "tracked"))
        yield Line("from the first start to the last end", alone, "s")
        yield Line("with MLflow / without, first start to last end", tracked / alone)


def _sweep(runs: Path, tracker: str) -> None:
    """Run the small sweep under ``runs`` as a user would."""
    runs.mkdir()
    file = runs / "small.yaml"
    file.write_text(TRIALS, encoding="utf-8")
    raynas = [sys.executable, "-m", "raynas", "sweep", str(file), f"track.mlflow={tracker}"]
    # Ray listens on every interface; this leaves it none but the loopback where that can be done.
    command = [sys.executable, str(ROOT / ".ci" / "loopback.py"), *raynas, "--runs", str(runs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=runs, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RaynasError("the sweep failed", got=(done.stdout + done.stderr)[-2000:])


def _span(found: list[Slot]) -> float:
    return max(slot.last for slot in found) - min(slot.first for slot in found)


def read(folder: Path) -> Iterator[Line]:
    """Yield what the records of a sweep say."""
    found = _slots(folder)
    if not found:
        raise RaynasError("no trial of this sweep has started", got=folder, next_step="--folder runs/NAME")
    alive = sum(slot.last - slot.first for slot in found)
    attempts = [attempt for slot in found for attempt in slot.attempts]
    typical = median(attempt.ended - attempt.started for attempt in attempts)
    busy = 100 * sum(slot.trained for slot in found) / alive
    enough = at_least(BUSY) if typical >= LONG else None
    yield Line("slots", len(found), "", note=f"{len(attempts)} starts, {typical:.1f} s each (median)")
    yield Line("share of the slots' time in epochs", busy, "%", enough)
    planned = datetime.fromisoformat(SweepFolder(folder).sweep().created).timestamp()
    launches = median(slot.first - planned for slot in found)
    yield Line("from planning to a slot's first start", launches, "s", note="median")
    loading = [attempt.loading for attempt in attempts if attempt.epochs]
    if loading:
        yield Line("from a start to its first epoch", median(loading), "s", note="median")
    gaps = [seconds for slot in found for seconds in slot.between()]
    if gaps:
        yield Line("from an end to the next start in a slot", median(gaps), "s", note="median")
    beside = [seconds for slot in found for seconds in slot.beside()]
    if beside:
        yield Line("an epoch's writing and reporting", 1000 * median(beside), "ms", note="median")


def _slots(folder: Path) -> list[Slot]:
    return slots(trial.spool.events()[0] for trial in SweepFolder(folder).trials())
