"""`raynas.load`: a sweep's results in Python, and the same rows as CSV."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from helpers.cli_folders import IDS, make_sweep, play, raynas
from helpers.simulated_sweep import EPOCHS, LAST, simulate

import raynas as front
from raynas import RaynasError, load
from raynas.report.results import Results
from raynas.sweep.folder import SweepFolder
from raynas.train.records import TrainReport

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return simulate(tmp_path_factory.mktemp("results") / "runs" / "robust")


@pytest.fixture
def results(folder: SweepFolder) -> Results:
    return load(folder.path)


def test_a_row_per_trial_has_json_s_names(results: Results, folder: SweepFolder, capsys: Capture) -> None:
    frame = results.frame()
    assert list(frame.index) == [record.id for record in folder.records()]
    told = json.loads(raynas(capsys, "status", str(folder.path), "--json").out)["trials"]
    for trial in told:
        row = frame.loc[trial["id"]]
        for name in ("status", "method", "seed", "epoch", "epochs", "reason"):
            assert row[name] == trial[name], name
        for name in ("valid_loss", "valid_accuracy", "discrete_loss", "eig_max", "train_loss"):
            assert row[name] == trial[name] or (trial[name] is None and not row[name] < float("inf")), name
        for axis, value in trial["axes"].items():
            assert row[axis] == value
        for kind, count in (trial["skips"] or {}).items():
            assert row[f"skips_{kind}"] == count
    assert frame.loc[results.best, "place"] == 1
    assert frame["valid_accuracy"].dropna().between(0, 1).all()


def test_a_row_per_trial_and_epoch(results: Results, folder: SweepFolder) -> None:
    history = results.history()
    reports = {record.id: record.reports for record in folder.records()}
    assert list(history.index) == [(trial, r.epoch) for trial, own in reports.items() for r in own]
    best = history.loc[results.best]
    assert len(best) == EPOCHS
    for report, (_, row) in zip(reports[results.best or ""], best.iterrows(), strict=True):
        assert row["valid_loss"] == report.valid_loss
        assert row["eig_gap"] == (report.curvature.eig_gap if report.curvature else None)
        assert row["skips_normal"] == report.skips["normal"]
        assert row["seconds"] == report.seconds
        assert row["cell"] == report.genotype.digest()
    assert not any(column.startswith("alpha") for column in history)


def test_alpha_has_a_column_per_edge_and_operation(results: Results, folder: SweepFolder) -> None:
    history = results.history(alpha=True)
    space = results.facts.space
    assert space is not None
    alphas = [column for column in history if column.startswith("alpha_")]
    assert len(alphas) == sum(len(edge.ops) for cell in space.cells for edge in cell.edges)
    report = next(record for record in folder.records() if record.id == results.best).reports[0]
    row = history.loc[(results.best, 0)]
    assert [row[c] for c in alphas] == [v for rows in report.weights.values() for each in rows for v in each]


def test_the_best_is_the_report_s(results: Results) -> None:
    assert results.best == min(LAST, key=lambda trial: LAST[trial])
    assert results.genotype() == results.genotype(results.best) == results.facts.chosen
    with pytest.raises(RaynasError, match="unknown trial 'darts-s9'"):
        results.genotype("darts-s9")


def test_reading_writes_nothing(folder: SweepFolder) -> None:
    def stand() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}

    before = stand()
    found = load(folder.path)
    found.frame(), found.history(), found.plot("eig_max"), found._repr_html_()
    assert stand() == before


@pytest.mark.parametrize("name", ["valid_loss", "eig_max", "skips", "skips_normal", "operations"])
def test_figures_are_axes_a_method_each(name: str, results: Results) -> None:
    axes = results.plot(name)
    methods = list(results.facts.methods)
    assert [one.get_title().partition(",")[0] for one in axes][: len(methods)] == methods
    colours = {line.get_color() for one in axes for line in one.get_lines()}
    assert not any(str(colour).startswith("#01") for colour in colours), "stand-ins are the report's alone"


def test_panels_are_a_page_wide_and_say_an_axis_once_a_row(results: Results) -> None:
    axes = results.plot("operations")
    labels = [one.get_ylabel() for one in axes]
    columns = axes[0].get_subplotspec().get_gridspec().ncols
    assert columns == len(results.facts.methods)
    assert [bool(label) for label in labels] == [place % columns == 0 for place in range(len(axes))]
    assert axes[0].get_figure().legends
    assert not any(one.get_legend() for one in axes)


def test_a_figure_goes_into_given_axes(results: Results) -> None:
    from matplotlib.figure import Figure

    made = Figure().subplots(1, 2)
    assert results.plot("valid_loss", ax=made) == list(made)
    shown = made[0].get_lines()[0].get_ydata()
    history = results.history()
    first = history[history["method"] == "darts"].index[0][0]
    assert list(shown) == list(history.loc[first, "valid_loss"])
    with pytest.raises(RaynasError, match="not as many axes"):
        results.plot("valid_loss", ax=made[0])
    [alike] = results.plot("alike", ax=Figure().subplots())
    assert len(alike.get_yticklabels()) == len(results.facts.ranked)


@pytest.mark.parametrize(("name", "drawn"), [("valid_loss", "draw_lines"), ("operations", "draw_shares")])
def test_a_figure_that_fails_is_not_left_open(
    name: str, drawn: str, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raynas.report import figures

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(figures, drawn, fail)
    before = plt.get_fignums()
    with pytest.raises(ZeroDivisionError):
        results.plot(name)
    assert plt.get_fignums() == before


def test_an_unknown_figure_is_told_the_nearest(results: Results) -> None:
    with pytest.raises(RaynasError, match="unknown figure 'eig_mx'") as caught:
        results.plot("eig_mx")
    assert caught.value.near == "eig_max"
    with pytest.raises(RaynasError, match="no trial has table_regret"):
        results.plot("table_regret")


def test_without_pandas_or_matplotlib_it_says_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for use in (results.frame, results.history, results.plot):
        with pytest.raises(RaynasError, match="this needs"):
            use()
    assert results.rows()


def test_a_notebook_shows_the_ranking_and_nothing_that_it_would_obey(tmp_path: Path) -> None:
    made = make_sweep(tmp_path / "runs")
    play(made, IDS[0], [0.9, 0.8])
    play(made, IDS[1], [], status="failed", reason="<script>")
    found = load(made.path)
    shown = found._repr_html_()
    assert f"<td>{IDS[0]}</td>" in shown
    assert "1 of 4 searches finished; best darts-wd0.0003-s0" in shown
    assert "<script>" not in shown
    assert repr(found) == "<Results of four: 1 of 4 searches finished; best darts-wd0.0003-s0>"


def test_a_sweep_of_which_nothing_has_run(tmp_path: Path) -> None:
    found = load(make_sweep(tmp_path / "runs").path)
    assert found.best is None
    assert list(found.frame()["status"]) == ["waiting"] * 4
    assert len(found.history()) == 0
    with pytest.raises(RaynasError, match="has no best cell"):
        found.genotype()
    with pytest.raises(RaynasError, match="has no cell yet"):
        found.genotype(IDS[0])


def test_other_things_name_their_loader(folder: SweepFolder, tmp_path: Path) -> None:
    (tmp_path / "genotype.json").write_text("{}")
    with pytest.raises(RaynasError) as genotype:
        load(tmp_path / "genotype.json")
    assert "raynas.load_genotype" in str(genotype.value)
    (tmp_path / "network").mkdir()
    (tmp_path / "network" / "network.json").write_text("{}")
    with pytest.raises(RaynasError, match="a trained network") as network:
        load(tmp_path / "network")
    assert "Deployed.load" in str(network.value)
    with pytest.raises(RaynasError) as near:
        load(folder.path.with_name("robst"))
    assert near.value.near == "robust"
    assert front.Results is Results
    assert front.load is load


def test_trainings_have_rows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from raynas.sweep.file.load import load_any
    from raynas.sweep.folder import AnySweep

    file = tmp_path / "trained.yaml"
    file.write_text("name: t\ntrain: quick\ncell: darts-v2\ndata: digits\ngrid: {seed: [0, 1]}\n")
    folder = AnySweep(tmp_path / "runs" / "t")
    folder.create(load_any(file), file.read_text())
    [one, two] = folder.trials()
    report = TrainReport(0, 1.5, 0.5, 0.1, 0.0, test_loss=1.0, test_accuracy=0.75, seconds=2.0)
    one.spool.append("start", trial=one.id, attempt=1, epochs=1, parameters=1234)
    one.spool.append("epoch", report=report.to_json())
    one.spool.append("end", status="finished", reason="")
    found = load(folder.path)
    row = found.frame().loc[one.id]
    assert (row["status"], row["test_accuracy"], row["parameters"]) == ("finished", 0.75, 1234)
    assert list(found.history().columns[-2:]) == ["seconds", "peak_memory"]
    assert found.genotype(two.id) == folder.sweep().cells["darts-v2"]
    assert "1 of 2 trainings finished" in found._repr_html_()
    for ask in (lambda: found.best, found.plot, found.genotype):
        with pytest.raises(RaynasError, match="there is no ranking"):
            ask()
    rows = list(csv.DictReader(io.StringIO(raynas(capsys, "status", str(folder.path), "--csv").out)))
    assert rows[0]["test_accuracy"] == "0.75"


@pytest.mark.parametrize("verb", ["status", "show"])
def test_the_same_rows_as_csv(verb: str, folder: SweepFolder, results: Results, capsys: Capture) -> None:
    outcome = raynas(capsys, verb, str(folder.path), "--csv")
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    plain = [{k: "" if v is None else str(v) for k, v in row.items()} for row in results.rows()]
    assert rows == plain
    assert raynas(capsys, "show", "darts", "--csv").code == 2


def test_a_trial_that_nobody_drives_is_stopped(tmp_path: Path) -> None:
    made = make_sweep(tmp_path / "runs")
    play(made, IDS[0], [0.9], status=None)
    assert load(made.path).frame().loc[IDS[0], "status"] == "stopped"
