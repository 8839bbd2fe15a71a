"""A table that selects, when asked to; and the best of a space, which regret is measured to."""

import json
import random
from itertools import product
from pathlib import Path

import pytest
from helpers.cli_folders import raynas
from helpers.simulated_sweep import LAST, simulate
from helpers.sweeping import sweep_of

from raynas.errors import FileProblems, RaynasError
from raynas.report.build import build_report
from raynas.spaces import skeletons
from raynas.spaces.derive import derive
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_to_text
from raynas.sweep.folder import SweepFolder
from raynas.sweep.sections import Benchmark, Select
from raynas.sweep.select import judge_of, rank
from raynas.tables.file import open_file
from raynas.tables.table import Yardstick, validation_of
from raynas.tables.within import _cells, expressible

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
ALL = [f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|" for a, b, c, d, e, f in product(OPS, repeat=6)]
COLUMNS = ("cifar10_test_12", "cifar10_test_200", "cifar10_val_12", "cifar10_valid_200", "svhn_test_200")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("cifar10_test_200", "cifar10_valid_200"),
        ("cifar10_test_12", "cifar10_val_12"),
        ("cifar10_val_12", "cifar10_val_12"),
        ("svhn_test_200", None),
    ],
)
def test_validation_accuracies_are_those_trained_as_long(column: str, expected: str | None) -> None:
    assert validation_of(COLUMNS, column) == expected


@pytest.fixture
def swept(tmp_path: Path) -> tuple[SweepFolder, Path]:
    """A simulated sweep, and a table in which test and validation accuracies disagree."""
    folder = simulate(tmp_path / "runs" / "robust", "nas-bench-201")
    finals = {record.id: record.deciding.genotype for record in folder.records() if record.deciding}
    cells = {genotype_to_text(r.genotype) for record in folder.records() for r in record.reports}
    best = genotype_to_text(finals[max(LAST, key=lambda trial: LAST[trial])])  # the last that losses rank
    path = tmp_path / "table.csv"
    rows = [f"{c},{60 + place},{99 if c == best else 90 - place}" for place, c in enumerate(sorted(cells))]
    path.write_text("\n".join(["arch,cifar10_test_200,cifar10_val_200", *rows]), encoding="utf-8")
    return folder, path


def asked(folder: SweepFolder, path: Path | None) -> None:
    """Write into a sweep that the table at ``path`` selects."""
    data = json.loads((folder.path / "sweep.json").read_text())
    data["select"]["by"] = "table"
    data["benchmark"] = path and {"table": str(path), "data": "cifar10"}
    (folder.path / "sweep.json").write_text(json.dumps(data))


def test_a_table_ranks_by_its_validation_accuracies(swept: tuple[SweepFolder, Path]) -> None:
    folder, path = swept
    benchmark = Benchmark(table=str(path), data="cifar10")
    found = rank(folder.records(), Select(by="table"), judge_of(Select(by="table"), benchmark))
    assert found.winner is not None
    assert found.winner.trial.id == max(LAST, key=lambda trial: LAST[trial])
    assert found.winner.value == pytest.approx(0.01)
    table = open_file(path)
    for entry in found.ranking:
        assert entry.trial.deciding is not None
        row = table.rows[genotype_to_text(entry.trial.deciding.genotype)]
        assert entry.value == pytest.approx(1 - row.accuracies["cifar10_val_200"])
    text = "\n".join(found.reasons)
    assert "lowest error of its cell in the table: 1.00 %" in text
    assert "cifar10_val_200 of table.csv" in text
    assert "test set" not in text


def test_without_validation_accuracies_it_says_that_it_chooses_on_the_test_set(
    swept: tuple[SweepFolder, Path],
) -> None:
    folder, path = swept
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines[:-1]))
    judge = judge_of(Select(by="table"), Benchmark(table=str(path), data="cifar10"))
    found = rank(folder.records(), Select(by="table"), judge)
    assert "chooses on the test set" in "\n".join(found.reasons)


def test_cells_that_the_table_lacks_are_left_out(swept: tuple[SweepFolder, Path]) -> None:
    folder, path = swept
    first = folder.records()[0].deciding
    assert first is not None
    kept = [
        line
        for line in path.read_text().splitlines()
        if not line.startswith(genotype_to_text(first.genotype))
    ]
    path.write_text("\n".join(kept))
    judge = judge_of(Select(by="table"), Benchmark(table=str(path), data="cifar10"))
    found = rank(folder.records(), Select(by="table"), judge)
    assert dict(found.left_out)[folder.records()[0].id] == "its cell is not in table.csv"
    gone = rank(folder.records(), Select(by="table"), None)
    assert gone.winner is None
    assert "the table cannot be read" in dict(gone.left_out).values()


SWEEP = "space: nas-bench-201\ndata: digits\ntrack: {mlflow: null}\nselect: {by: table}\n"


