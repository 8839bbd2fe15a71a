"""The Ray launcher on a real Ray cluster on this machine, with searches that cost nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from helpers.launching import Memory, fake_trials, make_sweep, reports, starts, statuses
from ray import tune
from ray._private import services

from raynas.errors import RaynasError
from raynas.launch.device import trial_device
from raynas.launch.local import LocalLauncher
from raynas.launch.observer import Observer
from raynas.launch.packs import Packs
from raynas.launch.trial import run_trials
from raynas.launch.tune import cluster as tune_cluster
from raynas.launch.tune.cluster import Ask, concurrency
from raynas.launch.tune.launcher import RayLauncher
from raynas.launch.tune.plan import TunePlan, Watch
from raynas.sweep.folder import SweepFolder
from raynas.sweep.propose import Proposer

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of 4 CPUs and 1 GPU that exists in Ray's books only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYNAS_ALLOW_LOGICAL_GPU", "1")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # workers find `launching`
        ray.init(
            address="local", num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False,
            logging_level="CRITICAL", _node_ip_address="127.0.0.1",
        )  # fmt: skip
        yield
        ray.shutdown()


def run(folder: SweepFolder, *observers: Observer, retry_failed: bool = False) -> None:
    RayLauncher(run_trials=fake_trials).run(folder, observers, retry_failed=retry_failed)


def by_local(folder: SweepFolder) -> SweepFolder:
    LocalLauncher("cpu", fake_trials).run(folder, ())
    return folder


@pytest.mark.drill
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
    assert start["cwd"] == str(Path.cwd())
    assert start["images"] > 1000
    assert not start["writeable"]  # the object store's own memory, no copy


@pytest.mark.drill
def test_killed_for_good(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["kill@1", "fine"], retries=0)
    run(folder)
    assert statuses(folder) == {"kill@1-s0": "failed", "fine-s0": "finished"}
    record = folder.trial("kill@1-s0").record()
    assert "its worker process has died" in record.reason
    assert "log.txt" in record.reason
    assert record.errors[0] in folder.trial("kill@1-s0").log.read_text()
    assert len(record.errors) == 1
    run(folder, retry_failed=True)
    assert set(statuses(folder).values()) == {"finished"}
    assert len(starts(folder, "fine-s0")) == 1
    memory = Memory()
    run(folder, memory)
    assert memory.calls == ["start", "end"]


@pytest.mark.drill
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


@pytest.mark.drill
def test_max_concurrent_is_kept(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["slow"], seeds=3, epochs=2, max_concurrent=1)
    run(folder)
    spans = sorted((t.spool.events()[0][0]["time"], t.spool.events()[0][-1]["time"]) for t in folder.trials())
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert len({starts(folder, t.id)[0]["pid"] for t in folder.trials()}) == 1  # one process for all of them


def device_there(share: float, cases: list[tuple[bool, bool]]) -> list[tuple[str, list[float]]]:
    """Call `trial_device` in a worker; the cases are whether torch finds CUDA and whether the CPU may do."""
    found = []
    for cuda, allow in cases:
        fences: list[float] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
            fence = "set_per_process_memory_fraction"
            patch.setattr(torch.cuda, fence, lambda part, _, fences=fences: fences.append(part))
            patch.setenv("RAYNAS_ALLOW_LOGICAL_GPU", "1" if allow else "0")
            try:
                found.append((str(trial_device(share)), fences))
            except RaynasError as error:
                found.append((error.what, fences))
    return found


@pytest.mark.drill
def test_device_follows_what_ray_gave(cluster: None) -> None:
    def there(share: float, *cases: tuple[bool, bool]) -> Any:
        return ray.remote(num_gpus=share)(device_there).remote(share, list(cases))

    none, half, whole = ray.get(
        [
            there(0, (True, False)),
            there(0.5, (True, False), (False, True), (False, False)),
            there(1, (True, False)),
        ]
    )
    assert none == [("cpu", [])]
    assert half[:2] == [("cuda:0", [pytest.approx(0.46)]), ("cpu", [])]
    assert "torch cannot use it" in half[2][0]
    assert whole == [("cuda:0", [])]


def test_asks_that_no_node_can_meet(cluster: None, tmp_path: Path) -> None:
    memory = Memory()
    with pytest.raises(RaynasError, match="no node of the cluster") as caught:
        run(make_sweep(tmp_path / "cpu", ["a"], cpu=64), memory)
    assert "64 CPU and 0 GPU" in str(caught.value)
    assert caught.value.next_step == "resources.cpu=4"
    with pytest.raises(RaynasError) as caught:
        run(make_sweep(tmp_path / "gpu", ["a"], gpu=2), memory)
    assert caught.value.next_step == "resources.gpu=1"
    assert memory.calls == []


def test_concurrency(cluster: None) -> None:
    assert concurrency(Ask(1, 0), None, 10, grows=False) == 4
    assert concurrency(Ask(1, 0), 2, 10, grows=False) == 2
    assert concurrency(Ask(1, 0), 9, 10, grows=False) == 4
    assert concurrency(Ask(0.5, 0.333), None, 10, grows=False) == 3
    assert concurrency(Ask(1, 0.25), None, 3, grows=False) == 3
    assert concurrency(Ask(1, 8), None, 30, grows=True) == 30
    assert concurrency(Ask(1, 8), None, 3000, grows=True) == 200
    assert concurrency(Ask(1, 8), 7, 3000, grows=True) == 7


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


@pytest.mark.drill
def test_memory_monitor_ends_a_tuner_not_the_sweep(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep(tmp_path / "s", ["slow", "victim"], seeds=2, epochs=12, max_concurrent=2, retries=1)
    fit, calls = tune.Tuner.fit, []

    def fit_until_killed(tuner: Any) -> Any:
        calls.append(tuner)
        if len(calls) > 2:
            return fit(tuner)

        class Killer(tune.Callback):
            def on_step_end(self, **info: Any) -> None:
                if len(reports(folder)["slow-s1"]) >= 2 * len(calls) - 1:
                    pid = starts(folder, "slow-s1")[-1]["pid"]
                    killed = f"Ray killed 1 worker(s)\nSelected to kill: (Task: x, pid={pid}, worker ID=y)"
                    raise RuntimeError(f"Caught unexpected exception: {killed}")

        tuner._local_tuner._run_config.callbacks.append(Killer())
        return fit(tuner)

    monkeypatch.setattr(tune.Tuner, "fit", fit_until_killed)
    run(folder)
    assert len(calls) == 3
    assert statuses(folder) == {
        "slow-s0": "finished", "slow-s1": "failed", "victim-s0": "finished", "victim-s1": "finished",
    }  # fmt: skip
    assert "memory monitor" in folder.trial("slow-s1").record().reason
    assert {record.id: len(record.errors) for record in folder.records() if record.errors} == {"slow-s1": 2}
    plain = by_local(make_sweep(tmp_path / "plain", ["slow"], epochs=12))
    assert reports(folder)["slow-s0"] == reports(plain)["slow-s0"]


@pytest.mark.drill
def test_node_without_the_folder_ends_the_sweep(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_sweep(tmp_path / "s", ["a", "b"])
    monkeypatch.setattr("raynas.launch.tune.launcher.storage_digest", lambda _: "what the driver sees")
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
        RayLauncher(address, fake_trials).run(make_sweep(tmp_path / "s", ["a"]), ())
    assert "ray job submit" in str(caught.value)


@pytest.mark.drill
def test_optuna_sweep(cluster: None, tmp_path: Path) -> None:
    def sweep(name: str) -> SweepFolder:
        return make_sweep(tmp_path / name, ["a", "b"], seeds=2, epochs=1, strategy="optuna", samples=3)

    folder = sweep("s")
    run(folder)
    assert list(statuses(folder).values()) == ["finished"] * 12
    points: dict[tuple[str, str], set[Any]] = {}
    for record in folder.records():
        stratum, sample, _ = record.id.split("-")
        points.setdefault((stratum, sample), set()).add(record.config.weight_decay)
        assert 1e-4 <= record.config.weight_decay <= 1e-2
    assert [len(values) for values in points.values()] == [1] * 6  # both seeds got the same suggestion
    for stratum in ("a", "b"):
        assert len(set.union(*(points[stratum, str(sample)] for sample in range(3)))) == 3


def test_same_bits_as_in_this_process(cluster: None, tmp_path: Path) -> None:
    small = {"data": {"name": "digits", "limit": 64}, "epochs": 2, "channels": 4, "cells": 3, "batch": 16}
    one, two = (make_sweep(tmp_path / name, ["darts"], threads=1, **small) for name in ("ray", "local"))
    threads = torch.get_num_threads()
    RayLauncher(run_trials=run_trials).run(one, ())
    LocalLauncher("cpu", run_trials).run(two, ())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    assert statuses(one) == statuses(two) == {"darts-s0": "finished"}
    assert reports(one) == reports(two)
    assert len(reports(one)["darts-s0"]) == 2


def test_says_when_nothing_starts_and_what_to_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 2.0}}])
    folder = make_sweep(tmp_path / "s", ["a"])
    watch = Watch(
        folder, TunePlan(folder, Proposer(folder), 0, Packs(folder, slots=1)), Memory(), Ask(1, 0.5)
    )
    pending, running = SimpleNamespace(status="PENDING"), SimpleNamespace(status="RUNNING")

    def after(seconds: float, *trials: Any) -> list[str]:
        caplog.clear()
        watch._idle_since -= seconds
        watch._ticked = 0
        watch.on_step_end(0, list(trials))
        return caplog.messages

    assert after(50, pending) == []
    [said] = after(11, pending, pending)
    assert said.startswith(
        "no trial started for 61 s: 2 wait for 1 CPU and 0.5 GPU each. It may be at most 2 CPU"
    )
    assert "again with resources.gpu=0" in said
    assert after(50, pending) == []
    assert after(10, pending)[0].startswith("no trial started for 121 s")
    assert after(500, pending, running) == []
    assert after(100) == []


DRIVE = """
import os, signal, sys
from contextlib import suppress
from pathlib import Path
import ray
import psutil  # Ray brings it along, and on the path
from helpers.launching import fake_trials
from raynas.launch.observer import Observer
from raynas.launch.packs import Packs
from raynas.launch.trial import run_trials
from raynas.launch.tune.launcher import RayLauncher
from raynas.sweep.folder import SweepFolder
from raynas.sweep.propose import Proposer

