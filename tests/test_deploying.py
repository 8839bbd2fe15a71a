"""docs/deploying.md, carried out: what it exports runs as it says, without raynas, with the same answer."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cli_folders import raynas
from helpers.networks import network
from helpers.pages import blocks
from PIL import Image


@pytest.mark.drill
def test_every_export_runs_as_the_page_says(capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for needed in ("onnx", "onnxscript", "onnxruntime", "safetensors"):
        pytest.importorskip(needed)
    monkeypatch.chdir(tmp_path)
    deployed = network(shape=(3, 8, 8))
    deployed.save(tmp_path / "net")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    [line] = [
        line
        for block in blocks("docs/deploying.md")
        for line in block.text.splitlines()
        if line.startswith("raynas export") and "--register" not in line
    ]
    outcome = raynas(capsys, *line.replace("TRAINED", "net").split()[1:])
    assert outcome.code == 0, outcome.err
    codes = [block.text for block in blocks("docs/deploying.md") if block.language == "python"]
    assert len(codes) == 3
    # All in one process: starting torch and MLflow is what takes the time.
    script = "\n".join([*codes, "assert 'raynas' not in sys.modules"])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [deployed.predict(pixels[None])[0].name] * 3
