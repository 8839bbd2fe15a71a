"""One training over several processes: the numbers, exact resume, a killed process, what is refused."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from helpers.cli_folders import environment
from torch import nn
from torch.nn.functional import cross_entropy

from raynas.data.catalogue import ImageRecipe
from raynas.data.dataset import from_arrays
from raynas.data.load import load_data
from raynas.errors import FileProblems, RaynasError
from raynas.launch.device import make_deterministic, only_loopback
from raynas.launch.local import LocalLauncher
from raynas.launch.tune.launcher import RayLauncher
from raynas.spaces.literature import load_cell
from raynas.sweep.file.load import load_any
from raynas.sweep.folder import TrainSweep
from raynas.train.config import TrainConfig
from raynas.train.loop import Training
from raynas.train.parallel import Team
from raynas.train.schedule import learning_rate

CELL = load_cell("darts-v2").genotype
CPU = torch.device("cpu")
DATA = {"name": "noise", "crop": "resized", "brightness": 0.4}


def config(**changes):
    given = {
        "cell": "darts-v2",
        "epochs": 3,
        "batch": 8,
        "channels": 2,
        "cells": 3,
        "data": DATA,
        "devices": 2,
    }
    return TrainConfig(**given | {"learning_rate": 0.1, "clip": 1.0, "label_smoothing": 0.1} | changes)


def noise(count=27, side=8):
    """The last batch of an epoch has 3 images, of which one process gets all and the other none."""
    pixels = np.random.default_rng(0).integers(0, 256, (count + 9, side, side, 3), dtype=np.uint8)
    labels = np.arange(count + 9) % 3
    test = pixels[count:], labels[count:]
    return from_arrays("noise", pixels[:count], labels[:count], test=test, recipe=ImageRecipe(flip=True))


def in_portions(config, data, epochs):
    """One process that takes the portions of each batch one after the other: plain accumulation."""
    alone = Training([config.model_copy(update={"devices": 1})], CELL, data, dtype=torch.float64)
    lane = alone.lanes[0]
    model, optimiser = lane.trained.train(), lane.optimiser
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for images, labels in list(lane.feed.whole_epoch()):
            optimiser.param_groups[0]["lr"] = learning_rate(config, epoch)
            optimiser.zero_grad()
            middle = len(labels) // 2 if len(labels) > 3 else len(labels)
            for rows in (slice(0, middle), slice(middle, None)):
                if not len(labels[rows]):
                    continue
                logits, _ = model(images[rows])
                loss = cross_entropy(logits, labels[rows], label_smoothing=0.1, reduction="sum")
                (loss / len(labels)).backward()
                total += loss.item()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimiser.step()
        losses.append(total / len(data.labels))
    return losses, dict(model.named_parameters())


@pytest.fixture(scope="module")
def team():
    """A team that has run to its end, its state after the first epoch, and what it reported."""
    only_loopback()
    team = Team([config()], CELL, noise(), CPU, make_deterministic, dtype=torch.float64)
    [first] = team.advance()
    state = team.state_dict()
    return team, state, [first, *(report for [report] in team)]


@pytest.mark.slow
def test_two_processes_are_one_that_normalises_each_portion_alone(team):
    team, _, reports = team
    losses, weights = in_portions(config(), noise(), epochs=3)
    assert [report.train_loss for report in reports] == pytest.approx(losses, rel=1e-12)
    for name, ours in team.lanes[0].trained.named_parameters():
        torch.testing.assert_close(ours, weights[name], rtol=1e-10, atol=1e-12)
    assert [report.test_loss is None for report in reports] == [True, True, False]
    own = team.lanes[0].evaluate(team.lanes[0].feed)  # what is kept here is whole
    assert np.isfinite(own).all()
    assert not multiprocessing.active_children()  # it is done, and has ended them


@pytest.mark.drill
def test_a_team_goes_on_from_its_state_to_the_same_bits(team):
    whole, state, reports = team
    again = Team([config()], CELL, noise(), CPU, make_deterministic, dtype=torch.float64)
    again.load_state_dict(state)
    assert [report for [report] in again] == reports[1:]
    theirs = whole.state_dict()
    for group in ("network", "momentum"):
        for name, ours in again.state_dict()[group].items():
            assert torch.equal(ours, theirs[group][name]), name


@pytest.mark.drill
def test_a_killed_process_ends_the_training_and_leaves_no_orphan():
    team = Team([config(epochs=1000)], CELL, noise(), CPU, make_deterministic)
    first, second = multiprocessing.active_children()
    victim = threading.Timer(0.5, os.kill, (second.pid, signal.SIGKILL))
    victim.start()
    with pytest.raises(ChildProcessError, match=r"process \d of 2 \(killed by SIGKILL\)"):
        for _ in team:
            pass
    assert not first.is_alive()
    assert not multiprocessing.active_children()


FILE = """\
name: shared
train: quick
data: {name: digits, limit: 64}
epochs: 6
channels: 2
batch: 16
devices: 2
drop_path: 0.2
grid: {cell: [darts-v2], seed: [0]}
"""


def planned(name="shared"):
    text = FILE.replace("name: shared", f"name: {name}")
    path = Path(f"{name}.yaml")
    path.write_text(text, encoding="utf-8")
    folder = TrainSweep((Path("runs") / name).absolute())
    folder.create(load_any(path), text)
    return folder


def members_of(pid):
    """The processes that train for a trial's process: multiprocessing's children by their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if parent == pid and b"spawn_main" in words:
            found.append(int(place.name))
    return found


