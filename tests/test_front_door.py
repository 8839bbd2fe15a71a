"""`import raynas`: the names it offers, when they are imported, and methods registered from Python."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import raynas
from raynas import _HOMES, RaynasError, load_method, method_names, register_method, register_operation
from raynas.methods import build
from raynas.spaces.operations import FAMILIES, OPERATIONS, Family, Operation


def in_a_new_process(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_name_is_what_its_room_has_and_none_is_a_submodule():
    """A submodule's name would mean the function at first and the module once somebody had imported it."""
    inside = {module.name for module in pkgutil.walk_packages(raynas.__path__, "raynas.")}
    assert not {f"raynas.{name}" for name in raynas.__all__} & inside
    for name in raynas.__all__:
        module, _, kept = _HOMES[name].partition(":")
        assert getattr(raynas, name) is getattr(importlib.import_module(module), kept)
    assert set(raynas.__all__) == set(_HOMES) <= set(dir(raynas))


def test_type_checkers_are_told_the_same_homes():
    tree = ast.parse(Path(raynas.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [(line.module, alias) for line in block.body for alias in line.names]
    told = {alias.asname or alias.name: f"{module}:{alias.name}" for module, alias in imported}
    assert told == _HOMES


def test_nothing_is_imported_before_it_is_asked_for():
    script = "import raynas, sys; raynas.RaynasError; raynas.SearchConfig; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in in_a_new_process(script).split()}
    assert not loaded & {"torch", "numpy", "ray", "mlflow", "matplotlib", "typer"}


def test_what_is_not_there_is_told_as_by_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'serch'"):
        raynas.serch  # noqa: B018
    script = "from raynas import search; import raynas; print(raynas.search is search, search.__name__)"
    assert in_a_new_process(script).split() == ["True", "raynas.search"]


def test_a_registered_method_is_known_until_the_process_ends(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_registered", {})
    mine = load_method("darts").with_("mine", "mine")
    assert register_method(mine) is load_method("mine") is mine
    again = register_method(mine.with_("mine", "as a cell of a notebook that runs once more"))
    assert load_method({"base": "mine", "every": 2}).title.startswith(again.title)
    assert method_names()[-1] == "mine"
    with pytest.raises(RaynasError, match="already a method 'darts'"):
        register_method(load_method("gdas").with_("darts", "another"))


def test_a_registered_operation_is_known_until_the_process_ends(monkeypatch: pytest.MonkeyPatch):
    for known in (OPERATIONS, FAMILIES):
        monkeypatch.setattr(known, "_registered", {})
    nine = Operation("nor_conv_9x9", "convolution", "conv 9×9", "ReLU, 9×9 convolution, batch norm", 9)
    assert register_operation(nine) is OPERATIONS["nor_conv_9x9"] is register_operation(nine)
    count = len(OPERATIONS)
    ramp = Operation("ramp", "threshold", "ramp", "max(x, 0)")
    with pytest.raises(RaynasError, match="unknown family of operations 'threshold'"):
        register_operation(ramp)
    assert register_operation(ramp, Family("threshold")) in OPERATIONS.values()
    assert (len(OPERATIONS), list(OPERATIONS)[-2:]) == (count + 1, ["nor_conv_9x9", "ramp"])
    for name, family, given in (("none", "none", "an operation 'none'"), ("x", "skip", "a family")):
        with pytest.raises(RaynasError, match=f"there is already {given}"):
            register_operation(Operation(name, family, name, name), Family("skip") if name == "x" else None)