def test_a_sweep_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileProblems) as caught:
        sweep_of(tmp_path, SWEEP)
    assert [(p.path, "no `benchmark" in p.message) for p in caught.value.problems] == [("select.by", True)]
    with pytest.raises(RaynasError, match="no `benchmark"):
        judge_of(Select(by="table"), None)
    (tmp_path / "t.csv").write_text(f"arch,cifar10_test_200\n{ALL[0]},5\n" + f"{ALL[-1]},6\n")
    with pytest.raises(FileProblems) as caught:
        sweep_of(tmp_path, SWEEP, f"benchmark.table={tmp_path / 'gone.csv'}", "benchmark.data=cifar10")
    assert [p.path for p in caught.value.problems] == ["benchmark.table"]


def test_on_the_command_line_and_in_the_report(
    swept: tuple[SweepFolder, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = swept
    runs = ["--runs", str(folder.path.parent)]
    assert "no `benchmark" in raynas(capsys, "select", "robust", "--by", "table", *runs).err
    asked(folder, path)
    winner = max(LAST, key=lambda trial: LAST[trial])
    assert f"winner: {winner}, table error 1.00 %" in raynas(capsys, "select", "robust", *runs).out
    assert json.loads(raynas(capsys, "select", "robust", "--by", "valid_loss", "--json", *runs).out)[
        "winner"
    ] == min(LAST, key=lambda trial: LAST[trial])
    assert raynas(capsys, "status", "robust", *runs).code == 0
    html, markdown = (p.read_text() for p in build_report(SweepFolder(folder.path)))
    assert "Error in the table, which chose: 1.00 %" in markdown
    assert "The sweep asked for it to choose." in markdown
    assert "chose nothing" not in html + markdown
    assert "<dt>error in the table</dt><dd>1.00 %</dd>" in html
    path.unlink()
    (folder.path / "table.json").unlink()  # which would make the table needless
    assert raynas(capsys, "status", "robust", *runs).code == 0
    assert "no such table" in raynas(capsys, "select", "robust", *runs).err
    with pytest.raises(RaynasError, match="it stays as it is"):
        build_report(SweepFolder(folder.path))
    (folder.path / "report.md").unlink()
    _, gone = build_report(SweepFolder(folder.path))
    assert "the table cannot be read" in gone.read_text()


def test_every_cell_of_nas_bench_201_is_expressible_in_its_space() -> None:
    assert all(map(expressible(load_space("nas-bench-201")), ALL))


NARROW = """\
name: narrow
title: narrow
skeleton: residual
nodes: 3
cells: {normal: {edges: {0->1: [nor_conv_3x3, skip_connect], 0->2: [none, nor_conv_1x1],
  1->2: [nor_conv_1x1], 0->3: [none, nor_conv_3x3], 1->3: [skip_connect], 2->3: [skip_connect, none]}}}
"""


@pytest.mark.parametrize("keep", ["[1, 1, 2]", "[1, 2, 3]", "all"])
@pytest.mark.parametrize("exclude", ["[]", "[none]"])
def test_what_a_narrower_space_can_express(tmp_path: Path, keep: str, exclude: str) -> None:
    """Exactly what `derive` gives under some weights."""
    file = tmp_path / "narrow.yaml"
    file.write_text(f"{NARROW}keep: {keep}\nexclude: {exclude}\n", encoding="utf-8")
    space = load_space(str(file))
    derived = set()
    for places in product(*[range(len(edge.ops)) for edge in space.cells[0].edges]):
        for strong in product((1.0, 0.1), repeat=len(places)):
            rows = [
                [weight if column == place else 0.01 for column in range(2)]
                for place, weight in zip(places, strong, strict=True)
            ]
            tables = [row[: len(edge.ops)] for row, edge in zip(rows, space.cells[0].edges, strict=True)]
            derived.add(genotype_to_text(derive(space, {"normal": tables})))
    holds = expressible(space)
    assert {text for text in ALL if holds(text)} == derived


@pytest.mark.slow
def test_regret_is_to_the_best_that_a_1shot1_space_can_express(tmp_path: Path) -> None:
    space = load_space("nb1shot1-1")
    assert sum(1 for _ in _cells(space)) == 3702
    weights = {
        g.name: [[1.0 / (1 + i) for i in range(g.width)] for _ in g.rows] for g in skeletons.groups(space)
    }
    cell = derive(space, weights)
    assert expressible(space)(skeletons.canonical(cell))
    assert not expressible(load_space("nb1shot1-2"))(skeletons.canonical(cell))
    path = tmp_path / "nb101.csv"
    better = "0" * 32  # some cell of NAS-Bench-101 that the space has not
    path.write_text(f"hash,cifar10_test_108\n{skeletons.canonical(cell)},93\n{better},95\n", encoding="utf-8")
    table = open_file(path)
    assert Yardstick.of(table, "cifar10", [space]).regret(cell) == 0
    assert Yardstick.of(table, "cifar10").regret(cell) == pytest.approx(0.02)


def test_no_derived_cell_is_outside_its_space() -> None:
    space = load_space("nb1shot1-1")
    holds, draw = expressible(space), random.Random(0)
    for _ in range(50):
        weights = {
            g.name: [[draw.random() for _ in range(g.width)] for _ in g.rows] for g in skeletons.groups(space)
        }
        assert holds(skeletons.canonical(derive(space, weights)))
