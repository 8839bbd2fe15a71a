"""What `raynas check` sees of trainings before anything is loaded: all at once, in the file's words."""

from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError

from raynas.data.load import load_data
from raynas.errors import FileProblems, RaynasError
from raynas.spaces.library import explain, load_space
from raynas.spaces.literature import load_cell
from raynas.sweep.file.load import load_any
from raynas.sweep.file.trainable import network_problems, some_cell
from raynas.sweep.sections import Resources
from raynas.train.config import TrainConfig
from raynas.train.loop import Training

TEXT = "Recurrent(recurrent=[('tanh', 0), ('relu', 1)], concat=range(1, 3))"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems(text: str, *overrides: str) -> dict[str, str]:
    path = Path("file.yaml")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileProblems) as caught:
        load_any(path, overrides)
    found: dict[str, str] = {}
    for problem in caught.value.problems:
        found[problem.path] = f"{found.get(problem.path, '')}\n{problem.message}".strip()
    return found


def test_mistakes_of_every_kind_are_told_at_once() -> None:
    found = problems(
        f"""
name: ba/d
train: darts-cifar
space: darts
zip: {{a: [1]}}
data: {{name: digits, limit: 5000}}
epochs: x
resources: {{pack: x, gpu: 0.3}}
grid: {{cell: [darts-v2, "{TEXT}", darts-v9], arch_learning_rate: [1]}}
""",
        "hessian.every=1",
        "data.limt=3",
    )
    for key in ("space", "zip", "grid.arch_learning_rate", "hessian.every"):
        assert found[key].startswith("unknown key: "), key
        assert found[key].endswith("is one of searches"), key
    assert found["data.limt"] == "unknown key; nearest: data.limit"
    assert "letters, digits" in found["name"]
    assert found["epochs"] == "expected a whole number; got 'x'"
    assert found["resources.pack"] == "expected a whole number or 'auto'; got 'x'"
    assert "does not divide a GPU" in found["resources.gpu"]
    assert found["data.limit"] == "is 5000, and digits has 1,438 training images"
    assert "reads a text" in found["grid.cell[1]"]
    assert "darts-v2" in found["grid.cell[2]"]
    assert "too small for an auxiliary head" in found["auxiliary"]
    assert "of the recipe darts-cifar" in found["auxiliary"]


def test_what_no_stack_can_be_is_told_where_it_is_said() -> None:
    text = "train: quick\ndata: digits\ncells: 20\ngrid: {cell: [enas-macro]}\n"
    assert "exactly 1 cell" in problems(text)["cells"]
    deep = "train: quick\ndata: digits\ngrid: {cell: [darts-v2], cells: [2, 3]}\n"
    assert list(problems(deep)) == ["grid.cells[0]"]
    assert (
        "0 of 8 training images held out"
        in problems("train: quick\ndata: {name: digits, limit: 8, valid: 0.01}\ncell: darts-v2\n")[
            "data.valid"
        ]
    )


@pytest.mark.parametrize(("side", "size", "path"), [(3, None, "data.name"), (9, 3, "data.size")])
def test_images_that_are_too_small_for_the_stack(side: int, size: int | None, path: str) -> None:
    for label in "ab":
        Path("photos", label).mkdir(parents=True)
        Image.new("RGB", (side, side)).save(Path("photos", label, "1.png"))
    sized = f", size: {size}" if size else ""
    found = problems(f"train: quick\ndata: {{name: folder, path: photos{sized}}}\ncell: darts-v2\n")
    assert "3×3 pixels" in found[path]


@pytest.mark.parametrize("name", ["darts-v2", "enas-macro", "nasnet-a", "fair-darts-a"])
@pytest.mark.parametrize("auxiliary", [0.0, 0.4])
def test_check_and_the_loop_refuse_the_same(name: str, auxiliary: float) -> None:
    cell = load_cell(name).genotype
    for cells in (1, 3):
        data = {"name": "digits", "limit": 20}
        config = TrainConfig(cell=name, data=data, cells=cells, channels=2, auxiliary=auxiliary)
        told = list(network_problems(config, cell, name))
        if not told:
            Training([config], cell, load_data(config.data))
            continue
        with pytest.raises(RaynasError) as caught:
            Training([config], cell, load_data(config.data))
        assert caught.value.what in told[0].message


def test_a_search_whose_winners_could_not_be_trained_is_refused() -> None:
    text = "space: {}\ndata: {}\ntrack: {{mlflow: null}}\nretrain: {{recipe: darts-cifar}}\n"
    found = problems(text.format("tiny", "digits"))
    assert "auxiliary of darts-cifar" in found["retrain.recipe"]
    assert "a cell of tiny on digits" in found["retrain.recipe"]
    Path("file.yaml").write_text(text.format("tiny", "digits").replace("darts-cifar", "quick"))
    assert load_any(Path("file.yaml")).retrain is not None


@pytest.mark.parametrize(
    "name", ["darts", "nas-bench-201", "enas-macro", "nasnet", "proxyless", "dso-nas", "nb1shot1-3", "s3"]
)
def test_some_cell_of_a_space(name: str) -> None:
    space = load_space(name)
    cell = some_cell(space)
    assert cell is not None
    assert cell.space == space.name


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"pack": "x"}, {"pack": "expected a whole number or 'auto'; got 'x'"}),
        ({"pack": 0}, {"pack": "expected a number greater than or equal to 1 or 'auto'; got 0"}),
        ({"retries": 1.5}, {"retries": "expected a whole number; got 1.5"}),
        ({"cpu": "many"}, {"cpu": "expected a number; got 'many'"}),
        ({"cpus": 1}, {"cpus": "unknown key; nearest: cpu"}),
    ],
)
def test_no_words_of_pydantic_s(value: dict[str, object], words: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        Resources.model_validate(value)
    assert {problem.path: problem.message for problem in explain(caught.value, Resources)} == words
