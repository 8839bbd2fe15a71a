"""`raynas logs`, `stop`, `rm`, `clean` and `status --watch`."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, environment, make_sweep, play, raynas

from raynas.disk import holder
from raynas.launch.driver import only_driver
from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    monkeypatch.chdir(tmp_path)
    made = make_sweep(tmp_path / "runs")
    play(made, IDS[0], [0.9, 0.8])
    play(made, IDS[1], [0.9], status=None)
    return made


DRIVER = """\
import sys, time
from pathlib import Path
from raynas.launch.driver import only_driver
from raynas.sweep.folder import SweepFolder
with only_driver(SweepFolder(Path(sys.argv[1]))):
    print("driving", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        Path(sys.argv[1], "ctrl-c").touch()
"""


def driver(folder: SweepFolder, *, ignoring: bool = False) -> "subprocess.Popen[str]":
    """A process of its own that drives the sweep; with ``ignoring`` as a script's `&` starts one."""
    started = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder.path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignoring else None,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "driving\n"
    return started


def test_stop_is_ctrl_c(folder: SweepFolder, capsys: Capture) -> None:
    running = driver(folder)
    outcome = raynas(capsys, "stop", "four")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"asked process {running.pid} to end" in outcome.out
    assert "next: raynas resume four" in outcome.out
    assert running.wait(10) == 0
    assert (folder.path / "ctrl-c").exists()
    assert "is not running" in raynas(capsys, "stop", "four").err


def test_stop_reaches_what_ctrl_c_does_not(folder: SweepFolder, capsys: Capture) -> None:
    running = driver(folder, ignoring=True)
    assert raynas(capsys, "stop", "four").code == 0
    assert running.wait(10) != 0
    assert holder(folder.path / ".driver.lock") is None


def test_stop_ends_nothing_but_the_sweep_s_own_driver(folder: SweepFolder, capsys: Capture) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    lock = folder.path / ".driver.lock"
    try:
        with only_driver(folder):
            for told in (f"process {other.pid} on {socket.gethostname()}", "process 1 on elsewhere", "", "x"):
                lock.write_text(told)
                outcome = raynas(capsys, "stop", "four")
                assert outcome.code == 2
                assert "does not drive" in outcome.err or "is not driven from this machine" in outcome.err
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_logs_are_shown_with_their_trial(folder: SweepFolder, capsys: Capture) -> None:
    assert "nothing went wrong" in raynas(capsys, "logs", "four").out
    log = folder.trial(IDS[1]).log
    log.write_text("Traceback\n\x1b[31mRuntimeError: late\n")
    outcome = raynas(capsys, "logs", "four")
    assert f"== {IDS[1]}" in outcome.out
    assert "\\x1b[31mRuntimeError: late" in outcome.out
    assert json.loads(raynas(capsys, "logs", "four", IDS[1], "--json").out) == {IDS[1]: log.read_text()}
    assert "has no log" in raynas(capsys, "logs", "four", IDS[0]).out
    unknown = raynas(capsys, "logs", "four", "darts-wd0.0027-s9")
    assert (unknown.code, "nearest" in unknown.err) == (2, True)
    log.write_text("first\n" + "x" * 70_000 + "\nlast\n")
    assert "first" not in raynas(capsys, "logs", "four").out
    assert "last" in raynas(capsys, "logs", "four").out
    log.unlink()
    log.symlink_to("/etc/passwd")
    assert "root" not in raynas(capsys, "logs", "four").out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rm_asks_and_removes(folder: SweepFolder, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    unasked = raynas(capsys, "rm", "four")
    assert (unasked.code, folder.exists) == (1, True)
    assert "rm four --yes" in unasked.out
    monkeypatch.setattr(sys, "stdin", Terminal("no\n"))
    assert raynas(capsys, "rm", "four").code == 1
    assert folder.exists
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    outcome = raynas(capsys, "rm", "four")
    assert outcome.code == 0
    assert "Remove four with all its results?" in outcome.out
    assert not folder.path.exists()
    assert folder.path.parent.is_dir()


def test_rm_never_removes_what_runs_or_a_link(folder: SweepFolder, capsys: Capture, tmp_path: Path) -> None:
    with only_driver(folder):
        running = raynas(capsys, "rm", "four", "--yes")
        assert "is in use" in running.err
        assert f"process {os.getpid()}" in running.err
        assert "is in use" in raynas(capsys, "clean", "four", "--yes").err
    folder.path.rename(tmp_path / "elsewhere")
    folder.path.symlink_to(tmp_path / "elsewhere")
    assert "is a link" in raynas(capsys, "rm", "four", "--yes").err
    assert (tmp_path / "elsewhere" / "sweep.json").exists()


def test_clean_tells_the_cost_and_removes_what_is_over(folder: SweepFolder, capsys: Capture) -> None:
    play(folder, IDS[2], [0.9], status="failed", reason="crash")
    for trial in IDS[:3]:
        folder.trial(trial).checkpoint.write_bytes(bytes(2**20))
    told = raynas(capsys, "clean")
    assert "1.0" in told.out
    assert "raynas clean --yes" in told.out
    assert all(folder.trial(trial).checkpoint.exists() for trial in IDS[:3])
    assert json.loads(raynas(capsys, "clean", "--json").out)[0]["bytes"] == 2**20
    assert "removed 1 checkpoint, 1.0 MiB" in raynas(capsys, "clean", "four", "--yes").out
    assert [folder.trial(trial).checkpoint.exists() for trial in IDS[:3]] == [False, True, True]
    assert "no finished trial has a checkpoint" in raynas(capsys, "clean").out
    assert [record.status for record in SweepFolder(folder.path).records()][:2] == ["finished", "running"]


def test_clean_passes_over_damaged_sweeps(folder: SweepFolder, capsys: Capture) -> None:
    folder.trial(IDS[0]).checkpoint.write_bytes(b"x")
    broken = folder.path.with_name("broken")
    broken.mkdir()
    (broken / "sweep.json").write_text("{")
    assert raynas(capsys, "clean", "--yes").code == 0
    assert not folder.trial(IDS[0]).checkpoint.exists()


def test_watching_ends_with_the_sweep(
    folder: SweepFolder, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "four: stopped" in raynas(capsys, "status", "four", "--watch").out
    running = driver(folder)
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 2:
            running.send_signal(signal.SIGINT)
            running.wait(10)

    monkeypatch.setattr(time, "sleep", sleep)
    out = raynas(capsys, "status", "four", "--watch").out
    assert out.count("four: running") == 2
    assert "four: stopped" in out
