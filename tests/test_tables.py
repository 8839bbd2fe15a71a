"""Tables of trained accuracies: reading them, looking cells up, and what a sweep makes of one."""

import base64
import csv
import json
import struct
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import pytest
from helpers.cli_folders import raynas
from helpers.simulated_sweep import LAST, simulate
from helpers.sweeping import sweep_of
from helpers.track_folders import report

from raynas.errors import FileProblems, RaynasError
from raynas.report.build import build_report
from raynas.report.facts import gather
from raynas.spaces import skeletons
from raynas.spaces.genotype import Genotype
from raynas.spaces.graph import Choice
from raynas.spaces.library import load_space
from raynas.spaces.reading import genotype_from_text, genotype_to_text
from raynas.sweep.folder import SweepFolder
from raynas.sweep.plan import Sweep
from raynas.sweep.sections import Benchmark
from raynas.tables.file import FileTable, open_file
from raynas.tables.official import write_table
from raynas.tables.table import Yardstick, column_of
from raynas.track.content import metrics

PUBLISHED = Path(__file__).parents[2] / "shared/data/nasbench201/accuracy.csv"
published = pytest.mark.skipif(not PUBLISHED.is_file(), reason="NAS-Bench-201's accuracies are not here")

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


def text(*ops: str) -> str:
    a, b, c, d, e, f = ops * (6 // len(ops))
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


SKIPS, CONVS, POOLS, DEAD, SMALL = (
    text(op) for op in ("skip_connect", "nor_conv_3x3", "avg_pool_3x3", "none", "nor_conv_1x1")
)
SMALL_TABLE = f"""\
arch,cifar10_test_12,cifar10_test_200,cifar10_val_12,cifar100_test_200,parameters,remark
{SKIPS},50,54.3,33.9,15.6,73306,why not
{CONVS},80.5,94.25,83,73.5,1531546,
{POOLS},49,60,30,,73306,
{DEAD},10,10,9.7,1,73306,
{SMALL},70,91,75,67,,
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path, SMALL_TABLE)


def written(folder: Path, content: str, name: str = "small.csv") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_a_table_gives_fractions_sizes_and_the_best_of_each_column(small: Path) -> None:
    table = open_file(small)
    assert table.columns == ("cifar10_test_12", "cifar10_test_200", "cifar10_val_12", "cifar100_test_200")
    assert table.best == pytest.approx(dict(zip(table.columns, (0.805, 0.9425, 0.83, 0.735), strict=True)))
    found = table.look_up(genotype_from_text(SKIPS))
    assert found is not None
    assert found.accuracies == pytest.approx(
        dict(zip(table.columns, (0.5, 0.543, 0.339, 0.156), strict=True))
    )
    assert (found.parameters, found.flops) == (73306, None)


def test_what_a_table_does_not_hold_is_none(small: Path) -> None:
    table = open_file(small)
    assert table.look_up(genotype_from_text(text("skip_connect", "none"))) is None
    pools = table.look_up(genotype_from_text(POOLS))
    assert pools is not None
    assert "cifar100_test_200" not in pools.accuracies
    darts = Genotype.of("tiny", 1, {k: [Choice("skip_connect", 0, 2)] for k in ("normal", "reduce")})
    assert table.look_up(darts) is None


def test_fractions_stay_fractions(tmp_path: Path) -> None:
    table = open_file(written(tmp_path, f"arch,cifar10_test_200\n{SKIPS},0.543\n{CONVS},1\n"))
    assert table.best == {"cifar10_test_200": 1.0}


def test_regret_is_the_way_to_the_best(small: Path) -> None:
    yardstick = Yardstick.of(open_file(small), "cifar10")
    assert yardstick.column == "cifar10_test_200"
    assert yardstick.accuracy(genotype_from_text(SMALL)) == pytest.approx(0.91)
    assert yardstick.regret(genotype_from_text(SMALL)) == pytest.approx(0.9425 - 0.91)
    assert yardstick.regret(genotype_from_text(CONVS)) == 0
    assert yardstick.regret(genotype_from_text(text("skip_connect", "none"))) is None


@pytest.mark.parametrize(
    ("data", "column"),
    [
        ("cifar10", "cifar10_test_200"),
        ("cifar10_val_12", "cifar10_val_12"),
        ("cifar100", "cifar100_test_200"),
        ("my_set", "my_set_test"),
    ],
)
def test_a_data_set_stands_for_its_test_accuracies_trained_longest(data: str, column: str) -> None:
    columns = ("cifar10_test_12", "cifar10_test_200", "cifar10_val_12", "cifar100_test_200", "my_set_test")
    assert column_of(columns, data) == column


def test_an_unknown_data_set_gets_the_nearest() -> None:
    with pytest.raises(RaynasError) as caught:
        column_of(("cifar10_test_200", "cifar100_test_200"), "cifar-100")
    assert caught.value.near == "cifar100, cifar100_test_200"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "columns are not as they must be"),
        ("cell,cifar10_test_200\n", "columns are not as they must be"),
        (f"arch,hash,cifar10_test_200\n{SKIPS},a,50\n", "columns are not as they must be"),
        (f"arch,accuracy\n{SKIPS},50\n", "columns are not as they must be"),
        ("arch,cifar10_test_200\n", "not cells of one benchmark"),
        (f"arch,cifar10_test_200\n{SKIPS},50\n{SKIPS},51\n", "twice.*row 3"),
        (f"arch,cifar10_test_200\n{SKIPS},fifty\n", "not a number.*row 2, cifar10_test_200"),
        (f"arch,cifar10_test_200\n{SKIPS},nan\n", "impossible number"),
        (f"arch,cifar10_test_200\n{SKIPS},-1\n", "impossible number"),
        (f"arch,cifar10_test_200\n{SKIPS},101\n", "above 100 %"),
        (f"arch,cifar10_test_200\n{SKIPS},\n", "has no accuracies"),
        (f"arch,cifar10_test_200\n{SKIPS}\n", "line 2 of the table has 1 fields"),
        ("arch,cifar10_test_200\n|a~0|,5\n|a~0|+|a~0|a~1|,6\n", "not cells of one benchmark"),
        ('arch,cifar10_test_200\n"|a~0|,5\n', "cannot be read"),
    ],
)
def test_a_damaged_table_says_where(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(RaynasError, match=f"(?s){message}"):
        open_file(written(tmp_path, content))


def test_a_missing_table_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(RaynasError, match=r"(?s)no such table.*nothere.csv.*raynas downloads none"):
        open_file(tmp_path / "nothere.csv")
    with pytest.raises(RaynasError, match=r"a \.csv or \.parquet file"):
        open_file(written(tmp_path, SMALL_TABLE, "small.xlsx"))


def test_parquet_holds_the_same_table(small: Path, tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = list(csv.DictReader(SMALL_TABLE.splitlines()))
    columns = {
        name: [row[name] if name in ("arch", "remark") else float(row[name] or "nan") for row in rows]
        for name in rows[0]
    }
    blank = {name: [None if v != v else v for v in values] for name, values in columns.items()}
    path = tmp_path / "small.parquet"
    parquet.write_table(arrow.table(blank), path)
    first, second = open_file(small), open_file(path)
    assert (first.columns, first.best, first.rows) == (second.columns, second.best, second.rows)
    with pytest.raises(RaynasError, match="cannot be read"):
        open_file(written(tmp_path, "not parquet", "bad.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(RaynasError, match=r"pip install 'raynas\[parquet\]'"):
        open_file(written(tmp_path, "", "small.parquet"))


def test_choice_blocks_are_found_by_nas_bench_101_s_hash(tmp_path: Path) -> None:
    ops = ("conv3x3-bn-relu", "conv1x1-bn-relu")
    cells = [
        Genotype.of(
            "nb1shot1-1",
            2,
            {
                "normal": [
                    Choice(a, 0, 1),
                    Choice(b, 0, 2),
                    Choice("identity", 1, 3),
                    Choice("identity", 2, 3),
                ]
            },
            "blocks",
        )
        for a, b in (ops, ops[::-1])
    ]
    table = open_file(written(tmp_path, f"hash,cifar10_test_108\n{skeletons.canonical(cells[0])},93.5\n"))
    for cell in cells:  # the same network, its blocks in another order
        found = table.look_up(cell)
        assert found is not None
        assert found.accuracies["cifar10_test_108"] == pytest.approx(0.935)
    assert table.misfit(load_space("nb1shot1-1")) is None
    assert "holds NAS-Bench-101's cells (skeleton blocks)" in (
        table.misfit(load_space("nas-bench-201")) or ""
    )


def test_which_spaces_a_table_fits(small: Path, tmp_path: Path) -> None:
    table = open_file(small)
    space = load_space("nas-bench-201")
    assert table.misfit(space) is None
    assert "small.csv holds NAS-Bench-201's cells" in (table.misfit(load_space("darts")) or "")
    narrow = open_file(written(tmp_path, f"arch,cifar10_test_200\n{SKIPS},50\n{CONVS},90\n", "narrow.csv"))
    assert "no cell with avg_pool_3x3, none, nor_conv_1x1" in (narrow.misfit(space) or "")
    two = open_file(written(tmp_path, "arch,a_test\n|none~0|+|none~0|none~1|,5\n", "two.csv"))
    assert "cells of 2 nodes" in (two.misfit(space) or "")


def results(cell: str, index: int) -> dict[str, dict[str, object]]:
    """One cell's results in NATS-Bench's own classes: two seeds, of which the mean is wanted."""
    from nats_bench import ArchResults, ResultsCount

    sets = {
        "cifar10": ("ori-test",),
        "cifar10-valid": ("x-valid", "ori-test"),
        "cifar100": ("x-valid", "x-test", "ori-test"),
        "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
    }
    found = ArchResults(index, cell)
    for place, (data, parts) in enumerate(sets.items()):
        for seed in (777, 888):
            curve = dict.fromkeys(range(200), 99.0)
            count = ResultsCount(data, None, curve, curve, 1.5, 200.0, {}, seed, 200, None)
            for offset, part in enumerate(parts):
                accuracy = 40 + 10 * place + offset + index + (seed == 888)
                count.update_OLD_eval(part, {199: accuracy}, {199: 1.0})
            found.update(data, seed, count)
    return {"200": found.state_dict()}


@pytest.mark.parametrize("form", ["folder", "file"])
def test_official_files_become_a_table(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    nats = pytest.importorskip("nats_bench")
    cells = [SKIPS, CONVS]
    source = tmp_path / ("NATS-tss-v1_0-3ffb9-simple" if form == "folder" else "NATS-tss.pickle.pbz2")
    if form == "folder":
        source.mkdir()
        nats.pickle_save({"meta_archs": cells}, source / "meta.pickle")
        for index, cell in enumerate(cells):
            nats.pickle_save(results(cell, index), source / f"{index:06d}.pickle")
    else:
        everything = {index: results(cell, index) for index, cell in enumerate(cells)}
        content = {"meta_archs": cells, "arch2infos": everything, "evaluated_indexes": [0, 1]}
        nats.pickle_save(content, source.with_suffix(""))
    outcome = raynas(capsys, "lookup", SKIPS, "--table", str(source))
    assert f"raynas tabulate {source} table.csv" in outcome.err
    outcome = raynas(capsys, "tabulate", str(source), str(tmp_path / "nb201.csv"))
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("2 cells in ")
    table = open_file(tmp_path / "nb201.csv")
    found = table.look_up(genotype_from_text(CONVS))
    assert found is not None
    # Plain CIFAR-10's test; of the others the half of the test set that is the benchmark's test.
    assert found.accuracies == pytest.approx(
        {
            "cifar10_test_200": 0.415,
            "cifar100_test_200": 0.625,
            "imagenet16_120_test_200": 0.725,
            "cifar10_val_200": 0.515,
            "cifar100_val_200": 0.615,
            "imagenet16_120_val_200": 0.715,
        }
    )
    assert (found.parameters, found.flops) == (1.5, 200.0)


def test_official_files_that_are_none_say_so(tmp_path: Path) -> None:
    with pytest.raises(RaynasError, match="no such table"):
        write_table(tmp_path / "gone", tmp_path / "nb201.csv")
    pytest.importorskip("nats_bench")
    with pytest.raises(RaynasError, match="not NATS-Bench's topology files"):
        write_table(written(tmp_path, "x", "NATS-tss.pickle.pbz2"), tmp_path / "nb201.csv")
    assert not (tmp_path / "nb201.csv").exists()


def test_official_files_without_the_package_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    with pytest.raises(RaynasError, match=r"pip install 'raynas\[nats\]'"):
        write_table(tmp_path, tmp_path / "nb201.csv")


def evaluations(valid: float, test: float, parameters: int) -> bytes:
    """What NAS-Bench-101's `ModelMetrics` serialises to, by Google's own library."""
    pb = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = pb.FileDescriptorProto(name="metrics.proto", package="nasbench", syntax="proto2")
    data, model = file.message_type.add(name="EvaluationData"), file.message_type.add(name="ModelMetrics")
    names = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
    for number, name in enumerate(names, start=1):
        data.field.add(name=name, number=number, type=1, label=1)
    data.field.add(name="checkpoint_path", number=6, type=9, label=1)
    model.field.add(name="evaluation_data", number=1, type=11, label=3, type_name=".nasbench.EvaluationData")
    model.field.add(name="trainable_parameters", number=2, type=5, label=1)
    model.field.add(name="total_time", number=3, type=1, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("nasbench.ModelMetrics"))()
    for step, share in enumerate((0.0, 0.5, 1.0)):
        message.evaluation_data.add(
            current_epoch=108 * share,
            training_time=900.5,
            train_accuracy=1.0,
            validation_accuracy=valid * share,
            test_accuracy=test * share,
            checkpoint_path=f"model.ckpt-{step}",
        )
    message.trainable_parameters = parameters
    message.total_time = 1000.25
    return bytes(message.SerializeToString())


def test_nas_bench_101_s_records_become_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cell = Genotype.of(
        "nb1shot1-1",
        1,
        {"normal": [Choice("conv3x3-bn-relu", 0, 1), Choice("identity", 1, 2)]},
        "blocks",
    )
    rows = [
        (skeletons.canonical(cell), 0.94, 0.93),
        (skeletons.canonical(cell), 0.92, 0.91),
        ("0" * 32, 0.1, 0.1),
    ]
    source = tmp_path / "nasbench_only108.tfrecord"
    with source.open("wb") as file:
        for name, valid, test in rows:
            raw = base64.b64encode(evaluations(valid, test, 2_694_282)).decode()
            record = json.dumps([name, 108, "010001000", "input,conv3x3-bn-relu,output", raw]).encode()
            file.write(struct.pack("<QI", len(record), 0) + record + bytes(4))
    outcome = raynas(capsys, "tabulate", str(source), str(tmp_path / "nb101.csv"))
    assert (outcome.code, outcome.err) == (0, "")
    table = open_file(tmp_path / "nb101.csv")
    found = table.look_up(cell)
    assert found is not None
    assert found.accuracies == pytest.approx({"cifar10_val_108": 0.93, "cifar10_test_108": 0.92})
    assert found.parameters == 2_694_282
    assert len(table.rows) == 2
    whole = source.read_bytes()
    for damaged in (whole[:-6], whole[:5], b"x" * 40, whole.replace(b"108", b"10x")):
        source.write_bytes(damaged)
        with pytest.raises(RaynasError, match="not NAS-Bench-101's records"):
            write_table(source, tmp_path / "other.csv")


SWEEP = """\
space: nas-bench-201
data: digits
benchmark: {table: small.csv, data: cifar10}
track: {mlflow: null}
"""


def problems(folder: Path, content: str, *overrides: str) -> dict[str, str]:
    with pytest.raises(FileProblems) as caught:
        sweep_of(folder, content, *overrides)
    return {problem.path: problem.message for problem in caught.value.problems}


def test_a_sweep_keeps_its_table_by_full_path(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = sweep_of(tmp_path, SWEEP)
    assert sweep.benchmark == Benchmark(table=str(small), data="cifar10")
    assert sweep.resolved["benchmark"] == {"table": str(small), "data": "cifar10"}
    again = Sweep.from_json(json.loads(json.dumps(sweep.to_json())))
    assert again == sweep
    older = {key: value for key, value in sweep.to_json().items() if key != "benchmark"}
    assert Sweep.from_json(older).benchmark is None
    other = sweep_of(tmp_path, SWEEP, "benchmark.data=cifar100")
    assert other.benchmark is not None
    assert other.benchmark.data == "cifar100"
    assert [trial.config for trial in other.trials] == [trial.config for trial in sweep.trials]


def test_what_is_wrong_with_a_benchmark_is_told_before_the_sweep(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no such table" in problems(tmp_path, SWEEP, "benchmark.table=other.csv")["benchmark.table"]
    assert "nearest:  cifar10" in problems(tmp_path, SWEEP, "benchmark.data=cifr10")["benchmark.data"]
    assert (
        "those of darts are of the skeleton darts"
        in problems(tmp_path, SWEEP, "space=darts")["benchmark.table"]
    )
    both = problems(tmp_path, SWEEP, "grid.space=[nas-bench-201,tiny]", "benchmark.data=x")
    assert set(both) == {"benchmark.table", "benchmark.data"}
    assert "benchmark.data" in problems(tmp_path, SWEEP, "benchmark={table: small.csv}")
    assert "nearest: table" in problems(tmp_path, SWEEP, "benchmark.tabel=small.csv")["benchmark.tabel"]


def test_each_epoch_is_logged_with_its_accuracy_and_regret(small: Path) -> None:
    yardstick = Yardstick.of(open_file(small), "cifar10")
    one = report(1, genotype=genotype_from_text(SMALL))
    with_table = metrics(one, yardstick)
    assert with_table.pop("test/table_accuracy") == pytest.approx(0.91)
    assert with_table.pop("test/table_regret") == pytest.approx(0.0325)
    assert with_table == metrics(one)
    assert metrics(report(1), yardstick) == metrics(report(1))


@pytest.fixture
def swept(tmp_path: Path) -> tuple[SweepFolder, Path]:
    """A simulated sweep, and a table of the cells it found."""
    folder = simulate(tmp_path / "runs" / "robust", "nas-bench-201")
    cells = {genotype_to_text(r.genotype) for record in folder.records() for r in record.reports}
    lines = [f"{cell},{50 + place}" for place, cell in enumerate(sorted(cells))]
    filler = f"{text('nor_conv_3x3', 'none')},99"
    return folder, written(tmp_path, "\n".join(["arch,cifar10_test_200", *lines, filler]))


def test_the_report_states_accuracy_and_regret(swept: tuple[SweepFolder, Path]) -> None:
    folder, path = swept
    html, markdown = (p.read_text() for p in build_report(folder))
    assert "regret" not in html + markdown
    table = open_file(path)
    html, markdown = (p.read_text() for p in build_report(folder, Benchmark(table=str(path), data="cifar10")))
    accuracy = {
        record.id: 100 * table.rows[genotype_to_text(record.newest.genotype)].accuracies["cifar10_test_200"]
        for record in folder.records()
        if record.newest
    }
    for trial, value in accuracy.items():
        line = next(line for line in markdown.splitlines() if f"| {trial}" in line)
        assert f"| {value:.2f} | {99 - value:.2f} |" in line
    seeds = [accuracy[f"darts-wd0.0003-s{seed}"] for seed in (0, 1)]
    assert f"| {fmean(seeds):.2f} ± {stdev(seeds):.2f} |" in markdown
    winner = accuracy[min(LAST, key=lambda trial: LAST[trial])]
    assert f"Accuracy in the table: {winner:.2f} %" in markdown
    assert f"<dd>{winner:.2f} %</dd>" in html
    assert "cifar10_test_200 of small.csv" in html
    assert (folder.path / "report" / "table_regret-1-darts.svg").is_file()
    assert "Regret in the table" in html


def test_a_table_chooses_nothing(swept: tuple[SweepFolder, Path]) -> None:
    folder, path = swept
    build_report(folder)
    before = (folder.path / "selection.json").read_bytes()
    build_report(folder, Benchmark(table=str(path), data="cifar10"))
    assert (folder.path / "selection.json").read_bytes() == before


def test_a_report_outlives_its_table(swept: tuple[SweepFolder, Path], tmp_path: Path) -> None:
    folder, _ = swept
    facts = gather(folder, Benchmark(table=str(tmp_path / "gone.csv"), data="cifar10"))
    assert facts.yardstick is None
    _, markdown = build_report(folder, Benchmark(table=str(tmp_path / "gone.csv"), data="cifar10"))
    assert "accuracies of the table (no such table" in markdown.read_text()


def test_lookup_and_report_on_the_command_line(
    swept: tuple[SweepFolder, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, path = swept
    runs = ["--runs", str(folder.path.parent)]
    best = folder.trial(min(LAST, key=lambda trial: LAST[trial])).record().newest
    assert best is not None
    for cell in (
        "robust",
        genotype_to_text(best.genotype),
    ):
        outcome = raynas(capsys, "lookup", cell, "--table", str(path), "--json", *runs)
        assert outcome.err == ""
        found = json.loads(outcome.out)["accuracies"]["cifar10_test_200"]
        assert found["best"] == pytest.approx(0.99)
        assert found["accuracy"] + found["regret"] == pytest.approx(0.99)
    outcome = raynas(
        capsys,
        "lookup",
        genotype_to_text(best.genotype),
        "--table",
        str(path),
    )
    assert "cifar10_test_200" in outcome.out
    assert f"{100 * found['accuracy']:.2f}" in outcome.out
    outcome = raynas(capsys, "lookup", text("none", "nor_conv_3x3"), "--table", str(path))
    assert (outcome.code, "does not hold this cell" in outcome.err) == (2, True)
    words = ["report", "robust", "--table", str(path)]
    assert raynas(capsys, *words, "--data", "cifar10", *runs).code == 0
    assert "Regret in the table" in (folder.path / "report.html").read_text()
    for wrong, said in ((words, "go together"), ([*words, "--data", "cifar"], "nearest:  cifar10")):
        outcome = raynas(capsys, *wrong, *runs)
        assert outcome.code == 2
        assert said in outcome.err


@published
def test_the_published_accuracies_load_at_once_and_are_looked_up_in_microseconds() -> None:
    started = time.process_time()
    table = open_file(PUBLISHED)
    loaded = time.process_time() - started
    assert len(table.rows) == 15_625
    assert loaded < 1.0
    cell = genotype_from_text(SKIPS)
    started = time.process_time()
    for _ in range(1000):
        table.look_up(cell)
    assert time.process_time() - started < 0.1
    assert table.misfit(load_space("nas-bench-201")) is None


@pytest.fixture(scope="module")
def benchmark_table() -> FileTable:
    return open_file(PUBLISHED)


@published
@pytest.mark.parametrize(
    ("cell", "percent"),
    [
        (SKIPS, (54.30, 15.61, 16.32)),
        # DrNAS' cell, the second best on CIFAR-10 and the best on CIFAR-100.
        (text(*["nor_conv_3x3"] * 3, "skip_connect", "nor_conv_3x3", "nor_conv_3x3"), (94.36, 73.51, 46.34)),
    ],
)
def test_published_rows(benchmark_table: FileTable, cell: str, percent: tuple[float, ...]) -> None:
    found = [
        Yardstick.of(benchmark_table, data).accuracy(genotype_from_text(cell))
        for data in ("cifar10", "cifar100", "imagenet16_120")
    ]
    assert [round(100 * value, 2) for value in found if value is not None] == list(percent)


@published
def test_published_best(benchmark_table: FileTable) -> None:
    names = ("cifar10", "cifar100", "imagenet16_120")
    best = [round(100 * Yardstick.of(benchmark_table, name).best, 2) for name in names]
    assert best == [94.37, 73.51, 47.31]
