"""The live display against simulated sweeps: what it says, when, and that it fits its terminal."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.cli_folders import IDS, make_sweep, play
from helpers.track_folders import end, epochs, report, start
from helpers.train_folders import make_trainings
from helpers.train_folders import play as play_training
from rich.console import Console

from raynas.bilevel.records import Curvature
from raynas.cli.display import LINE_EVERY, LiveDisplay, ProgressView
from raynas.cli.progress import MARK, SweepProgress, rising
from raynas.cli.stopping import ANSWER
from raynas.cli.training import TrainDisplay
from raynas.launch.observer import WRITING
from raynas.sweep.folder import SweepFolder
from raynas.sweep.pulse import Heart, pulse_of
from raynas.sweep.record import TrialRecord

LONG = "darts-2nd-wd0.0027-lr0.025-a-very-long-name-of-a-trial-s0"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return make_sweep(tmp_path / "runs")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def screen(width: int, height: int = 40, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        markup=False,
        highlight=False,
        _environ={"TERM": "xterm-256color"},
    )


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines_of(view: ProgressView, width: int, height: int = 40) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, record=True
    )
    console.print(view)
    return [line.rstrip() for line in console.export_text().splitlines()]


def many_running(record: TrialRecord, count: int) -> list[TrialRecord]:
    return [replace(record, id=f"{LONG}{place}", status="running") for place in range(count)]


def test_the_head_counts_every_planned_trial(folder: SweepFolder) -> None:
    play(folder, IDS[0], [0.9, 0.7, 0.6, 0.5])
    play(folder, IDS[1], [0.9, 0.8], status=None)
    play(folder, IDS[2], [0.9], status="failed", reason="out of memory")
    head = " ".join(lines_of(ProgressView(SweepProgress(folder.sweep(), folder.records()), 75.0), 120))
    for part in (
        "four · 1 of 4 done",
        "1 running",
        "1 waiting",
        "1 failed",
        "1 min 15 s elapsed",
        "1 CPU in use",
    ):
        assert part in head
    assert f"best 0.5000 {IDS[0]}" in head


def test_gpu_shares_are_those_of_the_running_trials(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "runs", ["resources.gpu=0.25"])
    for trial in IDS[:3]:
        play(folder, trial, [0.5], status=None)
    assert SweepProgress(folder.sweep(), folder.records()).shares() == "0.75 GPU"


def test_time_left_is_the_epochs_left_at_the_pace_of_the_epochs_so_far(folder: SweepFolder) -> None:
    progress = SweepProgress(folder.sweep(), folder.records(), now=1000.0)
    assert progress.seconds_left(1010.0) is None
    for trial in IDS[:2]:
        play(folder, trial, [0.9, 0.8], status=None)
        progress.update(folder.trial(trial).record(), now=1020.0)
    # 16 epochs planned, 4 done of 1.25 s each, two trials at once; 3 s have gone since.
    assert progress.seconds_left(1023.0) == pytest.approx(12 * 1.25 / 2 - 3)
    assert progress.seconds_left(2000.0) == 0
    end(folder, IDS[0], "diverged")
    progress.update(folder.trial(IDS[0]).record(), now=1030.0)
    # The diverged trial takes its other 2 epochs off the list, and one trial runs.
    assert progress.seconds_left(1030.0) == pytest.approx(10 * 1.25)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5], False),
        ([0.5, 0.65], False),
        ([0.5, 0.66], True),
        ([1.0, 0.2, 0.8], True),
        ([-1.0, 2.0], False),
    ],
)
def test_an_eigenvalue_rises_above_1_3_times_the_mean_before(values: list[float], expected: bool) -> None:
    reports = [report(epoch, curvature=Curvature(value, 0, 0, 0)) for epoch, value in enumerate(values)]
    assert rising(reports) is expected


@pytest.mark.parametrize("width", [60, 80, 120])
def test_rows_fit_the_terminal(folder: SweepFolder, width: int) -> None:
    play(folder, IDS[0], [0.9, 0.8, 0.7], eigenvalues=[0.5, 0.5, 0.9], status=None)
    (record,) = [one for one in folder.records() if one.status == "running"]
    progress = SweepProgress(folder.sweep(), many_running(record, 30))
    shown = lines_of(ProgressView(progress, 60.0), width)
    rows = [line for line in shown if line.startswith(LONG[:12])]
    assert len(rows) == 16
    assert all(len(line) <= width for line in shown)
    assert "+ 14 more" in shown
    for row in rows:
        assert all(cell in row for cell in ("3/4", "0.7000", "40.00", f"0.9000 {MARK}", "1/1", "1.2"))


def test_a_low_terminal_gets_fewer_rows(folder: SweepFolder) -> None:
    play(folder, IDS[0], [0.9], status=None)
    (record,) = [one for one in folder.records() if one.status == "running"]
    shown = lines_of(
        ProgressView(SweepProgress(folder.sweep(), many_running(record, 30)), 60.0), 80, height=12
    )
    assert len(shown) <= 12
    assert "+ 24 more" in shown


def test_finished_trials_fold_into_a_line_a_method(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "runs", ["grid.method=[darts, darts-2nd]", "weight_decay=0.001"])
    for trial, loss in zip(folder.trials(), (0.5, 0.7, 0.9, 1.0), strict=True):
        play(folder, trial.id, [loss])
    shown = lines_of(ProgressView(SweepProgress(folder.sweep(), folder.records()), 60.0), 120)
    # The sample deviations of (0.5, 0.7) and (0.9, 1.0) are 0.2/√2 and 0.1/√2.
    assert "darts  2 done  mean 0.6000 ± 0.1414  best 0.5000 darts-s0" in shown
    assert "darts-2nd  2 done  mean 0.9500 ± 0.0707  best 0.9000 darts-2nd-s0" in shown


def test_plain_lines_come_at_most_every_few_seconds(folder: SweepFolder, clock: Clock) -> None:
    console = screen(200, terminal=False)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    for epoch in range(4):
        play_epoch(folder, IDS[0], epoch)
        clock.now += LINE_EVERY / 2
        display.on_trial(folder.trial(IDS[0]).record())
    told = [line for line in printed(console).splitlines() if "epoch" in line]
    assert [line.split("epoch ")[1].split()[0] for line in told] == ["1/4", "3/4"]
    assert told[0] == (
        "[00:02] darts-wd0.0003-s0  epoch 1/4  train 2.0000  valid 3.0000  acc 40.00%  λmax 0.5000"
        "  skips 1/1  1.2 s/epoch"
    )


def play_epoch(folder: SweepFolder, trial: str, epoch: int) -> None:
    spool = folder.trial(trial).spool
    if epoch == 0:
        spool.append("start", trial=trial, attempt=1)
    spool.append("epoch", report=report(epoch).to_json())


def test_every_end_is_said_in_plain_lines(folder: SweepFolder, clock: Clock) -> None:
    console = screen(200, terminal=False)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    for trial in IDS[:2]:
        play(folder, trial, [0.9, 0.8, 0.7, 0.6])
        display.on_trial(folder.trial(trial).record())
        display.on_trial(folder.trial(trial).record())
    display.on_end(folder)
    assert printed(console).count("finished") == 2
    assert "2 of 4 done" in printed(console).splitlines()[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_failure_is_said_once_with_its_log(folder: SweepFolder, clock: Clock, terminal: bool) -> None:
    console = screen(400, terminal=terminal)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    spool = folder.trial(IDS[0]).spool
    spool.append("start", trial=IDS[0], attempt=1)
    spool.append("error", message="OutOfMemoryError: no room\nsecond line", kind_of_error="oom", attempt=1)
    display.on_trial(folder.trial(IDS[0]).record())
    spool.append("end", status="failed", reason="OutOfMemoryError: no room")
    for _ in range(3):
        display.on_trial(folder.trial(IDS[0]).record())
    display.on_end(folder)
    said = printed(console)
    assert said.count("trying again after: OutOfMemoryError: no room") == 1
    assert said.count("failed: OutOfMemoryError: no room") == 1
    assert "second line" not in said
    assert said.count(str(folder.trial(IDS[0]).log)) == 2


def test_what_had_failed_before_a_resume_is_not_said_again(folder: SweepFolder, clock: Clock) -> None:
    play(folder, IDS[0], [0.9], status="failed", reason="no room")
    console = screen(200, terminal=False)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    display.on_trial(folder.trial(IDS[0]).record())
    assert "no room" not in printed(console)


def test_no_colour_means_plain_lines(
    folder: SweepFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Console(file=io.StringIO(), force_terminal=True, width=200)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    play(folder, IDS[0], [0.9], status=None)
    display.on_trial(folder.trial(IDS[0]).record())
    display.on_end(folder)
    assert "epoch 1/4" in printed(console)
    assert "\x1b" not in printed(console)


def test_a_terminal_is_left_as_it_was(folder: SweepFolder, clock: Clock) -> None:
    console = screen(100)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    play(folder, IDS[0], [0.9], status=None)
    display.on_trial(folder.trial(IDS[0]).record())
    display.on_tick()
    display.on_end(folder)
    said = printed(console)
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") == 1


def test_phases_are_told_before_anything_runs(folder: SweepFolder, clock: Clock) -> None:
    console = screen(200, terminal=False)
    display = LiveDisplay(console, clock)
    display.on_phase("starting Ray")
    clock.now += 20
    display.on_phase("loading the data")
    display.on_start(folder)
    assert printed(console).splitlines() == [
        "[00:00] starting Ray",
        "[00:20] loading the data",
        "four · 0 of 4 done · 4 waiting · 20.0 s elapsed",
    ]


def test_a_terminal_shows_the_phase_in_place_of_none_running(folder: SweepFolder) -> None:
    progress = SweepProgress(folder.sweep(), folder.records())
    assert lines_of(ProgressView(progress, 5.0, "starting the first"), 120) == [
        "four · 0 of 4 done · starting the first · 4 waiting · 5.0 s elapsed"
    ]
    play(folder, IDS[0], [0.9], status=None)
    progress = SweepProgress(folder.sweep(), folder.records())
    assert "starting the first" not in lines_of(ProgressView(progress, 5.0, "starting the first"), 120)[0]
    assert "1 running · 3 waiting" in lines_of(ProgressView(progress, 5.0, "starting the first"), 120)[0]
    assert "stopping" in lines_of(ProgressView(progress, 5.0, "stopping: now"), 120)[0]


@pytest.mark.parametrize("terminal", [True, False])
def test_what_ran_before_a_resume_waits_until_it_is_started(
    folder: SweepFolder, clock: Clock, terminal: bool
) -> None:
    play(folder, IDS[0], [0.9], status=None)
    console = screen(200, terminal=terminal)
    display = LiveDisplay(console, clock)
    display.on_phase("starting Ray")
    display.on_start(folder)
    if terminal:
        view = display._view()
        assert isinstance(view, ProgressView)
        assert lines_of(view, 120) == ["four · 0 of 4 done · starting Ray · 4 waiting · 0.0 s elapsed"]
    else:
        assert printed(console).splitlines()[-1] == "four · 0 of 4 done · 4 waiting · 0.0 s elapsed"
    folder.trial(IDS[0]).spool.append("start", trial=IDS[0], attempt=2)
    display.on_trial(folder.trial(IDS[0]).record())
    view = display._view()
    display.close()
    assert isinstance(view, ProgressView)
    assert "1 running · 3 waiting" in lines_of(view, 120)[0]


@pytest.mark.parametrize("terminal", [True, False])
def test_trainings_tell_their_phase_and_leave_the_terminal_as_it_was(
    tmp_path: Path, clock: Clock, terminal: bool
) -> None:
    folder = make_trainings(tmp_path / "two")
    console = screen(200, terminal=terminal)
    display = TrainDisplay(console, clock)
    display.on_phase("loading the data")
    display.on_start(folder)
    for trial in folder.trials():
        play_training(folder, trial.id)
        display.on_trial(trial.record())
    display.on_phase(WRITING)
    display.on_end(folder)
    lines = printed(console).splitlines()
    if terminal:
        assert printed(console).count("\x1b[?25l") == printed(console).count("\x1b[?25h") == 1
    else:
        assert lines[:2] == ["loading the data", "two: 0 of 2 trained, loading the data, 0.0 s"]
        assert lines[-2:] == [WRITING, "two: 2 of 2 trained, 0.0 s"]


def test_what_comes_after_being_asked_to_end_still_says_so(folder: SweepFolder, clock: Clock) -> None:
    display = LiveDisplay(screen(120), clock)
    display.on_start(folder)
    display.on_phase(ANSWER)
    display.on_phase(WRITING)
    view = display._view()
    display.close()
    assert isinstance(view, ProgressView)
    assert "four · 0 of 4 done · stopping: writing the report" in lines_of(view, 120)[0]


def test_a_row_says_what_a_trial_is_at_within_its_epoch(folder: SweepFolder, clock: Clock) -> None:
    play(folder, IDS[0], [0.9], status=None)
    heart = Heart([folder.trial(IDS[0])], compiling=True)
    rows = []
    beats = [(1, "training", 0.0), (1, "training", 0.4), (1, "validating", 1.0), (0, "training", 0.5)]
    for beat in beats:
        heart.beat(*beat)
        display = LiveDisplay(screen(140), clock)
        display.on_start(folder)
        display.on_trial(folder.trial(IDS[0]).record())
        view = display._view()
        display.close()
        assert isinstance(view, ProgressView)
        rows.append(next(line for line in lines_of(view, 140) if line.startswith(IDS[0])))
    # The last is of an epoch that is on record: its state is being saved.
    for row, said in zip(rows, ("compiling", "training 40%", "validating", "saving"), strict=True):
        assert row.endswith(said)
    heart.stop()
    assert sorted(path.name for path in folder.trial(IDS[0]).path.iterdir()) == ["events.jsonl", "trial.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"attempt": 1}', "{" * 500, '{"attempt":1,"epoch":0,"doing":"x","share":9}']
)
def test_a_pulse_that_is_not_whole_is_none(folder: SweepFolder, text: str) -> None:
    (folder.trial(IDS[0]).path / "now.json").write_text(text)
    assert pulse_of(folder.trial(IDS[0]), 1, 0) is None


def test_time_left_is_that_of_what_is_left(tmp_path: Path) -> None:
    """Quick methods that are through say nothing of a slow one, and one that runs bounds the end."""
    folder = make_sweep(tmp_path / "runs", ["grid.method=[darts, darts-2nd]", "weight_decay=0.001"])
    quick, slow = folder.trials()[:2], folder.trials()[2:]
    for trial in quick:
        play(folder, trial.id, [0.9] * 4)
    start(folder, slow[0].id)
    epochs(folder, slow[0].id, report(0, seconds=100.0))
    start(folder, slow[1].id)
    progress = SweepProgress(folder.sweep(), folder.records())
    # Three epochs and four of 100 s, two at once: but one of them has four left. Half an epoch is behind it.
    assert progress.seconds_left(0.0) == pytest.approx(400)
    assert progress.seconds_left(0.0, {slow[1].id: 0.5}) == pytest.approx(350)


def test_another_kind_of_device_is_told_once(folder: SweepFolder, clock: Clock) -> None:
    console = screen(200, terminal=False)
    for trial in IDS[:2]:
        start(folder, trial)
    display = LiveDisplay(console, clock)
    display.on_start(folder)
    for trial in IDS[:2]:
        folder.trial(trial).spool.append("start", trial=trial, attempt=2, device="cuda (NVIDIA H200)")
        display.on_trial(folder.trial(trial).record())
        display.on_trial(folder.trial(trial).record())
    assert printed(console).count("begun on cpu, goes on on cuda (NVIDIA H200): its bits may differ") == 1