@pytest.mark.drill
def test_a_killed_trial_takes_its_processes_along_and_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    whole, broken = planned(), planned("broken")
    LocalLauncher("cpu").run(whole)
    [record] = whole.records()
    assert record.status == "finished"
    assert record.config.devices == 2
    code = "from raynas.cli.main import main; main(['resume', 'broken', '--local'])"
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment())
    while process.poll() is None and len(broken.records()[0].reports) < 2:
        time.sleep(0.01)
    members = members_of(process.pid)
    assert len(members) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in members):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    LocalLauncher("cpu").run(TrainSweep(broken.path))
    [again] = TrainSweep(broken.path).records()
    assert again.reports == record.reports


@pytest.mark.ray
@pytest.mark.drill
def test_on_ray_a_trial_starts_processes_of_its_own(tmp_path, monkeypatch):
    """Two whole GPUs that only Ray believes in: the CPU stands in for each."""
    monkeypatch.chdir(tmp_path)
    short = FILE.replace("epochs: 6", "epochs: 2")
    text = short.replace("devices: 2", "resources: {gpu: 2}").replace("name: shared", "name: on-ray")
    Path("on-ray.yaml").write_text(text, encoding="utf-8")
    folder = TrainSweep((Path("runs") / "on-ray").absolute())
    folder.create(load_any(Path("on-ray.yaml")), text)
    monkeypatch.setenv("RAYNAS_ALLOW_LOGICAL_GPU", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False,
        logging_level="CRITICAL", _node_ip_address="127.0.0.1",
    )  # fmt: skip
    try:
        RayLauncher().run(folder)
    finally:
        ray.shutdown()
    [record] = folder.records()
    assert record.status == "finished"
    configs = [record.config]
    alone = Team(configs, CELL, load_data(configs[0].data), CPU, make_deterministic)
    assert tuple(report for [report] in alone) == record.reports


def problems(text, tmp_path):
    path = tmp_path / "shared.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileProblems) as caught:
        load_any(path)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_devices_are_whole_gpus_of_one_node(tmp_path):
    assert "got 0.5" in problems(FILE + "resources: {gpu: 0.5}\n", tmp_path)["devices"]
    assert "resources.gpu: 2" in problems(FILE + "resources: {gpu: 4}\n", tmp_path)["devices"]
    assert "in no pack" in problems(FILE + "resources: {pack: 2}\n", tmp_path)["resources.pack"]
    path = tmp_path / "four.yaml"
    path.write_text(FILE.replace("devices: 2\n", "resources: {gpu: 4}\n"), encoding="utf-8")
    [trial] = load_any(path).trials
    assert trial.config.devices == 4
    assert trial.config.cpus == 4


def test_too_few_images_or_gpus_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="fewer than 2 images"):
        config(batch=3)
    with pytest.raises(RaynasError, match="too small for 2 devices"):
        Team([config()], CELL, noise(3), CPU, make_deterministic)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RaynasError, match="fewer GPUs"):
        Team([config()], CELL, noise(), torch.device("cuda"), make_deterministic)
