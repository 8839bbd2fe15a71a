"""A few of the mutated inputs of `python -m tests.helpers.fuzz`: none raises or hangs."""

import os
from pathlib import Path

import pytest
from helpers.fuzz import Fuzz, stopped_at_trials

FEW = 40
"""Inputs: a few seconds, and every verb among them."""


@pytest.mark.slow
def test_no_input_makes_a_verb_raise(tmp_path: Path) -> None:
    before = Path.cwd()
    fuzz = Fuzz(tmp_path)
    try:
        fuzz.prepare()
        with stopped_at_trials():
            fuzz.run(range(FEW))
    finally:
        os.chdir(before)
    assert {code.split()[0] for code in fuzz.codes} >= {
        "check",
        "status",
        "select",
        "resume",
        "size",
        "lookup",
    }
    assert not fuzz.failures, "\n".join(map(str, fuzz.failures.values()))
