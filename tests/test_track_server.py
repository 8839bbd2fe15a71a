"""The uploader against a real MLflow server that comes late, is killed half-way and comes back."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.track_folders import OPS, end, epochs, make_sweep, play, report, start
from test_track import QUICK, Seen, once, until

from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder
from raynas.track.mlflow import MlflowTracker, replay

pytestmark = pytest.mark.server


class Server:
    """`mlflow server` on a free port of the loopback interface, with everything in one folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        until(self.healthy, seconds=180)

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """Kill the server and the workers it started, which are its process group."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Not yet started: the tests decide when it is there."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


def epochs_in_track_json(folder: SweepFolder) -> int:
    try:
        stores = json.loads((folder.path / "track.json").read_text())["stores"]
    except FileNotFoundError:
        return 0
    return sum(trial["epochs"] for trials in stores.values() for trial in trials.values())


@pytest.mark.drill
def test_a_store_away_the_whole_time_is_filled_afterwards(tmp_path: Path, server: Server) -> None:
    folder = make_sweep(tmp_path / "late")
    began = time.monotonic()
    tracker = MlflowTracker(folder, server.url, QUICK)
    tracker.on_start(folder)
    for trial in folder.trials():
        play(folder, trial.id, 6)
        tracker.on_trial(trial.record())
    tracker.on_end(folder)
    assert time.monotonic() - began < 30
    assert "raynas track late" in (tracker.message or "")
    with pytest.raises(RaynasError, match="could not be sent"):
        replay(folder, server.url)
    server.start()
    added = replay(folder, server.url)
    assert (added.runs, added.epochs) == (2, 12)
    added = replay(folder, server.url)
    assert (added.runs, added.epochs) == (0, 0)
    seen = Seen(server.url, "late")
    once(seen.steps("darts-s0"), 6)
    once(seen.steps("darts-s1"), 6)
    run = seen.children["darts-s0"]
    assert run.info.status == "FINISHED"
    assert seen.files(run) >= {"genotype.json", "weights.npz", "cells", "images"}
    assert seen.files(seen.parents[0]) >= {"sweep.json", "sweep.yaml"}


@pytest.mark.drill
def test_a_server_killed_half_way_has_every_row_once(tmp_path: Path, server: Server) -> None:
    if server.process is None:
        server.start()
    folder = make_sweep(tmp_path / "killed", epochs=60)
    tracker = MlflowTracker(folder, server.url, QUICK)
    tracker.on_start(folder)
    assert tracker.message is None
    killed = threading.Event()

    def trial(name: str) -> None:
        start(folder, name)
        for epoch in range(60):
            epochs(folder, name, report(epoch, OPS[epoch // 20]))
            tracker.on_trial(folder.trial(name).record())
            # Forty epochs while the server is up, the rest once it is away: all forty may have been sent when
            # it is killed, and only what comes afterwards tells the tracker that it is gone.
            time.sleep(0.05)
            if epoch == 40:
                killed.wait(120)
        end(folder, name)
        tracker.on_trial(folder.trial(name).record())

    threads = [threading.Thread(target=trial, args=(one.id,)) for one in folder.trials()]
    for thread in threads:
        thread.start()
    until(lambda: epochs_in_track_json(folder) > 20, seconds=60)
    server.kill()
    killed.set()
    for thread in threads:
        thread.join()
    until(lambda: tracker.message is not None, seconds=60)
    server.start()
    tracker.on_end(folder)
    assert tracker.message is None
    seen = Seen(server.url, "killed")
    assert seen.most_runs_of_a_trial == 1
    for one in folder.trials():
        once(seen.steps(one.id), 60)
        assert seen.children[one.id].info.status == "FINISHED"
    assert seen.parents[0].info.status == "FINISHED"