class Address(Observer):
    def on_tick(self):
        assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1", ray.nodes()
        assert listening() <= {"127.0.0.1"}, listening()


def listening():
    # Of this driver and what it has started alone: other tests have clusters on this machine.
    me = psutil.Process()
    addresses = set()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):
            found = process.net_connections("tcp4")
            addresses |= {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}
    return addresses


before = dict(os.environ)
for path in sys.argv[1:]:
    RayLauncher(run_trials=fake_trials).run(SweepFolder(Path(path)), [Address()])
    assert not (Path(path) / "observers.log").exists()
added = {name for name in set(os.environ) - set(before) if name.startswith(("RAY", "TUNE"))}
assert added <= {"RAY_AUTH_MODE"}, added
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""


def driver(
    *folders: SweepFolder, address: str | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start a process that drives sweeps, on a cluster of its own or on the one at an address."""
    paths = [str(folder.path) for folder in folders]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    environment |= {"PYTHONPATH": str(Path(__file__).parent)}
    environment |= {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token"} if address else {}
    return subprocess.Popen(
        [sys.executable, "-P", "-c", DRIVE, *paths], env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=cwd,
    )  # fmt: skip


def wait_for(truth: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < until
        time.sleep(0.1)


def gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.drill
def test_interrupted_then_killed_then_resumed(cluster: None, tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "s", ["fine", "slow"], epochs=60)

    def epochs_run(count: int) -> Callable[[], bool]:
        return lambda: len(reports(folder)["slow-s0"]) >= count

    with driver(folder) as first:
        wait_for(lambda: epochs_run(3)() and statuses(folder)["fine-s0"] == "finished")
        first.send_signal(signal.SIGINT)
        output, errors = first.communicate(timeout=60)
    assert first.returncode != 0
    assert output == ""
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    wait_for(lambda: gone(starts(folder, "slow-s0")[0]["pid"]))

    with driver(folder, address=ray.get_runtime_context().gcs_address) as second:
        wait_for(epochs_run(len(reports(folder)["slow-s0"]) + 3))
        second.kill()
    run(folder)  # at once: the killed driver's trial may still be alive

    assert statuses(folder) == {"fine-s0": "finished", "slow-s0": "finished"}
    assert len(starts(folder, "fine-s0")) == 1
    attempts = starts(folder, "slow-s0")
    assert len(attempts) == 3
    assert 3 <= attempts[1]["from_epoch"] < attempts[2]["from_epoch"]
    assert gone(attempts[1]["pid"])
    plain = reports(by_local(make_sweep(tmp_path / "plain", ["fine"], epochs=60)))
    assert reports(folder)["slow-s0"] == plain["fine-s0"]


@pytest.mark.drill
def test_silence_and_nothing_left_behind(tmp_path: Path) -> None:
    folders = [make_sweep(tmp_path / "one", ["fine", "kill@1"]), make_sweep(tmp_path / "two", ["user@0"])]
    # The folder it is started in holds what is called as we are and as what we use: the clone's parent does.
    for name in ("raynas", "torch", "mlflow"):
        (tmp_path / name).mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('the wrong torch')")
    (tmp_path / "ray.py").write_text("raise SystemExit('the wrong ray')")
    (tmp_path / "pydantic.py").write_text("raise SystemExit('the wrong pydantic')")
    with driver(*folders, cwd=tmp_path) as process:
        output, errors = process.communicate(timeout=300)
    # Where there is no network but loopback, as under CI, Ray's C++ says so once, and no switch hides it.
    errors = "".join(line for line in errors.splitlines(True) if "network_util.cc" not in line)
    assert (process.returncode, output, errors) == (0, "", "")
    assert [set(statuses(folder).values()) for folder in folders] == [{"finished"}, {"failed"}]
    for folder in folders:
        for trial in folder.trials():
            for start in starts(folder, trial.id):
                wait_for(partial(gone, start["pid"]))


def test_ray_is_kept_on_the_loopback_and_its_token_private(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray puts the network's address in the place of 127.0.0.1, and listens everywhere with it."""
    monkeypatch.setattr(services, "get_node_ip_address", lambda: "10.0.0.7")
    with tune_cluster._loopback_alone():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert services.resolve_ip_for_localhost("127.0.0.1") == "10.0.0.7"
    token = tmp_path / "ray" / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    tune_cluster._keep_token_private()
    made = token.read_text()
    assert (token.stat().st_mode & 0o777, len(made)) == (0o600, 64)
    token.chmod(0o644)
    tune_cluster._keep_token_private()
    assert (token.stat().st_mode & 0o777, token.read_text()) == (0o600, made)


def test_what_no_type_of_node_can_hold_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {}}])
    described = tmp_path / "bootstrap.yaml"
    monkeypatch.setattr(tune_cluster, "_BOOTSTRAP", described)
    types = "{head: {resources: {CPU: 1, GPU: 9}, max_workers: 0}, worker: {resources: {CPU: 4, GPU: 1}}}"
    described.write_text(f"available_node_types: {types}")
    assert concurrency(Ask(4, 1), None, 9, grows=True) == 9
    with pytest.raises(RaynasError, match="nor one that it can start") as caught:
        concurrency(Ask(1, 2), None, 9, grows=True)
    assert caught.value.next_step == "resources.gpu=1"
    described.write_text("available_node_types: {worker: {resources: {}}}")
    assert concurrency(Ask(1, 2), None, 9, grows=True) == 9


