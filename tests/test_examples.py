"""Every file of `examples/` runs, stays short, and takes from the front door what the front door has."""

import ast
import importlib
import json
import runpy
from pathlib import Path

import matplotlib as mpl
import pytest

import raynas
from benchmarks import notebook
from raynas import genotype_to_text, load_genotype
from raynas.config import DataConfig
from raynas.data.load import load_data
from raynas.methods import build
from raynas.spaces.operations import FAMILIES, OPERATIONS
from raynas.sweep.folder import SweepFolder

FOLDER = Path(__file__).resolve().parents[1] / "examples"
EXAMPLES = sorted(path.stem for path in FOLDER.glob("*.py"))
BY_ANOTHER_TEST = {"sweep_from_python", "read_a_sweep"}
"""The second reads what the first has run."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs an example as a script, in an empty folder, and gives what it printed."""
    monkeypatch.chdir(tmp_path)
    for known in (build, FAMILIES, OPERATIONS):
        monkeypatch.setattr(known, "_registered", {})

    def run(name: str) -> str:
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


SAID = {
    "cell_texts": "the same network, as a skip hands on what it reads: True",
    "curvature": "λmax",
    "draw_a_cell": "cell-reduce.svg",
    "network_size": "16 channels: 1,288,506 parameters, 184,730,240 multiply-adds",
    "one_search": "Genotype(normal=[",
    "own_data": "validation accuracy 100%",
    "own_method": "{'temperature': 0.5}",
    "own_operation": "Genotype(normal=[",
    "own_part": "0.",
    "own_penalty": "['",
    "own_space": "reduce: 5 edges, each skip_connect or dil_conv_3x3",
    "packed_seeds": "mean validation loss",
    "resume": "the same, to the last bit: True",
}
"""What shows that an example came to its end and did what it says."""


def test_every_example_is_run():
    assert set(EXAMPLES) == set(SAID) | BY_ANOTHER_TEST
    assert len(EXAMPLES) >= 10


SEARCH = {"curvature", "one_search", "own_data", "own_method", "own_part", "packed_seeds", "resume"}
"""Those that run whole searches, 2 to 3 s of CPU time each."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SEARCH)) for name in SAID]
)
def test_an_example_runs(name: str, run):
    assert SAID[name] in run(name)


@pytest.mark.slow
def test_a_sweep_is_run_from_python_and_read(run):
    assert "report.html" in run("sweep_from_python")
    folder = SweepFolder.find(Path("runs"), "from-python")
    assert [record.status for record in folder.records()] == ["finished", "finished"]
    told = run("read_a_sweep")
    assert genotype_to_text(load_genotype("runs/from-python/best/genotype.json")) in told


NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_s_code_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """With fewer images and epochs than it was run with, and beside a figure that somebody else left open."""
    mpl.use("Agg")
    mpl.pyplot.figure()
    monkeypatch.chdir(tmp_path)
    made = json.loads(
        path.read_text(encoding="utf-8").replace("limit: 320", "limit: 64").replace("epochs: 6", "epochs: 2")
    )
    notebook.run(made)
    kinds = [[each["output_type"] for each in cell["outputs"]] for cell in notebook.code_cells(made)]
    kept = notebook.code_cells(json.loads(path.read_text(encoding="utf-8")))
    assert kinds == [[each["output_type"] for each in cell["outputs"]] for cell in kept], "as it was kept"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_was_run(path: Path):
    cells = notebook.code_cells(json.loads(path.read_text(encoding="utf-8")))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = {kind for cell in cells for out in cell["outputs"] for kind in out.get("data", ())}
    assert {"text/html", "image/png"} <= shown
    assert path.stat().st_size < 200_000


def test_the_function_of_own_data_is_found_by_a_trial_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FOLDER)
    monkeypatch.syspath_prepend(FOLDER)
    assert load_data(DataConfig(name="own_data:stripes")).classes == 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_comes_in_by_the_front_door(name: str):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 30
    offered = [getattr(raynas, each) for each in raynas.__all__]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("raynas."):
            for alias in node.names:
                room = importlib.import_module(node.module)
                # A name may be a module that nothing has imported so far.
                found = getattr(room, alias.name, None) or importlib.import_module(
                    f"{node.module}.{alias.name}"
                )
                assert all(found is not each for each in offered), f"take {alias.name} from raynas itself"
