"""Everything registered keeps the contract of its kind, and what does not is told so."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F

from raynas.bilevel.slots import Relaxation
from raynas.methods import method_names
from raynas.nets.ops.fused import Rectified
from raynas.nets.ops.paths import pick
from raynas.parts import registered
from raynas.parts.schedules import Exponential, Linear
from raynas.parts.stops import AllDecided, AnyOf
from raynas.spaces.library import names as library_names
from raynas.spaces.operations import OPERATIONS
from raynas.spaces.skeletons import SKELETONS
from raynas.testing import (
    BrokenContract,
    check_method,
    check_operation,
    check_part,
    check_skeleton,
    check_space,
)

PACKAGE = Path(__file__).parents[1] / "raynas"
SETTINGS = {
    "linear": Linear(1.0, 0.1),
    "exponential": Exponential(1.0, 0.9),
    "any-of": AnyOf((AllDecided(),)),
}
"""Parts that have settings without a default."""


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    check_operation(name)


@pytest.mark.parametrize("kind", registered(), ids=lambda kind: kind.use)
def test_parts(kind):
    check_part(SETTINGS.get(kind.use, kind))


@pytest.mark.parametrize("name", method_names())
def test_methods(name):
    check_method(name)


@pytest.mark.parametrize("name", sorted(library_names("search_spaces")))
def test_spaces(name):
    check_space(name)


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons(name):
    check_skeleton(name)


def test_no_room_knows_a_part_by_its_class():
    """A method, the search and all that stands above ask parts what they are."""
    concrete = {kind.__name__ for kind in registered()}
    asked = []
    for room in ("methods", "search", "sweep", "launch", "report", "track", "cli"):
        for path in (PACKAGE / room).rglob("*.py"):
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in {
                    "isinstance",
                    "issubclass",
                }:
                    named = {each.id for each in ast.walk(call.args[1]) if isinstance(each, ast.Name)}
                    asked += [f"{path.name}:{call.lineno}: {name}" for name in named & concrete]
    assert not asked


def without_relu(self, source, scale, path):
    x = pick(source.x, self.lanes, path.maps)
    return self._normalise(self.norm, self._convolve(source, x, path), source, path) * scale.view(1, -1, 1, 1)


def one_path_wrong(self, source, scale, path):
    z = F.relu(without_relu(self, source, torch.ones_like(scale), path)) * scale.view(1, -1, 1, 1)
    return z if path.own is None else 2 * z


@pytest.mark.parametrize(("wrong", "words"), [(without_relu, "all at once"), (one_path_wrong, "path")])
def test_a_supernets_form_that_computes_something_else_is_found(monkeypatch, wrong, words):
    monkeypatch.setattr(Rectified, "forward", wrong)
    with pytest.raises(AssertionError, match=f"conv3x3-bn-relu at stride 1.*{words}.*is not what the plain"):
        check_operation("conv3x3-bn-relu")


@dataclass(frozen=True)
class Doubled(Relaxation):
    """Twice the softmax, which says that it sums to 1."""

    use: ClassVar[str] = "doubled"
    shift_free: ClassVar[bool] = True
    sums_to_one: ClassVar[bool] = True

    def __call__(self, logits, mask):
        weights = logits.masked_fill(~mask & mask.any(-1, keepdim=True), -float("inf")).softmax(-1)
        return 2 * weights.masked_fill(~mask, 0)


def test_a_part_that_is_not_what_it_says_is_found():
    with pytest.raises(BrokenContract, match="says sums_to_one"):
        check_part(Doubled)

    @dataclass(frozen=True)
    class Shifty(Doubled):
        """Twice the softmax, which says that a shift matters."""

        use: ClassVar[str] = "shifty"
        shift_free: ClassVar[bool] = False
        sums_to_one: ClassVar[bool] = False

    with pytest.raises(BrokenContract, match="shift_free"):
        check_part(Shifty)
    with pytest.raises(BrokenContract, match="not a part"):
        check_part(dict)
    with pytest.raises(BrokenContract, match="without settings"):
        check_part(Linear)
