"""Trainings as trials of a sweep: the file, running and resuming them, their report, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.cli_folders import IDS, environment, make_sweep, play, raynas
from helpers.train_folders import make_trainings
from PIL import Image

from raynas.data.load import load_data
from raynas.disk import write_atomic
from raynas.errors import FileProblems
from raynas.launch.driver import only_driver
from raynas.launch.local import LocalLauncher
from raynas.nets.size import size_of
from raynas.search.checkpoint import load
from raynas.spaces.literature import load_cell
from raynas.sweep.file.load import load_any
from raynas.sweep.folder import TrainSweep, find_sweep
from raynas.train.deployed import Deployed
from raynas.train.loop import Training
from raynas.train.records import CARD, WEIGHTS

FILE = """\
# Two cells, two seeds.
name: pair
train: quick
data: {name: digits, limit: 64, valid: 0.25}
epochs: 2
channels: 2
track: {mlflow: null}
grid:
  cell: [darts-v2, pc-darts-cifar]
  seed: [0, 1]
"""


def write(text=FILE, name="pair.yaml"):
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def planned(text=FILE, *overrides):
    sweep = load_any(write(text), overrides)
    folder = TrainSweep((Path("runs") / sweep.name).absolute())
    folder.create(sweep, text)
    return folder


def problems(text, *overrides):
    with pytest.raises(FileProblems) as caught:
        load_any(write(text), overrides)
    return {problem.path: problem.message for problem in caught.value.problems}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def reports(folder):
    return {record.id: record.reports for record in folder.records()}


@pytest.mark.slow
def test_from_check_to_report(capsys):
    path = str(write())
    checked = raynas(capsys, "check", path)
    assert checked.code == 0, checked.err
    assert "4 trainings (2 cells × 2 seeds), 2 epochs each" in checked.out
    assert "epochs 2 instead of 10" in checked.out
    assert "359 test images that are looked at only once, at the end" in checked.out
    shown = raynas(capsys, "sweep", path, "--dry-run")
    assert "pc-darts-cifar-s1" in shown.out
    folder = planned()
    LocalLauncher("cpu").run(folder)
    records = folder.records()
    assert [record.status for record in records] == ["finished"] * 4
    seen = [[report.test_accuracy is None for report in record.reports] for record in records]
    assert seen == [[True, False]] * 4
    report = raynas(capsys, "report", "pair")
    assert report.code == 0, report.err
    table = json.loads((folder.path / "trained.json").read_text())
    assert [row["cell"] for row in table] == ["darts-v2", "pc-darts-cifar"]
    errors = [100 * (1 - record.tested.test_accuracy) for record in records[:2]]
    mean, sd = sum(errors) / 2, abs(errors[0] - errors[1]) / 2**0.5
    assert [table[0][key] for key in ("error_mean", "error_sd")] == pytest.approx([mean / 100, sd / 100])
    assert [each["seed"] for each in table[0]["seeds"]] == [0, 1]
    size = size_of(load_cell("darts-v2").genotype, (1, 8, 8), 10, 2, records[0].config.cells)
    assert [table[0]["parameters"], table[0]["multiply_adds"]] == list(size)
    for page in ("report.html", "report.md"):
        text = (folder.path / page).read_text(encoding="utf-8")
        assert f"{mean:.2f} ± {sd:.2f}" in text
        assert f"{size.multiply_adds:,}" in text
        assert "raynas export pair --to onnx --to model.py" in text
        assert "The test images were looked at once" in text
        assert "epochs 2 instead of 10" in text
    status = raynas(capsys, "status", "pair", "--json")
    assert json.loads(status.out)["counts"] == {"finished": 4}
    assert "trained: 4 finished" in raynas(capsys, "ls", "sweeps").out


def test_the_network_that_is_kept_is_the_one_that_was_tested():
    folder = planned(FILE.replace("[darts-v2, pc-darts-cifar]", "[darts-v2]"), "seed=3")
    LocalLauncher("cpu").run(folder)
    [record] = folder.records()
    network = Deployed.load(folder.trial(record.id).network)
    digits = load_data(record.config.data)
    said = network.probabilities(digits.test_images).argmax(1)
    assert (said == digits.test_labels).mean() == pytest.approx(record.tested.test_accuracy)
    trained = network.card.trained
    assert (trained["sweep"], trained["trial"]) == ("pair", record.id)
    assert trained["report"]["test_accuracy"] == record.tested.test_accuracy


def _stop_after(count):
    """An observer that breaks off as Ctrl-C does once some epochs are on record."""
    from raynas.launch.observer import Observer

    class Stop(Observer):
        def on_trial(self, record):
            if len(record.reports) == count:
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.slow
@pytest.mark.parametrize("pack", [1, 2])
def test_an_interrupted_sweep_goes_on_to_the_same_numbers(pack):
    text = FILE.replace("epochs: 2", "epochs: 3") + f"drop_path: 0.2\nresources: {{pack: {pack}}}\n"
    whole = planned(text)
    LocalLauncher("cpu").run(whole)
    broken = planned(text.replace("name: pair", "name: broken"))
    with pytest.raises(KeyboardInterrupt):
        LocalLauncher("cpu").run(broken, [_stop_after(2)])
    assert {len(record.reports) for record in broken.records()} == {0, 2}
    again = TrainSweep(broken.path)
    LocalLauncher("cpu").run(again)
    assert reports(again) == reports(whole)
    for trial in whole.trials():
        ours, theirs = (load(f.trial(trial.id).checkpoint)["network"] for f in (again, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_pack_is_its_members_alone():
    folder = planned(FILE + "resources: {pack: 2}\n")
    LocalLauncher("cpu").run(folder)
    records = folder.records()
    assert records[1].start["pack"] == ["darts-v2-s0", "darts-v2-s1"]
    assert records[2].start["pack"] == ["pc-darts-cifar-s0", "pc-darts-cifar-s1"]
    config = records[1].config
    alone = Training([config], load_cell("darts-v2").genotype, load_data(config.data))
    assert tuple(report for [report] in alone) == records[1].reports


def test_a_damaged_checkpoint_is_set_aside_and_the_numbers_come_again():
    text = FILE.replace("[darts-v2, pc-darts-cifar]", "[darts-v2]").replace("[0, 1]", "[0]")
    whole = planned(text)
    LocalLauncher("cpu").run(whole)
    broken = planned(text.replace("name: pair", "name: broken"))
    with pytest.raises(KeyboardInterrupt):
        LocalLauncher("cpu").run(broken, [_stop_after(1)])
    [trial] = broken.trials()
    write_atomic(trial.checkpoint, trial.checkpoint.read_bytes()[:-100])
    again = TrainSweep(broken.path)
    LocalLauncher("cpu").run(again)
    assert reports(again) == reports(whole)
    assert "set aside" in again.trial(trial.id).log.read_text()


def test_a_training_that_diverges_ends_alone(capsys):
    text = FILE.replace("grid:", "clip: null\nresources: {pack: 2}\ngrid:\n  learning_rate: [0.05, 1.0e+30]")
    folder = planned(text.replace("[darts-v2, pc-darts-cifar]", "[darts-v2]").replace("[0, 1]", "[0]"))
    LocalLauncher("cpu").run(folder)
    assert [record.status for record in folder.records()] == ["finished", "diverged"]
    assert "diverged" in raynas(capsys, "report", "pair").out or "1/1" in raynas(capsys, "report", "pair").out


def test_mistakes_are_told_all_at_once():
    text = """
