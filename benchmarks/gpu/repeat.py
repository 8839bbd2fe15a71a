"""The same bits again: a search run twice, and one killed and resumed, under deterministic algorithms."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.gpu.where import Where, pack_on
from benchmarks.lines import Line, at_least
from raynas.bilevel.records import EpochReport
from raynas.launch.device import make_deterministic
from raynas.search.checkpoint import dump, load
from raynas.search.loop import Pack

METHODS = ("darts", "darts-2nd", "gdas", "drnas", "pc-darts", "r-darts-dp")
EPOCHS = 3


def run(where: Where) -> Iterator[Line]:
    """Yield two lines for each method."""
    for method in METHODS:
        first = _reports(_search(where.device, method))
        again = _reports(_search(where.device, method))
        yield Line(f"{method}: a second run has the same bits", first == again, "yes", at_least(1))
        resumed = _killed_and_resumed(where.device, method)
        yield Line(f"{method}: killed and resumed, the same bits", first == resumed, "yes", at_least(1))


def _search(device: str, method: str) -> Pack:
    config = {"method": method, "epochs": EPOCHS, "channels": 8, "batch": 16}
    pack = pack_on(device, [config], images=256, side=16, dtype=torch.float32)
    make_deterministic(pack.config)
    return pack


def _reports(pack: Pack) -> list[str]:
    """Run what is left of a search; return all its reports, but for what was measured of the machine."""
    for _ in pack:
        pass
    return [_numbers(report) for report in pack.history[0]]


def _numbers(report: EpochReport) -> str:
    data = report.to_json()
    for key in ("seconds", "peak_memory"):
        data.pop(key, None)
    if data.get("curvature"):
        data["curvature"].pop("seconds", None)
    return json.dumps(data, sort_keys=True)


def _killed_and_resumed(device: str, method: str) -> list[str] | None:
    """Let another process run one epoch, write its checkpoint and kill itself; go on from there."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.pt"
        process = get_context("spawn").Process(target=_run_and_die, args=(device, method, checkpoint))
        process.start()
        process.join()
        if process.exitcode != -signal.SIGKILL:
            return None
        pack = _search(device, method)
        pack.load_state_dict(load(checkpoint))
    return _reports(pack)


def _run_and_die(device: str, method: str, checkpoint: Path) -> None:
    pack = _search(device, method)
    pack.advance()
    checkpoint.write_bytes(dump(pack.state_dict()))
    os.kill(os.getpid(), signal.SIGKILL)
