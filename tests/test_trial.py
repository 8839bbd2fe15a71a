"""One trial in its folder: restoring, refusing, surviving kills; and the whole way through a command."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from raynas.cli.main import main
from raynas.config import SearchConfig
from raynas.data.load import load_data
from raynas.disk import DiskFull, write_atomic
from raynas.errors import RaynasError
from raynas.launch import trial as trial_module
from raynas.launch.trial import run_trials
from raynas.spaces.reading import load_genotype
from raynas.sweep.folder import TrialFolder
from raynas.sweep.plan import Trial

CPU = torch.device("cpu")


@pytest.fixture
def make_search_config(make_search_config):
    """Searches of a step an epoch that look at no curvature: what is tested here is what becomes of them."""
    return partial(make_search_config, data={"limit": 64}, hessian={"every": 0})


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A function that makes a pack of three, and what such a pack reports when nothing happens to it."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    settings = {"space": "tiny", "epochs": 2, "batch": 32, "channels": 4, "cells": 3}
    configs = [
        SearchConfig(**settings, data={"name": "digits", "limit": 64}, hessian={"every": 0}, seed=seed)
        for seed in range(3)
    ]
    whole = make_pack(tmp_path_factory.mktemp("whole"), configs)
    run(*whole)
    return lambda path: make_pack(path, configs), reports(whole)


def make_folder(path: Path, config: SearchConfig) -> TrialFolder:
    folder = TrialFolder(path / "trials" / "one")
    folder.write(Trial("one", config, {}))
    return folder


def run(*folders: TrialFolder, heartbeat=lambda epoch: None) -> str | list[str]:
    """Run trials as one pack; return how they ended."""
    dataset = load_data(folders[0].config().data)
    run_trials(folders, dataset=dataset, device=CPU, heartbeat=heartbeat)
    ends = [folder.record().status for folder in folders]
    return ends[0] if len(ends) == 1 else ends


def test_a_trial_records_everything(make_search_config, tmp_path):
    folder = make_folder(tmp_path, make_search_config(epochs=2))
    beats = []
    assert run(folder, heartbeat=beats.append) == "finished"
    record = folder.record()
    assert record.status == "finished"
    assert beats == [1, 2]
    assert [report.epoch for report in record.reports] == [0, 1]
    assert record.start["data"]["train"] + record.start["data"]["valid"] == 64
    assert record.start["threads"] == 1
    assert load_genotype(folder.path / "genotype.json") == record.newest.genotype


class Crash(Exception):
    pass


def crash_at(epoch):
    def heartbeat(done):
        if done == epoch + 1:
            raise Crash("out of luck")

    return heartbeat


def test_a_crash_is_recorded_raised_and_resumed_to_the_same_bits(make_search_config, tmp_path):
    config = make_search_config(epochs=3)
    whole = make_folder(tmp_path / "whole", config)
    run(whole)
    broken = make_folder(tmp_path / "broken", config)
    with pytest.raises(Crash):
        run(broken, heartbeat=crash_at(1))
    assert broken.record().errors == ("Crash: out of luck",)
    assert "Traceback" in broken.log.read_text()
    assert run(broken) == "finished"
    assert broken.record().reports == whole.record().reports
    assert broken.record().start["from_epoch"] == 2


def test_a_kill_between_record_and_checkpoint_costs_nothing(make_search_config, tmp_path, monkeypatch):
    config = make_search_config(epochs=2)
    whole = make_folder(tmp_path / "whole", config)
    run(whole)
    broken = make_folder(tmp_path / "broken", config)

    def die(path, data):
        if path.name == "checkpoint.pt":
            raise Crash("killed before the checkpoint")
        write_atomic(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "write_atomic", die)
        with pytest.raises(Crash):
            run(broken)
    assert len(broken.record().reports) == 1
    run(broken)
    epochs = [event["report"]["epoch"] for event in broken.spool.events()[0] if event["kind"] == "epoch"]
    assert epochs == [0, 0, 1]
    assert broken.record().reports == whole.record().reports


def test_divergence_ends_a_trial_with_its_reason(make_search_config, tmp_path):
    folder = make_folder(tmp_path, make_search_config(learning_rate=1e30, clip=1e30))
    assert run(folder) == "diverged"
    record = folder.record()
    assert record.status == "diverged"
    assert "lower learning_rate" in record.reason


def test_a_full_disk_is_one_clear_error_and_loses_nothing(make_search_config, tmp_path, monkeypatch):
    folder = make_folder(tmp_path, make_search_config(epochs=2))

    def full(path, data):
        raise DiskFull("disk full", got=path)

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "write_atomic", full)
        with pytest.raises(DiskFull, match="disk full"):
            run(folder)
    assert folder.record().status == "running"
    assert len(folder.record().reports) == 1
    assert run(folder) == "finished"
    assert len(folder.record().reports) == 2


def test_what_fails_a_trial_is_recorded_with_the_attempt_it_failed_in(make_search_config, tmp_path):
    folder = make_folder(tmp_path, make_search_config(epochs=3))

    def refuse(done):
        raise RaynasError("not like this")

    with pytest.raises(Crash):
        run(folder, heartbeat=crash_at(0))
    assert run(folder, heartbeat=refuse) == "failed"
    events = [event for event in folder.spool.events()[0] if event["kind"] in {"start", "error"}]
    found = [(event["kind"], event["attempt"]) for event in events]
    assert found == [("start", 1), ("error", 1), ("start", 2), ("error", 2)]


def test_running_out_of_memory_is_told_apart(make_search_config, tmp_path):
    folder = make_folder(tmp_path, make_search_config(epochs=1))

    def exhaust(done):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        run(folder, heartbeat=exhaust)
    [error] = [event for event in folder.spool.events()[0] if event["kind"] == "error"]
    assert error["kind_of_error"] == "oom"


def test_an_edited_space_file_does_not_reach_a_planned_trial(make_search_config, tmp_path):
    file = tmp_path / "mine.yaml"
    ops = "[skip_connect, OP]"
    body = f"name: mine\ntitle: mine\nnodes: 1\ncells: {{normal: {{ops: {ops}}}, reduce: {{ops: {ops}}}}}\n"
    file.write_text(body.replace("OP", "sep_conv_3x3"))
    folder = make_folder(tmp_path, make_search_config(space=str(file), epochs=1))
    file.write_text(body.replace("OP", "max_pool_3x3"))
    run(folder)
    assert folder.space().cell("normal").edges[0].ops == ("skip_connect", "sep_conv_3x3")


def make_pack(path: Path, configs: list[SearchConfig]) -> list[TrialFolder]:
    folders = [TrialFolder(path / "trials" / f"t{index}") for index in range(len(configs))]
    for folder, config in zip(folders, configs, strict=True):
        folder.write(Trial(folder.id, config, {}))
    return folders


def reports(folders):
    return [folder.record().reports for folder in folders]


def test_members_of_a_pack_are_ordinary_trials(make_search_config, tmp_path):
    configs = [make_search_config(epochs=2, seed=seed) for seed in range(3)]
    pack, beats = make_pack(tmp_path / "pack", configs), []
    assert run(*pack, heartbeat=beats.append) == ["finished"] * 3
    assert beats == [1, 2]
    for folder, config in zip(pack, configs, strict=True):
        alone = make_folder(tmp_path / folder.id, config)
        run(alone)
        assert folder.record().start["pack"] == ["t0", "t1", "t2"]
        assert load_genotype(folder.path / "genotype.json") == alone.record().newest.genotype
        mine, its = folder.record().newest, alone.record().newest
        assert mine.valid_loss == pytest.approx(its.valid_loss, rel=1e-3)
        assert not folder.following.exists()


def test_a_member_that_diverges_leaves_the_pack_and_nobody_else_notices(make_search_config, tmp_path):
    wild = {"learning_rate": 1e30, "clip": 1e30}
    configs = [make_search_config(epochs=3, seed=seed, **(wild if seed == 1 else {})) for seed in range(3)]
    pack = make_pack(tmp_path / "pack", configs)
    assert run(*pack) == ["finished", "diverged", "finished"]
    assert "lower learning_rate" in pack[1].record().reason
    calm = make_pack(tmp_path / "calm", [configs[0], configs[2]])
    run(*calm)
    for one, other in zip((pack[0], pack[2]), calm, strict=True):
        assert len(one.record().reports) == 3
        assert one.record().newest.genotype == other.record().newest.genotype
        assert one.record().newest.valid_loss == pytest.approx(other.record().newest.valid_loss, rel=1e-3)


@pytest.mark.slow
def test_members_that_their_method_stops_end_and_the_rest_goes_on(make_search_config, tmp_path):
    """Each ends at the epoch at which it ends alone, with that epoch's cell and the reason."""
    method = {"base": "darts", "stop": {"use": "skip-count", "most": 2, "after": 0}}
    more = {"epochs": 3, "data": {"limit": 160}}
    configs = [make_search_config(method=method, seed=seed, **more) for seed in range(4)]
    folders = make_pack(tmp_path, configs)
    assert run(*folders) == ["finished"] * 4
    lengths = set()
    for folder, config in zip(folders, configs, strict=True):
        alone = make_folder(tmp_path / str(config.seed), config)
        run(alone)
        record, expected = folder.record(), alone.record()
        assert len(record.reports) == len(expected.reports)
        assert record.reason == expected.reason
        assert (record.newest.ended is not None) == ("skip connections" in record.reason)
        assert load_genotype(folder.path / "genotype.json") == record.deciding.genotype
        lengths.add(len(record.reports))
    assert len(lengths) > 1


