"""`raynas ls parts`, `raynas show PART` and docs/parts.md: every part, in its own words."""

import json
from pathlib import Path

import pytest
from helpers.cli_folders import raynas

from benchmarks import parts as page
from raynas.methods.about import known_parts, part_facts
from raynas.parts import registered
from raynas.parts.derivations import Threshold
from raynas.parts.rules import AdamRule
from raynas.parts.samplers import Gumbel
from raynas.parts.schedules import Linear

PAGE = Path(__file__).parents[1] / "docs" / "parts.md"
Capture = pytest.CaptureFixture[str]


def test_the_page_is_current_and_names_every_part(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page.page(), "run: python -m benchmarks.parts --write docs/parts.md"
    assert {line[4:] for line in text.splitlines() if line.startswith("### ")} == {
        kind.use for kind in registered()
    }
    assert page.main(["--write", str(tmp_path / "parts.md")]) == 0
    assert page.main(["--write", str(tmp_path / "no" / "parts.md")]) == 2


def test_every_part_is_listed_with_its_slot_and_first_line(capsys: Capture) -> None:
    rows = {row["name"]: row for row in json.loads(raynas(capsys, "ls", "parts", "--json").out)}
    assert rows.keys() == known_parts().keys()
    assert rows["gumbel"]["slot"] == "sampler, weight_sampler"
    assert all(len(row["title"].split()) > 3 for row in rows.values())


def test_a_part_is_shown_with_settings_docstring_and_users(capsys: Capture) -> None:
    shown = raynas(capsys, "show", "gumbel").out
    assert "Xie et al. 2019" in shown
    assert "a number above 0 or a schedule" in shown
    assert "gdas-st, gdas, snas, data" in shown
    assert "gumbel" in raynas(capsys, "show", "gumbl").err


def test_settings_say_what_they_take() -> None:
    def takes(use: str, kind: type) -> dict[str, str]:
        return {each["name"]: each["takes"] for each in part_facts(use, kind)["settings"]}

    assert takes("adam", AdamRule) == {
        "betas": "a list of 2, each a number at least 0 and below 1",
        "before": "a list, each a part for `before`",
        "after": "a list, each a part for `after`",
    }
    assert takes("threshold", Threshold)["most"] == "a whole number at least 1 or null"
    assert takes("gumbel", Gumbel)["execute"] == "`all` or `chosen`"
    assert part_facts("linear", Linear)["settings"][0]["default"] == "required"
    assert "gdas" in part_facts("linear", Linear)["methods"]


def test_what_a_step_of_a_method_waits_for_is_shown(capsys: Capture) -> None:
    assert "which operations to compute is drawn from α" in raynas(capsys, "show", "gdas").out
    facts = json.loads(raynas(capsys, "show", "darts", "--kind", "method", "--json").out)
    assert facts["method"]["waits"] == []
