"""What surrounds the trials whatever runs them: locks, attempts, ends of the dead, and the local launcher."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.launching import Memory, fake_trials, make_sweep, reports, starts, statuses

from raynas.config import DataConfig
from raynas.errors import RaynasError
from raynas.launch.device import local_device
from raynas.launch.driver import Retries, data_key, only_writer
from raynas.launch.local import LocalLauncher
from raynas.launch.observer import Observer
from raynas.sweep.folder import SweepFolder


def local(
    folder: SweepFolder, *observers: Observer, retry_failed: bool = False, run: Any = fake_trials
) -> None:
    LocalLauncher("cpu", run).run(folder, observers, retry_failed=retry_failed)


def test_local_runs_everything_and_tells_observers(tmp_path: Path) -> None:
    folder, memory = make_sweep(tmp_path / "s", ["a", "b"], seeds=2), Memory()
    local(folder, memory)
    assert set(statuses(folder).values()) == {"finished"}
    assert all(len(r) == 3 for r in reports(folder).values())
    assert memory.calls[0] == "start"
    assert memory.calls[-1] == "end"
    assert memory.calls.count("tick") == 12
    assert [r.status for r in memory.seen[3::4]] == ["finished"] * 4


def test_local_retries_crashes_from_the_checkpoint(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["crash@2", "broken@1", "user@1", "nan@1", "fine"], retries=2)
    local(folder)
    assert statuses(folder) == {
        "crash@2-s0": "finished", "broken@1-s0": "failed", "user@1-s0": "failed", "nan@1-s0": "diverged",
        "fine-s0": "finished",
    }  # fmt: skip
    assert [s["from_epoch"] for s in starts(folder, "crash@2-s0")] == [0, 2]
    assert [s["attempt"] for s in starts(folder, "broken@1-s0")] == [1, 2, 3]
    assert len(starts(folder, "user@1-s0")) == 1
    record = folder.trial("broken@1-s0").record()
    assert "ValueError: a bug" in record.reason
    assert "log.txt" in record.reason
    assert reports(folder)["crash@2-s0"] == reports(folder)["fine-s0"]


def test_failed_trials_run_again_only_when_asked(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["broken@1", "fine"], retries=0)
    local(folder)
    local(folder)
    assert len(starts(folder, "broken@1-s0")) == 1
    local(folder, retry_failed=True)
    assert [s["from_epoch"] for s in starts(folder, "broken@1-s0")] == [0, 1]
    assert len(starts(folder, "fine-s0")) == 1


def test_interrupted_local_sweep_goes_on(tmp_path: Path) -> None:
    folder, plain = make_sweep(tmp_path / "s", ["a", "b"]), make_sweep(tmp_path / "plain", ["a", "b"])
    calls = []

    class Interrupt(Observer):
        def on_tick(self) -> None:
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt

    memory = Memory()
    with pytest.raises(KeyboardInterrupt):
        local(folder, Interrupt(), memory)
    assert memory.calls[-1] == "end"
    assert statuses(folder) == {"a-s0": "finished", "b-s0": "running"}
    local(folder)
    local(plain)
    assert reports(folder) == reports(plain)
    assert len(starts(folder, "a-s0")) == 1
    assert [s["from_epoch"] for s in starts(folder, "b-s0")] == [0, 2]


def test_observer_that_raises_stops_nothing(tmp_path: Path) -> None:
    class Broken(Observer):
        def on_trial(self, record: Any) -> None:
            raise OSError("no display")

    folder, memory = make_sweep(tmp_path / "s", ["a"]), Memory()
    local(folder, Broken(), memory)
    assert statuses(folder) == {"a-s0": "finished"}
    assert memory.seen


HOLD = """
import sys, time
from pathlib import Path
from raynas.launch.driver import only_driver, only_writer
from raynas.sweep.folder import SweepFolder
folder = SweepFolder(Path(sys.argv[1]))
with only_driver(folder), only_writer([folder.trial("a-s0")]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_driver_and_one_writer_until_they_die(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["a"])
    with subprocess.Popen([sys.executable, "-c", HOLD, folder.path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(RaynasError, match="running already") as caught:
                local(folder)
            assert str(process.pid) in str(caught.value)
            with pytest.raises(TimeoutError, match="a-s0"), only_writer([folder.trial("a-s0")], patience=0.3):
                pass
        finally:
            process.kill()
    local(folder)
    assert statuses(folder) == {"a-s0": "finished"}


def test_retries_count_each_trial_alone(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["a", "b"])
    a, b = folder.trials()
    retries = Retries(2)
    assert [retries.after_death([a], "gone") for _ in range(3)] == [[[a]], [[a]], []]
    assert retries.after_death([b], "gone") == [[b]]
    assert statuses(folder) == {"a-s0": "failed", "b-s0": "waiting"}
    assert Retries(0).after_death([b], "gone") == []


def test_a_pack_that_runs_out_of_memory_goes_on_in_halves(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["memory@1"], seeds=5, pack=5, retries=3)
    local(folder)
    assert set(statuses(folder).values()) == {"finished"}
    assert {len(starts(folder, record.id)[-1]["pack"]) for record in folder.records()} == {1}
    plain = make_sweep(tmp_path / "plain", ["a"], seeds=5)
    local(plain)
    assert list(reports(folder).values()) == list(reports(plain).values())


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"cutout": 8, "augment": False, "valid": 0.2, "split_seed": 3}, True),
        ({"limit": 10}, False),
        ({"path": "x"}, False),
        ({"size": 8}, False),
        ({"options": {"n": 1}}, False),
    ],
)
def test_data_is_shared_when_the_images_are_the_same(change: dict[str, Any], same: bool) -> None:
    assert (data_key(DataConfig()) == data_key(DataConfig(**change))) is same


def test_limited_data_depends_on_the_split_seed() -> None:
    assert data_key(DataConfig(limit=9)) != data_key(DataConfig(limit=9, split_seed=1))


def test_local_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_device("auto") == local_device("cpu") == torch.device("cpu")
    with pytest.raises(RaynasError, match="no CUDA device"):
        local_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert local_device("auto") == torch.device("cuda")
    assert local_device("cpu") == torch.device("cpu")