@pytest.mark.parametrize(
    "writes",
    [pytest.param(writes, marks=[] if writes in (0, 4, 7, 12) else pytest.mark.slow) for writes in range(13)],
)
def test_a_pack_killed_at_any_write_resumes_to_the_same_bits(three, tmp_path, monkeypatch, writes):
    """Three members write states beside the old ones, then each takes its place: six moments an epoch."""
    make, expected = three
    broken, left = make(tmp_path), [writes]

    def mortal(work):
        def call(*arguments):
            if "checkpoint" in str(arguments[0]):
                if left[0] == 0:
                    raise Crash("killed")
                left[0] -= 1
            return work(*arguments)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "write_atomic", mortal(write_atomic))
        patch.setattr(trial_module, "replace", mortal(trial_module.replace))
        if writes < 12:
            with pytest.raises(Crash):
                run(*broken)
        else:
            run(*broken)
    if writes < 12:
        run(*broken)
    assert reports(broken) == expected
    assert [folder.record().status for folder in broken] == ["finished"] * 3
    starts = [len({event["from_epoch"] for event in folder.spool.events()[0] if event["kind"] == "start"})
              for folder in broken]  # fmt: skip
    assert len(set(starts)) == 1


def test_a_crash_is_recorded_with_every_member(make_search_config, tmp_path):
    pack = make_pack(tmp_path / "pack", [make_search_config(epochs=2, seed=seed) for seed in range(2)])
    with pytest.raises(Crash):
        run(*pack, heartbeat=crash_at(0))
    assert [folder.record().errors for folder in pack] == [("Crash: out of luck",)] * 2