@pytest.mark.drill
def test_packs_on_ray(cluster: None, tmp_path: Path) -> None:
    methods = ["fine", "crash@2", "kill@1", "nan@1", "memory@1"]
    folder, memory = make_sweep(tmp_path / "s", methods, seeds=3, pack=3, retries=3), Memory()
    run(folder, memory)
    ends = statuses(folder)
    assert {name: {ends[f"{name}-s{seed}"] for seed in range(3)} for name in methods} == {
        "fine": {"finished"}, "crash@2": {"finished"}, "kill@1": {"finished"}, "nan@1": {"diverged"},
        "memory@1": {"finished"},
    }  # fmt: skip
    plain = reports(by_local(make_sweep(tmp_path / "plain", ["fine"], seeds=3)))
    for name in set(methods) - {"nan@1"}:
        assert [reports(folder)[f"{name}-s{s}"] for s in range(3)] == list(plain.values())
    assert starts(folder, "fine-s1")[0]["pack"] == ["fine-s0", "fine-s1", "fine-s2"]
    assert len({starts(folder, f"fine-s{seed}")[0]["pid"] for seed in range(3)}) == 1
    assert starts(folder, "memory@1-s0")[-1]["pack"] == ["memory@1-s0"]
    assert {record.id for record in memory.seen} == set(ends)


@pytest.mark.drill
def test_auto_measures_packs_once_and_keeps_them(cluster: None, tmp_path: Path) -> None:
    small = {"data": {"name": "digits", "limit": 64}, "epochs": 3, "channels": 4, "cells": 3, "batch": 16}
    folder = make_sweep(
        tmp_path / "s", ["darts", "darts-2nd"], seeds=4, pack="auto", max_concurrent=2,
        **{**small, "space": "tiny", "epochs": 40, "hessian": {"every": 0}},
    )  # fmt: skip
    RayLauncher().run(folder, ())
    assert set(statuses(folder).values()) == {"finished"}
    first = json.loads(folder.packs.read_text())["shapes"]
    assert {entry["pack"] for entry in first} <= {1, 2, 4}
    assert len(first) == 2
    assert all(float(entry["seconds"]["1"]) > 0 for entry in first)
    sizes = {len(starts(folder, f"darts-s{seed}")[0]["pack"]) for seed in range(4)}
    assert sizes == {first[0]["pack"]}
