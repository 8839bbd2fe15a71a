"""The Ray launcher on a real Ray cluster on this machine, with searches that cost nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from launching import Memory, fake_trial, make_sweep, reports, starts, statuses
from ray import tune

from raynas.errors import RaynasError
from raynas.launch.device import trial_device
from raynas.launch.local import LocalLauncher
from raynas.launch.observer import Observer
from raynas.launch.tune import RayLauncher
from raynas.launch.tune_cluster import Ask, concurrency
from raynas.sweep.folder import SweepFolder

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of 4 CPUs and 1 GPU that exists in Ray's books only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYNAS_ALLOW_LOGICAL_GPU", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False,
            logging_level="CRITICAL", _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield
        ray.shutdown()


def run(folder: SweepFolder, *observers: Observer, retry_failed: bool = False) -> None:
    RayLauncher(run_trial=fake_trial).run(folder, observers, retry_failed=retry_failed)


def by_local(folder: SweepFolder) -> SweepFolder:
    LocalLauncher("cpu", fake_trial).run(folder, ())
    return folder


def test_every_kind_of_end(cluster: None, tmp_path: Path) -> None:
    class Broken(Observer):
        def on_trial(self, record: Any) -> None:
            raise OSError("no display")

        def on_tick(self) -> None:
            raise OSError("no display")

    methods = ["crash@2", "broken@1", "user@1", "nan@1", "kill@1", "fine"]
    folder, memory = make_sweep(tmp_path / "s", methods, retries=1, threads=2), Memory()
    run(folder, Broken(), memory)
    assert statuses(folder) == {
        "crash@2-s0": "finished", "broken@1-s0": "failed", "user@1-s0": "failed", "nan@1-s0": "diverged",
        "kill@1-s0": "finished", "fine-s0": "finished",
    }  # fmt: skip
    counts = {name: len(starts(folder, f"{name}-s0")) for name in methods}
    assert counts == {"crash@2": 2, "broken@1": 2, "user@1": 1, "nan@1": 1, "kill@1": 2, "fine": 1}
    assert [s["from_epoch"] for s in starts(folder, "kill@1-s0")] == [0, 1]
    plain = reports(by_local(make_sweep(tmp_path / "plain", ["fine"], threads=2)))["fine-s0"]
    assert reports(folder)["crash@2-s0"] == reports(folder)["kill@1-s0"] == plain
    assert "a bug" in folder.trial("broken@1-s0").record().reason

    assert memory.calls[0] == "start"
    assert memory.calls[-1] == "end"
    assert "tick" in memory.calls
    assert {record.id: record.status for record in memory.seen} == statuses(folder)
    assert not (folder.path / "ray").exists()

    [start] = starts(folder, "fine-s0")
    assert start["threads"] == 2
    assert start["pid"] != os.getpid()
    assert start["cwd"] == os.getcwd()
    assert start["images"] > 1000
    assert not start["writeable"]  # the object store's own memory, no copy


def test_killed_for_good(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["kill@1", "fine"], retries=0)
    run(folder)
    assert statuses(folder) == {"kill@1-s0": "failed", "fine-s0": "finished"}
    assert "log.txt" in folder.trial("kill@1-s0").record().reason
    run(folder, retry_failed=True)
    assert set(statuses(folder).values()) == {"finished"}
    assert len(starts(folder, "fine-s0")) == 1


def test_shares_are_kept(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["slow"], seeds=5, epochs=4, cpu=0.5, gpu=0.5)
    run(folder)
    assert set(statuses(folder).values()) == {"finished"}
    moves = []
    for trial in folder.trials():
        events, _ = trial.spool.events()
        moves += [(events[0]["time"], 1), (events[-1]["time"], -1)]
    running, most = 0, 0
    for _, move in sorted(moves):
        running += move
        most = max(most, running)
    assert most == 2


def test_max_concurrent_is_kept(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["slow"], seeds=3, epochs=2, max_concurrent=1)
    run(folder)
    spans = sorted((t.spool.events()[0][0]["time"], t.spool.events()[0][-1]["time"]) for t in folder.trials())
    assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:], strict=False))
    assert len({starts(folder, t.id)[0]["pid"] for t in folder.trials()}) == 1  # one process for all of them


def device_there(cuda: bool, allow: bool, share: float) -> tuple[str, list[float]]:
    """Call `trial_device` as a worker process sees it, with a torch that does or does not find CUDA."""
    fences: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: cuda)
        patch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda part, _: fences.append(part))
        patch.setenv("RAYNAS_ALLOW_LOGICAL_GPU", "1" if allow else "0")
        try:
            return str(trial_device(share)), fences
        except RaynasError as error:
            return error.what, fences


def test_device_follows_what_ray_gave(cluster: None) -> None:
    def there(gpus: float, **how: bool) -> tuple[str, list[float]]:
        return ray.get(ray.remote(num_gpus=gpus)(device_there).remote(**how, share=gpus))

    assert there(0, cuda=True, allow=False) == ("cpu", [])
    assert there(0.5, cuda=True, allow=False) == ("cuda:0", [pytest.approx(0.46)])
    assert there(1, cuda=True, allow=False) == ("cuda:0", [])
    assert there(0.5, cuda=False, allow=True) == ("cpu", [])
    what, _ = there(0.5, cuda=False, allow=False)
    assert "torch cannot use it" in what


def test_asks_that_no_node_can_meet(cluster: None, tmp_path: Path) -> None:
    memory = Memory()
    with pytest.raises(RaynasError, match="no node of the cluster") as caught:
        run(make_sweep(tmp_path / "cpu", ["a"], cpu=64), memory)
    assert "64 CPU and 0 GPU" in str(caught.value)
    assert caught.value.next_step == "resources.cpu=4"
    with pytest.raises(RaynasError) as caught:
        run(make_sweep(tmp_path / "gpu", ["a"], gpu=2), memory)
    assert caught.value.next_step == "resources.gpu=1"
    assert memory.seen == []


def test_concurrency(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert concurrency(Ask(1, 0), None, 10) == 4
    assert concurrency(Ask(1, 0), 2, 10) == 2
    assert concurrency(Ask(1, 0), 9, 10) == 4
    assert concurrency(Ask(0.5, 0.333), None, 10) == 3
    assert concurrency(Ask(1, 0.25), None, 3) == 3
    monkeypatch.setattr("raynas.launch.tune_cluster._autoscales", lambda: True)
    assert concurrency(Ask(1, 8), None, 30) == 30
    assert concurrency(Ask(1, 8), None, 3000) == 200
    assert concurrency(Ask(1, 8), 7, 3000) == 7


@pytest.mark.parametrize(
    ("ask", "node", "slots"),
    [
        (Ask(1, 0), {"CPU": 3.5}, 3),
        (Ask(0.1, 0), {"CPU": 0.3}, 3),
        (Ask(1, 0.5), {"CPU": 8, "GPU": 2}, 4),
        (Ask(1, 0.333), {"CPU": 8, "GPU": 2}, 6),
        (Ask(1, 2), {"CPU": 8, "GPU": 3}, 1),
        (Ask(4, 0.25), {"CPU": 8, "GPU": 1}, 2),
        (Ask(1, 1), {"CPU": 8}, 0),
    ],
)
def test_slots_of_a_node(ask: Ask, node: dict[str, float], slots: int) -> None:
    assert ask.fit(node) == slots


def test_memory_monitor_ends_a_tuner_not_the_sweep(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep(tmp_path / "s", ["slow", "victim"], seeds=2, epochs=4, max_concurrent=2, retries=1)
    fit, calls = tune.Tuner.fit, []

    def fit_until_killed(tuner: Any) -> Any:
        calls.append(tuner)
        if len(calls) > 2:
            return fit(tuner)

        class Killer(tune.Callback):
            def on_trial_result(self, **info: Any) -> None:
                if len(reports(folder)["slow-s1"]) >= 2 * len(calls) - 1:
                    pid = starts(folder, "slow-s1")[-1]["pid"]
                    raise RuntimeError(
                        f"Caught unexpected exception: Ray killed 1\nSelected to kill: (Task: x, pid={pid}, y)"
                    )

        tuner._local_tuner._run_config.callbacks.append(Killer())
        return fit(tuner)

    monkeypatch.setattr(tune.Tuner, "fit", fit_until_killed)
    run(folder)
    assert len(calls) == 3
    assert statuses(folder) == {
        "slow-s0": "finished", "slow-s1": "failed", "victim-s0": "finished", "victim-s1": "finished",
    }  # fmt: skip
    assert "memory monitor" in folder.trial("slow-s1").record().reason
    plain = by_local(make_sweep(tmp_path / "plain", ["slow"], epochs=4))
    assert reports(folder)["slow-s0"] == reports(plain)["slow-s0"]


def test_node_without_the_folder_ends_the_sweep(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep(tmp_path / "s", ["a", "b"])
    monkeypatch.setattr("raynas.launch.tune.storage_digest", lambda _: "what the driver sees")
    with pytest.raises(RaynasError) as caught:
        run(folder)
    for words in ("does not see the sweep's folder", str(folder.path), os.uname().nodename, "--runs DIR"):
        assert words in str(caught.value)
    assert set(statuses(folder).values()) == {"waiting"}
    monkeypatch.undo()
    run(folder)
    assert set(statuses(folder).values()) == {"finished"}


@pytest.mark.parametrize(
    ("address", "what"), [("ray://head:10001", "Ray Client"), ("http://head:8265", "job server")]
)
def test_addresses_that_are_refused(
    address: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(RaynasError, match=what) as caught:
        RayLauncher(address, fake_trial).run(make_sweep(tmp_path / "s", ["a"]), ())
    assert "ray job submit" in str(caught.value)
