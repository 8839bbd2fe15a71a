"""`search`, `sweep` and `resume` with launchers that only pretend: exit codes, order, and what is said."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from helpers.cli_folders import FILE, IDS, make_sweep, play, raynas, write_file

from raynas.errors import RaynasError
from raynas.launch.observer import Observer, Observers
from raynas.report.facts import gather
from raynas.report.trust import worth_of
from raynas.sweep.file.resolve import versions
from raynas.sweep.folder import SweepFolder

Capture = pytest.CaptureFixture[str]
Play = Callable[[SweepFolder], None]


class Stage:
    """Stands in for both launchers and for the report; remembers what it was asked."""

    def __init__(self) -> None:
        self.play: Play = all_finish
        self.calls: list[dict[str, Any]] = []
        self.report_fails = False

    def launcher(self, kind: str) -> type:
        stage = self

        class Launcher:
            def __init__(self, where: str | None = None, *, address: str | None = None) -> None:
                self.where = where or address

            def run(
                self, folder: SweepFolder, observers: Sequence[Observer], retry_failed: bool = False
            ) -> None:
                stage.calls.append({"kind": kind, "where": self.where, "retry_failed": retry_failed})
                everyone = Observers(observers)
                everyone.on_start(folder)
                try:
                    stage.play(folder)
                    for record in folder.records():
                        everyone.on_trial(record)
                finally:
                    everyone.on_end(folder)

        return Launcher

    def write_report(self, folder: SweepFolder) -> SimpleNamespace:
        if self.report_fails:
            raise RaynasError("disk full")
        paths = folder.path / "report.html", folder.path / "report.md"
        for path in paths:
            path.write_text("a report")
        facts = gather(folder)
        return SimpleNamespace(paths=paths, facts=facts, worth=worth_of(folder, facts))


def all_finish(folder: SweepFolder) -> None:
    for place, trial in enumerate(folder.trials()):
        if trial.record().status == "waiting":
            play(folder, trial.id, [0.9, 0.8, 0.7, 0.6 - place / 100])


def one_fails(folder: SweepFolder) -> None:
    play(folder, folder.trials()[0].id, [0.9], status="failed", reason="no room")
    all_finish(folder)


def interrupted(folder: SweepFolder) -> None:
    play(folder, IDS[0], [0.9, 0.8, 0.7, 0.6])
    play(folder, IDS[1], [0.9, 0.8], status=None)
    raise KeyboardInterrupt


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path)
    stage = Stage()
    replaced = {
        "raynas.launch.local": {"LocalLauncher": stage.launcher("local")},
        "raynas.launch.tune.launcher": {"RayLauncher": stage.launcher("ray")},
        "raynas.report.build": {"write_report": stage.write_report},
    }
    for name, content in replaced.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return stage


def test_a_sweep_ends_with_the_ranking_and_exit_code_0(capsys: Capture, stage: Stage, tmp_path: Path) -> None:
    outcome = raynas(capsys, "sweep", "four.yaml", "--address", "auto")
    assert outcome.code == 0
    assert stage.calls == [{"kind": "ray", "where": "auto", "retry_failed": False}]
    lines = outcome.out.splitlines()
    assert f"winner: {IDS[3]}, valid_loss 0.5700" in lines
    assert f"report    {tmp_path}/runs/four/report.html" in lines
    assert lines[-1] == "next: raynas draw four"
    ranked = [line.split()[1] for line in lines if line.startswith(("1 ", "2 ", "3 ", "4 "))]
    assert ranked == list(reversed(IDS))
    assert (tmp_path / "runs" / "four" / "sweep.yaml").read_text() == FILE


def test_failed_trials_mean_exit_code_1(capsys: Capture, stage: Stage) -> None:
    stage.play = one_fails
    outcome = raynas(capsys, "sweep", "four.yaml")
    assert outcome.code == 1
    assert f"left out: {IDS[0]}: failed: no room" in outcome.out
    assert "only 3 of 4 searches finished" in outcome.out
    assert outcome.out.splitlines()[-1] == "next: raynas resume four --retry-failed"


def test_fewer_trials_than_planned_mean_exit_code_1(capsys: Capture, stage: Stage) -> None:
    stage.play = lambda folder: play(folder, IDS[0], [0.9, 0.8, 0.7, 0.6])
    outcome = raynas(capsys, "sweep", "four.yaml")
    assert outcome.code == 1
    assert "only 1 of 4 searches finished" in outcome.out
    assert outcome.out.splitlines()[-1] == "next: raynas resume four"


def test_an_interrupted_sweep_says_what_is_saved(capsys: Capture, stage: Stage) -> None:
    stage.play = interrupted
    outcome = raynas(capsys, "sweep", "four.yaml", "--address", "host:6379", "--runs", "mine")
    assert outcome.code == 130
    assert "interrupted: 1 of 4 searches ended" in outcome.out
    assert f"  {IDS[1]} is saved up to epoch 2 of 4" in outcome.out
    assert outcome.out.splitlines()[-1] == "next: raynas resume four --address host:6379 --runs mine"
    assert "Traceback" not in outcome.err
    stage.play = all_finish
    assert raynas(capsys, "resume", "four", "--runs", "mine").code == 1
    assert stage.calls[-1] == {"kind": "ray", "where": None, "retry_failed": False}


def test_search_refuses_a_file_of_several(capsys: Capture, stage: Stage, tmp_path: Path) -> None:
    outcome = raynas(capsys, "search", "four.yaml")
    assert outcome.code == 2
    assert "four.yaml holds 4 searches" in outcome.err
    assert all(trial in outcome.err for trial in IDS)
    assert f"--trial {IDS[0]}" in outcome.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "name", "trial"),
    [
        (["--trial", IDS[2]], f"four-{IDS[2]}", IDS[2]),
        (["seed=0", "weight_decay=0.001"], "four-darts-s0", "darts-s0"),
    ],
)
def test_search_runs_one_here(
    capsys: Capture, stage: Stage, tmp_path: Path, words: list[str], name: str, trial: str
) -> None:
    outcome = raynas(capsys, "search", "four.yaml", *words, "--device", "cpu")
    assert outcome.code == 0
    assert stage.calls == [{"kind": "local", "where": "cpu", "retry_failed": False}]
    folder = SweepFolder(tmp_path / "runs" / name)
    assert [record.id for record in folder.records()] == [trial]
    assert folder.sweep().name == name


def test_search_tells_the_nearest_trial(capsys: Capture, stage: Stage) -> None:
    outcome = raynas(capsys, "search", "four.yaml", "--trial", "darts-wd0.0003-s5")
    assert outcome.code == 2
    assert "nearest:  darts-wd0.0003-s" in outcome.err


def test_an_interrupted_search_is_resumed_here(capsys: Capture, stage: Stage) -> None:
    def stop(folder: SweepFolder) -> None:
        play(folder, IDS[0], [0.9], status=None)
        raise KeyboardInterrupt

    stage.play = stop
    outcome = raynas(capsys, "search", "four.yaml", "--trial", IDS[0])
    assert outcome.code == 130
    assert outcome.out.splitlines()[-1] == f"next: raynas resume four-{IDS[0]} --local"


def test_a_sweep_is_not_started_twice(capsys: Capture, stage: Stage) -> None:
    assert raynas(capsys, "sweep", "four.yaml").code == 0
    outcome = raynas(capsys, "sweep", "four.yaml")
    assert outcome.code == 2
    assert "raynas resume four" in outcome.err
    assert len(stage.calls) == 1


def test_resume_passes_on_what_was_asked(capsys: Capture, stage: Stage, tmp_path: Path) -> None:
    make_sweep(tmp_path / "runs")
    assert raynas(capsys, "resume", "four", "--retry-failed", "--local", "--device", "cpu").code == 0
    assert stage.calls == [{"kind": "local", "where": "cpu", "retry_failed": True}]
    for words in (["--local", "--address", "auto"], ["--device", "cpu"]):
        assert raynas(capsys, "resume", "four", *words).code == 2
    assert len(stage.calls) == 1


def test_resume_says_what_has_changed(capsys: Capture, stage: Stage, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "runs")
    plan = folder.path / "sweep.json"
    data = json.loads(plan.read_text())
    for torch, said in ((versions()["torch"], False), ("1.13.1", True)):
        plan.write_text(json.dumps({**data, "versions": {**versions(), "torch": torch}}))
        outcome = raynas(capsys, "resume", "four", "--local")
        assert ("torch was 1.13.1 and is" in outcome.out) == said


def test_the_tracker_finds_the_report_written(
    capsys: Capture, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Tracker(Observer):
        message = "MLflow is away"

        def __init__(self, folder: SweepFolder, uri: str) -> None:
            seen.append(uri)

        def on_end(self, folder: SweepFolder) -> None:
            seen.append((folder.path / "report.html").read_text())

    module = ModuleType("raynas.track.mlflow")
    vars(module).update(MlflowTracker=Tracker)
    monkeypatch.setitem(sys.modules, "raynas.track.mlflow", module)
    outcome = raynas(capsys, "sweep", "four.yaml", "track.mlflow=http://nowhere:1")
    assert seen == ["http://nowhere:1", "a report"]
    assert "MLflow is away" in outcome.out
    assert outcome.out.splitlines()[-1] == "next: raynas ui four"


def test_a_report_that_cannot_be_written_is_told(capsys: Capture, stage: Stage) -> None:
    stage.report_fails = True
    outcome = raynas(capsys, "sweep", "four.yaml")
    assert outcome.code == 2
    assert outcome.err.startswith("disk full")
    assert f"winner: {IDS[3]}" in outcome.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "4 at once on this machine (8 CPU, 0 GPU); 1 round"),
        (["resources.max_concurrent=1"], "1 at once on this machine (8 CPU, 0 GPU); how many like-shaped"),
        (["resources.max_concurrent=1", "resources.pack=1"], "; 4 rounds"),
        (["resources.max_concurrent=1", "resources.pack=2"], "; 2 rounds in packs of up to 2"),
    ],
)
def test_a_dry_run_starts_nothing(
    capsys: Capture,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
) -> None:
    monkeypatch.setattr("raynas.cpus.whole_cpus", lambda: 8)
    outcome = raynas(capsys, "sweep", "four.yaml", "--dry-run", "resources.cpu=2", *words)
    assert outcome.code == 0
    assert all(trial in outcome.out for trial in IDS)
    assert "each process asks for 2 CPU and 0 GPU" in outcome.out
    assert told in outcome.out
    assert outcome.out.splitlines()[-1].startswith("next: raynas sweep four.yaml resources.cpu=2")
    assert stage.calls == []
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_says_when_nothing_fits(
    capsys: Capture, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raynas.cpus.whole_cpus", lambda: 2)
    outcome = raynas(capsys, "sweep", "four.yaml", "--dry-run", "resources.cpu=3")
    assert "each asks for 3 CPU and 0 GPU: more than this machine (2 CPU" in outcome.out
