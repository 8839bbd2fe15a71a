"""Small real reports, records and sweep files for the tests of `raynas.sweep`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raynas.bilevel.records import EpochReport
from raynas.config import SearchConfig
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.sweep.file.load import load_sweep
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Sweep
from raynas.sweep.record import TrialRecord
from raynas.sweep.status import Status

CELL = (Choice("skip_connect", 0, 2), Choice("sep_conv_3x3", 1, 2))
GENOTYPE = Genotype.of("tiny", 1, {"normal": CELL, "reduce": CELL})


def report(epoch: int, valid_loss: float = 1.0, discrete_loss: float = 2.0) -> EpochReport:
    """Return a report with the given losses."""
    return EpochReport(
        epoch=epoch,
        train_loss=0.1 + 0.2,
        train_accuracy=0.5,
        valid_loss=valid_loss,
        valid_accuracy=0.4,
        discrete_loss=discrete_loss,
        discrete_accuracy=0.3,
        learning_rate=0.025,
        genotype=GENOTYPE,
        weights={"normal": [[0.25, 0.75]], "reduce": [[0.5, 0.5]]},
        entropy={"normal": 0.56, "reduce": 0.69},
        skips={"normal": 1, "reduce": 1},
    )


def record(
    trial_id: str, status: Status = "finished", losses: Sequence[float] = (1.0,), **config: Any
) -> TrialRecord:
    """Return a record with one report an epoch."""
    reports = tuple(report(epoch, loss, loss + 1) for epoch, loss in enumerate(losses))
    values = SearchConfig(space="tiny", **config)
    return TrialRecord(trial_id, values, {}, status, "", reports, None, ())


def sweep_of(folder: Path, text: str, *overrides: str, name: str = "try.yaml") -> Sweep:
    """Resolve a sweep file with the given text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return load_sweep(file, overrides)


def create(folder: Path, text: str, *overrides: str) -> SweepFolder:
    """Resolve a sweep file and make its folder."""
    sweep = sweep_of(folder, text, *overrides)
    made = SweepFolder(folder / "runs" / sweep.name)
    made.create(sweep, text)
    return made


def run(folder: SweepFolder, trial_id: str, loss: float = 1.0, status: Status = "finished") -> None:
    """Play a trial from start to end."""
    spool = folder.trial(trial_id).spool
    spool.append("start", trial=trial_id, attempt=1)
    spool.append("epoch", report=report(0, loss).to_json())
    spool.append("end", status=status, reason="as the test wants it")
