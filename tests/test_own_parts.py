"""Parts of one's own, `use: "module:Class"`: found in the working folder, imported only to be run."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from helpers.cli_folders import raynas
from torch import Tensor

from raynas import Search, SearchConfig, load_data, load_space, split
from raynas.bilevel.slots import WeightPenalty
from raynas.errors import FileProblems, RaynasError
from raynas.methods import resolve
from raynas.methods.identity import record_of
from raynas.parts.weight_penalties import Lasso
from raynas.spaces.here import only_looking
from raynas.sweep.file.load import load_sweep
from raynas.testing import check_part

Capture = pytest.CaptureFixture[str]
EXAMPLE = Path(__file__).parents[1] / "examples" / "own_penalty.py"
FILE = """
name: mine
space: tiny
data: {name: digits, limit: 60}
epochs: 1
batch: 16
method: {base: darts, weight_penalties: {use: "own_penalty:Filters", strength: 1.0e-3}}
hessian: {every: 0}
track: {mlflow: null}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the example and a trial file that uses it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_penalty.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(FILE, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_penalty", raising=False)
    return tmp_path


def method(use: str, **settings: float) -> dict[str, object]:
    return {"base": "darts", "weight_penalties": {"use": use, **settings}}


def test_only_verbs_that_run_import_it(here: Path, capsys: Capture) -> None:
    (here / "own_penalty.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    for words in (("check", "mine.yaml"), ("show", "mine.yaml"), ("ls", "trials")):
        told = raynas(capsys, *words)
        assert told.code == 0, told.err
    said = raynas(capsys, "check", "mine.yaml").out
    assert "not looked into: own_penalty:Filters" in said
    assert "--import" in said
    for words in (("check", "mine.yaml", "--import"), ("sweep", "mine.yaml", "--dry-run")):
        told = raynas(capsys, *words)
        assert (told.code, "own_penalty" in sys.modules) == (2, False)
        assert "module 'own_penalty' of part 'own_penalty:Filters' does not import" in told.err


def test_check_looks_into_it_when_asked(here: Path, capsys: Capture) -> None:
    told = raynas(capsys, "check", "mine.yaml", "--import")
    assert told.code == 0, told.err
    assert "not looked into" not in told.out
    wrong = raynas(
        capsys,
        "check",
        "mine.yaml",
        "--import",
        "method.weight_penalties={use: 'own_penalty:Filters', strenght: 1}",
    )
    assert "unknown setting of own_penalty:Filters 'strenght'" in wrong.err
    assert "nearest:  strength" in wrong.err


@pytest.mark.parametrize(
    ("use", "why"),
    [
        ("elsewhere:Filters", "there is no elsewhere.py in"),
        ("subprocess:Popen", "there is no subprocess.py in"),
        ("own_penalty:Filterz", "nearest:  Filters"),
        ("own_penalty:load_space", "raynas.spaces.library's own"),
        ("own_penalty:", "is not in own_penalty"),
        ("../own:Filters", "does not name a module"),
    ],
)
def test_code_from_anywhere_else_is_refused(here: Path, use: str, why: str) -> None:
    with pytest.raises(RaynasError) as caught:
        resolve(method(use))
    assert why in str(caught.value)


def test_who_only_looks_still_says_that_there_is_no_such_file(here: Path) -> None:
    with only_looking(), pytest.raises(FileProblems, match="1 problem") as caught:
        load_sweep(here / "mine.yaml", [f"method={json.dumps(method('subprocess:Popen'))}"])
    assert "there is no subprocess.py in" in str(caught.value)


def test_a_part_stands_in_its_own_slot_only(here: Path) -> None:
    with pytest.raises(RaynasError, match="is no part for penalties") as caught:
        resolve({"base": "darts", "penalties": "own_penalty:Filters"})
    assert "a frozen dataclass below raynas.bilevel.slots.Penalty" in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    strength: float = 1.0", "without __call__"),
        (
            "    def __call__(self, weights): ...\n    def __post_init__(self): raise OSError('no file')",
            "OSError: no file",
        ),
        ("    strength: 'torch.NoSuch' = 1.0\n    def __call__(self, weights): ...", "NoSuch"),
    ],
)
def test_a_class_that_cannot_be_built_is_told(here: Path, capsys: Capture, body: str, said: str) -> None:
    head = "import torch\nfrom dataclasses import dataclass\nfrom raynas.bilevel.slots import WeightPenalty\n"
    (here / "own_penalty.py").write_text(
        f"{head}@dataclass(frozen=True)\nclass Filters(WeightPenalty):\n{body}\n"
    )
    told = raynas(
        capsys,
        "check",
        "mine.yaml",
        "method={base: darts, weight_penalties: {use: 'own_penalty:Filters'}}",
        "--import",
    )
    assert told.code == 2
    assert said in told.err


def test_its_fingerprint_has_module_class_fields_and_version(here: Path) -> None:
    found = resolve(method("own_penalty:Filters", strength=0.5))
    assert record_of(found)["weight_penalties"] == [
        {"use": "own_penalty:Filters", "version": 1, "strength": 0.5}
    ]
    assert "weight_penalties" not in record_of(resolve("darts"))
    prints = {
        each.fingerprint
        for each in (
            found,
            resolve("darts"),
            resolve(method("own_penalty:Filters")),
            resolve(method("lasso")),
        )
    }
    assert len(prints) == 4
    type(found.weight_penalties[0]).version = 2
    assert found.fingerprint not in prints


def test_it_searches_as_any_other_and_its_contract_holds(here: Path, capsys: Capture) -> None:
    told = raynas(capsys, "search", "mine.yaml", "--device", "cpu")
    assert told.code == 0, told.err
    import own_penalty  # type: ignore[import-not-found]

    check_part(own_penalty.Filters)
    check_part(Lasso)


@dataclass(frozen=True)
class Ridge(WeightPenalty):
    """Half the sum of squares, whose gradient is that of weight decay."""

    use: ClassVar[str] = "ridge"
    strength: float = 0.0

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        return (
            self.strength / 2 * torch.stack([w.square().flatten(1).sum(1) for w in weights.values()]).sum(0)
        )


@pytest.mark.parametrize("base", ["darts", "darts-2nd", "snas"])  # first order, unrolled, joint
def test_a_penalty_on_weights_pulls_as_weight_decay_does(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of strength·‖w‖² is L2 of that strength where nothing is clipped, for weights and for α."""
    from raynas.methods import build

    monkeypatch.setattr(build, "_registered", {})
    ridge = build.register_method(resolve(base).with_("ridge", "ridge", weight_penalties=(Ridge(0.05),)))
    given = {"space": "tiny", "epochs": 1, "batch": 16, "clip": 1e9, "hessian": {"every": 0}}
    losses = []
    for name, decay in ((ridge.name, 0.0), (base, 0.05), (base, 0.0)):
        config = SearchConfig(method=name, weight_decay=decay, data={"name": "digits", "limit": 64}, **given)
        splits = split(load_data(config.data), config.data)
        search = Search(config, load_space("tiny"), splits, dtype=torch.float64)
        search.advance()
        losses.append(torch.cat([search.pack.problem.values.flatten(), search.pack.problem.alphas.flatten()]))
    assert torch.allclose(losses[0], losses[1], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(losses[0], losses[2], rtol=1e-4)


def test_the_lasso_is_the_sum_of_absolute_values() -> None:
    weights = {"a": torch.tensor([[[1.0, -2.0]], [[0.5, 0.0]]]), "b": torch.tensor([[3.0], [-4.0]])}
    assert torch.equal(Lasso(0.5)(weights), torch.tensor([3.0, 2.25]))
