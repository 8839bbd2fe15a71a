"""The architecture page: its floors, and the picture of the rooms, are those of the code."""

from pathlib import Path

import pytest
from test_packaging import FLOORS, dotted_name, imported_by, modules, part_of

from benchmarks import architecture

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "figures" / "rooms.svg"


def test_the_page_lists_the_floors_from_the_top():
    assert list(architecture.questions()) == [frozenset(floor) for floor in reversed(FLOORS)]


def test_the_picture_shows_the_code_as_it_is():
    """Sizes may move by a quarter. `python -m benchmarks.architecture --write FILE` draws it anew."""
    kept, now = architecture.kept_in(PICTURE), architecture.gather().to_json()
    assert kept.pop("lines") == pytest.approx(now.pop("lines"), rel=0.25)
    assert kept == now


def test_an_arrow_that_follows_from_others_is_left_out():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": set(), "d": {"c"}}
    assert set(architecture._reduced(graph)) == {("a", "b"), ("a", "d"), ("b", "c"), ("d", "c")}


def test_spaces_and_configurations_do_without_torch():
    those = [module for module in modules() if part_of(module) in ("spaces", "config")]
    assert "torch" not in imported_by("import " + ", ".join(map(dotted_name, those)))
