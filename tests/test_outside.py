"""Methods and parts that another distribution brings through entry points."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = '''
from dataclasses import dataclass
from typing import ClassVar

from raynas.methods.recipes import DARTS
from raynas.bilevel.slots import Penalty, Relaxation
from raynas.parts.relaxations import masked_softmax


@dataclass(frozen=True)
class Flat(Penalty):
    """Pull all logits to 0."""

    strength: float = 0.5

    def __call__(self, losses, policy, flat, draw, costs=None):
        return losses + self.strength * flat.square().sum(1)


@dataclass(frozen=True)
class Twice(Relaxation):
    """The softmax of twice the logits."""

    shift_free: ClassVar[bool] = True
    sums_to_one: ClassVar[bool] = True

    def __call__(self, logits, mask):
        return masked_softmax(2 * logits, mask)


@dataclass(frozen=True)
class Picky(Twice):
    """The same, but not with noise and not on tiny."""

    def misfits(self, method, space, values):
        if method.sampler.random:
            yield "picky wants no chance"
        if space is not None and space.name == "tiny":
            yield "picky wants a larger space"


flat_darts = DARTS.with_("flat-darts", "DARTS whose logits are pulled to 0", "nowhere", penalties=(Flat(),))
'''
POINTS = {
    "raynas.methods": "flat-darts = outside:flat_darts",
    "raynas.parts": "penalties.flat = outside:Flat\nrelaxation.twice = outside:Twice\n"
    "relaxation.picky = outside:Picky",
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


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    start = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from raynas.cli.main import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", start, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_method_and_a_part_from_outside(outside: Path) -> None:
    (outside / "mine.yaml").write_text(
        "name: mine\nspace: tiny\nepochs: 1\nchannels: 2\nbatch: 16\ndata: {name: digits, limit: 32}\n"
        "hessian: {every: 0}\ntrack: {mlflow: null}\n"
        "grid:\n  method: [flat-darts, {base: darts, penalties: [{use: flat, strength: 2}]}]\n"
    )
    assert any(
        row["name"] == "flat-darts" for row in json.loads(run(outside, "ls", "methods", "--json").stdout)
    )
    shown = run(outside, "show", "flat-darts")
    assert "flat(strength=0.5)" in shown.stdout, shown.stderr
    checked = run(outside, "check", "mine.yaml")
    assert checked.returncode == 0, checked.stderr
    searched = run(outside, "search", "mine.yaml", "--trial", "flat-darts-s0", "--device", "cpu")
    assert searched.returncode == 0, searched.stderr


JUDGED = """
from raynas.errors import RaynasError
from raynas.methods import reasons, resolve
from raynas.spaces.library import load_space

def told(base, use, space=None):
    method = resolve({"base": base, "relaxation": use})
    return [*reasons(method, space and load_space(space), {})]

for base in ("snas", "asap", "gdas", "sdarts-rs"):
    assert told(base, "twice") == [], told(base, "twice")
assert told("darts", "picky", "s1") == []
assert {"picky wants no chance", "picky wants a larger space"} <= {*told("snas", "picky", "tiny")}
try:
    resolve({"base": "darts", "estimator": "wrong"})
except RaynasError as error:
    assert "offers no part" in str(error) and "raynas.bilevel.slots.Estimator" in str(error), error
else:
    raise SystemExit("a relaxation passed for an estimator")
"""


def test_a_part_from_outside_is_judged_by_its_own_words(outside: Path) -> None:
    points = outside / "outside-1.0.dist-info" / "entry_points.txt"
    points.write_text(f"{points.read_text()}estimator.wrong = outside:Twice\n")
    code = f"import sys; sys.path.insert(0, {str(outside)!r}){JUDGED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_what_cannot_be_loaded_is_named(outside: Path) -> None:
    (outside / "outside.py").write_text("import nothing_of_this_name\n")
    told = run(outside, "ls", "methods")
    assert told.returncode == 2
    assert "flat-darts of outside (raynas.methods) cannot be loaded" in told.stderr
    assert "fix or uninstall outside" in told.stderr
