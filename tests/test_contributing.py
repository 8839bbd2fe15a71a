"""CONTRIBUTING's recipes do what they say: each is carried out, word for word, in a copy of the code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.pages import ROOT, Code
from helpers.recipes import apply, recipe_blocks

COPIED = (
    "raynas",
    "tests",
    "benchmarks",
    "search_spaces",
    "trials",
    "docs",
    "CONTRIBUTING.md",
    "README.md",
    "pyproject.toml",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository in which every block of the recipes has been put where it belongs."""
    root = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    for block in recipe_blocks():
        if block.language != "sh":
            apply(block, root)
    return root


@pytest.mark.drill
def test_what_the_recipes_add_works(copy: Path):
    """All in one process: torch is imported once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")])}
    command = [sys.executable, "-m", "helpers.recipes"]
    done = subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    level = "36 channels, images of 32×32"
    for said in ("nor_conv_9x9", "the search space windows", level, "sharpened(factor=3.0)", "1 done"):
        assert said in done.stdout, said


def test_a_block_that_fits_nowhere_is_told(tmp_path: Path):
    (tmp_path / "a.py").write_text("one\ntwo\none\n")
    for text in ("--- a.py\n one\n+more\n", "--- a.py\n three\n+more\n"):
        with pytest.raises(ValueError, match=r"stand there [02] times"):
            apply(Code("page", 1, "diff", text), tmp_path)
    apply(Code("page", 1, "diff", "--- a.py\n one\n+more\n two\n@@\n-two\n"), tmp_path)
    assert (tmp_path / "a.py").read_text() == "one\nmore\none\n"
