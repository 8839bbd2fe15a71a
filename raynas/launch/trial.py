"""Running one trial from wherever its folder stands to its end: the same code in every launcher."""

import os
import platform
import socket
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import torch

import raynas
from raynas.core.checkpoint import dump, load
from raynas.core.config import SearchConfig
from raynas.core.records import EpochReport
from raynas.data.dataset import Dataset
from raynas.data.split import Splits, split
from raynas.disk import DiskFull, write_atomic
from raynas.errors import RaynasError
from raynas.search import Diverged, Search
from raynas.sweep.folder import TrialFolder

Ended = Literal["finished", "diverged", "failed"]


def run_trial(
    folder: TrialFolder,
    *,
    dataset: Dataset,
    device: torch.device,
    attempt: int,
    heartbeat: Callable[[EpochReport], None],
) -> Ended:
    """Run a trial's search to its end and return how it ended; `heartbeat` is called after each epoch.

    After every epoch the report is spooled first and the checkpoint replaced second, so a kill at any moment
    loses at most an epoch that will be computed again to the same bits. Mistakes a user can mend and
    divergence end the trial. A full disk is raised and ends nothing: it would fail every trial in turn, and
    with space again all go on. Any other exception is recorded and raised, for the launcher to try again.
    """
    try:
        try:
            report = _search(folder, dataset, device, attempt, heartbeat)
        except Diverged as error:
            return _end(folder, "diverged", str(error))
        except DiskFull:
            raise
        except RaynasError as error:
            folder.spool.append("error", message=str(error), kind_of_error="user", attempt=attempt)
            return _end(folder, "failed", str(error))
        if report is not None:
            report.genotype.save(folder.path / "genotype.json")
        return _end(folder, "finished", "")
    except RaynasError:
        raise
    except Exception as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        _log(folder.log, traceback.format_exc())
        folder.spool.append(
            "error",
            message=f"{type(error).__name__}: {error}",
            kind_of_error="oom" if out_of_memory else "crash",
            attempt=attempt,
        )
        raise


def _search(
    folder: TrialFolder,
    dataset: Dataset,
    device: torch.device,
    attempt: int,
    heartbeat: Callable[[EpochReport], None],
) -> EpochReport | None:
    """Run the epochs that are left; return the last report, or None when there was none left."""
    config = folder.config()
    make_deterministic(config)
    splits = split(dataset, config.data)
    search = Search(config, folder.space(), splits, device)
    if folder.checkpoint.exists():
        search.load_state_dict(load(folder.checkpoint))
    _start(folder, search, splits, device, attempt)
    report = None
    for report in search:
        folder.spool.append("epoch", report=report.to_json())
        write_atomic(folder.checkpoint, dump(search.state_dict()))
        heartbeat(report)
    return report


def make_deterministic(config: SearchConfig) -> None:
    """Pin what would change a search's numbers from outside: CPU threads and the choice of kernels."""
    # cuBLAS reads this when it first makes a handle; without it torch refuses to be deterministic.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic


def _start(folder: TrialFolder, search: Search, splits: Splits, device: torch.device, attempt: int) -> None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    folder.spool.append(
        "start",
        trial=folder.id,
        attempt=attempt,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=f"{device.type} ({name})",
        threads=torch.get_num_threads(),
        versions={
            "raynas": raynas.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        data=splits.record(),
        parameters=search.parameters_count,
        from_epoch=search.epoch,
    )


def _end(folder: TrialFolder, status: Ended, reason: str) -> Ended:
    if reason:
        _log(folder.log, reason)
    folder.spool.append("end", status=status, reason=reason)
    return status


def _log(path: Path, text: str) -> None:
    """Append to the trial's log; a disk too full for it must not hide what was to be logged."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')}\n{text.rstrip()}\n\n")
    except OSError:
        return
