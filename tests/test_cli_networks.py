"""Trained networks on the command line: found, exported, asked, evaluated; and what is refused."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cli_folders import IDS, make_sweep, raynas
from helpers.networks import network
from PIL import Image

from raynas.config import DataConfig
from raynas.data.load import load_data
from raynas.train.deployed import CARD, WEIGHTS
from raynas.train.export import formats
from raynas.train.export.formats import Normalised


@pytest.fixture(scope="module")
def digits():
    return load_data(DataConfig(name="digits"))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    network().save(tmp_path / "net")
    return tmp_path


@pytest.fixture
def pictures(here, digits):
    """Four digits as files, two of them in a folder within."""
    (here / "pictures/more").mkdir(parents=True)
    for place, name in enumerate(("b.png", "a.bmp", "more/c.png", "more/d.PNG")):
        Image.fromarray(digits.test_images[place, :, :, 0]).save(here / "pictures" / name)
    return here / "pictures"


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def parsed(capsys, *words, code=0):
    outcome = raynas(capsys, *words, "--json")
    assert outcome.code == code, outcome.err
    assert outcome.err == ""
    return json.loads(outcome.out)


# Which network


def test_a_network_is_found_by_its_folder_its_trial_and_its_sweep(capsys, here, pictures):
    folder = make_sweep(here / "runs")
    for place, trial in ((2, IDS[2]), (1, IDS[1])):
        network(place).save(folder.trial(trial).path / "network")
    image = str(pictures / "b.png")

    def said(trained):
        return parsed(capsys, "predict", trained, image)["images"]

    second = said(f"runs/four/trials/{IDS[1]}/network")
    assert said(f"runs/four/trials/{IDS[1]}") == second
    assert said(f"four/{IDS[1]}") == second
    assert said(f"runs/four/{IDS[1]}") == second
    assert said("four") == second  # the first in plan order that has one
    assert said(f"four/{IDS[2]}") != second
    assert said("net") == said("net/network.json")
    assert f"of 2 trained networks the first, {IDS[1]}" in raynas(capsys, "predict", "four", image).out


def test_a_network_that_is_not_there_is_told_with_the_nearest(capsys, here):
    folder = make_sweep(here / "runs")
    for trained, *said in (
        ("fuor", "no trained network 'fuor'", "nearest:  four"),
        ("four", "the sweep 'four' has no trained network", "raynas retrain four"),
        (f"four/{IDS[0]}", f"the trial {IDS[0]} has no trained network"),
        ("four/darts-wd0.0027", "no trial 'darts-wd0.0027' in the sweep four", "nearest:  darts-wd0.0027-s"),
        ("runs", "no trained network 'runs'", "a folder without network.json"),
    ):
        outcome = raynas(capsys, "predict", trained, "x.png")
        assert outcome.code == 2
        assert all(text in outcome.err for text in said), outcome.err
    assert folder.exists


def test_a_damaged_folder_is_one_clear_error(capsys, here):
    card = json.loads((here / "net" / CARD).read_text())
    for change, said in (
        ({"channels": 10**9}, "channels"),
        ({"channels": 4000}, "do not fit the network"),  # no memory is taken for it
        ({"genotype": {}}, ""),
    ):
        (here / "net" / CARD).write_text(json.dumps(card | change))
        outcome = raynas(capsys, "evaluate", "net")
        assert outcome.code == 2
        assert said in outcome.err
        assert "Traceback" not in outcome.err
    (here / "net" / CARD).write_text(json.dumps(card))
    (here / "net" / WEIGHTS).write_bytes(b"PK")
    outcome = raynas(capsys, "evaluate", "net")
    assert outcome.code == 2
    assert "weights are missing or corrupt" in outcome.err
    assert files("net") == [CARD, WEIGHTS]


# Export


def test_several_formats_are_written_at_once(capsys, here):
    safetensors = pytest.importorskip("safetensors.torch")
    facts = parsed(capsys, "export", "net", "--to", "safetensors", "--to", "model.py", "--out", "out")
    assert facts["files"] == {"safetensors": "out/network.safetensors", "model.py": "out/model.py"}
    assert files("out") == ["model.py", "network.safetensors", "weights.pt"]
    again, state = safetensors.load_file("out/network.safetensors"), network().network.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    where = raynas(capsys, "export", "net", "--to", "model.py").out
    assert "net/export/model.py" in where


def test_what_is_there_already_is_left_alone(capsys, here):
    (here / "out").mkdir()
    (here / "out/weights.pt").write_text("mine")  # which model.py comes with
    (here / "file").write_text("mine")
    for out, to, said in (
        ("out", "model.py", "out/weights.pt is there already"),
        ("net", "model.py", "net/weights.pt is there already"),
        ("file", "torch", "not a folder"),
    ):
        outcome = raynas(capsys, "export", "net", "--to", to, "--out", out)
        assert outcome.code == 2
        assert said in outcome.err
    assert files("out") == ["weights.pt"]
    assert (here / "out/weights.pt").read_text() == "mine"


def test_bad_wishes_are_told_before_anything_is_written(capsys, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for words, said in (
        (("--to", "torch", "--to", "onyx"), "nearest:  onnx"),
        (("--to", "torch", "--register", "mine"), "`--register` goes with `--to mlflow`"),
        (("--to", "torch", "--mlflow", "mlflow.db"), "not an MLflow tracking address"),
        (("--to", "torch", "--to", "safetensors"), "pip install 'raynas[export]'"),
    ):
        outcome = raynas(capsys, "export", "net", *words, "--out", "out")
        assert outcome.code == 2
        assert said in outcome.err
    assert not (here / "out").exists()


def test_an_exporter_that_fails_leaves_nothing(capsys, here, monkeypatch):
    def fail(error):
        def write(deployed, path):
            path.write_text("half")
            raise error

        return formats.Format("torch", "network.pt2", "", write)

    for error, said in (
        (OSError(28, "No space left on device"), "disk full"),
        (RuntimeError("unsupported\nmore"), "RuntimeError: unsupported"),
    ):
        monkeypatch.setitem(formats.FORMATS, "torch", fail(error))
        outcome = raynas(capsys, "export", "net", "--to", "torch", "--out", "out")
        assert outcome.code == 2
        assert said in outcome.err
        assert files("out") == []


@pytest.mark.drill
def test_an_mlflow_model_is_registered_and_runs_without_raynas(capsys, here, digits):
    """The version of the registry takes 1, 2 and 7 images; an example of one image would let it take one."""
    facts = parsed(capsys, "export", "net", "--to", "mlflow", "--register", "mine", "--out", "out")
    assert (facts["registered"], facts["version"]) == ("mine", "1")
    images = (digits.test_images[:7].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    np.save("images.npy", images)
    script = (
        "import sys, numpy, mlflow, json\n"
        "mlflow.set_tracking_uri('sqlite:///mlflow.db')\n"
        "images = numpy.load('images.npy')\n"
        "for place in ('out/mlflow', 'models:/mine/1'):\n"
        "    model = mlflow.pyfunc.load_model(place)\n"
        "    assert model.metadata.metadata['classes'] == list('0123456789')\n"
        "    answers = [model.predict(images[:n]) for n in (1, 2, 7)]\n"
        "    assert numpy.allclose(answers[2][:2], answers[1], atol=1e-5)\n"
        "print(json.dumps(answers[2].tolist()))\n"
        "assert 'raynas' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    want = Normalised(network()).eval()(torch.from_numpy(images)).tolist()
    assert np.allclose(json.loads(done.stdout.splitlines()[-1]), want, atol=1e-4)


# Predict


def test_images_are_read_as_training_reads_them(capsys, here, pictures, digits):
    facts = parsed(capsys, "predict", "net", "pictures", "--batch", "3")
    files = [row["file"] for row in facts["images"]]
    assert files == [f"pictures/{name}" for name in ("a.bmp", "b.png", "more/c.png", "more/d.PNG")]
    want = network().predict(digits.test_images[[1, 0, 2, 3]])  # the arrays that training sees
    assert [row["class"] for row in facts["images"]] == [each.name for each in want]
    got = [row["probability"] for row in facts["images"]]
    assert got == pytest.approx([each.probability for each in want], abs=1e-6)


def test_a_photograph_is_turned_as_its_camera_was_held(capsys, here, digits):
    network(shape=(3, 8, 6)).save(here / "colour")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    Image.fromarray(pixels).save("upright.png")
    lying = Image.fromarray(np.rot90(pixels))
    tags = lying.getexif()
    tags[0x0112] = 6  # turn by 90° clockwise to look at it
    lying.save("lying.png", exif=tags)
    upright, turned = parsed(capsys, "predict", "colour", "upright.png", "lying.png")["images"]
    assert turned["probability"] == upright["probability"]


def test_a_bad_file_hides_no_other(capsys, here, pictures):
    Image.new("L", (12, 10)).save(pictures / "large.png")
    (pictures / "broken.png").write_bytes(b"nothing")
    (pictures / "more/gone.png").symlink_to("nowhere")
    facts = parsed(capsys, "predict", "net", "pictures", "missing.png", "empty", code=1)
    assert len(facts["images"]) == 4
    told = "\n".join(each["problem"] for each in facts["problems"])
    for said in (
        "broken.png",
        "large.png does not fit",
        "12×10",
        "8×8",
        "`--fit`",
        "gone.png",
        "missing.png",
    ):
        assert said in told
    outcome = raynas(capsys, "predict", "net", "pictures", "--fit")
    assert outcome.code == 1
    assert "large.png" in outcome.out
    assert "broken.png" in outcome.err
    (here / "none").mkdir()
    outcome = raynas(capsys, "predict", "net", "none")
    assert (outcome.code, outcome.err) == (1, "no images in none\n")


def test_fit_scales_as_the_folder_loader_does(capsys, here):
    rng = np.random.default_rng(0)
    network(shape=(3, 8, 8), names=("a", "b")).save(here / "colour")
    for name in ("a", "b"):
        (here / "photos" / name).mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (20, 30, 3), np.uint8)).save(f"photos/{name}/1.png")
    data = load_data(DataConfig(name="folder", path="photos", size=8))
    want = network(shape=(3, 8, 8), names=("a", "b")).predict(data.images)
    got = parsed(capsys, "predict", "colour", "photos", "--fit")["images"]
    assert [row["probability"] for row in got] == [each.probability for each in want]
    assert parsed(capsys, "predict", "colour", "photos", code=1)["images"] == []
    # Where its own images were scaled and cropped, others are without being asked for.
    card = json.loads((here / "colour" / CARD).read_text())
    card["trained"]["config"] = {"data": {"name": "folder", "path": "x", "size": 8}}
    (here / "colour" / CARD).write_text(json.dumps(card))
    assert parsed(capsys, "predict", "colour", "photos")["images"] == got


def test_of_many_bad_files_some_are_told(capsys, here):
    (here / "photos").mkdir()
    for place in range(20):
        Image.new("L", (12, 10)).save(f"photos/{place:02}.png")
    told = raynas(capsys, "predict", "net", "photos")
    assert told.code == 1
    assert told.err.count("does not fit the network") == 12
    assert told.err.endswith("and 8 others; --json has them all\n")


def test_a_table_has_the_likeliest_classes(capsys, here, pictures):
    outcome = raynas(capsys, "predict", "net", "pictures", "--csv", "out.csv", "--top", "3")
    assert outcome.code == 0
    rows = list(csv.DictReader((here / "out.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 4
    assert len({row["class"] for row in rows[:3]}) == 3
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"]) >= float(rows[2]["probability"])
    assert len(parsed(capsys, "predict", "net", "pictures", "--top", "99")["images"]) == 40


# Evaluate


def test_evaluation_is_that_of_the_answers(capsys, here, digits):
    """On all test images of the data it was trained on, and on those of the training images that it used."""
    facts = parsed(capsys, "evaluate", "net")
    probabilities = network().probabilities(digits.test_images).astype(np.float64)
    labels, predicted = digits.test_labels, probabilities.argmax(1)
    assert facts["images"] == 359
    assert facts["accuracy"] == (predicted == labels).mean()
    assert facts["loss"] == pytest.approx(-np.log(probabilities[np.arange(359), labels]).mean(), rel=1e-5)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, predicted), 1)
    assert facts["confusion"] == confusion.tolist()
    assert facts["classes"][3]["accuracy"] == confusion[3, 3] / confusion[3].sum()
    assert (here / "net/evaluation/confusion.png").read_bytes()[1:4] == b"PNG"
    assert "<svg" in (here / "net/evaluation/confusion.svg").read_text()
    out = raynas(capsys, "evaluate", "net", "--part", "train", "--out", "pictures").out
    assert "50 train images" in out
    assert (here / "pictures/confusion.png").is_file()


def test_a_folder_of_ones_own_is_evaluated_by_its_names(capsys, here):
    """Its classes are told apart by name: a network may have them in another order."""
    network(shape=(3, 8, 8), names=("dog", "cat")).save(here / "pets")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (here / "photos" / name).mkdir(parents=True)
        for place in range(3 if name == "cat" else 2):
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(f"photos/{name}/{place}.png")
    words = ("evaluate", "pets", "--data", "folder", "data.path=photos")
    outcome = raynas(capsys, *words)
    assert "photos has no test images" in outcome.err
    assert "--part train" in outcome.err
    outcome = raynas(capsys, *words, "--part", "train")
    assert "do not fit the network" in outcome.err
    assert "data.size=8" in outcome.err
    facts = parsed(capsys, *words, "size=8", "--part", "train")
    assert [(each["class"], each["images"]) for each in facts["classes"]] == [("dog", 2), ("cat", 3)]
    (here / "photos/cat").rename(here / "photos/bird")
    outcome = raynas(capsys, *words, "size=8", "--part", "train")
    assert outcome.code == 2
    assert "bird" in outcome.err
    assert "cat" in outcome.err
    (here / "photos/more").mkdir()
    Image.new("RGB", (8, 8)).save("photos/more/1.png")
    assert "3 classes" in raynas(capsys, *words, "size=8", "--part", "train").err


def test_data_that_is_not_said_or_wrong_is_told(capsys, here):
    card = json.loads((here / "net" / CARD).read_text())
    (here / "net" / CARD).write_text(json.dumps(card | {"trained": {}}))
    for words, said in (
        ((), "which data the network is tested on is not said"),
        (("--data", "digts"), "nearest:  digits"),
        (("--data", "digits", "data.pth=x"), "nearest: path"),
        (("--data", "digits", "size"), "a setting is written key=value"),
        (("--data", "python-docs"), "a network of images cannot be tested on a text"),
    ):
        outcome = raynas(capsys, "evaluate", "net", *words)
        assert outcome.code == 2
        assert said in outcome.err, outcome.err
    assert parsed(capsys, "evaluate", "net", "--data", "digits")["images"] == 359
