"""Trainings in a real MLflow store: below the run of their searches, each epoch once, with their network."""

from pathlib import Path
from typing import Any

import pytest
from helpers import cli_folders
from helpers.cli_folders import raynas
from helpers.track_folders import OPS, end, epochs, report, start
from helpers.train_folders import begin, make_trainings, play, say, trained

from raynas.spaces.literature import load_cell
from raynas.sweep.folder import TRAINED, SweepFolder, TrainSweep
from raynas.track.mlflow import MlflowTracker, Patience, replay
from raynas.track.uploader import Uploader
from raynas.train.records import CARD, WEIGHTS

QUICK = Patience(start=30, first=0.2, longest=0.5, flush=120, stuck=60)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests: making it takes seconds. Every sweep has its own name in it."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


class Seen:
    """The runs of one sweep as the store has them."""

    def __init__(self, uri: str, name: str, kind: str = "train") -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.names = {each.experiment_id: each.name for each in self.client.search_experiments()}
        found = self.client.search_runs(
            list(self.names), f"tags.`raynas.sweep` = '{name}' and tags.`raynas.kind` = '{kind}'"
        )
        self.runs = {run.info.run_name: run for run in found}
        assert len(self.runs) == len(found), "a trial has one run"

    def steps(self, trial: str) -> dict[str, list[int]]:
        run = self.runs[trial]
        history = self.client.get_metric_history
        return {key: sorted(m.step for m in history(run.info.run_id, key)) for key in run.data.metrics}

    def files(self, run: Any, folder: str = "") -> set[str]:
        return {found.path for found in self.client.list_artifacts(run.info.run_id, folder)}


def _network(folder: TrainSweep, trial: str) -> Path:
    """Stand-ins for a network's files: the store takes them as they are."""
    place = folder.trial(trial).network
    place.mkdir()
    (place / CARD).write_text("{}")
    (place / WEIGHTS).write_bytes(b"weights")
    return place


