"""`raynas ui` and `raynas track`."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, environment, make_sweep, play, raynas

from raynas.errors import RaynasError
from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def port() -> Iterator[int]:
    """A port that something listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def tracked(here: Path, uri: str, name: str = "four") -> SweepFolder:
    folder = make_sweep(here / "runs", [f"track.mlflow={uri}", f"name={name}"])
    play(folder, IDS[0], [0.9, 0.8])
    return folder


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What was replayed: (sweep, store); nothing is sent."""
    from raynas.track import mlflow

    calls: list[tuple[str, str]] = []

    def replay(folder: SweepFolder, uri: str) -> mlflow.Replayed:
        calls.append((folder.name, uri))
        return mlflow.Replayed(runs=1, epochs=2)

    monkeypatch.setattr(mlflow, "replay", replay)
    return calls


def test_a_taken_port_is_told(
    capsys: Capture, here: Path, port: int, replayed: list[tuple[str, str]]
) -> None:
    tracked(here, "sqlite:///mlflow.db")
    outcome = raynas(capsys, "ui", "four", "--port", str(port))
    assert outcome.code == 2
    assert f"port {port} is taken" in outcome.err
    assert f"--port {port + 1}" in outcome.err


def test_a_server_elsewhere_is_only_named(
    capsys: Capture, here: Path, replayed: list[tuple[str, str]]
) -> None:
    tracked(here, "http://me:secret@elsewhere:5000")
    outcome = raynas(capsys, "ui")
    assert outcome.code == 0
    assert replayed == [("four", "http://me:secret@elsewhere:5000")]
    assert "MLflow is at http://me:***@elsewhere:5000" in outcome.out
    assert "secret" not in outcome.out


def test_a_server_that_takes_no_sweep_is_a_failure(
    capsys: Capture, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.track import mlflow

    def replay(folder: SweepFolder, uri: str) -> mlflow.Replayed:
        raise RaynasError("the sweep could not be sent to MLflow")

    monkeypatch.setattr(mlflow, "replay", replay)
    tracked(here, "http://elsewhere:5000")
    outcome = raynas(capsys, "ui")
    assert outcome.code == 1
    assert "four: the sweep could not be sent to MLflow" in outcome.out


def test_one_store_is_served_at_a_time(capsys: Capture, here: Path, replayed: list[tuple[str, str]]) -> None:
    tracked(here, "sqlite:///mlflow.db")
    tracked(here, "sqlite:///other.db", "five")
    outcome = raynas(capsys, "ui")
    assert outcome.code == 2
    assert "other.db: five" in outcome.err
    assert replayed == []


def test_a_sweep_without_tracking_has_nothing_to_serve(capsys: Capture, here: Path) -> None:
    make_sweep(here / "runs")
    for words in (["ui"], ["ui", "four"], ["track", "four"]):
        outcome = raynas(capsys, *words)
        assert outcome.code == 2
        assert "tracked" in outcome.err


def test_track_says_what_was_sent(capsys: Capture, here: Path, replayed: list[tuple[str, str]]) -> None:
    tracked(here, "http://elsewhere:5000")
    outcome = raynas(capsys, "track", "four")
    assert outcome.out.splitlines() == [
        "sent 2 epochs and 1 new run to http://elsewhere:5000",
        "next: raynas ui four",
    ]


@pytest.mark.drill
@pytest.mark.server
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_is_served_until_it_is_interrupted(here: Path, number: signal.Signals) -> None:
    tracked(here, "sqlite:///mlflow.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "raynas", "ui", "four", "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(2)]
        assert said[0] == "four: added 1 run and 2 epochs\n"
        assert f"http://127.0.0.1:{port}" in said[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
            assert page.status == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        # A kill would leave the server behind; raynas takes it down on this.
        process.terminate()
        process.wait(60)
    assert out.splitlines() == ["ended", "next: raynas ls sweeps"]
    assert "Traceback" not in err
    assert process.returncode == 0
    until = time.monotonic() + 20
    while _listening(port):
        assert time.monotonic() < until, "the server is still there"
        time.sleep(0.2)


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
