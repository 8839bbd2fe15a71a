"""Methods and parts that another distribution brings through entry points."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CODE = '''
from dataclasses import dataclass

from raynas.methods.recipes import DARTS
from raynas.parts.penalties import Term


@dataclass(frozen=True)
class Flat(Term):
    """Pull all logits to 0."""

    strength: float = 0.5

    def __call__(self, losses, policy, flat, draw, costs=None):
        return losses + self.strength * flat.square().sum(1)


flat_darts = DARTS.with_("flat-darts", "DARTS whose logits are pulled to 0", "nowhere", penalties=(Flat(),))
'''
POINTS = {
    "raynas.methods": "flat-darts = outside:flat_darts",
    "raynas.parts": "penalties.flat = outside:Flat",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that holds an installed distribution with a method and a part."""
    (tmp_path / "outside.py").write_text(CODE)
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{line}\n" for group, line in POINTS.items()))
    return tmp_path


START = """
import json, sys
sys.path.insert(0, sys.argv[1])
from raynas.cli.main import main
for words in json.loads(sys.argv[2]):
    code = main(words)
    print("ended", code, flush=True)
"""


def run(folder: Path, *lines: str) -> tuple[list[str], str]:
    """Run verbs in one process in which the folder is installed; return what each printed, and the errors."""
    command = [sys.executable, "-c", START, str(folder), json.dumps([line.split() for line in lines])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    return re.split(r"(?<=^ended \d\n)", done.stdout, flags=re.MULTILINE)[:-1], done.stderr


@pytest.mark.slow
def test_a_method_and_a_part_from_outside(outside: Path) -> None:
    (outside / "mine.yaml").write_text(
        "name: mine\nspace: tiny\nepochs: 1\nchannels: 2\nbatch: 16\ndata: {name: digits, limit: 32}\n"
        "hessian: {every: 0}\ntrack: {mlflow: null}\n"
        "grid:\n  method: [flat-darts, {base: darts, penalties: [{use: flat, strength: 2}]}]\n"
    )
    search = "search mine.yaml --trial flat-darts-s0 --device cpu"
    printed, errors = run(outside, "ls methods --json", "show flat-darts", "check mine.yaml", search)
    assert [each.splitlines()[-1] for each in printed] == ["ended 0"] * 4, errors
    listed = json.loads(printed[0].removesuffix("ended 0\n"))
    assert any(row["name"] == "flat-darts" for row in listed)
    assert "flat(strength=0.5)" in printed[1]


def test_what_cannot_be_loaded_is_named(outside: Path) -> None:
    (outside / "outside.py").write_text("import nothing_of_this_name\n")
    printed, errors = run(outside, "ls methods")
    assert printed == ["ended 2\n"]
    assert "flat-darts of outside (raynas.methods) cannot be loaded" in errors
    assert "fix or uninstall outside" in errors