def test_a_sweep_of_trainings_has_a_run_of_its_own(tmp_path: Path, uri: str) -> None:
    folder = make_trainings(tmp_path / "alone")
    tracker = MlflowTracker(folder, uri, QUICK)
    tracker.on_start(folder)
    place = _network(folder, "darts-v2-s0")
    for trial in folder.trials():
        play(folder, trial.id)
        tracker.on_trial(trial.record())
    tracker.on_end(folder)
    assert tracker.message is None
    seen, [parent] = Seen(uri, "alone"), Seen(uri, "alone", "sweep").runs.values()
    run = seen.runs["darts-v2-s0"]
    assert seen.names[run.info.experiment_id] == "train/digits"
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (run.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    steps = seen.steps("darts-v2-s0")
    for key in ("loss/train", "acc/train", "lr", "drop_path", "time/epoch", "memory/peak"):
        assert steps.pop(key) == [0, 1, 2], key
    last = ("loss/test", "acc/test", "size/parameters", "size/multiply_adds")
    assert steps == {key: [2] for key in last}
    assert [run.data.metrics[key] for key in last] == [0.5, 0.75, 1234, 5678]
    params = run.data.params
    assert (params["cell"], params["recipe"], params["seed"]) == ("darts-v2", "quick", "0")
    assert (params["epochs"], params["data"], params["data_limit"]) == ("3", "digits", "64")
    assert all(each.data.params.keys() == params.keys() for each in seen.runs.values())
    assert run.data.tags["raynas.cell"] == load_cell("darts-v2").genotype.digest()
    assert run.data.tags["raynas.network"] == str(place)
    assert {"genotype.json", "cells", "network"} <= seen.files(run)
    assert seen.files(run, "network") == {f"network/{CARD}", f"network/{WEIGHTS}"}
    assert "test error 25.00" in parent.data.tags["mlflow.note.content"]
    assert {"sweep.json", "sweep.yaml"} <= seen.files(parent)
    assert replay(TrainSweep(folder.path), uri).epochs == 0


def _searches(path: Path) -> SweepFolder:
    folder = cli_folders.make_sweep(path.parent, [f"name={path.name}", "space=tiny"])
    cli_folders.play(folder, "darts-wd0.0027-s0", [0.9, 0.5])
    return folder


def test_trainings_of_a_winner_are_children_of_their_searches(tmp_path: Path, uri: str) -> None:
    searches = _searches(tmp_path / "runs" / "found")
    replay(searches, uri)
    [before] = Seen(uri, "found", "sweep").runs.values()
    folder = make_trainings(searches.path / TRAINED / "quick", grid={"cell": [str(searches.path)]})
    assert folder.called == "found/trained/quick"
    (folder.path / "report.html").write_text("trained")
    (searches.path / "report.html").write_text("searched")
    [trial] = folder.trials()
    play(folder, trial.id)
    assert replay(folder, uri).runs == 1
    [parent] = Seen(uri, "found", "sweep").runs.values()
    assert parent.info.run_id == before.info.run_id
    assert parent.info.status == before.info.status
    assert parent.data.tags["mlflow.note.content"] == before.data.tags["mlflow.note.content"]
    assert "test error 25.00" in parent.data.tags["raynas.trained.quick"]
    seen = Seen(uri, "found/trained/quick")
    [run] = seen.runs.values()
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.info.experiment_id == parent.info.experiment_id
    assert seen.files(parent, "trained/quick") >= {"trained/quick/report.html", "trained/quick/sweep.json"}
    assert "report.html" in seen.files(parent)
    # And the searches find all of theirs again, and nothing of the trainings'.
    again = replay(SweepFolder(searches.path), uri)
    assert (again.runs, again.epochs) == (0, 0)
    assert len(Seen(uri, "found", "search").runs) == 1


def test_the_searches_run_is_made_where_they_were_not_tracked(tmp_path: Path, uri: str) -> None:
    searches = _searches(tmp_path / "runs" / "untold")
    for trial in searches.trials():
        if not trial.record().reports:
            cli_folders.play(searches, trial.id, [0.9])
    folder = make_trainings(searches.path / TRAINED / "quick", grid={"cell": [str(searches.path)]})
    play(folder, folder.trials()[0].id)
    replay(folder, uri)
    [parent] = Seen(uri, "untold", "sweep").runs.values()
    assert parent.info.status == "FINISHED"
    assert Seen(uri, "untold", "search").runs == {}
    assert replay(searches, uri).runs == 4
    [same] = Seen(uri, "untold", "sweep").runs.values()
    assert same.info.run_id == parent.info.run_id


def test_a_winner_s_trainings_stand_in_the_experiment_of_its_space(tmp_path: Path, uri: str) -> None:
    searches = cli_folders.make_sweep(
        tmp_path / "runs",
        ["name=two", "space=tiny", "grid.space=[tiny, s2]", "seed=0", "grid.weight_decay=[3e-4]"],
    )
    first, second = searches.trials()
    cli_folders.play(searches, first.id, [0.9, 0.8])
    start(searches, second.id)
    epochs(searches, second.id, report(0, OPS[1], valid_loss=0.1), report(1, OPS[1], valid_loss=0.1))
    end(searches, second.id)
    cells = [str(searches.path), str(first.path / "genotype.json")]
    for trial in (first, second):
        trial.record().deciding.genotype.save(trial.path / "genotype.json")
    folder = make_trainings(searches.path / TRAINED / "quick", grid={"cell": cells, "seed": [0]})
    for trial in folder.trials():
        play(folder, trial.id)
    replay(folder, uri)
    seen = Seen(uri, "two/trained/quick")
    assert [seen.names[run.info.experiment_id] for run in seen.runs.values()] == ["tiny/digits", "s2/digits"]


def test_a_killed_upload_and_a_resumed_training_leave_each_epoch_once(tmp_path: Path, uri: str) -> None:
    folder = make_trainings(tmp_path / "killed", epochs=4, grid={"cell": ["darts-v2"], "seed": [0]})
    begin(folder, "darts-v2-s0")
    say(folder, "darts-v2-s0", trained(0, 4), trained(1, 4))
    killed = Uploader(folder, uri)
    killed.open()
    killed.send({"darts-v2-s0"})  # and then nothing more of it: neither `finish` nor a word in track.json
    (folder.path / "track.json").unlink()
    run = Seen(uri, "killed").runs["darts-v2-s0"]
    assert run.info.status == "RUNNING"
    assert replay(TrainSweep(folder.path), uri).epochs == 0
    assert Seen(uri, "killed").runs["darts-v2-s0"].info.status == "KILLED"
    begin(folder, "darts-v2-s0", attempt=2)
    say(folder, "darts-v2-s0", trained(1, 4), trained(2, 4), trained(3, 4))
    folder.trial("darts-v2-s0").spool.append("end", status="finished", reason="")
    added = replay(TrainSweep(folder.path), uri)
    assert (added.runs, added.epochs) == (0, 2)
    seen = Seen(uri, "killed")
    assert seen.runs["darts-v2-s0"].info.run_id == run.info.run_id
    assert seen.steps("darts-v2-s0")["loss/train"] == [0, 1, 2, 3]
    assert seen.runs["darts-v2-s0"].info.status == "FINISHED"


def test_what_failed_says_so(tmp_path: Path, uri: str) -> None:
    folder = make_trainings(tmp_path / "bad")
    begin(folder, "darts-v2-s0")
    folder.trial("darts-v2-s0").spool.append("end", status="diverged", reason="the loss is not finite")
    replay(folder, uri)
    run = Seen(uri, "bad").runs["darts-v2-s0"]
    assert run.info.status == "FAILED"
    assert run.data.tags["raynas.diverged"] == "true"
    assert run.data.tags["raynas.reason"] == "the loss is not finite"
    [parent] = Seen(uri, "bad", "sweep").runs.values()
    assert parent.info.status == "KILLED"


@pytest.mark.slow
def test_from_the_command_line(tmp_path: Path, uri: str, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    searches = cli_folders.make_sweep(tmp_path / "runs", [f"track.mlflow={uri}", "name=line"])
    cli_folders.play(searches, "darts-wd0.0027-s0", [0.9, 0.5])
    words = ["retrain", "line", "--local", "--seeds", "0", "data.limit=64", "epochs=1", "channels=2"]
    done = raynas(capsys, *words)
    assert done.code == 0, done.err
    assert "next: raynas evaluate line/trained/quick" in done.out
    seen = Seen(uri, "line/trained/quick")
    [run] = seen.runs.values()
    assert run.info.status == "FINISHED"
    assert seen.files(run, "network") == {f"network/{CARD}", f"network/{WEIGHTS}"}
    [parent] = Seen(uri, "line", "sweep").runs.values()
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "trained/quick/trained.json" in seen.files(parent, "trained/quick")
    assert run.data.metrics["size/multiply_adds"] > run.data.metrics["size/parameters"] > 0
    sent = raynas(capsys, "track", "line")
    assert "line: sent 2 epochs and 1 new run" in sent.out
    assert "line/trained/quick: sent 0 epochs and 0 new runs" in sent.out
    assert "sent 0 epochs" in raynas(capsys, "track", "line/trained/quick").out