name: pair
train: quik
epoch: 3
data: {name: digits, limt: 5}
grid: {cell: [darts-v3, 7], seeds: [0], weight_decay: 0.1}
"""
    found = problems(text)
    assert "here it is epochs" in found["epoch"]
    assert "quick" in found["train"]
    assert "darts-v2" in found["grid.cell[0]"]
    assert "got 7" in found["grid.cell[1]"]
    assert "here it is seed" in found["grid.seeds"]
    assert "list" in found["grid.weight_decay"]


@pytest.mark.parametrize(
    ("line", "path", "words"),
    [
        ("epochs: -1", "epochs", "greater than 0"),
        ("data: {name: digits, limt: 5}", "data.limt", "nearest: limit"),
        ("data: python-docs", "data.name", "reads images; got the data python-docs"),
        ("data: 5", "data", "a mapping"),
        ("data: {name: folder}", "data.path", ""),
        ("batch: yes", "batch", "expected a number"),
        ("warmup: 99", "train", "none is left"),
        ("track: {mlflw: null}", "track.mlflw", "nearest: mlflow"),
        ("track: {mlflow: 'x://y'}", "track.mlflow", "x://y"),
        ("cell: darts-v2", "grid.cell", "also given"),
    ],
)
def test_a_mistake_stands_where_it_was_made(line, path, words):
    key = line.partition(":")[0]
    kept = [each for each in FILE.splitlines() if not each.startswith(f"{key}:")]
    found = problems("\n".join([*kept, line]))
    assert words in found[path], found


def test_overrides_take_the_keys_of_a_training():
    sweep = load_any(
        write(), ["seed=5", "cell=darts-v2", "train=darts-cifar", "data.limit=80", "cells=5", "auxiliary=0"]
    )
    [config] = [trial.config for trial in sweep.trials]
    assert (config.seed, config.data.limit, config.cells, config.recipe) == (5, 80, 5, "darts-cifar")
    assert "nearest: clip" in problems(FILE, "clipp=5")["clipp"]


def test_a_text_cell_is_refused_with_images():
    cell = "Recurrent(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))"
    text = FILE.replace("[darts-v2, pc-darts-cifar]", json.dumps([cell, "darts-v2"]))
    assert "grid.cell[0]" in problems(text)


def test_what_cannot_be_built_is_told_before_anything_starts(capsys, monkeypatch):
    refused = raynas(capsys, "retrain", "darts-v2", "auxiliary=0.4", "--local")
    assert refused.code == 2
    assert "too small for an auxiliary head" in refused.err
    # What only loading the data can tell is told then.
    Path("mine.py").write_text(
        "import numpy as np\ndef load():\n    return np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2\n"
    )
    monkeypatch.syspath_prepend(".")
    words = ["retrain", "darts-v2", "auxiliary=0.4", "data.name=mine:load", "track.mlflow=null", "--local"]
    refused = raynas(capsys, *words)
    assert refused.code == 2
    assert "'darts-v2' cannot be trained on mine:load" in refused.err
    assert not Path("runs/darts-v2-quick").exists()


BROKEN = "title: a\nsource: b\nepochs: 2\nepoch: 3\n"
NO_SUCH_OPERATION = "|sep_conv_9x9~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["darts-v3"], "nearest:  darts-v2"),
        ([NO_SUCH_OPERATION], "unknown operation 'sep_conv_9x9'"),
        (["darts-v2", "space=nas-bench-201"], "space: unknown key"),
        (["darts-v2", "epoch=3"], "epoch: unknown key; here it is epochs"),
        (["darts-v2", "--recipe", "quik"], "nearest:  quick"),
        (["darts-v2", "--recipe", "./broken.yaml"], "broken.yaml: 1 problem\n      epoch: unknown key"),
        (["darts-v2", "auxiliary=0.4"], "too small for an auxiliary head"),
        (["darts-v2", "data.name=folder", "data.path=tiny"], "images are too small for two reductions"),
        (["nasnet-a", "data.name=folder", "data.path=nowhere"], "nowhere does not exist"),
        (["enas-macro", "cells=24"], "exactly 1 cell"),
    ],
    ids=lambda given: " ".join(given)[:30] if isinstance(given, list) else "",
)
def test_what_cannot_be_trained_is_one_error_and_leaves_nothing(capsys, words, told):
    Path("broken.yaml").write_text(BROKEN)
    for name in ("cat", "dog"):
        folder = Path("tiny") / name
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (3, 3), (9 * number, 0, 0)).save(folder / f"{number}.png")
    recipe = [] if "--recipe" in words else ["--recipe", "quick"]
    refused = raynas(capsys, "retrain", *words, *recipe, "--local")
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.slow
def test_retrain_a_cell(capsys):
    words = ["retrain", "darts-v2", "--local", "--seeds", "0,1", "data.limit=64", "epochs=2", "channels=2"]
    words.append("track.mlflow=null")
    done = raynas(capsys, *words)
    assert done.code == 0, done.err
    assert "parts from the recipe quick: epochs 2 instead of 10" in done.out
    folder = find_sweep(Path("runs"), "darts-v2-quick")
    assert [record.status for record in folder.records()] == ["finished"] * 2
    assert "already a sweep" in raynas(capsys, *words).err
    again = load_any(folder.path / "sweep.yaml")
    assert [trial.config for trial in again.trials] == [trial.config for trial in folder.sweep().trials]
    assert raynas(capsys, "retrain", "darts-v2", "--seeds", "a").code == 2
    assert "darts-v2" in raynas(capsys, "retrain", "darts-v3").err


@pytest.mark.slow
def test_retrain_a_sweep_s_winner(tmp_path, capsys):
    found = make_sweep(tmp_path / "runs")
    play(found, "darts-wd0.0027-s0", [0.9, 0.5])
    words = ["retrain", "four", "--local", "--seeds", "0", "data.limit=64", "epochs=1", "channels=2"]
    assert raynas(capsys, *words).code == 0
    folder = find_sweep(Path("runs"), "four/trained/quick")
    [record] = folder.records()
    assert (record.id, record.status) == ("four-s0", "finished")
    assert folder.sweep().cells[record.config.cell].space == "tiny"
    assert folder.sweep().resolved["data"] == {"name": "digits", "limit": 64}
    assert "four/trained/quick" in raynas(capsys, "ls", "sweeps").out
    assert "four/trained/quick" in raynas(capsys, "status", "four/trained/quick").out
    assert record.config.epochs == 1
    for page in ("html", "md"):
        text = (found.path / f"report.{page}").read_text(encoding="utf-8")
        assert f"trained/quick/report.{page}" in text
        assert f"{record.multiply_adds:,}" in text
        assert "raynas evaluate four/trained/quick" in text
        assert "1 epoch." in text
        assert text.index("Trained from scratch") < text.index("Ranking")
    assert (found.path / "report" / "trained-quick-train_loss.svg").is_file()
    assert "raynas predict four/trained/quick" in (folder.path / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_search_goes_on_to_train_its_best(tmp_path, capsys):
    Path("brief.yaml").write_text(
        "title: brief\nsource: this test's own\nepochs: 1\nbatch: 64\nchannels: 2\ncells: 3\n"
    )
    wanted = ["retrain.top=2", "retrain.seeds=[0]", "retrain.recipe=./brief.yaml", "data.limit=64"]
    found = make_sweep(tmp_path / "runs", wanted)
    for place, trial in enumerate(IDS):
        play(found, trial, [0.9, 0.5 + 0.1 * place])
        found.trial(trial).record().deciding.genotype.save(found.trial(trial).path / "genotype.json")
    for _ in range(2):  # the second finds all of it done
        done = raynas(capsys, "resume", "four", "--local")
        assert done.code == 0, done.err
    folder = find_sweep(Path("runs"), "four/trained/brief")
    # All four have found one network, which is trained once.
    assert [record.id for record in folder.records()] == [f"{IDS[0]}-s0"]
    assert {record.status for record in folder.records()} == {"finished"}
    # The recipe is a file of its own, and is found again: nothing but the images left out departs.
    assert "parts from the recipe brief: data.limit 64 instead of null\n" in done.out
    assert {record.config.data.limit for record in folder.records()} == {64}
    # The folder has the recipe as it was: a file that is another or gone by now changes nothing.
    Path("brief.yaml").unlink()
    assert raynas(capsys, "report", "four/trained/brief").code == 0
    [row] = {tuple(row["departures"]) for row in json.loads((folder.path / "trained.json").read_text())}
    assert row == ("data.limit 64 instead of null",)
    refused = raynas(capsys, "check", str(tmp_path / "four.yaml"), "retrain.recipe=quik")
    assert "quick" in refused.err


@pytest.mark.parametrize("words", [["select", "pair"], ["draw", "pair"], ["size", "pair"]])
def test_verbs_of_searches_say_that_these_are_trainings(words, capsys):
    planned()
    refused = raynas(capsys, *words)
    assert refused.code == 2
    assert "trains given cells" in refused.err


def test_a_file_of_trainings_is_no_search(capsys):
    refused = raynas(capsys, "search", str(write()))
    assert refused.code == 2
    assert "trains given cells" in refused.err


@pytest.mark.slow
def test_a_damaged_trial_file_is_written_again():
    folder = planned()
    whole = {trial.id: (trial.path / "trial.json").read_bytes() for trial in folder.trials()}
    (folder.path / "trials" / "darts-v2-s1" / "trial.json").write_text("{")
    LocalLauncher("cpu").run(TrainSweep(folder.path))
    for name, content in whole.items():
        assert (folder.path / "trials" / name / "trial.json").read_bytes() == content


def _trained(capsys, *overrides):
    text = FILE.replace("[darts-v2, pc-darts-cifar]", "[darts-v2]").replace("[0, 1]", "[0]")
    folder = planned(text.replace("epochs: 2", "epochs: 1"), *overrides)
    LocalLauncher("cpu").run(folder)
    [trial] = folder.trials()
    return folder, trial


def test_a_lost_or_damaged_network_is_made_again_from_its_checkpoint(capsys):
    folder, trial = _trained(capsys)
    weights = load(trial.network / WEIGHTS)
    for path in (trial.network / WEIGHTS, trial.network / CARD):
        for damage in (path.unlink, lambda path=path: path.write_bytes(path.read_bytes()[:50])):
            damage()
            done = raynas(capsys, "resume", "pair", "--local")
            assert done.code == 0, done.err
            assert "made again from its checkpoint" in done.out
            again = load(trial.network / WEIGHTS)
            assert all(torch.equal(again[name], weights[name]) for name in weights)
            assert Deployed.load(trial.network).card.trained["trial"] == trial.id
    assert "made again" not in raynas(capsys, "resume", "pair", "--local").out
    (trial.network / CARD).unlink()
    assert "its network is missing" in raynas(capsys, "status", "pair").out
    assert "next:     raynas resume pair" in raynas(capsys, "evaluate", "pair").err
    trial.checkpoint.unlink()
    told = raynas(capsys, "resume", "pair", "--local").out
    assert f"delete {trial.path} and resume to train it again" in told
    assert [record.status for record in TrainSweep(folder.path).records()] == ["finished"]


def test_a_part_of_the_images_is_evaluated_as_it_was_used(capsys):
    folder, _ = _trained(capsys)  # 64 images, a quarter of them held out

    def evaluated(*words):
        done = raynas(capsys, "evaluate", "pair", "--json", *words)
        assert done.code == 0, done.err
        return json.loads(done.out)

    [record] = folder.records()
    assert evaluated("--part", "train")["images"] == record.start["data"]["train"] == 48
    assert evaluated()["accuracy"] == pytest.approx(record.tested.test_accuracy)
    for part, whole in (("train", 48), ("test", 359)):
        assert evaluated("--part", part, "data.limit=20")["images"] == 20
        refused = raynas(capsys, "evaluate", "pair", "--part", part, "data.limit=5000")
        assert f"at most {whole}" in refused.err
    # Other data, and the same under other settings, are taken whole.
    assert evaluated("--part", "train", "data.valid=0")["images"] == 1438


def test_a_killed_sweep_of_trainings_is_listed_as_stopped(capsys):
    broken = planned(FILE)
    with pytest.raises(KeyboardInterrupt):
        LocalLauncher("cpu").run(broken, [_stop_after(1)])
    assert "1 stopped" in raynas(capsys, "ls", "sweeps").out
    with only_driver(TrainSweep(broken.path)):
        assert "1 running" in raynas(capsys, "ls", "sweeps").out


def test_evaluating_searches_points_to_what_was_trained(tmp_path, capsys):
    found = make_sweep(tmp_path / "runs")
    assert "raynas retrain four" in raynas(capsys, "evaluate", "four").err
    make_trainings(found.path / "trained" / "quick")
    refused = raynas(capsys, "evaluate", "four")
    assert refused.code == 2
    assert "give four/trained/quick instead" in refused.err


@pytest.mark.drill
def test_a_killed_training_goes_on_to_the_same_bits():
    text = FILE.replace("epochs: 2", "epochs: 8").replace("[darts-v2, pc-darts-cifar]", "[darts-v2]")
    whole = planned(text)
    LocalLauncher("cpu").run(whole)
    broken = planned(text.replace("name: pair", "name: broken"))
    code = "from raynas.cli.main import main; main(['resume', 'broken', '--local'])"
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | environment())
        before = sum(len(record.reports) for record in broken.records())
        while process.poll() is None and sum(len(r.reports) for r in broken.records()) < before + 3:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = TrainSweep(broken.path)
    LocalLauncher("cpu").run(again)
    assert reports(again) == reports(whole)
    for trial in whole.trials():
        ours, theirs = (load(f.trial(trial.id).checkpoint)["network"] for f in (again, whole))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.drill
def test_on_ray_the_numbers_are_those_of_one_process(capsys):
    whole = planned()
    LocalLauncher("cpu").run(whole)
    done = raynas(capsys, "sweep", str(write(FILE.replace("name: pair", "name: parallel"))))
    assert done.code == 0, done.err
    assert reports(find_sweep(Path("runs"), "parallel")) == reports(whole)


def test_without_test_images_there_is_nothing_to_evaluate(capsys):
    from PIL import Image

    for label in "ab":
        Path("photos", label).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(Path("photos", label, f"{number}.png"))
    words = ["retrain", "darts-v2", "--local", "--seeds", "0", "epochs=1", "channels=2", "track.mlflow=null"]
    done = raynas(capsys, *words, "data.name=folder", "data.path=photos", "--name", "pets")
    assert done.code == 0, done.err
    assert "there is no error on any" in done.out
    assert "next: raynas predict pets IMAGES" in done.out
    report = Path("runs/pets/report.md").read_text(encoding="utf-8")
    assert "raynas evaluate" not in report
    assert "raynas export pets" in report
