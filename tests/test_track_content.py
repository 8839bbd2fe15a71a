"""What is logged of a trial, the addresses, the spool's reader, `track.json`, and observers in general."""

import json
import math
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.track_folders import OPS, diverged, end, epochs, make_sweep, play, report, start

from raynas.config import DataConfig, SearchConfig
from raynas.errors import RaynasError
from raynas.launch.observer import Observer, Observers
from raynas.spaces.library import locate
from raynas.sweep.file.uri import artifact_root, reason, resolve_uri, shown
from raynas.sweep.folder import SweepFolder
from raynas.track import content
from raynas.track.parent import overall
from raynas.track.progress import Uploaded, Uploads, alone
from raynas.track.store import MlflowStore


def test_importing_the_tracker_imports_nothing_heavy() -> None:
    heavy = {"mlflow", "torch", "ray", "matplotlib", "numpy"}
    code = f"import sys, raynas.track.mlflow; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_relative_sqlite_file_counts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri("sqlite:////a/b.db?timeout=9") == "sqlite:////a/b.db?timeout=9"
    assert resolve_uri("http://host:5000/") == "http://host:5000"
    assert artifact_root("sqlite:////a/b.db?timeout=9") == Path("/a/mlartifacts")
    assert artifact_root("postgresql+psycopg://host/db") == tmp_path / "mlartifacts"
    assert artifact_root("http://host:5000") is None


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///a", "htp://host", "sqlite://", "sqlite:///:memory:", ""]
)
def test_addresses_mlflow_cannot_use_are_refused(uri: str) -> None:
    with pytest.raises(RaynasError) as caught:
        resolve_uri(uri)
    assert "sqlite:///mlflow.db" in str(caught.value)


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    uri = "http://me:secret@host:5000/path"
    assert shown(uri) == "http://me:***@host:5000/path"
    assert shown("http://host:5000") == "http://host:5000"
    assert "secret" not in reason(ValueError(f"cannot reach {uri}"))
    folder = make_sweep(tmp_path / "a")
    progress = Uploads(folder, uri)
    progress.trials["darts-s0"] = Uploaded(run="r", epochs=1, status="RUNNING")
    progress.save()
    assert "secret" not in (folder.path / "track.json").read_text()


def test_params_have_the_same_keys_whatever_the_configuration(tmp_path: Path) -> None:
    plain = make_sweep(tmp_path / "a").trials()[0].record()
    space = tmp_path / "s9.v2.yaml"
    space.write_text(locate("search_spaces", "tiny").read_text())
    other = make_sweep(tmp_path / "b", channels=8, cells=5, space=str(space), method="pc").trials()[0]
    first, second = content.params(plain), content.params(other.record())
    assert list(first) == list(second)
    assert (first["channels"], second["channels"], second["space"]) == ("default", "8", "s9.v2")
    assert content.experiment_name(other.config()) == "s9.v2/digits"


@pytest.mark.parametrize("path", ["images/cats", "images/cats/", "~/images/../cats", "/data/cats"])
def test_an_own_folder_s_experiment_has_its_name(path: str) -> None:
    config = SearchConfig(space="tiny", data=DataConfig(name="folder", path=path))
    assert content.experiment_name(config) == "tiny/cats"
    assert content.experiment_name(SearchConfig(space="tiny", data=DataConfig(name="folder"))) != "tiny/"


def test_metrics_are_the_reports_numbers() -> None:
    values = content.metrics(report(1))
    assert values["loss/valid"] == 1.5
    assert values["hessian/eig_max"] == 1.5
    assert values["cell/entropy_reduce"] == 0.7
    assert len(values) == 17
    assert not any(key.startswith("hessian") for key in content.metrics(report(1, curvature=None)))
    lost = content.metrics(diverged(1))
    assert set(lost) - set(content.finite(lost)) == {"loss/train", "loss/valid"}