SEARCH = """
name: small
space: tiny
data: {name: digits, limit: 200}
epochs: 4
batch: 32
channels: 4
cells: 3
track: {mlflow: null}
"""


def raynas(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "raynas",
            *words,
        ],  # as the console script: this folder is not on the path
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def epochs_done(spool: Path) -> int:
    lines = spool.read_text().splitlines() if spool.exists() else []
    return sum(json.loads(line)["kind"] == "epoch" for line in lines)


@pytest.mark.drill
def test_a_search_killed_hard_and_resumed_is_bit_identical(tmp_path, monkeypatch, capsys):
    (tmp_path / "small.yaml").write_text(SEARCH)
    monkeypatch.chdir(tmp_path)
    assert main(["search", "small.yaml", "--runs", "whole"]) == 0
    assert "winner" in capsys.readouterr().out
    killed = raynas("search", "small.yaml", cwd=tmp_path)
    spool = tmp_path / "runs" / "small-darts-s0" / "trials" / "darts-s0" / "events.jsonl"
    until = time.monotonic() + 200
    while epochs_done(spool) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    again = raynas("resume", "small-darts-s0", "--local", cwd=tmp_path)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    reports = [
        TrialFolder(tmp_path / runs / spool.parent.relative_to(tmp_path / "runs"))
        for runs in ("whole", "runs")
    ]
    one, other = (folder.record().reports for folder in reports)
    assert len(one) == 4
    assert one == other


MINE = """
import numpy as np

def load(count):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8), np.arange(count) % 4
"""


@pytest.mark.slow
def test_a_function_beside_the_file_can_be_the_data(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "small.yaml").write_text(
        SEARCH.replace("{name: digits, limit: 200}", '{name: "mine:load", options: {count: 64}}')
    )
    process = raynas("search", "small.yaml", "epochs=1", cwd=tmp_path)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    sweep = json.loads((tmp_path / "runs" / "small-darts-s0" / "sweep.json").read_text())
    assert sweep["trials"][0]["config"]["data"]["name"] == "mine:load"
