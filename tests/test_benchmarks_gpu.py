"""The benchmark for a card: what it calls apart, that every line survives, that sections break alone."""

import json

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import page
from benchmarks.gpu.near import apart
from benchmarks.gpu.where import pack_on
from benchmarks.lines import Line, Result, at_least, at_most


def test_tensors_are_compared_with_the_largest_entry_of_each():
    one, two = torch.tensor([1.0, 100.0]), torch.tensor([1.0, 101.0])
    assert apart([one], [two]) == pytest.approx(1 / 101)
    assert apart([one, torch.zeros(3)], [one, torch.zeros(3)]) == 0


def test_what_is_rounding_beside_the_others_has_no_relative_error():
    large, noise = torch.tensor([1.0]), torch.tensor([1e-12])
    assert apart([large, noise], [large, -noise]) == pytest.approx(2e-12 / 1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_meets_no_target(bad):
    error = apart([torch.tensor([bad])], [torch.tensor([bad])])
    assert not at_most(1e9).met(error)


def test_searches_of_the_two_devices_start_equal():
    one, two = (pack_on("cpu", [{"method": "drnas"}]) for _ in range(2))
    assert torch.equal(one.problem.values, two.problem.values)
    assert torch.equal(one.problem.alphas, two.problem.alphas)


def run_with(monkeypatch, tmp_path, program, *more):
    """Run the command with `program` in the place of its sections' processes."""
    popen = command.subprocess.Popen

    def start(words, **keys):
        return popen([command.sys.executable, "-c", program], **keys)

    monkeypatch.setattr(command.subprocess, "Popen", start)
    code = command.main(["--device", "cpu", "--only", "real", "fast", "--out", str(tmp_path), *more])
    text = (tmp_path / "docs" / "gpu.md").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8"))
    return code, text, found


LINE = json.dumps(
    {"what": "a step", "value": 2.0, "unit": "ms", "target": {"limit": 3, "at_least": False}, "note": ""}
)
PRINTED = f"print({command.MARK + LINE!r}, flush=True)"


def test_a_section_that_dies_leaves_its_lines_and_the_other_sections(monkeypatch, tmp_path):
    code, text, found = run_with(monkeypatch, tmp_path, f"{PRINTED}; import os; os.abort()")
    assert code == 1
    assert [result["topic"] for result in found["results"]] == ["real", "fast"]
    assert text.count("| a step | 2.0 ms | ≤ 3 met |") == 2
    assert text.count("the section was cut short") == 4  # in both tables, and beside the targets


def test_a_section_that_hangs_is_ended_with_all_that_it_started(monkeypatch, tmp_path):
    hang = f"{PRINTED}; import subprocess; subprocess.run(['sleep', '60'])"
    code, text, _ = run_with(monkeypatch, tmp_path, hang, "--seconds", "6")
    assert code == 1
    assert "ended after" in text
    assert "not reached" in text


def test_a_run_within_all_targets_says_so(monkeypatch, tmp_path):
    code, text, _ = run_with(monkeypatch, tmp_path, PRINTED)
    assert code == 0
    assert "## Beside its target\n\nNothing." in text
    assert "a rehearsal, no card was there" in text


def test_many_lines_within_their_target_are_told_as_one():
    lines = [Line(f"operation {n}", n * 1e-12, "error", at_most(1e-9)) for n in range(30)]
    missed = Line("operation x", float("nan"), "error", at_most(1e-9), "why")
    told = page.condensed(Result("operations", "all", (*lines, missed))).lines
    assert told[0] == missed
    assert [line.what for line in told[1:]] == [
        "30 more are within their target; the largest is operation 29"
    ]


def test_yes_and_errors_are_printed_as_such():
    assert Line("same bits", True, "yes", at_least(1)).number == "yes"
    assert Line("same bits", False, "yes", at_least(1)).verdict == "missed"
    assert Line("apart", 1.234e-7, "error").number == "1.2e-07"
