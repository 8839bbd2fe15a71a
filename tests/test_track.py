"""The uploader against a real sqlite store: one run a trial, each epoch once, whatever happened before."""

import json
import math
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.track_folders import OPS, diverged, end, epochs, make_sweep, play, report, start

from raynas.bilevel.records import End
from raynas.errors import RaynasError
from raynas.report.build import build_report
from raynas.spaces.reading import genotype_from_json, genotype_from_text
from raynas.sweep.folder import SweepFolder
from raynas.sweep.sections import Benchmark
from raynas.track.mlflow import MlflowTracker, Patience, replay

QUICK = Patience(start=30, first=0.2, longest=0.5, flush=120, stuck=60)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: making it takes seconds. Every sweep has its own name in it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


class Seen:
    """A sweep's runs as the store has them."""

    def __init__(self, uri: str, name: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        ids = [experiment.experiment_id for experiment in self.client.search_experiments()]
        runs = self.client.search_runs(ids, f"tags.`raynas.sweep` = '{name}'")
        self.parents = [run for run in runs if run.data.tags["raynas.kind"] == "sweep"]
        self.children = {run.info.run_name: run for run in runs if run.data.tags["raynas.kind"] == "search"}
        names = Counter(run.data.tags.get("raynas.trial") for run in runs)
        self.most_runs_of_a_trial = max((names[trial] for trial in self.children), default=0)

    def ids(self) -> set[str]:
        return {run.info.run_id for run in [*self.parents, *self.children.values()]}

    def steps(self, trial: str) -> dict[str, list[int]]:
        """The steps of every metric of a trial, repeats included."""
        run = self.children[trial]
        history = self.client.get_metric_history
        return {key: sorted(m.step for m in history(run.info.run_id, key)) for key in run.data.metrics}

    def files(self, run: Any, folder: str = "") -> set[str]:
        return {found.path for found in self.client.list_artifacts(run.info.run_id, folder)}


def track(
    folder: SweepFolder, uri: str, during: Callable[[MlflowTracker], None] = lambda tracker: None
) -> MlflowTracker:
    tracker = MlflowTracker(folder, uri, QUICK)
    tracker.on_start(folder)
    during(tracker)
    tracker.on_end(folder)
    return tracker


@pytest.mark.slow
def test_each_epoch_has_its_accuracy_and_regret_in_a_table(tmp_path: Path, uri: str) -> None:
    skips, convs = (
        f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|" for op in ("skip_connect", "nor_conv_3x3")
    )
    table = tmp_path / "table.csv"
    table.write_text(f"arch,cifar10_test_200\n{skips},54\n{convs},94\n", encoding="utf-8")
    benchmark = Benchmark(table=str(table), data="cifar10")
    folder = make_sweep(tmp_path / "judged", seeds=1, benchmark=benchmark, space="nas-bench-201")
    cells = [genotype_from_text(text) for text in (skips, convs)]
    start(folder, "darts-s0")
    epochs(folder, "darts-s0", *(report(epoch, genotype=cell) for epoch, cell in enumerate(cells)))
    end(folder, "darts-s0")
    table.rename(tmp_path / "away.csv")
    with pytest.raises(RaynasError, match="no such table"):
        replay(folder, uri)
    (tmp_path / "away.csv").rename(table)
    replay(folder, uri)
    seen = Seen(uri, "judged")
    run = seen.children["darts-s0"]
    for key, values in {"accuracy": [0.54, 0.94], "regret": [0.4, 0.0]}.items():
        history = seen.client.get_metric_history(run.info.run_id, f"test/table_{key}")
        found = [metric.value for metric in sorted(history, key=lambda metric: metric.step)]
        assert found == pytest.approx(values)
    [parent] = seen.parents
    assert parent.data.metrics["best/table_accuracy"] == pytest.approx(0.94)
    table.unlink()  # what was looked up is in the sweep's folder
    assert replay(SweepFolder(folder.path), uri).epochs == 0


@pytest.mark.slow
def test_what_a_choice_is_worth_is_there_once(tmp_path: Path, uri: str) -> None:
    """Rank table and curve of the report, with the number of searches as step, however often it is sent."""
    cells = [f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|" for op in ("skip_connect", "nor_conv_3x3")]
    table = tmp_path / "table.csv"
    rows = zip(cells, ("54", "94"), strict=True)
    table.write_text("arch,cifar10_test_200\n" + "".join(f"{cell},{right}\n" for cell, right in rows))
    benchmark = Benchmark(table=str(table), data="cifar10")
    folder = make_sweep(tmp_path / "worth", seeds=4, benchmark=benchmark, space="nas-bench-201")
    for seed, trial in enumerate(folder.trials()):
        start(folder, trial.id)
        found = genotype_from_text(cells[seed % 2])
        epochs(folder, trial.id, report(0, genotype=found, valid_loss=float(seed)))
        end(folder, trial.id)
    build_report(folder)
    for _ in range(2):
        replay(SweepFolder(folder.path), uri)
    (folder.path / "track.json").unlink()
    replay(SweepFolder(folder.path), uri)
    seen = Seen(uri, "worth")
    [parent] = seen.parents
    history = {
        key: [(m.step, m.value) for m in seen.client.get_metric_history(parent.info.run_id, key)]
        for key in ("rank/regret_valid_loss", "curve/valid_loss", "curve/best_possible")
    }
    # By validation loss the first is chosen, which skips: 40 points worse than the best of the four. Of two
    # searches drawn from four the first is in 1/2, then the second (1/3), then the third, as bad, in 1/6.
    assert history["rank/regret_valid_loss"] == [(0, pytest.approx(0.4))]
    two = 0.46 * (1 / 2 + 1 / 6) + 0.06 / 3
    expected = [(1, pytest.approx(0.26)), (2, pytest.approx(two)), (4, pytest.approx(0.46))]
    assert sorted(history["curve/valid_loss"]) == expected
    assert sorted(history["curve/best_possible"])[-1] == (4, pytest.approx(0.06))
    assert seen.files(parent) >= {"trust.json", "report"}
    assert any("choice-" in name for name in seen.files(parent, "report"))


def once(steps: dict[str, list[int]], count: int) -> None:
    assert "time/epoch" in steps
    for key, found in steps.items():
        assert found == list(range(count)), key


def test_a_finished_sweep(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "whole")
    (folder.path / "report.html").write_text("<html></html>")
    folder.best.mkdir()
    (folder.best / "genotype.json").write_text("{}")

    def during(tracker: MlflowTracker) -> None:
        assert len(Seen(uri, "whole").parents) == 1, "the sweep's run comes before the first trial"
        for trial in folder.trials():
            play(folder, trial.id, 6)
            tracker.on_trial(trial.record())

    assert track(folder, uri, during).message is None
    seen = Seen(uri, "whole")
    (parent,) = seen.parents
    assert parent.info.status == "FINISHED"
    assert seen.client.get_experiment(parent.info.experiment_id).name == "tiny/digits"
    assert parent.data.tags["raynas.winner"] == "darts-s0"
    assert parent.data.metrics["best/valid_loss"] == 0.5
    assert seen.files(parent) >= {"report.html", "sweep.json", "sweep.yaml", "best"}
    assert len(parent.data.tags["mlflow.note.content"].splitlines()) == 2
    assert set(seen.children) == {"darts-s0", "darts-s1"}
    first, second = (seen.children[f"darts-s{seed}"] for seed in (0, 1))
    assert first.data.params.keys() == second.data.params.keys()
    assert (first.data.params["seed"], second.data.params["seed"]) == ("0", "1")
    for run in (first, second):
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        once(seen.steps(run.info.run_name), 6)
    history = seen.client.get_metric_history(first.info.run_id, "loss/valid")
    assert [m.value for m in history] == [3.0 / (epoch + 1) for epoch in range(6)]
    written = [e["time"] for e in folder.trial("darts-s0").spool.events()[0] if e["kind"] == "epoch"]
    assert [m.timestamp for m in history] == [int(t * 1000) for t in written]


@pytest.mark.slow
def test_artifacts_of_a_trial_are_there_once(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "files", seeds=1)
    folder.trial("darts-s0").log.write_text("a warning\n")
    play(folder, "darts-s0", 3, status=None)
    track(folder, uri)
    start(folder, "darts-s0", attempt=2)
    epochs(folder, "darts-s0", *(report(epoch, OPS[1]) for epoch in range(3, 6)))
    end(folder, "darts-s0")
    (folder.path / "track.json").unlink()
    track(folder, uri)
    seen = Seen(uri, "files")
    run = seen.children["darts-s0"]
    assert seen.files(run) >= {
        "genotype.json",
        "weights.npz",
        "spectrum.npz",
        "cells",
        "genotypes",
        "log.txt",
    }
    names = {f"genotypes/epoch_00{epoch}.json" for epoch in (0, 2, 5)}
    assert seen.files(run, "genotypes") == names
    assert seen.files(run, "cells") >= {"cells/cell-normal.svg", "cells/cell-reduce.svg"}
    pictures = Counter(
        tuple(name.split("/")[1].replace("+", " ").split()[:3:2])
        for name in seen.files(run, "images")
        if name.endswith(".png")
    )
    assert pictures == {(f"cell~{kind}", epoch): 1 for kind in ("normal", "reduce") for epoch in "025"}


@pytest.mark.slow
def test_pictures_of_a_single_kind_of_cell_are_there_once(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "single", seeds=1, space="nas-bench-201")
    cell = {
        "genotype": genotype_from_text("|none~0|+|skip_connect~0|nor_conv_1x1~1|"),
        "weights": {"normal": [[0.5, 0.5]]},
        "entropy": {"normal": 0.6},
        "skips": {"normal": 1},
    }
    start(folder, "darts-s0")
    epochs(folder, "darts-s0", *(report(epoch, **cell) for epoch in range(2)))
    end(folder, "darts-s0")
    for _ in range(2):
        track(folder, uri)
        (folder.path / "track.json").unlink()
    seen = Seen(uri, "single")
    images = [name for name in seen.files(seen.children["darts-s0"], "images") if name.endswith(".png")]
    assert len(images) == 2
    assert all("cell~normal" in name for name in images)


@pytest.mark.slow
def test_tracking_again_adds_nothing_and_a_resume_goes_on_in_the_same_runs(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "again")
    play(folder, "darts-s0", 6)
    play(folder, "darts-s1", 2, status=None)
    track(folder, uri)
    before = Seen(uri, "again")
    assert before.children["darts-s1"].info.status == "KILLED"
    assert before.parents[0].info.status == "KILLED"
    assert replay(folder, uri).epochs == 0
    (folder.path / "track.json").unlink()
    track(folder, uri)
    once(Seen(uri, "again").steps("darts-s0"), 6)
    once(Seen(uri, "again").steps("darts-s1"), 2)

    def resumed(tracker: MlflowTracker) -> None:
        start(folder, "darts-s1", attempt=2)
        tracker.on_trial(folder.trial("darts-s1").record())
        until(lambda: Seen(uri, "again").children["darts-s1"].info.status == "RUNNING")
        assert Seen(uri, "again").parents[0].info.status == "RUNNING"
        # The epoch after the last checkpoint is run, and written, a second time.
        epochs(folder, "darts-s1", report(1, train_loss=7.0), *(report(e) for e in range(2, 6)))
        end(folder, "darts-s1")
        tracker.on_trial(folder.trial("darts-s1").record())

    track(folder, uri, resumed)
    after = Seen(uri, "again")
    assert after.ids() == before.ids()
    assert after.most_runs_of_a_trial == 1
    assert after.children["darts-s1"].info.status == "FINISHED"
    assert after.parents[0].info.status == "FINISHED"
    once(after.steps("darts-s0"), 6)
    once(after.steps("darts-s1"), 6)
    assert after.children["darts-s1"].data.tags["raynas.attempt"] == "2"


@pytest.mark.slow
def test_a_spool_cut_down_and_resumed_is_sent_again(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "cut")
    play(folder, "darts-s0", 4)
    track(folder, uri)
    spool = folder.trial("darts-s0").spool.path
    spool.write_bytes(b"".join(spool.read_bytes().splitlines(keepends=True)[:2]))
    start(folder, "darts-s0", attempt=2)
    # Longer lines than before, so that the byte remembered in track.json is inside one of them.
    epochs(folder, "darts-s0", *(report(e, train_loss=1 / 3 + e) for e in range(1, 4)))
    end(folder, "darts-s0")
    assert replay(folder, uri).epochs == 0
    seen = Seen(uri, "cut")
    once(seen.steps("darts-s0"), 4)
    assert seen.children["darts-s0"].data.tags["raynas.attempt"] == "2"


@pytest.mark.slow
def test_what_a_search_took_back_stays_apart_from_what_counts(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "back", seeds=1, epochs=5)
    start(folder, "darts-s0")
    epochs(folder, "darts-s0", *(report(epoch) for epoch in range(4)))
    track(folder, uri)
    again = [report(epoch, OPS[1], restart=1, train_loss=10.0 + epoch) for epoch in range(2, 5)]
    # Killed after the first, it went back to an older checkpoint and said the same once more.
    epochs(folder, "darts-s0", again[0], report(3), *again)
    end(folder, "darts-s0")
    assert replay(folder, uri).epochs == 3
    seen = Seen(uri, "back")
    run = seen.children["darts-s0"]

    def values(key: str) -> list[tuple[int, float]]:
        return sorted((m.step, m.value) for m in seen.client.get_metric_history(run.info.run_id, key))

    losses = [2.0, 1.0, 2 / 3, 0.5, 12.0, 13.0, 14.0]
    assert values("loss/train") == list(enumerate(losses))
    assert values("restart/epoch") == [(4, 2), (5, 3), (6, 4)]
    assert values("restart/count") == [(4, 1), (5, 1), (6, 1)]
    assert run.data.metrics["loss/train"] == 14.0
    assert run.data.tags["raynas.replaced"] == "steps 2-3"
    # The first tracker took epoch 3 for the last.
    names = {f"genotypes/epoch_{name}.json" for name in ("000", "003", "002_restart_1", "004_restart_1")}
    assert seen.files(run, "genotypes") == names
    assert replay(folder, uri).epochs == 0


@pytest.mark.slow
def test_the_cell_that_counts_is_the_runs(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "counts", seeds=1, epochs=3)
    start(folder, "darts-s0")
    ended = End(epoch=0, reason="why")
    epochs(folder, "darts-s0", report(0), report(1, OPS[1]), report(2, OPS[1], ended=ended))
    end(folder, "darts-s0")
    track(folder, uri)
    seen = Seen(uri, "counts")
    uploaded = seen.client.download_artifacts(
        seen.children["darts-s0"].info.run_id, "genotype.json", str(tmp_path)
    )
    assert genotype_from_json(json.loads(Path(uploaded).read_text())) == report(0).genotype


@pytest.mark.slow
def test_a_kill_between_the_store_and_track_json_doubles_nothing(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "kill", seeds=1)
    play(folder, "darts-s0", 2, status=None)
    track(folder, uri)
    stale = (folder.path / "track.json").read_bytes()
    epochs(folder, "darts-s0", *(report(epoch) for epoch in range(2, 6)))
    track(folder, uri)
    (folder.path / "track.json").write_bytes(stale)
    with folder.trial("darts-s0").spool.path.open("a") as file:
        file.write('{"v":1,"kind":"epoch","repo')
    assert replay(folder, uri).epochs == 0
    once(Seen(uri, "kill").steps("darts-s0"), 6)


@pytest.mark.slow
def test_the_same_name_again_is_another_sweep(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")
    for place, created in (("one", "2026-01-01T00:00:00+00:00"), ("two", "2026-01-02T00:00:00+00:00")):
        folder = make_sweep(tmp_path / place / "same", seeds=1, created=created)
        play(folder, "darts-s0", 6)
        added = replay(folder, uri)
        assert (added.runs, added.epochs) == (1, 6)
    seen = Seen(uri, "same")
    assert len(seen.parents) == seen.most_runs_of_a_trial == 2


def test_a_diverged_trial_has_finite_numbers_only(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "lost", seeds=1)
    start(folder, "darts-s0")
    epochs(folder, "darts-s0", report(0), diverged(1))
    end(folder, "darts-s0", "diverged", "the training loss is not a number")
    track(folder, uri)
    (folder.path / "track.json").unlink()
    track(folder, uri)
    seen = Seen(uri, "lost")
    run = seen.children["darts-s0"]
    assert run.info.status == "FAILED"
    assert run.data.tags["raynas.diverged"] == "true"
    assert run.data.tags["raynas.nonfinite"] == "loss/train, loss/valid"
    steps = seen.steps("darts-s0")
    assert (steps["loss/train"], steps["acc/train"]) == ([0], [0, 1])
    assert all(math.isfinite(value) for value in run.data.metrics.values())
    assert seen.parents[0].info.status == "FAILED"


@pytest.mark.slow
def test_one_bad_trial_keeps_no_other_waiting(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "bad")
    folder.trial("darts-s0").spool.path.write_text("not JSON\n")
    play(folder, "darts-s1", 6)
    replay(folder, uri)
    seen = Seen(uri, "bad")
    assert seen.children["darts-s1"].info.status == "FINISHED"
    assert seen.parents[0].info.status == "KILLED"
    once(seen.steps("darts-s1"), 6)


def test_a_run_deleted_in_the_store_is_made_again(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "deleted", seeds=1)
    play(folder, "darts-s0", 2, status=None)

    def during(tracker: MlflowTracker) -> None:
        until(lambda: bool(Seen(uri, "deleted").children))
        seen = Seen(uri, "deleted")
        seen.client.delete_run(seen.children["darts-s0"].info.run_id)
        epochs(folder, "darts-s0", report(2), report(3))
        tracker.on_trial(folder.trial("darts-s0").record())

    assert track(folder, uri, during).message is None
    once(Seen(uri, "deleted").steps("darts-s0"), 4)


def test_two_experiments_have_a_sweep_run_each(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "both", seeds=1)
    other = make_sweep(tmp_path / "x" / "both", seeds=1, space="s2", method="pc-darts")
    other.trials()[0].path.rename(folder.path / "trials" / "pc-darts-s0")
    sweep = folder.path / "sweep.json"
    mine, theirs = (json.loads((f.path / "sweep.json").read_text()) for f in (folder, other))
    sweep.write_text(json.dumps(mine | {"trials": mine["trials"] + theirs["trials"]}))
    folder = SweepFolder(folder.path)
    for trial in folder.trials():
        play(folder, trial.id, 3)
    assert replay(folder, uri).runs == 2
    seen = Seen(uri, "both")
    parents = {run.info.experiment_id: run.info.run_id for run in seen.parents}
    assert len(parents) == 2
    for run in seen.children.values():
        assert run.data.tags["mlflow.parentRunId"] == parents[run.info.experiment_id]


def test_a_store_that_is_never_there_costs_one_message_and_no_time(tmp_path: Path, uri: str) -> None:
    folder = make_sweep(tmp_path / "away", seeds=1)
    began = time.monotonic()
    messages = set()

    def during(tracker: MlflowTracker) -> None:
        messages.add(tracker.message)
        play(folder, "darts-s0", 6)
        tracker.on_trial(folder.trial("darts-s0").record())
        time.sleep(0.8)
        messages.add(tracker.message)

    tracker = track(folder, NOWHERE, during)
    assert time.monotonic() - began < 30
    (message,) = messages
    assert message is not None
    assert "connection refused" in message
    assert NOWHERE in message
    assert "\n" not in message
    assert "raynas track away" in (tracker.message or "")
    assert (folder.path / "observers.log").read_text().count("Traceback (most recent call last)") >= 1
    with pytest.raises(RaynasError) as caught:
        replay(folder, NOWHERE)
    assert NOWHERE in str(caught.value)
    assert "raynas track away" in str(caught.value)
    assert replay(folder, uri).epochs == 6
    once(Seen(uri, "away").steps("darts-s0"), 6)


def test_a_store_that_never_answers_holds_nobody_up(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "mute", seeds=1)
    play(folder, "darts-s0", 6)
    record = folder.trials()[0].record()
    with socket.create_server(("127.0.0.1", 0)) as mute:
        patience = Patience(start=0.3, first=0.2, longest=0.5, flush=1.0, stuck=0.5, last=0.5)
        tracker = MlflowTracker(folder, f"http://127.0.0.1:{mute.getsockname()[1]}", patience)
        began = time.monotonic()
        tracker.on_start(folder)
        for _ in range(1000):
            tracker.on_trial(record)
        tracker.on_end(folder)
        assert time.monotonic() - began < 5
    assert "raynas track mute" in (tracker.message or "")
