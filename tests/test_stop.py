"""Ctrl-C and SIGTERM, really sent: answered at once, and ended in order with what they are ended with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, environment, make_sweep, raynas, write_file

from raynas.launch.local import LocalLauncher
from raynas.launch.stop import asked, heeded, terminated
from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_both_signals_interrupt_and_are_answered_at_once(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    answers: list[tuple[bool, float]] = []
    with heeded(lambda again: answers.append((again, time.monotonic()))) as stop:
        sent = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            send(number)
        # A wrapper hands on what the terminal has sent already, and a scheduler repeats itself.
        with suppress(KeyboardInterrupt):
            send(number)
        wait_for(lambda: bool(answers), 5)
        assert (stop.code, asked(), terminated()) == (code, True, number == signal.SIGTERM)
    assert [again for again, _ in answers] == [False]
    assert answers[0][1] - sent < 2
    assert (asked(), terminated(), signal.getsignal(signal.SIGTERM)) == (False, False, before)


def send(number: signal.Signals) -> None:
    """Send a signal to this process, and give it the time to be obeyed."""
    os.kill(os.getpid(), number)
    time.sleep(0.2)


TWICE = """
import time
from raynas.launch.stop import heeded
def answer(again):
    print("again" if again else "stopping", flush=True)
with heeded(answer):
    said = False
    while True:
        try:
            if not said:
                said = True
                print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            pass
"""


def test_a_second_ctrl_c_ends_on_the_spot() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TWICE], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        time.sleep(0.6)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "again\n"
        assert process.wait(10) == 130


def test_what_dies_after_sigterm_has_not_failed(tmp_path: Path) -> None:
    """SIGTERM to a whole group ends the readers of images before the driver: no crash, and no retry lost."""
    folder = make_sweep(tmp_path / "runs")

    def dies(*given: object, **more: object) -> None:
        with suppress(KeyboardInterrupt):
            send(signal.SIGTERM)
        raise RuntimeError("DataLoader worker was killed by signal: Terminated")

    with heeded(lambda again: None), pytest.raises(KeyboardInterrupt):
        LocalLauncher("cpu", dies).run(folder)
    assert not any(record.errors for record in folder.records())


def test_or_resume_starts_and_goes_on(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.cli.verbs import run

    monkeypatch.chdir(tmp_path)
    write_file(tmp_path)
    seen: list[tuple[str, ...]] = []

    def pretend(folder: SweepFolder, *more: object) -> int:
        seen.append(tuple(record.id for record in folder.records()))
        return 0

    monkeypatch.setattr(run, "_run_any", pretend)
    words = ("sweep", "four.yaml", "--or-resume")
    assert [raynas(capsys, *words).code for _ in range(2)] == [0, 0]
    assert seen == [IDS, IDS]
    changed = raynas(capsys, *words, "epochs=5")
    assert changed.code == 2
    assert "begun with other trials" in changed.err
    assert "name=four-2" in changed.err
    assert len(seen) == 2


@pytest.mark.drill
@pytest.mark.parametrize("whole_group", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_sigterm_ends_a_sweep_with_its_summary(tmp_path: Path, local: bool, whole_group: bool) -> None:
    with running_sweep(tmp_path, local=local) as process:
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "SIGTERM" not in err
    check_summary(tmp_path, out, err, local=local)


@pytest.mark.drill
@pytest.mark.parametrize("ignoring", [False, True])
def test_stop_ends_a_sweep_on_ray(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignoring: bool
) -> None:
    """As Ctrl-C in its terminal; and where a script has started it with `&`, which no Ctrl-C reaches."""
    monkeypatch.chdir(tmp_path)
    with running_sweep(tmp_path, ignoring=ignoring) as process:
        assert "is running" in raynas(capsys, "bundle", "four").err
        stopped = raynas(capsys, "stop", "four")
        out, err = process.communicate(timeout=60)
    assert (stopped.code, stopped.err) == (0, "")
    assert stopped.out.splitlines()[-1] == "next: raynas resume four"
    # Tune hears Ctrl-C even where it was ignored, so that either may be what was sent.
    assert process.returncode in ((130, 143) if ignoring else (130,)), err
    check_summary(tmp_path, out, err)
    assert "four: stopped" in raynas(capsys, "status", "four").out


@contextmanager
def running_sweep(
    path: Path, *, local: bool = False, ignoring: bool = False
) -> "Iterator[subprocess.Popen[str]]":
    """Start a long sweep, on Ray or a search of it in one process, and wait for a first epoch."""
    write_file(path)
    small = ["epochs=500", "resources.pack=1", "resources.max_concurrent=1", "channels=4", "data.limit=160"]
    if local:
        small += ["seed=0", "weight_decay=1e-3"]
    command = [sys.executable, "-m", "raynas", "search" if local else "sweep", "four.yaml", *small]
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    words = mine | environment() | {"OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=words, cwd=path,
        start_new_session=True,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignoring else None,
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: any(path.glob("runs/*/trials/*/events.jsonl")) or process.poll() is not None)
            yield process
        finally:
            process.kill()


def check_summary(path: Path, out: str, err: str, *, local: bool = False) -> None:
    lines = out.splitlines()
    assert "stopping: every epoch that is over is on record" in out
    assert f"interrupted: 0 of {1 if local else 4} search" in out
    assert "is saved up to epoch" in out
    assert lines[-1] == ("next: raynas resume four-darts-s0 --local" if local else "next: raynas resume four")
    assert "Traceback" not in err
    [folder] = (SweepFolder(each.parent) for each in path.glob("runs/*/sweep.json"))
    assert not any(record.errors for record in folder.records())


def wait_for(truth: Callable[[], bool], seconds: float = 400) -> None:
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until
        time.sleep(0.05)
