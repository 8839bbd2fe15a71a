"""Surrogates of NAS-Bench-301, through a stand-in for its package: the same calls, the same checks."""

import json
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli_folders import raynas

from raynas.errors import RaynasError
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_text
from raynas.sweep.sections import Benchmark
from raynas.tables.open import open_table
from raynas.tables.table import Yardstick
from raynas.track.content import metrics

PAIRS = [
    *[("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1)],
    *[("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)],
]
TEXT = f"Genotype(normal={PAIRS}, normal_concat=[2, 3, 4, 5], reduce={PAIRS}, reduce_concat=[2, 3, 4, 5])"
CELL = genotype_from_text(TEXT)


class Ensemble:
    """What `nasbench301.load_ensemble` gives back: `predict`, which takes a DARTS genotype apart."""

    def __init__(self, folder: str) -> None:
        members = [path.parent for path in Path(folder).rglob("*surrogate_model.model")]
        self.kind = json.loads((members[0] / "model_config.json").read_text())["model"]
        self.asked: list[Any] = []
        np.random.seed(7)  # as the package does, of all things global
        torch.manual_seed(7)
        random.seed(7)
        torch.backends.cudnn.benchmark = True

    def predict(self, config: Any, representation: str, with_noise: bool = True) -> Any:
        assert (representation, with_noise) == ("genotype", False)
        self.asked.append(config)
        for cell in (config.normal, config.reduce):
            assert [(op, source) for op, source in cell] == cell
            assert len(cell) == 8
            for node in range(4):
                assert all(source < node + 2 for _, source in cell[2 * node : 2 * node + 2])
        separable = sum(op == "sep_conv_3x3" for op, _ in config.normal)
        return np.float64(3600.5 if self.kind.endswith("_time") else 90 + separable / 2)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models' folder as it is unpacked, and the package."""
    for name, kind in (("xgb_v1.0", "xgb"), ("lgb_runtime_v1.0", "lgb_time")):
        for member in range(2):
            folder = tmp_path / "nb_models_1.0" / name / f"ensemble_member_{member}"
            folder.mkdir(parents=True)
            (folder / "surrogate_model.model").write_bytes(b"")
            (folder / "model_config.json").write_text(json.dumps({"model": kind}))
            (folder / "data_config.json").write_text(json.dumps({"seed": 1}))
    monkeypatch.setitem(sys.modules, "nasbench301", SimpleNamespace(load_ensemble=Ensemble))
    return tmp_path / "nb_models_1.0"


def test_a_surrogate_predicts_accuracy_and_time_of_a_darts_cell(models: Path) -> None:
    table = open_table(models / "xgb_v1.0")
    found = table.look_up(CELL)
    assert found is not None
    assert found.accuracies == {"cifar10_val_100": pytest.approx(0.925)}
    assert found.seconds == 3600.5
    assert (table.predicts, dict(table.best)) == (True, {})
    table.look_up(genotype_from_text(TEXT))
    assert len(table.model.asked) == 1  # asked once for a cell  # type: ignore[attr-defined]


def test_its_validation_accuracies_stand_for_the_data_set_and_it_knows_no_regret(models: Path) -> None:
    yardstick = Benchmark(table=str(models / "xgb_v1.0"), data="cifar10").open([load_space("darts")])
    assert yardstick.column == "cifar10_val_100"
    assert yardstick.accuracy(CELL) == pytest.approx(0.925)
    assert yardstick.regret(CELL) is None
    assert (yardstick.tests, yardstick.judge().column) == (False, "cifar10_val_100")
    from helpers.track_folders import report

    found = metrics(report(1, genotype=CELL), yardstick)
    assert found["test/table_accuracy"] == pytest.approx(0.925)
    assert found["test/table_seconds"] == 3600.5
    assert "test/table_regret" not in found


def test_what_it_was_not_made_for_is_none_or_said(models: Path) -> None:
    table = open_table(models / "xgb_v1.0")
    # As many edges as such a cell has, but 1, 2, 2, 3 into its nodes, not 2 each.
    spread = [CELL.cell("normal")[0], *CELL.cell("normal")[2:6], *(Choice("noise", s, 5) for s in (1, 2, 3))]
    sound = [Choice("skip_connect", c.source, c.target) for c in spread]
    uneven = Genotype.of("darts", 4, {"normal": sound, "reduce": CELL.cell("reduce")})
    noise = [Choice("noise" if c.target == 5 else c.op, c.source, c.target) for c in CELL.cell("normal")]
    for cell in (
        Genotype.of("s4", 4, {"normal": noise, "reduce": CELL.cell("reduce")}),
        Genotype.of("tiny", 1, {k: [Choice("skip_connect", 0, 2)] for k in ("normal", "reduce")}),
        genotype_from_text("|skip_connect~0|"),
        uneven,
    ):
        assert table.look_up(cell) is None
    assert all(table.misfit(load_space(name)) is None for name in ("darts", "darts-imagenet", "s1", "s3"))
    assert "knows no cell with noise" in (table.misfit(load_space("s4")) or "")
    for name in ("tiny", "nas-bench-201", "suite-wide-all-skip", "suite-single-cell-regular"):
        assert "predicts cells of DARTS" in (table.misfit(load_space(name)) or "")


def test_loading_moves_no_stream_of_ours(models: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    kernels = torch.backends.cudnn.benchmark
    expected = draws()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    open_table(models / "xgb_v1.0")
    assert draws() == expected
    assert torch.backends.cudnn.benchmark == kernels


def test_a_missing_package_says_what_to_install(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nasbench301", None)
    with pytest.raises(RaynasError, match=r"pip install 'raynas\[nasbench301\]'"):
        open_table(models / "xgb_v1.0")


def test_missing_and_mistaken_models_say_where_to_put_them(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RaynasError, match=r"(?s)no such table.*folder of a surrogate of NAS-Bench-301"):
        open_table(models / "gnn_gin_v1.0")
    for wrong in (models, models / "lgb_runtime_v1.0"):
        with pytest.raises(RaynasError, match=r"(?s)not one surrogate of accuracies.*nb_models_1.0/xgb_v1.0"):
            open_table(wrong)

    def broken(folder: str) -> None:
        raise ModuleNotFoundError("No module named 'xgboost'")

    monkeypatch.setitem(sys.modules, "nasbench301", SimpleNamespace(load_ensemble=broken))
    with pytest.raises(RaynasError, match=r"(?s)cannot be loaded.*xgboost"):
        open_table(models / "xgb_v1.0")


def test_lookup_says_that_it_is_a_prediction(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CELL.save(tmp_path / "cell.json")
    words = ["lookup", str(tmp_path / "cell.json"), "--table", str(models / "xgb_v1.0")]
    outcome = raynas(capsys, *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "predicted, not measured: xgb_v1.0" in outcome.out
    assert "92.50" in outcome.out
    found = json.loads(raynas(capsys, *words, "--json").out)
    assert found["predicted"] is True
    assert found["accuracies"]["cifar10_val_100"]["regret"] is None


def test_a_yardstick_without_its_column_says_so(models: Path) -> None:
    with pytest.raises(RaynasError, match="cifar100"):
        Yardstick.of(open_table(models / "xgb_v1.0"), "cifar100")
