"""A cell in a file is the same for every verb: one of several by name, in any encoding, within bounds."""

import io
import sys
from pathlib import Path

import pytest
from helpers.cli_folders import raynas

from raynas.cli.cell import find_cell
from raynas.errors import RaynasError
from raynas.spaces import cell_files
from raynas.spaces.genotype import Genotype
from raynas.spaces.literature import load_cell
from raynas.spaces.reading import genotype_to_text
from raynas.sweep.cells import cell_label, cell_of
from raynas.sweep.folder import find_sweep

RUNS = Path("runs")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _cells() -> tuple[Genotype, Genotype]:
    return load_cell("darts-v1").genotype, load_cell("darts-v2").genotype


def _snippets() -> str:
    first, second = map(genotype_to_text, _cells())
    return f"ONE = {first}\nTWO = {second}\n"


READERS = [lambda given: find_cell(given, RUNS).genotype, lambda given: cell_of(given, RUNS)[1]]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_one_of_several(read, encoding: str) -> None:
    Path("genotypes.py").write_text(_snippets(), encoding=encoding)
    for name, cell in zip(("ONE", "TWO"), _cells(), strict=True):
        assert read(f"genotypes.py:{name}").cells == cell.cells
    with pytest.raises(RaynasError) as caught:
        read("genotypes.py")
    assert "genotypes.py:ONE" in str(caught.value)
    with pytest.raises(RaynasError) as caught:
        read("genotypes.py:TOW")
    assert caught.value.near == "TWO"


@pytest.mark.parametrize("read", READERS)
def test_a_file_beyond_bounds_is_refused(read, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("log.txt").write_text(_snippets(), encoding="utf-8")
    monkeypatch.setattr(cell_files, "MOST_FILE", 100)
    with pytest.raises(RaynasError, match="cannot look for cells"):
        read("log.txt")


def test_the_name_a_training_keeps_is_found_again() -> None:
    Path("genotypes.py").write_text(_snippets(), encoding="utf-8")
    called, cell = cell_of("genotypes.py:TWO")
    assert called == f"{Path('genotypes.py').absolute()}:TWO"
    assert cell_of(called) == (called, cell)
    assert cell_label(called) == "TWO"


def test_a_training_of_what_standard_input_says(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(_snippets().encode("utf-16")))
    monkeypatch.setattr(sys, "stdin", stdin)
    words = ["retrain", "--local", "--seeds", "0", "--name", "piped", "--", "-:TWO", "track.mlflow=null"]
    done = raynas(capsys, *words, "data.limit=32", "epochs=1", "channels=2")
    assert done.code == 0, done.err
    folder = find_sweep(RUNS, "piped")
    [trial] = folder.trials()
    assert trial.genotype().cells == _cells()[1].cells
    [same] = {cell for _, cell in [cell_of(trial.config().cell)]}
    assert same == trial.genotype()