def test_tags_tell_how_a_trial_went(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a", seeds=3)
    start(folder, "darts-s0", attempt=2)
    epochs(folder, "darts-s0", report(0), diverged(1))
    end(folder, "darts-s0", "diverged", "the loss is not a number")
    play(folder, "darts-s1", 4)
    play(folder, "darts-s2", 6)
    broken, stopped, whole = (content.tags(record, "a") for record in folder.records())
    assert broken["raynas.diverged"] == "true"
    assert broken["raynas.nonfinite"] == "loss/train, loss/valid"
    assert (broken["raynas.attempt"], broken["raynas.data_hash"]) == ("2", "abc")
    assert stopped["raynas.stopped"] == "early"
    assert "raynas.stopped" not in whole
    assert whole["raynas.cell"] == report(5, OPS[1]).genotype.digest()
    assert "6 of 6 epochs" in whole["mlflow.note.content"]


def test_states_of_runs() -> None:
    assert overall(["FINISHED", "FAILED"]) == "FINISHED"
    assert overall(["FAILED", "FAILED"]) == "FAILED"
    assert overall(["FINISHED", None]) == "KILLED"
    assert overall(["FINISHED", "KILLED"]) == "KILLED"


def test_pictures_are_few_and_never_taken_back(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a", seeds=1, epochs=100)
    start(folder, "darts-s0")
    before: list[int] = []
    for epoch in range(100):
        epochs(folder, "darts-s0", report(epoch, OPS[epoch % 3]))
        if epoch % 7 == 0:
            now = [one.epoch for one in content.pictured(folder.trials()[0].record(), ended=False)]
            assert now[: len(before)] == before
            before = now
    record = folder.trials()[0].record()
    assert len(content.turns(record.reports)) == 100
    assert [one.epoch for one in content.pictured(record, ended=True)] == [*range(0, 100, 10), 99]


def test_the_history_of_the_weights_keeps_every_number(tmp_path: Path) -> None:
    ragged = {"normal": [[0.1, 0.9], [1.0]], "reduce": [[0.3, 0.7], [0.5, 0.5]]}
    reports = [report(0), report(1, weights=ragged, curvature=None)]
    content.write_history(reports, tmp_path)
    with np.load(tmp_path / "weights.npz") as saved:
        assert saved["epochs"].tolist() == [0, 1]
        assert saved["normal"][0].tolist() == reports[0].weights["normal"]
        assert saved["normal"][1, 0].tolist() == [0.1, 0.9]
        assert math.isnan(saved["normal"][1, 1, 1])
        assert saved["reduce"].shape == (2, 2, 2)
    with np.load(tmp_path / "spectrum.npz") as saved:
        assert saved["epochs"].tolist() == [0]
        assert saved["spectrum"].tolist() == [[-0.1, 0.3, 0.5]]


def test_a_feed_leaves_a_torn_line_for_later_and_keeps_the_first_of_an_epoch(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a", seeds=1)
    play(folder, "darts-s0", 2, status=None)
    spool = folder.trial("darts-s0").spool
    with spool.path.open("a") as file:
        file.write('{"v":1,"kind":"epo')
    feed = folder.trial("darts-s0").feed
    assert [one.epoch for one in feed.read().reports] == [0, 1]
    first = feed.time(report(1))
    epochs(folder, "darts-s0", report(1, train_loss=9.0), report(2))
    assert [one.train_loss for one in feed.read().reports] == [2.0, 1.0, 2 / 3]
    assert feed.time(report(1)) == first
    assert feed.offset == spool.path.stat().st_size


@pytest.mark.parametrize("damage", ["", "[]", '{"stores": {"u": {"t": {"run": 3}}}}', '{"stores": [1]}'])
def test_a_damaged_track_file_counts_as_lost(tmp_path: Path, damage: str) -> None:
    folder = make_sweep(tmp_path / "a")
    (folder.path / "track.json").write_text(damage)
    assert Uploads(folder, "u").trials == {}


def test_progress_of_one_store_leaves_the_others_alone(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a")
    for uri in ("u", "v"):
        progress = Uploads(folder, uri)
        progress.trials["t"] = Uploaded(run=uri, epochs=2, status="FINISHED", offset=7)
        progress.save()
    assert Uploads(folder, "u").trials["t"].run == "u"
    assert json.loads((folder.path / "track.json").read_text())["stores"]["v"]["t"]["offset"] == 7


def test_one_uploader_at_a_time(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a")
    with alone(folder), pytest.raises(RaynasError, match="another process"), alone(folder):
        pass
    with alone(folder):
        pass


class _Broken(Observer):
    def on_start(self, folder: SweepFolder) -> None:
        raise ValueError("no display")

    def on_tick(self) -> None:
        raise ValueError("same again")


class _Counting(Observer):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def on_start(self, folder: SweepFolder) -> None:
        self.calls.append("start")

    def on_tick(self) -> None:
        self.calls.append("tick")

    def on_end(self, folder: SweepFolder) -> None:
        self.calls.append("end")


def test_a_broken_observer_stops_nobody_and_is_written_down_once(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path / "a", seeds=1)
    counting = _Counting()
    observers = Observers([_Broken(), counting])
    observers.on_start(folder)
    for _ in range(3):
        observers.on_tick()
    observers.on_trial(folder.trials()[0].record())
    observers.on_end(folder)
    assert counting.calls == ["start", "tick", "tick", "tick", "end"]
    log = (folder.path / "observers.log").read_text()
    assert log.count("ValueError: no display") == 1
    assert log.count("ValueError: same again") == 1
    assert "_Broken" in log
    assert "Traceback" in log


def test_one_process_at_a_time_makes_a_sqlite_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at once broke MLflow's migration: `duplicate column name: step`."""
    inside: list[int] = [0]
    most: list[int] = [0]

    class Slow:
        """MLflow's client, which brings a store to its version when it is made."""

        def __init__(self, tracking_uri: str) -> None:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.05)
            inside[0] -= 1

        def search_experiments(self, max_results: int) -> list[object]:
            return []

    monkeypatch.setattr("mlflow.MlflowClient", Slow)
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(MlflowStore, [uri] * 4))  # raises what any of them raises
    assert most == [1]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".mlflow.db.lock", "mlflow.db"]
